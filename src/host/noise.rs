//! What disturbs a measurement: settings that stand for a whole run, and counters read before and
//! after it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fingerprint::setting;

/// The noise record of a run. A setting the kernel does not show is `unavailable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Frequency governor of the first CPU.
    pub governor: String,
    /// Turbo or boost: `on`, `off` or `unavailable`.
    pub turbo: String,
    /// Transparent huge pages.
    pub transparent_hugepage: String,
    /// kernel.randomize_va_space.
    pub aslr: String,
    /// CPU vulnerability mitigations, `name: state`.
    pub mitigations: Vec<String>,
    /// KVM module parameters that change a VM's memory or entry costs, `module.name=value`.
    pub kvm_parameters: Vec<String>,
    /// Load average over one minute, before the run.
    pub load_before: f64,
    /// Load average over one minute, after the run.
    pub load_after: f64,
    /// Share of CPU time stolen by the hypervisor during the run, percent.
    pub steal_percent: f64,
    /// Context switches a second on the whole host during the run.
    pub context_switches_per_second: f64,
    /// Share of the run in which some task waited for a CPU (PSI), percent.
    pub cpu_pressure_percent: Option<f64>,
    /// The same for memory.
    pub memory_pressure_percent: Option<f64>,
    /// The same for input and output.
    pub io_pressure_percent: Option<f64>,
    /// Thermal throttling events of all CPUs during the run.
    pub throttle_events: Option<u64>,
}

impl Noise {
    /// The settings now; the counters are for [`Self::account`] to fill in.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            governor: setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            turbo: turbo(),
            transparent_hugepage: chosen(&setting("/sys/kernel/mm/transparent_hugepage/enabled")),
            aslr: setting("/proc/sys/kernel/randomize_va_space"),
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            kvm_parameters: kvm_parameters(Path::new("/sys/module")),
            load_before: 0.0,
            load_after: 0.0,
            steal_percent: 0.0,
            context_switches_per_second: 0.0,
            cpu_pressure_percent: None,
            memory_pressure_percent: None,
            io_pressure_percent: None,
            throttle_events: None,
        }
    }

    /// Fills in what happened between two moments.
    pub fn account(&mut self, before: &Moment, after: &Moment) {
        let seconds = after
            .at
            .saturating_duration_since(before.at)
            .as_secs_f64()
            .max(1e-9);
        self.load_before = before.load;
        self.load_after = after.load;
        self.steal_percent = after.cpu.steal_percent_since(before.cpu);
        self.context_switches_per_second =
            after.switches.saturating_sub(before.switches) as f64 / seconds;
        let percent = |resource: usize| {
            let stalled = after.stalled_us[resource]?.saturating_sub(before.stalled_us[resource]?);
            Some(stalled as f64 / 1e6 / seconds * 100.0)
        };
        self.cpu_pressure_percent = percent(0);
        self.memory_pressure_percent = percent(1);
        self.io_pressure_percent = percent(2);
        self.throttle_events = after
            .throttled
            .zip(before.throttled)
            .map(|(after, before)| after.saturating_sub(before));
    }
}

/// Counters of the host at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    cpu: CpuTime,
    switches: u64,
    load: f64,
    /// Microseconds that some task was stalled: cpu, memory, io (`Documentation/accounting/psi.rst`).
    stalled_us: [Option<u64>; 3],
    throttled: Option<u64>,
}

impl Moment {
    /// Reads them; what this kernel does not count stays zero or absent.
    #[must_use]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            at: Instant::now(),
            cpu: CpuTime::parse(&stat),
            switches: stat
                .lines()
                .find_map(|l| l.strip_prefix("ctxt ")?.trim().parse().ok())
                .unwrap_or(0),
            load: load(),
            stalled_us: ["cpu", "memory", "io"].map(|resource| {
                let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
                stalled(&text)
            }),
            throttled: throttled(Path::new("/sys/devices/system/cpu")),
        }
    }
}

