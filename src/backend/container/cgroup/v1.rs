//! Version 1: the files of each controller (`Documentation/admin-guide/cgroup-v1/`, for processor
//! time `Documentation/scheduler/sched-bwc.rst`).

use super::leaf::field;
use super::{Controller, Limits, PERIOD_US, Parent};
use crate::backend::group::Throttling;
use crate::host::cgroup::Version;
use crate::metric::Nanos;
use crate::sys::fd;

/// The file that takes a limit, and the limit.
pub(super) fn limit(controller: Controller, limits: &Limits) -> (&'static str, String) {
    match controller {
        Controller::Memory => ("memory.limit_in_bytes", limits.memory.0.to_string()),
        Controller::Pids => ("pids.max", limits.tasks.to_string()),
        // The period is the default.
        Controller::Cpu => ("cpu.cfs_quota_us", limits.cpu_us.to_string()),
    }
}

/// As [`limit`], for memory and swap together: written once memory has its own limit, which this one must
/// not be below.
pub(super) fn swap(limits: &Limits) -> (&'static str, String) {
    ("memory.memsw.limit_in_bytes", limits.memory.0.to_string())
}

/// What the group above may take of processor time in a period of ours, if that is limited: the
/// kernel refuses more to a group below.
pub(super) fn quota_of_parent(parent: &Parent) -> Option<u32> {
    if parent.version != Version::V1 || !parent.controllers.contains(&Controller::Cpu) {
        return None;
    }
    let number = |file| -> Option<u64> {
        let text = fd::text(&parent.directory.join(file)).ok()?;
        // Without a limit it is -1.
        text.trim().parse().ok()
    };
    let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
    let ours = quota.checked_mul(PERIOD_US.into())?.checked_div(period)?;
    u32::try_from(ours).ok()
}

/// From `cpu.stat`.
pub(super) fn throttling(stat: &str) -> Option<Throttling> {
    Some(Throttling {
        periods: field(stat, "nr_periods")?,
        throttled: field(stat, "nr_throttled")?,
        time: Nanos(field(stat, "throttled_time")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Bytes;

    #[test]
    fn limits_have_their_files_and_throttling_its_lines() {
        let limits = Limits::with_memory(Bytes(64 << 20));
        let all = [Controller::Memory, Controller::Pids, Controller::Cpu];
        assert_eq!(
            all.map(|c| limit(c, &limits)),
            [
                ("memory.limit_in_bytes", "67108864".to_owned()),
                ("pids.max", "16".to_owned()),
                ("cpu.cfs_quota_us", "200000".to_owned()),
            ]
        );
        let memory_and_swap = ("memory.memsw.limit_in_bytes", "67108864".to_owned());
        assert_eq!(swap(&limits), memory_and_swap);
        let stat = "nr_periods 7\nnr_throttled 2\nthrottled_time 1500\nnr_bursts 0\n";
        let found = throttling(stat).unwrap();
        assert_eq!((found.periods, found.throttled), (7, 2));
        assert_eq!(found.time, Nanos(1500));
        assert_eq!(throttling("nr_periods 7\n"), None);
    }
}
