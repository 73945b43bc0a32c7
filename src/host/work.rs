//! How much processor time the whole host has spent, kernel threads included.
//!
//! What the kernel puts off (tearing a network namespace down, freeing a dead control group) is
//! done by its own worker threads: no process is charged for it, only the host as a whole.

use std::path::PathBuf;

use crate::host::cgroup::{Hierarchies, Version};
use crate::metric::Nanos;
use crate::sys::fd;

/// Where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostWork {
    /// `cpuacct.usage` of the root group, version 1: nanoseconds.
    Cpuacct(PathBuf),
    /// `cpu.stat` of the root group, version 2: microseconds.
    CpuStat(PathBuf),
    /// `/proc/stat` (proc_stat(5)): ticks of 10 ms.
    ProcStat,
}

impl HostWork {
    /// The finest one there is.
    #[must_use]
    pub fn find() -> Self {
        let all = Hierarchies::read().unwrap_or_default();
        // A root that is a container's own knows nothing of the kernel's threads: only the true
        // root has them among its processes. Thread 2 is kthreadd, their parent.
        let has_kernel_threads = |mount: &PathBuf| {
            fd::text(&mount.join("cgroup.procs"))
                .is_ok_and(|procs| procs.lines().any(|pid| pid == "2"))
                && fd::text(std::path::Path::new("/proc/2/comm"))
                    .is_ok_and(|name| name.trim() == "kthreadd")
        };
        if let Some(v1) = all.v1("cpuacct").filter(|h| has_kernel_threads(&h.mount)) {
            return Self::Cpuacct(v1.mount.join("cpuacct.usage"));
        }
        match all.v2().filter(|h| has_kernel_threads(&h.mount)) {
            Some(v2) if v2.version == Version::V2 => Self::CpuStat(v2.mount.join("cpu.stat")),
            _ => Self::ProcStat,
        }
    }

    /// Processor time since boot over all CPUs.
    #[must_use]
    pub fn read(&self) -> Option<Nanos> {
        match self {
            Self::Cpuacct(path) => fd::text(path).ok()?.trim().parse().ok().map(Nanos),
            Self::CpuStat(path) => {
                let text = fd::text(path).ok()?;
                let usec = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
                Some(Nanos(usec.trim().parse::<i64>().ok()?.checked_mul(1000)?))
            }
            Self::ProcStat => ticks(&fd::text(std::path::Path::new("/proc/stat")).ok()?),
        }
    }

    /// Spelling in `run.json`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cpuacct(_) => "cpuacct.usage",
            Self::CpuStat(_) => "cpu.stat",
            Self::ProcStat => "/proc/stat",
        }
    }
}

/// user + nice + system + irq + softirq of the first line, in nanoseconds (USER_HZ is 100 on x86-64).
fn ticks(stat: &str) -> Option<Nanos> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<i64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        return None;
    };
    Some(Nanos((user + nice + system + irq + softirq) * 10_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_leave_out_what_is_idle() {
        assert_eq!(
            ticks("cpu  1 2 3 100 100 4 5 7 0 0\ncpu0 1"),
            Some(Nanos(150_000_000))
        );
        assert_eq!(ticks("cpu 1 2 3"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn work_of_this_host_only_grows() {
        let work = HostWork::find();
        let before = work.read().unwrap();
        assert!(work.read().unwrap() >= before, "{work:?}");
    }
}
