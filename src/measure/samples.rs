//! What of a run's records its pictures are made of: every value that an estimate rests on, by size,
//! and the memory of idle instances. Filled record by record, so that a run with a million trials
//! need not be held whole.

use std::collections::BTreeMap;

use super::balance;
use super::summary::metrics_of;
use crate::metric::Metric;
use crate::store::record::{MemoryRecord, Record, TrialRecord};
use crate::workload::{Profile, Task};

/// Values of one metric of one task on one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Which metric.
    pub metric: Metric,
    /// The values by size, those of disturbed trials and of warm-ups left out.
    pub values: Vec<f64>,
}

/// Growth of memory with the number of idle instances of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Configuration id.
    pub backend: String,
    /// Numbers of instances, and bytes gone since the round's first number; every round.
    pub points: Vec<(f64, f64)>,
}

/// The values of one task.
#[derive(Clone, Debug, PartialEq)]
struct OfTask {
    id: String,
    task: Task,
    /// Configuration, and a list for each metric of the task.
    lists: BTreeMap<String, Vec<Vec<f64>>>,
}

/// Everything that pictures need of a run's records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    tasks: Vec<OfTask>,
    memory: Vec<Record>,
}

impl Samples {
    /// Those of records that are at hand.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut samples = Self::default();
        records.iter().for_each(|record| samples.add(record));
        samples
    }

    /// Takes what is needed of one record.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Trial(trial) if !trial.warmup && trial.tainted.is_empty() => self.trial(trial),
            Record::Memory(memory) => self.memory.push(Record::Memory(Box::new(slim(memory)))),
            _ => {}
        }
    }

    fn trial(&mut self, trial: &TrialRecord) {
        let Some(measured) = &trial.measured else {
            return;
        };
        let known = self.tasks.iter().position(|of| of.id == trial.workload);
        let index = known.or_else(|| {
            let found = Task::select(&trial.workload, Profile::default()).ok()?;
            let [task] = found[..] else { return None };
            self.tasks.push(OfTask {
                id: trial.workload.clone(),
                task,
                lists: BTreeMap::new(),
            });
            Some(self.tasks.len() - 1)
        });
        let Some(OfTask { task, lists, .. }) = index.and_then(|index| self.tasks.get_mut(index))
        else {
            return;
        };
        let metrics = metrics_of(task);
        if !lists.contains_key(&trial.backend) {
            lists.insert(trial.backend.clone(), vec![Vec::new(); metrics.len()]);
        }
        let Some(lists) = lists.get_mut(&trial.backend) else {
            return;
        };
        for ((_, value), list) in metrics.iter().zip(lists) {
            list.extend(value(measured));
        }
    }

    /// Every series, by task and metric in the order of the run, configurations in the order of `ids`.
    #[must_use]
    pub fn series(&self, ids: &[&str]) -> Vec<Series> {
        let mut all = Vec::new();
        for OfTask {
            id: workload,
            task,
            lists,
        } in &self.tasks
        {
            for (index, (metric, _)) in metrics_of(task).into_iter().enumerate() {
                for id in ids {
                    let Some(list) = lists.get(*id).and_then(|lists| lists.get(index)) else {
                        continue;
                    };
                    let mut values = list.clone();
                    values.sort_by(f64::total_cmp);
                    if !values.is_empty() {
                        all.push(Series {
                            backend: (*id).to_owned(),
                            workload: workload.clone(),
                            metric,
                            values,
                        });
                    }
                }
            }
        }
        all
    }

    /// How memory grows, configuration by configuration.
    #[must_use]
    pub fn growth(&self, ids: &[&str]) -> Vec<Growth> {
        let of = |id: &&str| {
            let points = balance::growth(&self.memory, id);
            (!points.is_empty()).then(|| Growth {
                backend: (*id).to_owned(),
                points,
            })
        };
        ids.iter().filter_map(of).collect()
    }
}

/// A memory step without the lists that no picture shows.
fn slim(memory: &MemoryRecord) -> MemoryRecord {
    MemoryRecord {
        backend: memory.backend.clone(),
        accounts: memory.accounts,
        charged: memory.charged,
        charged_named: memory.charged_named,
        pss: Vec::new(),
        private: Vec::new(),
        cgroup_usage: Vec::new(),
        cgroup_kernel: Vec::new(),
        limited_by: None,
        failure: memory.failure.clone(),
        ..*memory
    }
}
