//! Two lanes, side by side as in a run: seeded blocks, every trial checked and recorded.

use std::time::Duration;

use super::gate::MetricPairs;
use super::{Stop, go_on};
use crate::backend::Backend;
use crate::measure::check;
use crate::measure::clock::Clock;
use crate::measure::schedule::blocks;
use crate::measure::session::RunError;
use crate::measure::summary::metrics_of;
use crate::store::folder::Folder;
use crate::store::record::{Measured, Record, TrialRecord};
use crate::trial::Launch;
use crate::workload::{Answer, Task, Workload, known_answer, payload};

/// As in a run: the first block of a comparison warms up.
const WARMUPS: u32 = 1;
/// A launch of `noop` takes a millisecond; one that takes this long has failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every comparison shares: the task, its known answer and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    clock: &'a Clock,
    task: Task,
    answer: Answer,
    image: u64,
}

impl<'a> Track<'a> {
    /// A track for `noop`, whose metrics are startup, ready, total and teardown.
    ///
    /// # Errors
    /// This binary is damaged.
    pub fn new(clock: &'a Clock) -> Result<Self, Stop> {
        let task = Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        };
        Ok(Self {
            clock,
            task,
            answer: known_answer(&task).map_err(RunError::from)?,
            image: payload::image_fold().map_err(RunError::from)?,
        })
    }

    /// A time in counter ticks.
    #[must_use]
    pub fn ticks(&self, nanos: f64) -> u64 {
        (nanos * self.clock.hz / 1e9).round().max(0.0) as u64
    }

    /// Runs `pairs` blocks of the two lanes in random order and hands back each metric's pairs.
    ///
    /// # Errors
    /// As [`Self::race_measured`].
    pub fn race(
        &self,
        lanes: &mut [Box<dyn Backend>; 2],
        pairs: u32,
        seed: u64,
    ) -> Result<Vec<MetricPairs>, Stop> {
        Ok(self.family(&self.race_measured(lanes, pairs, seed)?))
    }

    /// Each metric's pairs.
    #[must_use]
    pub fn family(&self, measured: &[[Measured; 2]]) -> Vec<MetricPairs> {
        metrics_of(&self.task)
            .into_iter()
            .map(|(metric, value)| {
                let pairs = measured
                    .iter()
                    .filter_map(|[a, b]| Some((value(a)?, value(b)?)));
                (metric, pairs.collect())
            })
            .collect()
    }

    /// Runs `pairs` blocks of the two lanes in random order and hands back the trials of each.
    ///
    /// Every trial is checked as in a run and appended to a `trials.jsonl` in a temporary folder,
    /// so that the same things happen between trials; the folder goes when the comparison ends.
    ///
    /// # Errors
    /// The first trial that fails, or an interruption.
    pub fn race_measured(
        &self,
        lanes: &mut [Box<dyn Backend>; 2],
        pairs: u32,
        seed: u64,
    ) -> Result<Vec<[Measured; 2]>, Stop> {
        let scratch =
            tempfile::tempdir().map_err(|e| Stop::System("make a temporary folder", e))?;
        let mut folder = Folder::create(scratch.path()).map_err(RunError::from)?;
        let launch = Launch {
            task: self.task,
            deadline: DEADLINE,
        };
        let mut measured: Vec<[Measured; 2]> = Vec::with_capacity(pairs as usize);
        let mut trial = 0;
        for (number, block) in blocks(&[pairs], 2, WARMUPS, seed).iter().enumerate() {
            go_on()?;
            let mut both = [None, None];
            for &lane in &block.order {
                let seen = lanes[lane].trial(&launch)?;
                let value =
                    check::measured(&seen, &self.task, self.answer, self.image, self.clock)?;
                let record = TrialRecord {
                    trial,
                    block: number as u64,
                    backend: ["reference", "candidate"][lane].to_owned(),
                    workload: self.task.to_string(),
                    warmup: block.warmup,
                    tainted: Vec::new(),
                    measured: Some(value.clone()),
                    failure: None,
                };
                folder
                    .append(&Record::Trial(Box::new(record)))
                    .map_err(RunError::from)?;
                both[lane] = Some(value);
                trial += 1;
            }
            if let ([Some(reference), Some(candidate)], false) = (both, block.warmup) {
                measured.push([reference, candidate]);
            }
        }
        Ok(measured)
    }
}
