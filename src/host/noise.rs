//! What disturbs a measurement: settings that stand for a whole run, and counters read before and
//! after it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroup::{Hierarchies, Hierarchy};
use super::settings;

/// The noise record of a run. A setting that the kernel does not show is `unavailable`, a counter
/// that it does not show is absent: never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Frequency governors of the CPUs, each named once.
    pub governor: String,
    /// Turbo or boost: `on`, `off` or `unavailable`.
    pub turbo: String,
    /// Transparent huge pages.
    pub transparent_hugepage: String,
    /// kernel.randomize_va_space.
    pub aslr: String,
    /// Vulnerabilities that the CPU has, with what is done about each, `name: state`.
    pub mitigations: Option<Vec<String>>,
    /// KVM module parameters that change a VM's memory or entry costs, `module.name=value`.
    pub kvm_parameters: Vec<String>,
    /// Settings among the above that were others after the run, `name: before → after`.
    pub changed: Vec<String>,
    /// Load average over one minute, before the run.
    pub load_before: Option<f64>,
    /// Load average over one minute, after the run.
    pub load_after: Option<f64>,
    /// Share of CPU time stolen by the hypervisor during the run, percent.
    pub steal_percent: Option<f64>,
    /// Context switches a second on the whole host during the run.
    pub context_switches_per_second: Option<f64>,
    /// Share of the run in which some task waited for a CPU (PSI), percent.
    pub cpu_pressure_percent: Option<f64>,
    /// The same for memory.
    pub memory_pressure_percent: Option<f64>,
    /// The same for input and output.
    pub io_pressure_percent: Option<f64>,
    /// Thermal throttling events of all CPUs during the run.
    pub throttle_events: Option<u64>,
    /// Time for which its CPU quota stopped the harness's control group, summed over the CPUs, as a
    /// share of the run, percent; absent where the group can have none.
    pub quota_percent: Option<f64>,
}

impl Noise {
    /// The settings now; the counters are for [`Self::account`] to fill in.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            governor: settings::governors(Path::new("/sys/devices/system/cpu")),
            turbo: settings::turbo(),
            transparent_hugepage: settings::huge_pages(),
            aslr: settings::read("/proc/sys/kernel/randomize_va_space"),
            mitigations: settings::mitigations(Path::new(
                "/sys/devices/system/cpu/vulnerabilities",
            )),
            kvm_parameters: settings::kvm_parameters(Path::new("/sys/module")),
            changed: Vec::new(),
            load_before: None,
            load_after: None,
            steal_percent: None,
            context_switches_per_second: None,
            cpu_pressure_percent: None,
            memory_pressure_percent: None,
            io_pressure_percent: None,
            throttle_events: None,
            quota_percent: None,
        }
    }

    /// Fills in what happened between two moments, and which settings are others now.
    pub fn account(&mut self, before: &Moment, after: &Moment, now: &Self) {
        self.changed = self
            .settings()
            .into_iter()
            .zip(now.settings())
            .filter(|(before, after)| before != after)
            .map(|((name, before), (_, after))| format!("{name}: {before} → {after}"))
            .collect();
        let seconds = after
            .at
            .saturating_duration_since(before.at)
            .as_secs_f64()
            .max(1e-9);
        self.load_before = before.load;
        self.load_after = after.load;
        let cpu = after.cpu.zip(before.cpu);
        self.steal_percent = cpu.and_then(|(after, before)| after.steal_percent_since(before));
        let grown = |counter: fn(&Moment) -> Option<u64>| {
            Some(counter(after)?.saturating_sub(counter(before)?))
        };
        // Of microseconds, in percent of the run.
        let share = |us: Option<u64>| Some(us? as f64 / 1e6 / seconds * 100.0);
        self.context_switches_per_second = grown(|m| m.switches).map(|n| n as f64 / seconds);
        self.cpu_pressure_percent = share(grown(|m| m.stalled_us[0]));
        self.memory_pressure_percent = share(grown(|m| m.stalled_us[1]));
        self.io_pressure_percent = share(grown(|m| m.stalled_us[2]));
        self.throttle_events = grown(|m| m.throttled);
        self.quota_percent = share(grown(|m| m.quota_us));
    }

    fn settings(&self) -> [(&'static str, String); 6] {
        let mitigations = self.mitigations.as_ref().map(|all| all.join(", "));
        [
            ("governor", self.governor.clone()),
            ("turbo", self.turbo.clone()),
            ("THP", self.transparent_hugepage.clone()),
            ("ASLR", self.aslr.clone()),
            (
                "mitigations",
                mitigations.unwrap_or_else(settings::unavailable),
            ),
            ("KVM", self.kvm_parameters.join(", ")),
        ]
    }
}

/// Counters of the host at one moment; absent where this kernel does not show them.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    cpu: Option<CpuTime>,
    switches: Option<u64>,
    load: Option<f64>,
    /// Microseconds that some task was stalled: cpu, memory, io (`Documentation/accounting/psi.rst`).
    stalled_us: [Option<u64>; 3],
    throttled: Option<u64>,
    quota_us: Option<u64>,
}

