//! What two runs are compared by: one value and its reference per block, for every configuration,
//! task and metric.

use std::collections::BTreeMap;

use super::change::batches;
use super::comparison::threshold;
use super::parts::{self, Columns, Part};
use super::summary::{ByBlock, MEMORY, Series, Value, memory_series, metrics_of, paired};
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

/// What of a run's records its quantities are made of. Filled record by record, so that a run of a
/// million trials need not be held whole.
#[derive(Default)]
pub struct Gathered {
    tasks: Vec<OfTask>,
    memory: Vec<Record>,
}

/// The trials of one task, warm-ups left out.
struct OfTask {
    id: String,
    task: Task,
    metrics: Vec<(Metric, Value)>,
    /// By configuration.
    ran: BTreeMap<String, Ran>,
}

/// The trials of one task on one configuration.
#[derive(Default)]
struct Ran {
    trials: usize,
    /// Those of them that gave no number or were disturbed from outside.
    failed: usize,
    /// Block of every other.
    blocks: Vec<u64>,
    /// A list a metric: its value in each of these blocks, and what it is made of.
    metrics: Vec<(Vec<Option<f64>>, Columns)>,
}

impl Gathered {
    /// Those of records that are at hand.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut gathered = Self::default();
        records.iter().for_each(|record| gathered.add(record));
        gathered
    }

    /// Takes what is needed of one record.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Trial(trial) if !trial.warmup => self.trial(trial),
            Record::Memory(_) => self.memory.push(record.clone()),
            _ => {}
        }
    }

    fn trial(&mut self, trial: &TrialRecord) {
        let known = self.tasks.iter().position(|of| of.id == trial.workload);
        let Some(index) = known.or_else(|| self.task(&trial.workload)) else {
            return;
        };
        let of = &mut self.tasks[index];
        if !of.ran.contains_key(&trial.backend) {
            let mut ran = Ran::default();
            ran.metrics.resize_with(of.metrics.len(), Default::default);
            of.ran.insert(trial.backend.clone(), ran);
        }
        let Some(ran) = of.ran.get_mut(&trial.backend) else {
            return;
        };
        ran.trials += 1;
        match &trial.measured {
            Some(measured) if trial.tainted.is_empty() => {
                ran.blocks.push(trial.block);
                for ((metric, value), (values, parts)) in of.metrics.iter().zip(&mut ran.metrics) {
                    values.push(value(measured));
                    parts.add(metric, measured);
                }
            }
            _ => ran.failed += 1,
        }
    }

    /// A place for a task that has had no trial yet; none for what is no timed task.
    fn task(&mut self, id: &str) -> Option<usize> {
        let found = Task::select(id, Profile::default()).ok()?;
        let [task] = found[..] else { return None };
        if task.workload == Workload::Idle {
            return None;
        }
        self.tasks.push(OfTask {
            id: id.to_owned(),
            task,
            metrics: metrics_of(&task),
            ran: BTreeMap::new(),
        });
        Some(self.tasks.len() - 1)
    }
}

impl Ran {
    /// Values of a metric, by its place, in the blocks that have one.
    fn series(&self, metric: usize) -> Series {
        let values = self.metrics.get(metric).map(|(values, _)| values);
        let values = values.into_iter().flatten().zip(&self.blocks);
        values
            .filter_map(|(value, block)| Some((*block, (*value)?)))
            .collect()
    }

    /// The parts of a metric, by its place, as shares of their blocks' references.
    fn parts(&self, metric: usize, reference: &ByBlock) -> Vec<Part> {
        let references = self.blocks.iter().map(|block| reference.at(*block));
        let references: Vec<Option<f64>> = references.collect();
        let parts = self.metrics.get(metric);
        parts.map_or_else(Vec::new, |(_, parts)| parts.parts(&references))
    }
}

/// Every quantity of a run that has a value, in the order of the run; the reference's own are left
/// out.
#[must_use]
pub fn series(gathered: &Gathered, backends: &[&str], reference: &str) -> Vec<Paired> {
    let Gathered { tasks, memory } = gathered;
    let others = || backends.iter().filter(move |id| **id != reference);
    let nothing = Ran::default();
    let mut all = Vec::new();
    for OfTask {
        id,
        task,
        metrics,
        ran,
    } in tasks
    {
        let of = |backend: &str| ran.get(backend).unwrap_or(&nothing);
        let of_reference = of(reference);
        for (place, (metric, _)) in metrics.iter().enumerate() {
            let base = ByBlock::of(&of_reference.series(place));
            for backend in others() {
                let own = of(backend);
                all.push(Paired {
                    key: key(backend, id, metric),
                    metric: *metric,
                    threshold: threshold(task, metric),
                    pairs: base.paired(&own.series(place)),
                    relative: true,
                    trials: own.trials + of_reference.trials,
                    failed: own.failed + of_reference.failed,
                    parts: own.parts(place, &base),
                });
            }
        }
    }
    for (metric, value) in MEMORY {
        let base = memory_series(memory, reference, value);
        for backend in others() {
            let values = memory_series(memory, backend, value);
            let (rounds, failed) = rounds(memory, &[backend, reference]);
            all.push(Paired {
                key: key(backend, Workload::Idle.name(), &metric),
                metric,
                threshold: threshold(&IDLE, &metric),
                pairs: paired(&base, &values),
                relative: false,
                trials: rounds,
                failed,
                parts: parts::of_memory(&metric, memory, backend),
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
