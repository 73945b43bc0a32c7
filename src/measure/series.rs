//! What two runs are compared by: one value and its reference per block, for every configuration,
//! task and metric.

use std::collections::BTreeMap;

use super::change::batches;
use super::comparison::threshold;
use super::parts::{self, Part};
use super::stored::tasks;
use super::summary::{MEMORY, Series, memory_series, metrics_of, paired, tried};
use crate::metric::Metric;
use crate::stats::Sample;
use crate::stats::quantile::median;
use crate::store::record::{Record, TrialRecord};
use crate::workload::{Profile, Task, Workload};

/// What memory is measured of.
const IDLE: Task = Task {
    workload: Workload::Idle,
    size: 0,
    reps: 1,
};

/// Which quantity of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: &'static str,
}

/// One quantity of a run against the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// Which.
    pub key: Key,
    /// Its definition.
    pub metric: Metric,
    /// Smallest relative change that counts by default.
    pub threshold: f64,
    /// (reference, value) of every block that has both, in the order of blocks.
    pub pairs: Vec<(f64, f64)>,
    /// Whether the ratio to the reference is what is compared. Memory is compared as it is: a
    /// footprint does not grow on a slower host, so there is nothing to cancel, and the few KiB of a
    /// bare process vary by more than all the rest.
    pub relative: bool,
    /// Trials of both in this task, warm-up excluded; rounds, for memory.
    pub trials: usize,
    /// Those of them that gave no number or were disturbed from outside.
    pub failed: usize,
    /// What it is made of, where that is known.
    pub parts: Vec<Part>,
}

impl Paired {
    /// What is compared: (1, value) where there is nothing to cancel.
    #[must_use]
    pub fn compared(&self) -> Vec<(f64, f64)> {
        let pairs = self.pairs.iter();
        pairs
            .map(|&(reference, value)| (if self.relative { reference } else { 1.0 }, value))
            .collect()
    }

    /// What a comparison is made from.
    #[must_use]
    pub fn quantity(self) -> Quantity {
        let reference: Vec<f64> = self.pairs.iter().map(|(reference, _)| *reference).collect();
        Quantity {
            batches: batches(&self.compared()),
            reference: Sample::new(reference).ok().map(|s| median(&s)),
            blocks: self.pairs.len(),
            key: self.key,
            metric: self.metric,
            threshold: self.threshold,
            relative: self.relative,
            trials: self.trials,
            failed: self.failed,
            parts: self.parts,
        }
    }
}

/// One quantity of a run, reduced to what a comparison is made from: all that a baseline keeps of
/// its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// Which.
    pub key: Key,
    /// Its definition.
    pub metric: Metric,
    /// Smallest relative change that counts by default.
    pub threshold: f64,
    /// See [`Paired::relative`].
    pub relative: bool,
    /// Blocks that have both it and the reference; rounds, for memory.
    pub blocks: usize,
    /// See [`Paired::trials`].
    pub trials: usize,
    /// See [`Paired::failed`].
    pub failed: usize,
    /// Median of the reference's own values.
    pub reference: Option<f64>,
    /// Batch medians of the log-ratios; `None` where there is none (no block, or a value that is
    /// not positive).
    pub batches: Option<Sample>,
    /// See [`Paired::parts`].
    pub parts: Vec<Part>,
}

/// The default threshold and the kind of comparison that a quantity's task and metric ask for.
#[must_use]
pub fn defaults(workload: &str, metric: &Metric) -> Option<(f64, bool)> {
    let tasks = Task::select(workload, Profile::default()).ok()?;
    let task = tasks.first()?;
    let relative = task.workload != Workload::Idle;
    let task = if relative { task } else { &IDLE };
    Some((threshold(task, metric), relative))
}

/// Every quantity of a run that has a value, in the order of the run; the reference's own are left
/// out.
#[must_use]
pub fn series(records: &[Record], backends: &[&str], reference: &str) -> Vec<Paired> {
    let mut by_task: BTreeMap<(&str, &str), Vec<&TrialRecord>> = BTreeMap::new();
    for trial in tried(records) {
        let key = (trial.workload.as_str(), trial.backend.as_str());
        by_task.entry(key).or_default().push(trial);
    }
    let mut all = Vec::new();
    for task in tasks(records) {
        let name = task.to_string();
        let of = |backend: &str| -> Vec<&TrialRecord> {
            let key = (name.as_str(), backend);
            by_task.get(&key).cloned().unwrap_or_default()
        };
        for (metric, value) in metrics_of(&task) {
            let values = |backend: &str| -> Series {
                let of_trial = |t: &TrialRecord| Some((t.block, value(t.measured.as_ref()?)?));
                let quiet = of(backend).into_iter().filter(|t| t.tainted.is_empty());
                quiet.filter_map(of_trial).collect()
            };
            let base = values(reference);
            for backend in backends.iter().filter(|b| **b != reference) {
                let own = of(backend);
                let parts = parts::of_trials(&metric, &own, &base);
                let ran: Vec<&TrialRecord> = [own, of(reference)].concat();
                all.push(Paired {
                    key: key(backend, &name, &metric),
                    metric,
                    threshold: threshold(&task, &metric),
                    pairs: paired(&base, &values(backend)),
                    relative: true,
                    trials: ran.len(),
                    failed: ran
                        .iter()
                        .filter(|t| t.measured.is_none() || !t.tainted.is_empty())
                        .count(),
                    parts,
                });
            }
        }
    }
    for (metric, value) in MEMORY {
        let base = memory_series(records, reference, value);
        for backend in backends.iter().filter(|b| **b != reference) {
            let values = memory_series(records, backend, value);
            let (rounds, failed) = rounds(records, &[backend, reference]);
            all.push(Paired {
                key: key(backend, Workload::Idle.name(), &metric),
                metric,
                threshold: threshold(&IDLE, &metric),
                pairs: paired(&base, &values),
                relative: false,
                trials: rounds,
                failed,
                parts: parts::of_memory(&metric, records, backend),
            });
        }
    }
    // A quantity nobody tried is no quantity of this run; one that failed every time is.
    all.retain(|p| !p.pairs.is_empty() || p.failed > 0);
    all
}

fn key(backend: &str, workload: &str, metric: &Metric) -> Key {
    Key {
        backend: backend.to_owned(),
        workload: workload.to_owned(),
        metric: metric.name,
    }
}

/// Density rounds of these configurations, and those that failed.
fn rounds(records: &[Record], backends: &[&str]) -> (usize, usize) {
    let mut failed: BTreeMap<(&str, u32), bool> = BTreeMap::new();
    for record in records {
        if let Record::Memory(m) = record
            && backends.contains(&m.backend.as_str())
        {
            *failed.entry((&m.backend, m.round)).or_default() |= m.failure.is_some();
        }
    }
    (failed.len(), failed.values().filter(|f| **f).count())
}
