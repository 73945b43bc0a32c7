//! Known durations: the calibrated counter against CLOCK_MONOTONIC_RAW.
//!
//! A spin of 1, 10 and 100 ms by that clock, and a sleep of as long (clock_nanosleep(2)), are read
//! with both. A sleep's overshoot is the kernel's and in both readings: what is tested is whether
//! they agree. Spin and sleep differ in what the CPU does meanwhile: a counter that stops or slows
//! in idle states shows in the second.

use std::time::Duration;

use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use super::finding::{Check, Finding, Outcome};
use super::{Stop, go_on};
use crate::measure::clock::{Clock, ClockError};
use crate::metric::Ticks;
use crate::sys::clock::now;

/// The durations.
const DURATIONS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
];

/// How the time is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Busy, until the other clock says so.
    Spin,
    /// Asleep.
    Sleep,
}

/// One interval on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// On the counter, in ticks.
    pub ticks: i64,
    /// On CLOCK_MONOTONIC_RAW, in nanoseconds.
    pub raw: i64,
}

/// Something that passes time and reads both clocks around it.
pub trait Pass {
    /// Passes about as much time and reads both clocks before and after.
    ///
    /// # Errors
    /// A clock cannot be read.
    fn pass(&mut self, kind: Kind, time: Duration) -> Result<Both, Stop>;
}

/// This host's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Real;

/// Measures every duration `repetitions` times.
///
/// # Errors
/// A clock cannot be read, or an interruption.
pub fn check(clock: &Clock, repetitions: u32, pass: &mut dyn Pass) -> Result<Vec<Check>, Stop> {
    let mut checks = Vec::new();
    for kind in [Kind::Spin, Kind::Sleep] {
        for time in DURATIONS {
            let mut worst = (0.0, allowed(0.0));
            for _ in 0..repetitions {
                go_on()?;
                let both = pass.pass(kind, time)?;
                let raw = both.raw as f64;
                let error = (clock.nanos(both.ticks).0 as f64 - raw).abs();
                // The worst is the one that comes closest to what is allowed, or exceeds it most.
                if error / allowed(raw) >= worst.0 / worst.1 {
                    worst = (error, allowed(raw));
                }
            }
            let (worst_ns, allowed_ns) = worst;
            let name = match kind {
                Kind::Spin => "spin",
                Kind::Sleep => "sleep",
            };
            checks.push(Check {
                group: "known durations",
                what: format!("{name} {} ms", time.as_millis()),
                outcome: if repetitions == 0 {
                    Outcome::Inconclusive
                } else if worst_ns <= allowed_ns {
                    Outcome::Pass
                } else {
                    Outcome::Fail
                },
                finding: Finding::Durations {
                    repetitions,
                    worst_ns,
                    allowed_ns,
                },
            });
        }
    }
    Ok(checks)
}

/// Largest difference that is allowed: 1 %, or 50 µs where that is more.
fn allowed(nanos: f64) -> f64 {
    (nanos / 100.0).max(50_000.0)
}

impl Pass for Real {
    fn pass(&mut self, kind: Kind, time: Duration) -> Result<Both, Stop> {
        let (ticks, raw) = both_clocks()?;
        match kind {
            Kind::Spin => {
                let end = raw + time.as_nanos() as i64;
                while monotonic_raw()? < end {
                    std::hint::spin_loop();
                }
            }
            // Cut short by a signal it is a shorter interval, but still one.
            Kind::Sleep => {
                let _ = clock_nanosleep(
                    ClockId::CLOCK_MONOTONIC,
                    ClockNanosleepFlags::empty(),
                    &time.into(),
                );
            }
        }
        let (later_ticks, later_raw) = both_clocks()?;
        Ok(Both {
            ticks: later_ticks - ticks,
            raw: later_raw - raw,
        })
    }
}

/// Both clocks at the same moment: the narrowest of ten brackets, so that a task switch between
/// two readings does not pass for a difference of the clocks.
fn both_clocks() -> Result<(Ticks, i64), Stop> {
    let mut best: Option<(i64, Ticks, i64)> = None;
    for _ in 0..10 {
        let before = now();
        let raw = monotonic_raw()?;
        let width = now() - before;
        if best.is_none_or(|(narrowest, ..)| width < narrowest) {
            let middle = Ticks(before.0.wrapping_add_signed(width / 2));
            best = Some((width, middle, raw));
        }
    }
    match best {
        Some((_, ticks, raw)) => Ok((ticks, raw)),
        None => Ok((now(), monotonic_raw()?)),
    }
}

fn monotonic_raw() -> Result<i64, Stop> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW)
        .map_err(|e| ClockError::System("read CLOCK_MONOTONIC_RAW", e.into()))?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter of 1 GHz, read perfectly, with a sleep that overshoots.
    struct Perfect;

    impl Pass for Perfect {
        fn pass(&mut self, kind: Kind, time: Duration) -> Result<Both, Stop> {
            let late = if kind == Kind::Sleep { 80_000 } else { 40 };
            let raw = time.as_nanos() as i64 + late;
            Ok(Both { ticks: raw, raw })
        }
    }

    fn words(hz: f64) -> Vec<Outcome> {
        let clock = Clock {
            hz,
            hz_error: 0.0,
            skew: 0,
            read_cost: (20, 30),
        };
        let checks = check(&clock, 3, &mut Perfect).unwrap();
        checks.iter().map(|check| check.outcome).collect()
    }

    #[test]
    fn a_straight_ruler_passes_whatever_the_sleep_overshoots() {
        assert_eq!(words(1e9), [Outcome::Pass; 6]);
    }

    #[test]
    fn a_ruler_that_is_off_is_caught() {
        // 5 % of 1 ms is 50 µs (minus what rounding leaves); from 10 ms on there is no doubt.
        for hz in [1.05e9, 0.95e9] {
            let words = words(hz);
            for i in [1, 2, 4, 5] {
                assert_eq!(words[i], Outcome::Fail, "{hz} {words:?}");
            }
        }
        assert_eq!(words(0.9e9), [Outcome::Fail; 6]);
        assert_eq!(words(1.005e9), [Outcome::Pass; 6]);
    }

    #[test]
    fn one_bad_reading_of_many_is_enough() {
        struct Once(u32);
        impl Pass for Once {
            fn pass(&mut self, kind: Kind, time: Duration) -> Result<Both, Stop> {
                self.0 += 1;
                let mut both = Perfect.pass(kind, time)?;
                both.ticks += if self.0 == 2 { 60_000 } else { 0 };
                Ok(both)
            }
        }
        let clock = Clock {
            hz: 1e9,
            hz_error: 0.0,
            skew: 0,
            read_cost: (20, 30),
        };
        let checks = check(&clock, 5, &mut Once(0)).unwrap();
        assert_eq!(checks[0].outcome, Outcome::Fail);
        assert!(
            matches!(checks[0].finding, Finding::Durations { worst_ns, .. } if worst_ns == 60_000.0)
        );
        assert_eq!(checks[1].outcome, Outcome::Pass);
    }
}
