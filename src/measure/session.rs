//! Running a plan: every block in its order, every trial checked and recorded as it happens; who
//! gets how many blocks is decided anew from stage to stage.

use std::time::{Duration, Instant};

use super::allocation::{Want, share};
use super::boundary;
use super::check;
use super::clock::Clock;
use super::isolation;
use super::ladder::burst;
use super::memory;
use super::plan::Plan;
use super::schedule::{Block, Schedule};
use super::stopping::Progress;
use super::taint::Watch;
use super::trial_record::trial_record;
use crate::backend::{Backend, Configuration, Unavailable};
use crate::metric::Nanos;
use crate::store::record::{Measured, Record};
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::{Answer, known_answer, payload};

/// How much earlier than asked a wait may end: it is rounded to the kernel's milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// Share of the time that blocks may take where idle instances are counted out as well; what is left
/// after those is for blocks again.
const BLOCKS_SHARE: f64 = 0.75;
/// Share of the time that counting what crosses the boundary may take.
const BOUNDARY_SHARE: f64 = 0.15;
/// Share of the time by which it may be overrun.
const OVERRUN: f64 = 0.05;
/// Share of the time below which what is left is given out at once; above it, half is, and then the
/// next look at the intervals decides.
const LAST_STAGE: f64 = 0.1;

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
    run_by(plan, opened, clock, observer, &Instant::now)
}

/// [`run`] by a clock of one's own. Counting idle instances out goes by the system's in any case.
fn run_by(
    plan: &Plan,
    opened: &mut [Opened],
    clock: &Clock,
    observer: &mut dyn Observer,
    now: &dyn Fn() -> Instant,
) -> Result<Option<EndedEarly>, RunError> {
    let begun = now();
    let until = begun + plan.max_time;
    let mut session = Session::new(plan, opened, clock, observer, now)?;
    if plan.isolation {
        let terms = isolation::Terms {
            deadline: plan.deadline,
            clock,
            image: session.image,
        };
        if isolation::run(session.opened, terms, session.observer)?.is_none() {
            return Ok(Some(interrupted()));
        }
    }
    if plan.boundary {
        let share = now() + plan.max_time.mul_f64(BOUNDARY_SHARE);
        if session.boundary(share)?.is_none() {
            return Ok(Some(interrupted()));
        }
    }
    if plan.density.is_none() && plan.bursts.is_none() {
        return session.blocks(until);
    }
    // Idle instances come last: they disturb the host's memory. A share is kept for them.
    let early = session.blocks(begun + plan.max_time.mul_f64(BLOCKS_SHARE))?;
    if is_interrupt(early) {
        return Ok(early);
    }
    let counted = session.many_at_once(until)?;
    if early.is_none() || is_interrupt(counted) {
        return Ok(counted);
    }
    // What the instances left of their share.
    let early = session.blocks(until)?;
    if is_interrupt(early) {
        return Ok(early);
    }
    Ok(counted.or(early))
}

/// By whatever signal came.
fn interrupted() -> EndedEarly {
    EndedEarly::Interrupted(interrupt::requested().unwrap_or(libc::SIGINT))
}

fn is_interrupt(early: Option<EndedEarly>) -> bool {
    matches!(early, Some(EndedEarly::Interrupted(_)))
}

/// A run under way.
struct Session<'a> {
    plan: &'a Plan,
    opened: &'a mut [Opened],
    /// Those of `opened` that can be run.
    usable: Vec<usize>,
    answers: Vec<Answer>,
    image: u64,
    clock: &'a Clock,
    observer: &'a mut dyn Observer,
    now: &'a dyn Fn() -> Instant,
    /// No trial goes on after this.
    limit: Instant,
    schedule: Schedule,
    watch: Watch,
    progress: Vec<Progress>,
    /// Per task: time of all blocks so far, and their number.
    spent: Vec<(Duration, u32)>,
    /// Trials and blocks so far.
    trial: u64,
    block: u64,
    /// Steps done and planned, as far as is known: trials, bursts, rounds of idle instances.
    done: u64,
    planned: u64,
    /// Steps to come that are not trials.
    to_come: u64,
}

