//! Is the ruler straight on this host, today? Known durations, known answers, the same thing
//! measured against itself, delays of known size, and what the harness itself costs.
//!
//! | module | check |
//! |---|---|
//! | [`ruler`] | known durations by an independent clock |
//! | [`answers`] | known answers of every workload |
//! | [`alarms`] | false alarms: a configuration against itself |
//! | [`detection`] | delays of known size, put in by [`inject`] |
//! | [`overhead`] | what a trial costs beside what it measures |
//!
//! [`gate_test`] asks the same of the gate: `selftest --gate`.
//!
//! [`lanes`] runs two lanes as a run does; [`gate`] judges them as a comparison of runs is judged.

pub mod alarms;
pub mod answers;
pub mod detection;
pub mod effort;
pub mod finding;
pub mod gate;
pub mod gate_test;
pub mod inject;
pub mod lanes;
pub mod overhead;
pub mod ruler;

#[cfg(test)]
pub(in crate::measure) mod fake;

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::effort::Effort;
use self::finding::{Check, Outcome, Report};
use self::lanes::Track;
use crate::backend::{self, Backend, Configuration, Unavailable};
use crate::measure::clock::{Clock, ClockError};
use crate::measure::session::RunError;
use crate::stats::StatsError;
use crate::trial::Failure;
use crate::workload::Profile;

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// SIGINT or SIGTERM, with its number.
    #[error("interrupted")]
    Interrupted(i32),
    /// A trial failed: with one that fails, nothing else about the ruler is to be believed.
    #[error("a trial failed: {0}")]
    Trial(Failure),
    /// The backend cannot be made ready.
    #[error("cannot run: {0}")]
    Unavailable(#[from] Unavailable),
    /// What was measured cannot be judged.
    #[error("the measurements cannot be judged: {0}")]
    Stats(#[from] StatsError),
    /// Trials cannot be recorded, or a task cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The clocks cannot be read.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// A step of the harness itself was refused.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] std::io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Interrupted => {
                Self::Interrupted(crate::sys::interrupt::requested().unwrap_or(2))
            }
            other => Self::Trial(other),
        }
    }
}

/// Fails with the signal that asked for an end, if one did.
fn go_on() -> Result<(), Stop> {
    crate::sys::interrupt::requested().map_or(Ok(()), |signal| Err(Stop::Interrupted(signal)))
}

/// How long a check may go on, and how many comparisons it is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most comparisons.
    pub comparisons: u32,
    /// No comparison is begun after this time; one is always made.
    pub time: Duration,
}

impl Budget {
    /// Whether another comparison is to be begun.
    fn allows(&self, done: u32, since: Instant) -> bool {
        done < self.comparisons && (done == 0 || since.elapsed() < self.time)
    }
}

/// Makes a backend ready, anew for every comparison.
type Open<'a> = dyn FnMut() -> Result<Box<dyn Backend>, Unavailable> + 'a;

/// Runs every check of a profile. `watch` is told what comes next.
#[must_use]
pub fn run(profile: Profile, seed: u64, clock: &Clock, watch: &mut dyn FnMut(&str)) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(profile, seed);
    let interrupted = checks(&mut report, &Effort::of(profile), seed, clock, watch).err();
    report.finish(interrupted, begun.elapsed());
    report
}

/// Runs the checks in their order; an interruption ends it with the signal's number.
fn checks(
    report: &mut Report,
    effort: &Effort,
    seed: u64,
    clock: &Clock,
    watch: &mut dyn FnMut(&str),
) -> Result<(), i32> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);

    watch("known durations");
    let checks = ruler::check(clock, effort.repetitions, &mut ruler::Real);
    report.keep("known durations", checks)?;

    watch("known answers");
    report.keep("known answers", answers::check(clock))?;

    watch("overhead");
    let checks = overhead::check(clock, effort.overhead_blocks, seeds.next_u64());
    report.keep("overhead", checks)?;

    let track = match Track::new(clock) {
        Ok(track) => track,
        Err(stop) => return report.keep("false alarms", Err(stop)),
    };
    for (configuration, budget) in [
        (Configuration::Process, effort.alarms),
        (Configuration::container(), effort.container),
    ] {
        watch(&format!("false alarms, {configuration}"));
        // A container that this host does not allow is not a fault of the ruler.
        if configuration != Configuration::Process
            && let Err(why) = backend::open(&configuration)
        {
            report
                .checks
                .push(Check::skipped("false alarms", &configuration, &why));
            continue;
        }
        let seed = seeds.next_u64();
        let mut open = || backend::open(&configuration);
        let checks = alarms::check(&track, &configuration.id(), &mut open, budget, seed);
        report.keep("false alarms", checks)?;
    }
    for (delay, budget) in &effort.delays {
        watch(&format!("delays, {delay}"));
        let mut open = || backend::open(&Configuration::Process);
        let check = detection::check(&track, *delay, &mut open, *budget, seeds.next_u64());
        report.keep("injected delays", check.map(|check| vec![check]))?;
    }
    Ok(())
}

impl Report {
    /// Takes over the checks of a group. A group that could not be finished is a failed check
    /// with its reason, except where the user asked to stop.
    fn keep(&mut self, group: &'static str, checks: Result<Vec<Check>, Stop>) -> Result<(), i32> {
        match checks {
            Ok(checks) => self.checks.extend(checks),
            Err(Stop::Interrupted(signal)) => return Err(signal),
            Err(stop) => self.checks.push(Check::broken(group, &stop)),
        }
        Ok(())
    }

    fn finish(&mut self, interrupted: Option<i32>, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.interrupted = interrupted;
        self.outcome = Outcome::of_all(&self.checks);
    }
}
