//! Running a plan: every block in its order, every trial checked and recorded as it happens.

use std::time::{Duration, Instant};

use super::check;
use super::clock::Clock;
use super::memory;
use super::plan::Plan;
use super::schedule::{Block, blocks};
use crate::backend::{Backend, Configuration, Unavailable, shortage};
use crate::store::record::{FailureRecord, Record, TrialRecord};
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::{Answer, Task, known_answer, payload};

/// A configuration and how it can be run, or why not.
pub struct Opened {
    /// The configuration.
    pub configuration: Configuration,
    /// Ready to run, or the reason.
    pub backend: Result<Box<dyn Backend>, Unavailable>,
}

/// Who is told of each trial as it happens.
pub trait Observer {
    /// A finished trial or memory step.
    ///
    /// # Errors
    /// It cannot be kept; the run ends.
    fn record(&mut self, record: Record) -> Result<(), RunError>;

    /// How far the run is: steps done, steps planned, what comes next.
    fn progress(&mut self, done: u64, planned: u64, next: &str);
}

/// Why a run ended before its plan did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedEarly {
    /// SIGINT or SIGTERM, with its number.
    Interrupted(i32),
    /// `--max-time`.
    MaxTime,
}

/// The run cannot go on. What was recorded stays.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A record could not be kept.
    #[error(transparent)]
    Store(#[from] crate::store::folder::FolderError),
    /// A task has no known answer.
    #[error(transparent)]
    Task(#[from] crate::workload::TaskError),
    /// The embedded payload is not what was built.
    #[error(transparent)]
    Payload(#[from] crate::workload::payload::PayloadError),
}

/// Runs the plan.
///
/// # Errors
/// See [`RunError`]. A trial that fails is a record, not an error.
pub fn run(
    plan: &Plan,
    opened: &mut [Opened],
    clock: &Clock,
    observer: &mut dyn Observer,
) -> Result<Option<EndedEarly>, RunError> {
    let begun = Instant::now();
    let image = payload::image_fold()?;
    let answers: Vec<Answer> = plan
        .tasks
        .iter()
        .map(|(task, _)| known_answer(task))
        .collect::<Result<_, _>>()?;
    let usable: Vec<usize> = (0..opened.len())
        .filter(|&i| opened[i].backend.is_ok())
        .collect();
    let rounds: Vec<u32> = plan.tasks.iter().map(|(_, rounds)| *rounds).collect();
    let order = blocks(&rounds, usable.len(), plan.warmups, plan.seed);
    let density_steps = plan
        .density
        .as_ref()
        .map_or(0, |d| u64::from(d.rounds) * usable.len() as u64);
    let planned = (order.len() * usable.len()) as u64 + density_steps;
    // Density comes last: it disturbs the host's memory. A share of the budget is kept for it.
    let share = if plan.density.is_some() { 0.75 } else { 1.0 };
    let blocks_until = begun + plan.max_time.mul_f64(share);

    let mut trial = 0;
    let mut ended = None;
    for (number, block) in order.iter().enumerate() {
        if let Some(signal) = interrupt::requested() {
            return Ok(Some(EndedEarly::Interrupted(signal)));
        }
        if Instant::now() >= blocks_until {
            ended = Some(EndedEarly::MaxTime);
            break;
        }
        let (task, _) = plan.tasks[block.task];
        for &position in &block.order {
            let Opened {
                configuration,
                backend,
            } = &mut opened[usable[position]];
            let Ok(backend) = backend else { continue };
            observer.progress(trial, planned, &format!("{configuration} {task}"));
            let outcome = one_trial(backend.as_mut(), &task, plan.deadline)
                .and_then(|seen| check::measured(&seen, &task, answers[block.task], image, clock));
            if matches!(outcome, Err(Failure::Interrupted)) {
                return Ok(Some(EndedEarly::Interrupted(
                    interrupt::requested().unwrap_or(2),
                )));
            }
            observer.record(trial_record(
                trial,
                number,
                block,
                configuration,
                &task,
                outcome,
            ))?;
            trial += 1;
        }
    }
    if let Some(density) = &plan.density {
        let until = begun + plan.max_time;
        let mut backends: Vec<(&Configuration, &mut dyn Backend)> = Vec::new();
        for Opened {
            configuration,
            backend,
        } in opened.iter_mut()
        {
            if let Ok(backend) = backend {
                backends.push((configuration, backend.as_mut()));
            }
        }
        let progress = (trial, planned);
        let early = memory::run(density, &mut backends, plan, until, progress, observer)?;
        ended = early.or(ended);
    }
    Ok(ended)
}

fn one_trial(
    backend: &mut dyn Backend,
    task: &Task,
    deadline: Duration,
) -> Result<crate::trial::Observation, Failure> {
    backend.trial(&Launch {
        task: *task,
        deadline,
    })
}

fn trial_record(
    trial: u64,
    number: usize,
    block: &Block,
    configuration: &Configuration,
    task: &Task,
    outcome: Result<crate::store::record::Measured, Failure>,
) -> Record {
    let (measured, failure) = match outcome {
        Ok(measured) => (Some(measured), None),
        Err(failure) => (None, Some(FailureRecord::from(&failure))),
    };
    Record::Trial(Box::new(TrialRecord {
        trial,
        block: number as u64,
        backend: configuration.id().to_owned(),
        workload: task.to_string(),
        warmup: block.warmup,
        measured,
        failure,
    }))
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        let message = match failure.errno().and_then(shortage) {
            Some(remedy) => format!("{failure}; to fix it: {remedy}"),
            None => failure.to_string(),
        };
        Self {
            kind: failure.kind().to_owned(),
            message,
        }
    }
}
