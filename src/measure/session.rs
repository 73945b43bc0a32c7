//! Running a plan: every block in its order, every trial checked and recorded as it happens.

use std::time::{Duration, Instant};

use super::check;
use super::clock::Clock;
use super::isolation;
use super::ladder::burst;
use super::memory;
use super::plan::Plan;
use super::schedule::{Block, blocks};
use super::stopping::Progress;
use super::taint::Watch;
use crate::backend::{Backend, Configuration, Unavailable, shortage};
use crate::metric::Nanos;
use crate::store::record::{FailureRecord, Measured, Record, TrialRecord};
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
    /// The time budget: some block was left out.
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
    let burst_steps = plan
        .bursts
        .as_ref()
        .map_or(0, |b| u64::from(b.rounds) * b.configurations.len() as u64);
    let planned = (order.len() * usable.len()) as u64 + density_steps + burst_steps;
    // Density comes last: it disturbs the host's memory. A share of the budget is kept for it, and
    // for bursts.
    let more = plan.density.is_some() || plan.bursts.is_some();
    let share = if more { 0.75 } else { 1.0 };
    let blocks_until = begun + plan.max_time.mul_f64(share);

    if plan.isolation {
        let terms = isolation::Terms {
            deadline: plan.deadline,
            clock,
            image,
        };
        if isolation::run(opened, terms, observer)?.is_none() {
            return Ok(Some(interrupted()));
        }
    }
    let mut steps = Steps {
        trial: 0,
        planned,
        clock,
        image,
    };
    let mut progress: Vec<Option<Progress>> = plan
        .tasks
        .iter()
        .map(|(task, _)| Some(Progress::new(task, plan.target?)))
        .collect();
    let mut longest = vec![Duration::ZERO; plan.tasks.len()];
    let mut watch = Watch::begin();
    let mut ended = None;
    for (number, block) in order.iter().enumerate() {
        if let Some(signal) = interrupt::requested() {
            return Ok(Some(EndedEarly::Interrupted(signal)));
        }
        if progress[block.task].as_ref().is_some_and(Progress::is_done) {
            steps.planned -= usable.len() as u64;
            continue;
        }
        // A block that would end too late is not begun; another task's may still fit.
        let begin = Instant::now();
        if begin + longest[block.task] >= blocks_until {
            ended = Some(EndedEarly::MaxTime);
            continue;
        }
        let answer = answers[block.task];
        let task = plan.tasks[block.task].0;
        let Some(row) = steps.block(
            (number, block),
            &task,
            answer,
            plan,
            opened,
            &usable,
            &mut watch,
            observer,
        )?
        else {
            return Ok(Some(interrupted()));
        };
        longest[block.task] = longest[block.task].max(begin.elapsed());
        if let Some(progress) = &mut progress[block.task]
            && !block.warmup
        {
            progress.block(&row);
        }
    }
    if let Some(bursts) = &plan.bursts {
        let until = begun + plan.max_time;
        let progress = (steps.trial, steps.planned);
        let chance = (plan.seed, plan.deadline);
        let early = burst::run(bursts, opened, chance, until, progress, observer)?;
        ended = early.or(ended);
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
        let progress = (steps.trial, steps.planned);
        let early = memory::run(density, &mut backends, plan, until, progress, observer)?;
        ended = early.or(ended);
    }
    Ok(ended)
}

/// By whatever signal came.
fn interrupted() -> EndedEarly {
    EndedEarly::Interrupted(interrupt::requested().unwrap_or(libc::SIGINT))
}

/// What trials of a run share.
struct Steps<'a> {
    trial: u64,
    planned: u64,
    clock: &'a Clock,
    image: u64,
}

impl Steps<'_> {
    /// Runs one block. The measurements are in the configurations' order; `None` is an interrupt.
    #[allow(clippy::too_many_arguments)] // all of a session's parts meet here, once
    fn block(
        &mut self,
        (number, block): (usize, &Block),
        task: &Task,
        answer: Answer,
        plan: &Plan,
        opened: &mut [Opened],
        usable: &[usize],
        watch: &mut Watch,
        observer: &mut dyn Observer,
    ) -> Result<Option<Vec<Option<Measured>>>, RunError> {
        let mut row = vec![None; usable.len()];
        for &position in &block.order {
            let Opened {
                configuration,
                backend,
            } = &mut opened[usable[position]];
            let Ok(backend) = backend else { continue };
            observer.progress(self.trial, self.planned, &format!("{configuration} {task}"));
            // Between trials is no trial's.
            drop(watch.look());
            let launch = Launch {
                task: *task,
                deadline: plan.deadline,
            };
            let mut throttled = false;
            let outcome = backend.trial(&launch).and_then(|seen| {
                throttled = seen.throttled.is_some_and(|time| time > Nanos(0));
                check::measured(&seen, task, answer, self.image, self.clock)
            });
            if matches!(outcome, Err(Failure::Interrupted)) {
                return Ok(None);
            }
            let mut tainted = watch.look();
            // By the container's own limit, which no payload should reach.
            tainted.extend(throttled.then(|| "throttled".to_owned()));
            if tainted.is_empty() {
                row[position] = outcome.as_ref().ok().cloned();
            }
            let place = (self.trial, number, block);
            observer.record(trial_record(place, configuration, task, tainted, outcome))?;
            self.trial += 1;
        }
        Ok(Some(row))
    }
}

fn trial_record(
    (trial, number, block): (u64, usize, &Block),
    configuration: &Configuration,
    task: &Task,
    tainted: Vec<String>,
    outcome: Result<Measured, Failure>,
) -> Record {
    let (measured, failure) = match outcome {
        Ok(measured) => (Some(measured), None),
        Err(failure) => (None, Some(FailureRecord::from(&failure))),
    };
    Record::Trial(Box::new(TrialRecord {
        trial,
        block: number as u64,
        backend: configuration.id(),
        workload: task.to_string(),
        warmup: block.warmup,
        tainted,
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