/// CPU time counters (proc_stat(5)), in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    total: u64,
    /// Time that the hypervisor gave to others.
    pub steal: u64,
}

impl CpuTime {
    /// From the text of `/proc/stat`; zero where it is not understood.
    #[must_use]
    pub fn parse(stat: &str) -> Self {
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
fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|t| {
            t.split_ascii_whitespace()
                .next()
                .and_then(|f| f.parse().ok())
        })
        .unwrap_or(0.0)
}

/// `total=` of the `some` line of a pressure file.
fn stalled(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|l| l.starts_with("some "))?;
    some.split_ascii_whitespace()
        .find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

/// Sum of the CPUs' thermal throttling counters; absent where none is shown.
fn throttled(cpus: &Path) -> Option<u64> {
    fs::read_dir(cpus)
        .ok()?
        .flatten()
        .filter_map(|cpu| {
            let file = cpu.path().join("thermal_throttle/core_throttle_count");
            fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
        })
        .reduce(|sum, count| sum + count)
}

/// `intel_pstate/no_turbo` and `cpufreq/boost` say the opposite of each other.
fn turbo() -> String {
    let no_turbo = setting("/sys/devices/system/cpu/intel_pstate/no_turbo");
    let boost = setting("/sys/devices/system/cpu/cpufreq/boost");
    match (no_turbo.as_str(), boost.as_str()) {
        ("0", _) | (_, "1") => "on",
        ("1", _) | (_, "0") => "off",
        _ => "unavailable",
    }
    .to_owned()
}

fn kvm_parameters(modules: &Path) -> Vec<String> {
    let named = [
        ("kvm", "nx_huge_pages"),
        ("kvm", "tdp_mmu"),
        ("kvm", "halt_poll_ns"),
        ("kvm_intel", "ept"),
        ("kvm_intel", "unrestricted_guest"),
        ("kvm_intel", "vpid"),
        ("kvm_amd", "npt"),
        ("kvm_amd", "avic"),
    ];
    named
        .into_iter()
        .filter_map(|(module, name)| {
            let file = modules.join(module).join("parameters").join(name);
            let value = fs::read_to_string(file).ok()?;
            Some(format!("{module}.{name}={}", value.trim()))
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_share_of_all_time() {
        let before = CpuTime::parse("cpu  10 0 10 70 5 0 5 0 0 0\n");
        let after = CpuTime::parse("cpu  20 0 20 130 5 0 5 20 0 0\n");
        assert!((after.steal_percent_since(before) - 20.0).abs() < 1e-9);
        assert!(before.steal_percent_since(before).abs() < 1e-9);
        assert_eq!(CpuTime::parse("garbage"), CpuTime::default());
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=9\n";
        assert_eq!(stalled(text), Some(1234));
        assert_eq!(stalled(""), None);
    }

    #[test]
    fn the_chosen_word_is_the_bracketed_one() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("unavailable"), "unavailable");
    }

    #[test]
    fn counters_become_rates_over_the_run() {
        let mut noise = Noise::detect();
        let before = Moment {
            at: Instant::now(),
            cpu: CpuTime {
                total: 100,
                steal: 0,
            },
            switches: 1000,
            load: 0.5,
            stalled_us: [Some(0), None, Some(0)],
            throttled: Some(3),
        };
        let after = Moment {
            at: before.at + std::time::Duration::from_secs(2),
            cpu: CpuTime {
                total: 300,
                steal: 2,
            },
            switches: 3000,
            load: 1.5,
            stalled_us: [Some(500_000), None, Some(0)],
            throttled: Some(3),
        };
        noise.account(&before, &after);
        assert!((noise.context_switches_per_second - 1000.0).abs() < 1e-9);
        assert_eq!(noise.cpu_pressure_percent, Some(25.0));
        assert_eq!(noise.memory_pressure_percent, None);
        assert_eq!((noise.steal_percent, noise.throttle_events), (1.0, Some(0)));
    }
}
