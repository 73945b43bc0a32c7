//! Which machine, which kernel, how quiet: recorded with every run.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{cgroup, kvm};

/// The host of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// CPU model as the kernel names it.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: u32,
    /// Installed memory in bytes.
    pub memory: u64,
    /// Kernel release and version (uname(2)).
    pub kernel: String,
    /// Whether the CPU says that it is itself virtual (CPUID.1:ECX.31).
    pub virtual_machine: bool,
    /// cgroup layout: `v1`, `v2`, `hybrid` or `none`.
    pub cgroup: String,
    /// KVM kind: `hardware-svm`, `hardware-vmx`, `software`, `absent`.
    pub kvm: String,
    /// Effective user: `root` or `user`.
    pub user: String,
    /// The time-stamp counter.
    pub clock: ClockFacts,
    /// What disturbs a measurement.
    pub noise: Noise,
}

/// The calibrated time-stamp counter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockFacts {
    /// Ticks a second.
    pub hz: f64,
    /// Largest relative error of `hz`.
    pub hz_error: f64,
    /// Largest difference between CPUs, ns.
    pub skew_ns: f64,
    /// Cost of one fenced reading, ns.
    pub read_ns: f64,
    /// The kernel's clock source.
    pub source: String,
}

/// Settings and counters that explain noise; a setting the kernel does not show is `unavailable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Frequency governor.
    pub governor: String,
    /// Transparent huge pages.
    pub transparent_hugepage: String,
    /// kernel.randomize_va_space.
    pub aslr: String,
    /// Load average over one minute, before the run.
    pub load_before: f64,
    /// Load average over one minute, after the run.
    pub load_after: f64,
    /// Share of CPU time stolen by the hypervisor during the run, percent.
    pub steal_percent: f64,
    /// CPU vulnerability mitigations, `name: state`.
    pub mitigations: Vec<String>,
}

/// CPU time counters at one moment (proc_stat(5)), in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    total: u64,
    steal: u64,
}

impl CpuTime {
    /// Reads `/proc/stat`; zero where it cannot be read.
    #[must_use]
    pub fn read() -> Self {
        Self::parse(&text("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let fields: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .map_while(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest time is already in user.
        Self {
            total: fields.iter().take(8).sum(),
            steal: fields.get(7).copied().unwrap_or(0),
        }
    }

    /// Percent of the time since `earlier` that was stolen.
    #[must_use]
    pub fn steal_percent_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 {
            return 0.0;
        }
        self.steal.saturating_sub(earlier.steal) as f64 / total as f64 * 100.0
    }
}

/// Load average over one minute, 0 where unknown.
#[must_use]
pub fn load() -> f64 {
    text("/proc/loadavg")
        .and_then(|t| {
            t.split_ascii_whitespace()
                .next()
                .and_then(|f| f.parse().ok())
        })
        .unwrap_or(0.0)
}

impl Host {
    /// Looks at this host. `noise`'s `after` fields are for the end of the run to fill in.
    #[must_use]
    pub fn detect(clock: ClockFacts) -> Self {
        let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo
                .lines()
                .find(|l| l.starts_with(name))
                .and_then(|l| l.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").unwrap_or_default();
        Self {
            cpu: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory: meminfo("MemTotal").unwrap_or(0),
            kernel: nix::sys::utsname::uname().map_or_else(
                |_| "unknown".to_owned(),
                |u| format!("{} {}", u.release().display(), u.version().display()),
            ),
            virtual_machine: flags.split_ascii_whitespace().any(|f| f == "hypervisor"),
            cgroup: cgroup::Hierarchies::read()
                .map_or(cgroup::Layout::None, |h| h.layout())
                .name()
                .to_owned(),
            kvm: kvm::detect(Path::new("/")).kind.to_string(),
            user: if nix::unistd::geteuid().is_root() {
                "root"
            } else {
                "user"
            }
            .to_owned(),
            clock,
            noise: Noise {
                governor: setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
                transparent_hugepage: chosen(&setting(
                    "/sys/kernel/mm/transparent_hugepage/enabled",
                )),
                aslr: setting("/proc/sys/kernel/randomize_va_space"),
                load_before: load(),
                load_after: 0.0,
                steal_percent: 0.0,
                mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            },
        }
    }
}

/// A field of `/proc/meminfo` in bytes (proc_meminfo(5)); `None` where this kernel has it not.
#[must_use]
pub fn meminfo(name: &str) -> Option<u64> {
    let info = text("/proc/meminfo")?;
    let line = info.lines().find(|l| l.split(':').next() == Some(name))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn mitigations(folder: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let state = fs::read_to_string(entry.path()).ok()?;
            let state = state.trim();
            (state != "Not affected")
                .then(|| format!("{}: {state}", entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

/// The bracketed word of a `a [b] c` setting.
fn chosen(setting: &str) -> String {
    match (setting.find('['), setting.find(']')) {
        (Some(open), Some(close)) if open < close => setting[open + 1..close].to_owned(),
        _ => setting.to_owned(),
    }
}

/// A one-line file's content, or `unavailable`.
#[must_use]
pub fn setting(path: &str) -> String {
    text(path).map_or_else(|| "unavailable".to_owned(), |t| t.trim().to_owned())
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_share_of_all_time() {
        let before = CpuTime::parse("cpu  10 0 10 70 5 0 5 0 0 0\n");
        let after = CpuTime::parse("cpu  20 0 20 130 5 0 5 20 0 0\n");
        assert!((after.steal_percent_since(before) - 20.0).abs() < 1e-9);
        assert_eq!(before.steal_percent_since(before), 0.0);
        assert_eq!(CpuTime::parse("garbage"), CpuTime::default());
    }

    #[test]
    fn the_chosen_word_is_the_bracketed_one() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("unavailable"), "unavailable");
    }
}
