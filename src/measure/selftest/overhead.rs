//! What the harness itself costs: a trial's time outside `t0..t5`, a reading of the counter, a
//! named phase. Nothing is claimed of these; they are to be known.

use std::time::Duration;

use super::Stop;
use super::finding::{Check, Finding, Outcome};
use crate::backend::{self, Configuration};
use crate::measure::clock::Clock;
use crate::measure::plan::Plan;
use crate::measure::session::{self, EndedEarly, Observer, Opened, RunError};
use crate::metric::Ticks;
use crate::stats::{Sample, StatsError, quantile};
use crate::store::folder::Folder;
use crate::store::record::Record;
use crate::sys::clock::now;
use crate::trial::PhaseLog;
use crate::workload::{Profile, Workload};

/// Readings of the counter, and phases, that are timed.
const READINGS: usize = 10_001;

/// Runs `blocks` blocks of `process` and `noop` as a run does, and takes the times in between.
///
/// # Errors
/// `process` cannot be made ready, trials cannot be recorded, or an interruption.
pub fn check(clock: &Clock, blocks: u32, seed: u64) -> Result<Vec<Check>, Stop> {
    let scratch = tempfile::tempdir().map_err(|e| Stop::System("make a temporary folder", e))?;
    let mut keeper = Keeper {
        folder: Folder::create(scratch.path()).map_err(RunError::from)?,
        clock,
        last: None,
        between: Vec::new(),
        recording: Vec::new(),
        phases: 0,
    };
    let profile = Profile::Smoke;
    let plan = Plan {
        configurations: vec![Configuration::Process],
        tasks: vec![(profile.task(Workload::Noop, 0), blocks)],
        isolation: false,
        boundary: false,
        density: None,
        ladder: None,
        bursts: None,
        seed,
        profile,
        max_time: Duration::from_secs(30),
        target: None,
        warmups: 1,
        deadline: Duration::from_secs(10),
    };
    let mut opened = [Opened {
        configuration: Configuration::Process,
        backend: backend::open(&Configuration::Process),
    }];
    if let Some(EndedEarly::Interrupted(signal)) =
        session::run(&plan, &mut opened, clock, &mut keeper)?
    {
        return Err(Stop::Interrupted(signal));
    }
    let to_ns = |ticks: Vec<i64>| ticks.into_iter().map(|t| clock.nanos(t).0 as f64).collect();
    let phases = keeper.phases;
    Ok(vec![
        cost("a trial outside t0..t5", keeper.between)?,
        cost("of which writing its record", keeper.recording)?,
        cost("one reading of the counter", to_ns(readings()))?,
        cost(
            &format!("a named phase ({phases} in a start)"),
            to_ns(named_phases()),
        )?,
    ])
}

fn cost(what: &str, values: Vec<f64>) -> Result<Check, StatsError> {
    let sample = Sample::new(values)?;
    Ok(Check {
        group: "overhead",
        what: what.to_owned(),
        outcome: Outcome::Shown,
        finding: Finding::Cost {
            median_ns: quantile::median(&sample),
            p99_ns: quantile::p99(&sample),
            n: sample.n(),
        },
    })
}

/// Ticks between two readings in a row.
fn readings() -> Vec<i64> {
    (0..READINGS).map(|_| -(now() - now())).collect()
}

/// Ticks that naming an empty phase takes, the reading around it left in.
fn named_phases() -> Vec<i64> {
    let timed = |_| {
        let mut log = PhaseLog::new();
        let start = now();
        log.time("nothing", || ());
        let end = now();
        std::hint::black_box(&log);
        end - start
    };
    (0..READINGS).map(timed).collect()
}

/// Records as a run does, and looks at the counter when a trial's record is written.
struct Keeper<'a> {
    folder: Folder,
    clock: &'a Clock,
    /// When the record before was written.
    last: Option<Ticks>,
    /// Nanoseconds from record to record, without what the trial itself measured.
    between: Vec<f64>,
    /// Nanoseconds that writing a record took.
    recording: Vec<f64>,
    /// Named phases of a start.
    phases: usize,
}

impl Observer for Keeper<'_> {
    fn record(&mut self, record: Record) -> Result<(), RunError> {
        let begin = now();
        self.folder.append(&record)?;
        let end = now();
        if let Record::Trial(trial) = &record
            && let Some(measured) = &trial.measured
        {
            if let Some(last) = self.last {
                let all = self.clock.between(last, end).0;
                self.between.push((all - measured.t5.0) as f64);
            }
            self.recording.push(self.clock.between(begin, end).0 as f64);
            self.phases = measured.phases.len();
        }
        self.last = Some(end);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _planned: u64, _next: &str) {}
}