/// How a block ended.
enum Outcome {
    /// A measurement per configuration, in their order.
    Done(Vec<Option<Measured>>),
    /// Before all of its trials had run.
    Cut(EndedEarly),
}

impl<'a> Session<'a> {
    fn new(
        plan: &'a Plan,
        opened: &'a mut [Opened],
        clock: &'a Clock,
        observer: &'a mut dyn Observer,
        now: &'a dyn Fn() -> Instant,
    ) -> Result<Self, RunError> {
        let usable: Vec<usize> = (0..opened.len())
            .filter(|&i| opened[i].backend.is_ok())
            .collect();
        let tasks = plan.tasks.iter();
        let answers = tasks.clone().map(|(task, _)| known_answer(task));
        let progress = tasks.map(|(task, most)| match plan.target {
            Some(target) => {
                Progress::new(task, *most, Some(&|metric| plan.goal(target, task, metric)))
            }
            None => Progress::new(task, *most, None),
        });
        Ok(Self {
            answers: answers.collect::<Result<_, _>>()?,
            image: payload::image_fold()?,
            clock,
            observer,
            now,
            limit: now() + plan.max_time.mul_f64(1.0 + OVERRUN),
            schedule: Schedule::new(plan.seed, usable.len(), plan.tasks.len()),
            watch: Watch::begin(),
            progress: progress.collect(),
            spent: vec![(Duration::ZERO, 0); plan.tasks.len()],
            trial: 0,
            block: 0,
            done: 0,
            planned: 0,
            to_come: burst_steps(plan) + density_steps(plan, opened),
            plan,
            opened,
            usable,
        })
    }

    /// Runs blocks until none is wanted, or none that is wanted would end in time.
    fn blocks(&mut self, until: Instant) -> Result<Option<EndedEarly>, RunError> {
        loop {
            let wants = self.wants();
            let left = until.saturating_duration_since((self.now)());
            let whole: Duration = wants.iter().map(|w| w.cost * w.blocks).sum();
            let some = if whole <= left || left < self.plan.max_time.mul_f64(LAST_STAGE) {
                left
            } else {
                left / 2
            };
            let mut rounds = share(&wants, some);
            if rounds.iter().all(|&n| n == 0) {
                // Too little for a fair share of anything. What would end less late than it would
                // leave time over is begun all the same.
                let fits = |w: &Want| w.blocks > 0 && w.cost / 2 <= left;
                rounds = wants.iter().map(|w| u32::from(fits(w))).collect();
            }
            let warmups = if self.block == 0 {
                self.plan.warmups
            } else {
                0
            };
            let wanted: u32 = wants.iter().map(|w| w.blocks + warmups).sum();
            self.planned = self.done + u64::from(wanted) * self.usable.len() as u64 + self.to_come;
            let mut ran = false;
            for block in self.schedule.stage(&rounds, warmups) {
                if let Some(signal) = interrupt::requested() {
                    return Ok(Some(EndedEarly::Interrupted(signal)));
                }
                if (self.now)() + self.cost(block.task) / 2 > until {
                    continue;
                }
                ran = true;
                let begin = (self.now)();
                match self.block(&block)? {
                    Outcome::Cut(early) => return Ok(Some(early)),
                    Outcome::Done(row) => {
                        let (time, number) = &mut self.spent[block.task];
                        *time += (self.now)().saturating_duration_since(begin);
                        *number += 1;
                        if !block.warmup {
                            self.progress[block.task].block(&row);
                        }
                    }
                }
            }
            if !ran {
                let more = self.progress.iter().any(|p| p.wanted() > 0);
                return Ok(more.then_some(EndedEarly::MaxTime));
            }
        }
    }

    /// What each task still wants.
    fn wants(&self) -> Vec<Want> {
        let blocks = self.progress.iter().map(Progress::wanted);
        blocks
            .enumerate()
            .map(|(task, blocks)| Want {
                blocks,
                cost: self.cost(task),
            })
            .collect()
    }

    /// Mean time of a task's blocks; zero before the first.
    fn cost(&self, task: usize) -> Duration {
        let (time, number) = self.spent[task];
        time.checked_div(number).unwrap_or_default()
    }

