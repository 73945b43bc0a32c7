//! Was a trial disturbed from outside? What the kernel can tell is compared before and after each
//! trial; a disturbed one is kept, counted and left out of the estimates.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::time::{ClockId, clock_gettime};

use crate::host::noise::CpuTime;
use crate::sys::interrupt;

/// Largest change between two clocks that their own slewing explains over one trial, in ns:
/// adjtimex(2) slews by at most 500 ppm, 15 ms over a trial of 30 s.
const STEP: i64 = 20_000_000;

/// `/proc/stat` counts in ticks of 10 ms (USER_HZ, proc_stat(5)).
const TICK: i64 = 10_000_000;
/// Largest part of a trial's time that may be stolen, 1 in so many. Below 200 ms a single tick is more.
const STOLEN: i64 = 20;

/// Compares the host's state from trial to trial.
#[derive(Debug)]
pub struct Watch {
    /// Kept open: one `pread` a trial.
    stat: Option<File>,
    last: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Absent where the kernel does not tell: then the run's record says so, and no trial is tainted.
    steal: Option<u64>,
    /// CLOCK_MONOTONIC.
    at: i64,
    /// CLOCK_REALTIME − CLOCK_MONOTONIC: changes when the clock is set.
    wall: i64,
    /// CLOCK_BOOTTIME − CLOCK_MONOTONIC: changes when the machine was suspended.
    suspended: i64,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn begin() -> Self {
        let mut watch = Self {
            stat: File::open("/proc/stat").ok(),
            last: State::default(),
        };
        watch.last = watch.state();
        // What was noted before is no trial's.
        let _ = interrupt::continued();
        watch
    }

    /// What has happened since the last look. Its cost lies between trials.
    pub fn look(&mut self) -> Vec<String> {
        let now = self.state();
        let mut taints = compare(self.last, now);
        if interrupt::continued() {
            taints.push("stopped");
        }
        self.last = now;
        taints.into_iter().map(str::to_owned).collect()
    }

    fn state(&self) -> State {
        // The first line is enough, and is in the first bytes.
        let mut first = [0u8; 256];
        let read = self
            .stat
            .as_ref()
            .and_then(|file| file.read_at(&mut first, 0).ok());
        let text = String::from_utf8_lossy(&first[..read.unwrap_or(0)]);
        let monotonic = nanos(ClockId::CLOCK_MONOTONIC);
        State {
            steal: CpuTime::parse(&text).map(|time| time.steal),
            at: monotonic,
            wall: nanos(ClockId::CLOCK_REALTIME) - monotonic,
            suspended: nanos(ClockId::CLOCK_BOOTTIME) - monotonic,
        }
    }
}

fn compare(before: State, after: State) -> Vec<&'static str> {
    let mut taints = Vec::new();
    let stolen = after.steal.zip(before.steal);
    let stolen = stolen.map_or(0, |(a, b)| a.saturating_sub(b));
    let stolen = i64::try_from(stolen)
        .unwrap_or(i64::MAX)
        .saturating_mul(TICK);
    if stolen > (after.at - before.at) / STOLEN {
        taints.push("steal");
    }
    if (after.wall - before.wall).abs() > STEP {
        taints.push("clock step");
    }
    if (after.suspended - before.suspended).abs() > STEP {
        taints.push("suspend");
    }
    taints
}

fn nanos(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disturbance_has_its_name() {
        let quiet = State {
            steal: Some(7),
            at: 0,
            wall: 1_000,
            suspended: 5,
        };
        assert!(compare(quiet, quiet).is_empty());
        assert_eq!(
            compare(
                quiet,
                State {
                    steal: Some(8),
                    ..quiet
                }
            ),
            ["steal"]
        );
        // One tick of a trial that is long enough changes nothing.
        for (at, tainted) in [(199_000_000, true), (201_000_000, false)] {
            let long = State {
                steal: Some(8),
                at,
                ..quiet
            };
            assert_eq!(!compare(quiet, long).is_empty(), tainted);
        }
        assert_eq!(
            compare(
                quiet,
                State {
                    wall: -1_000_000_000,
                    ..quiet
                }
            ),
            ["clock step"]
        );
        assert_eq!(
            compare(
                quiet,
                State {
                    suspended: 5_000_000_000,
                    ..quiet
                }
            ),
            ["suspend"]
        );
        // A clock that is slewed is not set.
        assert!(
            compare(
                quiet,
                State {
                    wall: 2_000,
                    ..quiet
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn a_watch_reads_this_host() {
        let mut watch = Watch::begin();
        // Steal may happen here; nothing else does.
        assert!(watch.look().iter().all(|taint| taint == "steal"));
    }
}
