//! The ruler: the host's time-stamp counter, checked and calibrated before anything is measured
//! with it.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::host::fingerprint::ClockFacts;
use crate::host::settings;
use crate::metric::{Nanos, Ticks};
use crate::sys::clock::now;

/// A calibrated time-stamp counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Ticks a second.
    pub hz: f64,
    /// Largest relative error of `hz`, from the width of the readings it was calibrated with.
    pub hz_error: f64,
    /// Largest possible difference of the counter between two CPUs, in ticks: half of the fastest
    /// round trip between them, plus the offset found.
    pub skew: u64,
    /// Cost of one fenced reading, in ticks: median and 99th percentile.
    pub read_cost: (u64, u64),
}

/// The counter cannot be trusted here.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The CPU does not promise a constant rate in every power state (Intel SDM vol. 3, 18.17.1).
    #[error(
        "the time-stamp counter of this CPU is not invariant (flag {0} is missing in /proc/cpuinfo)"
    )]
    NotInvariant(&'static str),
    /// It went backwards between CPUs.
    #[error("the time-stamp counter runs {0} ticks apart on CPUs {1} and {2}")]
    Backwards(u64, usize, usize),
    /// Its rate at the end of a run is not that of the start.
    #[error("the time-stamp counter's rate changed by {0:.3} % against CLOCK_MONOTONIC_RAW")]
    Drift(f64),
    /// A clock or affinity call refused.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] std::io::Error),
}

impl Clock {
    /// Checks that the counter is invariant and agrees between CPUs, and calibrates it against
    /// CLOCK_MONOTONIC_RAW (clock_gettime(2)) over `span`.
    ///
    /// # Errors
    /// See [`ClockError`].
    pub fn calibrate(span: Duration) -> Result<Self, ClockError> {
        require_invariant()?;
        let skew = skew_between_cpus()?;
        let first = paired_reading()?;
        thread::sleep(span);
        let last = paired_reading()?;
        let (ticks, nanos) = (
            (last.ticks - first.ticks) as f64,
            (last.raw - first.raw) as f64,
        );
        Ok(Self {
            hz: ticks / nanos * 1e9,
            hz_error: (first.width + last.width) as f64 / ticks,
            skew,
            read_cost: read_cost(),
        })
    }

    /// A distance in ticks as time.
    #[must_use]
    pub fn nanos(&self, ticks: i64) -> Nanos {
        Nanos((ticks as f64 * 1e9 / self.hz).round() as i64)
    }

    /// What a run records about it.
    #[must_use]
    pub fn facts(&self) -> ClockFacts {
        let to_ns = 1e9 / self.hz;
        ClockFacts {
            hz: self.hz,
            hz_error: self.hz_error,
            skew_ns: self.skew as f64 * to_ns,
            drift: None,
            read_ns: self.read_cost.0 as f64 * to_ns,
            read_p99_ns: self.read_cost.1 as f64 * to_ns,
            source: settings::read(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            ),
        }
    }

    /// Relative change of the rate from `self`, at the start of a run, to `end`.
    ///
    /// # Errors
    /// The change is more than both calibrations' errors and one part in a thousand allow: every
    /// time of the run is in doubt.
    pub fn drift(&self, end: &Self) -> Result<f64, ClockError> {
        let drift = end.hz / self.hz - 1.0;
        if drift.abs() > 1e-3 + self.hz_error + end.hz_error {
            return Err(ClockError::Drift(drift * 100.0));
        }
        Ok(drift)
    }

    /// Time from one reading to another.
    #[must_use]
    pub fn between(&self, earlier: Ticks, later: Ticks) -> Nanos {
        self.nanos(later - earlier)
    }
}

fn require_invariant() -> Result<(), ClockError> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")
        .map_err(|e| ClockError::System("read /proc/cpuinfo", e))?;
    let flags = cpuinfo
        .lines()
        .find(|l| l.starts_with("flags"))
        .unwrap_or_default();
    for needed in ["constant_tsc", "nonstop_tsc"] {
        if !flags.split_ascii_whitespace().any(|flag| flag == needed) {
            return Err(ClockError::NotInvariant(needed));
        }
    }
    Ok(())
}

struct PairedReading {
    ticks: u64,
    raw: i64,
    /// Distance of the two counter readings around the clock's.
    width: u64,
}

/// The counter and CLOCK_MONOTONIC_RAW at the same moment: the narrowest of 100 brackets.
fn paired_reading() -> Result<PairedReading, ClockError> {
    let mut best: Option<PairedReading> = None;
    for _ in 0..100 {
        let before = now();
        let raw = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW)
            .map_err(|e| ClockError::System("read CLOCK_MONOTONIC_RAW", e.into()))?;
        let width = (now() - before).unsigned_abs();
        if best.as_ref().is_none_or(|b| width < b.width) {
            best = Some(PairedReading {
                ticks: before.0.wrapping_add(width / 2),
                raw: raw.tv_sec() * 1_000_000_000 + raw.tv_nsec(),
                width,
            });
        }
    }
    best.ok_or_else(|| ClockError::System("read the clock", std::io::Error::other("no reading")))
}

