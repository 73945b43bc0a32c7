//! Version 2: the files of each controller (`Documentation/admin-guide/cgroup-v2.rst`) and of
//! pressure (`Documentation/accounting/psi.rst`).

use super::leaf::field;
use super::{Controller, Limits, PERIOD_US};
use crate::backend::group::{Pressure, Throttling};
use crate::metric::Nanos;

/// The file that takes a limit, and the limit.
pub(super) fn limit(controller: Controller, limits: &Limits) -> (&'static str, String) {
    match controller {
        Controller::Memory => ("memory.max", limits.memory.0.to_string()),
        Controller::Pids => ("pids.max", limits.tasks.to_string()),
        Controller::Cpu => ("cpu.max", format!("{} {PERIOD_US}", limits.cpu_us)),
    }
}

/// As [`limit`], for swap alone.
pub(super) fn swap() -> (&'static str, String) {
    ("memory.swap.max", "0".to_owned())
}

/// From `cpu.stat`.
pub(super) fn throttling(stat: &str) -> Option<Throttling> {
    let micros: i64 = field(stat, "throttled_usec")?;
    Some(Throttling {
        periods: field(stat, "nr_periods")?,
        throttled: field(stat, "nr_throttled")?,
        time: Nanos(micros.saturating_mul(1000)),
    })
}

/// How long some task of the group has waited for each.
pub(super) fn pressure(read: impl Fn(&str) -> Option<String>) -> Option<Pressure> {
    let waited = |file| {
        let text = read(file)?;
        // "some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS", then "full …".
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let total = some.split(' ').find_map(|word| word.strip_prefix("total="));
        let micros: i64 = total?.trim().parse().ok()?;
        Some(Nanos(micros.saturating_mul(1000)))
    };
    Some(Pressure {
        cpu: waited("cpu.pressure")?,
        memory: waited("memory.pressure")?,
        io: waited("io.pressure")?,
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
                ("memory.max", "67108864".to_owned()),
                ("pids.max", "16".to_owned()),
                ("cpu.max", "200000 100000".to_owned()),
            ]
        );
        assert_eq!(swap(), ("memory.swap.max", "0".to_owned()));
        let stat = "usage_usec 9\nnr_periods 7\nnr_throttled 2\nthrottled_usec 3\n";
        let found = throttling(stat).unwrap();
        assert_eq!((found.periods, found.throttled), (7, 2));
        assert_eq!(found.time, Nanos(3000));
    }

    #[test]
    fn pressure_is_there_whole_or_not_at_all() {
        let line = |total: u32| format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
        let files = |file: &str| match file {
            "cpu.pressure" => Some(line(5)),
            "memory.pressure" => Some(line(6) + "full avg10=0.00 total=1\n"),
            "io.pressure" => Some(line(7)),
            _ => None,
        };
        let found = pressure(files).unwrap();
        assert_eq!(
            (found.cpu, found.memory, found.io),
            (Nanos(5000), Nanos(6000), Nanos(7000))
        );
        assert_eq!(
            pressure(|file| files(file).filter(|_| file != "io.pressure")),
            None
        );
        assert_eq!(pressure(|_| Some("some\n".to_owned())), None);
    }
}
