//! Two builds in the same blocks, of isobench or of a runtime: the strongest gate there is.
//!
//! Each build of isobench serves trials in a process of its own ([`worker`]), over a pipe ([`lane`]). A block is
//! one trial of every configuration from each of them, in random order, so that whatever disturbs
//! one build disturbs the other. For a build of a runtime ([`subject`]) this isobench serves them, in a
//! process for each, too: verdicts rest on the ratios HEAD/BASE inside blocks ([`judge`]).

pub mod judge;
pub mod lane;
pub mod protocol;
pub mod subject;
pub mod worker;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::lane::{Lane, LaneError};
use self::protocol::Seen;
use super::schedule::blocks;
use super::session::EndedEarly;
use crate::store::record::Measured;
use crate::sys::interrupt;
use crate::workload::Task;

/// What to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Ids of configurations that both builds can run.
    pub configurations: Vec<String>,
    /// Tasks with their blocks.
    pub tasks: Vec<(Task, u32)>,
    /// Seed of the schedule.
    pub seed: u64,
    /// No block is begun after this time.
    pub max_time: Duration,
    /// Each trial is ended by force after this time.
    pub deadline: Duration,
}

/// The trials of one configuration and task, block by block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// BASE's and HEAD's trial of each block that has both.
    pub measured: Vec<[Measured; 2]>,
    /// Trials of both.
    pub trials: usize,
    /// Those of them that gave no number or were disturbed from outside.
    pub failed: usize,
    /// The first failure, in words.
    pub first_failure: Option<String>,
}

/// By configuration id and task.
pub type Raced = BTreeMap<(String, Task), Pairs>;

/// Runs the plan. The first block of each task warms up.
///
/// # Errors
/// See [`LaneError`]: a build that no longer answers ends the comparison.
pub fn race(
    plan: &Plan,
    lanes: &mut [Lane; 2],
    watch: &mut dyn FnMut(u64, u64),
) -> Result<(Raced, Option<EndedEarly>), LaneError> {
    let rounds: Vec<u32> = plan.tasks.iter().map(|(_, rounds)| *rounds).collect();
    let places = plan.configurations.len() * lanes.len();
    let schedule = blocks(&rounds, places, 1, plan.seed);
    let planned = schedule.len() as u64;
    let begun = Instant::now();
    let mut raced = Raced::new();
    for (number, block) in schedule.iter().enumerate() {
        if let Some(signal) = interrupt::requested() {
            return Ok((raced, Some(EndedEarly::Interrupted(signal))));
        }
        if begun.elapsed() > plan.max_time {
            return Ok((raced, Some(EndedEarly::MaxTime)));
        }
        watch(number as u64, planned);
        let task = plan.tasks[block.task].0;
        let mut seen: Vec<[Option<Seen>; 2]> = vec![[None, None]; plan.configurations.len()];
        for &place in &block.order {
            let (configuration, lane) = (place / 2, place % 2);
            let outcome = lanes[lane].trial(configuration, &task, plan.deadline)?;
            seen[configuration][lane] = Some(outcome);
        }
        if block.warmup {
            continue;
        }
        for (configuration, both) in plan.configurations.iter().zip(seen) {
            let pairs = raced.entry((configuration.clone(), task)).or_default();
            keep(pairs, both);
        }
    }
    Ok((raced, None))
}

fn keep(pairs: &mut Pairs, both: [Option<Seen>; 2]) {
    let mut quiet = Vec::new();
    for seen in both.into_iter().flatten() {
        pairs.trials += 1;
        match seen {
            Seen::Measured { measured, tainted } if tainted.is_empty() => quiet.push(*measured),
            Seen::Measured { .. } => pairs.failed += 1,
            Seen::Failed { failure } => {
                pairs.failed += 1;
                pairs.first_failure.get_or_insert(failure.message);
            }
        }
    }
    if let Ok(both) = <[Measured; 2]>::try_from(quiet) {
        pairs.measured.push(both);
    }
}
