//! Which machine, which kernel, how quiet: recorded with every run.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accounts::kibibytes;
use super::noise::Noise;
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
    /// Relative change of the rate from the run's start to its end, as far as the end was measured.
    pub drift: Option<f64>,
    /// Largest difference between CPUs, ns.
    pub skew_ns: f64,
    /// Median cost of one fenced reading, ns.
    pub read_ns: f64,
    /// 99th percentile of that cost, ns.
    pub read_p99_ns: f64,
    /// The kernel's clock source.
    pub source: String,
}

impl Host {
    /// Looks at this host. Counters of `noise` are for the end of the run to fill in.
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
            memory: text("/proc/meminfo")
                .and_then(|info| kibibytes(&info, "MemTotal"))
                .map_or(0, i64::cast_unsigned),
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
            noise: Noise::detect(),
        }
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}