fn read_cost() -> (u64, u64) {
    let mut costs: Vec<u64> = (0..1001)
        .map(|_| (-(now() - now())).unsigned_abs())
        .collect();
    costs.sort_unstable();
    (costs[costs.len() / 2], costs[costs.len() * 99 / 100])
}

/// Largest possible difference between the first usable CPU's counter and any other's.
fn skew_between_cpus() -> Result<u64, ClockError> {
    let allowed = sched_getaffinity(Pid::from_raw(0))
        .map_err(|e| ClockError::System("read the CPU affinity", e.into()))?;
    let mut cpus = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let Some(first) = cpus.next() else {
        return Ok(0);
    };
    let mut worst = 0;
    for other in cpus {
        worst = worst.max(skew(first, other)?);
    }
    Ok(worst)
}

/// Two pinned threads hand a reading to and fro. With `d` the counter of `b` minus that of `a`,
/// every hand-over from a to b shows `latency + d`, every one back `latency − d`; so `|d|` is at
/// most the larger of the two minima, and a negative one proves a counter that goes backwards.
/// The threads are fresh ones, so that this thread's affinity stays as it is.
fn skew(a: usize, b: usize) -> Result<u64, ClockError> {
    const ROUNDS: usize = 500;
    /// In the slot, instead of a reading: the other side cannot play.
    const GIVEN_UP: u64 = u64::MAX;
    let slot = AtomicU64::new(0);
    let barrier = Barrier::new(2);
    let refused = |error| ClockError::System("compare the counters of the CPUs", error);
    // The side that answers odd readings adds one, so the low bit says whose turn it is.
    let play = |cpu: usize, parity: u64| -> Result<i64, ClockError> {
        let pinned = pin(cpu);
        if pinned.is_err() {
            slot.store(GIVEN_UP, Ordering::Release);
        }
        barrier.wait();
        pinned?;
        let mut least = i64::MAX;
        for _ in 0..ROUNDS {
            let mut spins = 0u32;
            let given = loop {
                let value = slot.load(Ordering::Acquire);
                if value == GIVEN_UP || spins > 100_000_000 {
                    slot.store(GIVEN_UP, Ordering::Release);
                    return Err(refused(std::io::Error::other(
                        "the other CPU gave no answer",
                    )));
                }
                if value & 1 == parity {
                    break value;
                }
                spins += 1;
                std::hint::spin_loop();
            };
            let mine = now();
            if given > 1 {
                least = least.min(mine - Ticks(given));
            }
            slot.store((now().0 & !1) | (parity ^ 1), Ordering::Release);
        }
        Ok(least)
    };
    let start = || thread::Builder::new().name("isobench-clock".to_owned());
    let (there, back) = thread::scope(|scope| {
        let other = start()
            .spawn_scoped(scope, || play(b, 1))
            .map_err(refused)?;
        let here = start()
            .spawn_scoped(scope, || play(a, 0))
            .map_err(|error| {
                // The other one waits for a partner that never comes.
                slot.store(GIVEN_UP, Ordering::Release);
                barrier.wait();
                refused(error)
            })?;
        Ok((other.join(), here.join()))
    })?;
    let died = |_| refused(std::io::Error::other("a thread died"));
    let (there, back) = (there.map_err(died)??, back.map_err(died)??);
    if there < 0 || back < 0 {
        return Err(ClockError::Backwards(there.min(back).unsigned_abs(), a, b));
    }
    Ok(there.max(back).unsigned_abs())
}

fn pin(cpu: usize) -> Result<(), ClockError> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|e| ClockError::System("pin a thread to a CPU", e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_time_by_the_rate() {
        let clock = Clock {
            hz: 2e9,
            hz_error: 0.0,
            skew: 0,
            read_cost: (0, 0),
        };
        assert_eq!(clock.between(Ticks(10), Ticks(2_010)), Nanos(1000));
        assert_eq!(clock.between(Ticks(2_010), Ticks(10)), Nanos(-1000));
        assert_eq!(clock.between(Ticks(u64::MAX), Ticks(1)), Nanos(1));
    }

    #[test]
    fn a_rate_that_changes_is_refused() {
        let at = |hz| Clock {
            hz,
            hz_error: 1e-6,
            skew: 0,
            read_cost: (0, 0),
        };
        assert!(at(2e9).drift(&at(2.0001e9)).is_ok());
        assert!(matches!(
            at(2e9).drift(&at(2.1e9)),
            Err(ClockError::Drift(_))
        ));
    }

    #[test]
    fn calibration_finds_a_plausible_rate() {
        match Clock::calibrate(Duration::from_millis(20)) {
            Ok(clock) => {
                assert!((1e8..1e11).contains(&clock.hz), "{clock:?}");
                assert!(clock.hz_error < 1e-2, "{clock:?}");
            }
            Err(refused) => eprintln!("skipped: calibration: {refused}"),
        }
    }
}