impl Moment {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            at: Instant::now(),
            cpu: CpuTime::parse(&stat),
            switches: value(&stat, "ctxt"),
            load: load
                .split_ascii_whitespace()
                .next()
                .and_then(|minute| minute.parse().ok()),
            stalled_us: ["cpu", "memory", "io"].map(|resource| {
                let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
                stalled(&text)
            }),
            throttled: throttled(Path::new("/sys/devices/system/cpu")),
            quota_us: quota(),
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
    /// From the text of `/proc/stat`; `None` where it is not understood.
    #[must_use]
    pub fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_ascii_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest time is already in user.
        Some(Self {
            total: fields.iter().take(8).sum(),
            steal: *fields.get(7)?,
        })
    }

    /// Percent of the time since `earlier` that was stolen; `None` where no tick has passed.
    #[must_use]
    pub fn steal_percent_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.saturating_sub(earlier.total);
        let stolen = self.steal.saturating_sub(earlier.steal);
        (total > 0).then(|| stolen as f64 / total as f64 * 100.0)
    }
}

/// A line `name number`.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// Microseconds for which the quota has stopped the harness's own group: `cpu.stat`, in nanoseconds
/// on version 1 (`Documentation/scheduler/sched-bwc.rst`).
fn quota() -> Option<u64> {
    let all = Hierarchies::read().ok()?;
    let own =
        |hierarchy: &Hierarchy| fs::read_to_string(hierarchy.own.as_ref()?.join("cpu.stat")).ok();
    match all.v1("cpu") {
        Some(v1) => Some(value(&own(v1)?, "throttled_time")? / 1000),
        None => value(&own(all.v2()?)?, "throttled_usec"),
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn steal_is_a_share_of_all_time() {
        let parse = |text| CpuTime::parse(text).unwrap();
        let before = parse("cpu  10 0 10 70 5 0 5 0 0 0\n");
        let after = parse("cpu  20 0 20 130 5 0 5 20 0 0\n");
        assert_eq!(after.steal_percent_since(before), Some(20.0));
        assert_eq!(before.steal_percent_since(before), None);
        for other in ["garbage", "", "cpu  1 2 3 4\n", "cpu0 10 0 10 70 5 0 5 0\n"] {
            assert_eq!(CpuTime::parse(other), None, "{other}");
        }
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=9\n";
        assert_eq!(stalled(text), Some(1234));
        assert_eq!(stalled(""), None);
    }

    #[test]
    fn counters_become_rates_over_the_run() {
        let mut noise = Noise::detect();
        let before = Moment {
            at: Instant::now(),
            cpu: Some(CpuTime {
                total: 100,
                steal: 0,
            }),
            switches: Some(1000),
            load: Some(0.5),
            stalled_us: [Some(0), None, Some(0)],
            throttled: Some(3),
            quota_us: Some(0),
        };
        let after = Moment {
            at: before.at + Duration::from_secs(2),
            cpu: Some(CpuTime {
                total: 300,
                steal: 2,
            }),
            switches: Some(3000),
            load: Some(1.5),
            stalled_us: [Some(500_000), None, Some(0)],
            throttled: Some(3),
            quota_us: Some(20_000),
        };
        let same = noise.clone();
        noise.account(&before, &after, &same);
        assert_eq!(noise.context_switches_per_second, Some(1000.0));
        assert_eq!(noise.cpu_pressure_percent, Some(25.0));
        assert_eq!(noise.memory_pressure_percent, None);
        assert_eq!(noise.steal_percent, Some(1.0));
        assert_eq!(noise.throttle_events, Some(0));
        assert_eq!(noise.quota_percent, Some(1.0));
        assert!(noise.changed.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_not_0() {
        let nothing = Moment {
            at: Instant::now(),
            cpu: None,
            switches: None,
            load: None,
            stalled_us: [None; 3],
            throttled: None,
            quota_us: None,
        };
        let same = Noise::detect();
        let mut noise = same.clone();
        // Even where one of the two moments has it.
        noise.account(&Moment::read(), &nothing, &same);
        let found = [
            noise.load_after,
            noise.steal_percent,
            noise.context_switches_per_second,
            noise.cpu_pressure_percent,
            noise.io_pressure_percent,
            noise.quota_percent,
        ];
        assert_eq!(found, [None; 6]);
        let json = serde_json::to_value(&noise).unwrap();
        assert!(json["steal_percent"].is_null() && json["load_after"].is_null());
    }

    #[test]
    fn a_setting_that_changes_during_the_run_is_told() {
        let mut noise = Noise::detect();
        let mut now = noise.clone();
        now.governor = "turtle".to_owned();
        let moment = Moment::read();
        noise.account(&moment, &moment, &now);
        assert_eq!(
            noise.changed,
            [format!("governor: {} → turtle", noise.governor)]
        );
    }
}