    /// Runs one block.
    fn block(&mut self, block: &Block) -> Result<Outcome, RunError> {
        let task = self.plan.tasks[block.task].0;
        let answer = self.answers[block.task];
        let mut row = vec![None; self.usable.len()];
        for &position in &block.order {
            let Opened {
                configuration,
                backend,
            } = &mut self.opened[self.usable[position]];
            let Ok(backend) = backend else { continue };
            let next = format!("{configuration} {task}");
            self.observer.progress(self.done, self.planned, &next);
            // Between trials is no trial's.
            drop(self.watch.look());
            let left = self.limit.saturating_duration_since((self.now)());
            if left.is_zero() {
                return Ok(Outcome::Cut(EndedEarly::MaxTime));
            }
            let deadline = self.plan.deadline.min(left);
            let mut throttled = false;
            let outcome = backend.trial(&Launch { task, deadline }).and_then(|seen| {
                throttled = seen.throttled.is_some_and(|time| time > Nanos(0));
                check::measured(&seen, &task, answer, self.image, self.clock)
            });
            match outcome {
                Err(Failure::Interrupted) => return Ok(Outcome::Cut(interrupted())),
                // Its time was not up, the run's was: no failure of the backend. A user's own engine may
                // have less time than either.
                Err(failure)
                    if failure.is_timeout()
                        && deadline < self.plan.deadline
                        && self.limit.saturating_duration_since((self.now)()) <= GRAIN =>
                {
                    return Ok(Outcome::Cut(EndedEarly::MaxTime));
                }
                _ => {}
            }
            let mut tainted = self.watch.look();
            // By the container's own limit, which no payload should reach.
            tainted.extend(throttled.then(|| "throttled".to_owned()));
            if tainted.is_empty() {
                row[position] = outcome.as_ref().ok().cloned();
            }
            let place = (self.trial, self.block, block.warmup);
            let record = trial_record(place, configuration, &task, tainted, outcome);
            self.observer.record(record)?;
            self.trial += 1;
            self.done += 1;
        }
        self.block += 1;
        Ok(Outcome::Done(row))
    }

    /// Counts what crosses the boundary, once a task and configuration. `None` is an interrupt.
    fn boundary(&mut self, until: Instant) -> Result<Option<()>, RunError> {
        let now = self.now;
        for (&(task, _), answer) in self.plan.tasks.iter().zip(&self.answers) {
            let launch = Launch {
                task,
                deadline: self.plan.deadline,
            };
            let terms = (&launch, *answer, self.image);
            if boundary::count(self.opened, terms, || now() < until, self.observer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Makes bursts and counts idle instances out.
    fn many_at_once(&mut self, until: Instant) -> Result<Option<EndedEarly>, RunError> {
        let plan = self.plan;
        let mut early = None;
        if let Some(bursts) = &plan.bursts {
            let progress = (self.done, self.planned);
            let chance = (plan.seed, plan.deadline);
            early = burst::run(bursts, self.opened, chance, until, progress, self.observer)?;
            if is_interrupt(early) {
                return Ok(early);
            }
            self.done += burst_steps(plan);
        }
        if let Some(density) = &plan.density {
            let mut backends: Vec<(&Configuration, &mut dyn Backend)> = Vec::new();
            for Opened {
                configuration,
                backend,
            } in self.opened.iter_mut()
            {
                if let Ok(backend) = backend
                    && density.counts_out(configuration)
                {
                    backends.push((configuration, backend.as_mut()));
                }
            }
            let progress = (self.done, self.planned);
            let counted =
                memory::run(density, &mut backends, plan, until, progress, self.observer)?;
            early = counted.or(early);
            self.done += density_steps(plan, self.opened);
        }
        self.to_come = 0;
        Ok(early)
    }
}

fn density_steps(plan: &Plan, opened: &[Opened]) -> u64 {
    let Some(density) = &plan.density else {
        return 0;
    };
    let counted = |one: &&Opened| one.backend.is_ok() && density.counts_out(&one.configuration);
    u64::from(density.rounds) * opened.iter().filter(counted).count() as u64
}

fn burst_steps(plan: &Plan) -> u64 {
    let bursts = plan.bursts.as_ref();
    bursts.map_or(0, |b| u64::from(b.rounds) * b.configurations.len() as u64)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
