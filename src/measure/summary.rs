//! From records to estimates: which values make which metric, and which are paired.

use std::collections::BTreeMap;

use super::balance;
use crate::backend::Configuration;
use crate::metric::{
    KERNEL, MARGINAL, Metric, PRIVATE, PSS, READY, REPLY, STARTUP, TEARDOWN, TOTAL,
};
use crate::stats;
use crate::stats::outlier::Severity;
use crate::store::document::{
    BoundaryResult, IsolationFact, MemoryBalance, MetricResult, Outliers, PhaseResult, RatioResult,
};
use crate::store::record::{Measured, PhaseRecord, Record, TrialRecord};
use crate::workload::{Task, Workload, catalogue};

/// Level of every interval.
pub const LEVEL: f64 = 0.95;
/// The configurations that ratios refer to.
const REFERENCES: [&str; 2] = ["process", "container"];

/// What a configuration is compared with: those, and, if it is a kind of a backend, that backend as it
/// is by default. So a copy of a micro-VM, or one whose VMM is confined, stands beside the plain one.
fn references(id: &str) -> impl Iterator<Item = &str> {
    let plain = id.split_once(':').map(|(backend, _)| backend);
    let plain = plain.filter(|plain| !REFERENCES.contains(plain));
    REFERENCES.into_iter().chain(plain)
}

/// Estimates of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// One per configuration, task and metric.
    pub metrics: Vec<MetricResult>,
    /// One per configuration, task, metric and reference.
    pub ratios: Vec<RatioResult>,
    /// What crosses the boundary of each payload.
    pub boundary: Vec<BoundaryResult>,
    /// Facts of every configuration that was asked.
    pub isolation: Vec<IsolationFact>,
    /// One balance sheet per configuration whose memory was measured.
    pub memory: Vec<MemoryBalance>,
    /// Per configuration id: trials, failures, first failure in words.
    pub counts: BTreeMap<String, Count>,
}

impl Summary {
    /// Whether anything is known of a configuration: an estimate or a fact.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.metrics.iter().any(|m| m.backend == id)
            || self.isolation.iter().any(|f| f.backend == id)
    }
}

/// Trials of a configuration, warm-up excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Run.
    pub trials: u64,
    /// Failed among them.
    pub failures: u64,
    /// Disturbed from outside among them.
    pub tainted: u64,
    /// The first failure.
    pub first_failure: Option<String>,
}

/// Values of one metric of one task for one configuration, each with the block that pairs it.
pub(super) type Series = Vec<(u64, f64)>;

/// Makes the estimates of a run out of its records.
#[must_use]
pub fn summarise(records: &[Record], tasks: &[Task], configurations: &[Configuration]) -> Summary {
    let mut summary = Summary {
        counts: counts(records),
        boundary: boundary(records),
        isolation: isolation(records),
        memory: configurations
            .iter()
            .filter_map(|c| balance::sheet(records, &c.id()))
            .collect(),
        ..Summary::default()
    };
    for task in tasks {
        let name = task.to_string();
        let trials: Vec<&TrialRecord> = trials(records).filter(|t| t.workload == name).collect();
        for (metric, value) in metrics_of(task) {
            let series = per_configuration(configurations, |id| {
                trials
                    .iter()
                    .filter(|t| t.backend == id)
                    .filter_map(|t| Some((t.block, value(t.measured.as_ref()?)?)))
                    .collect()
            });
            let blurred = |id: &str| {
                let of_id = trials.iter().filter(|t| t.backend == id);
                of_id
                    .filter(|t| t.measured.as_ref().is_some_and(|m| is_blurred(&metric, m)))
                    .count()
            };
            let phases = |id: &str| match metric.name {
                "startup" => median_phases(&trials, id, true),
                "teardown" => median_phases(&trials, id, false),
                _ => Vec::new(),
            };
            estimate(&mut summary, &name, &metric, &series, blurred, phases);
        }
    }
    let idle = Workload::Idle.name();
    for (metric, value) in MEMORY {
        let series = per_configuration(configurations, |id| memory_series(records, id, value));
        estimate(&mut summary, idle, &metric, &series, |_| 0, |_| Vec::new());
    }
    summary
}

/// How a density round becomes one value.
type RoundValue = fn(&balance::Round<'_>) -> Option<f64>;

/// The metrics that density rounds give, with how each is read off a round.
pub(super) const MEMORY: [(Metric, RoundValue); 4] = [
    (MARGINAL, balance::marginal),
    (PSS, balance::pss),
    (PRIVATE, balance::private),
    (KERNEL, balance::kernel),
];

/// How a metric is read off a trial.
pub type Value = Box<dyn Fn(&Measured) -> Option<f64>>;

/// The metrics that trials of a task give, with how each is read off a trial.
#[must_use]
pub fn metrics_of(task: &Task) -> Vec<(Metric, Value)> {
    if task.workload == Workload::Noop {
        return vec![
            (STARTUP, Box::new(|m| Some(m.t1.0 as f64))),
            (READY, Box::new(|m| Some(m.t2.0 as f64))),
            (TOTAL, Box::new(|m| Some(m.t4.0 as f64))),
            (TEARDOWN, Box::new(|m| Some((m.t5.0 - m.t4.0) as f64))),
        ];
    }
    if task.workload == Workload::Warm {
        return vec![
            (STARTUP, Box::new(|m| Some(m.t1.0 as f64))),
            (REPLY, Box::new(|m| Some(m.reply?.0 as f64))),
        ];
    }
    let entry = catalogue::entry(task.workload);
    let value = |m: &Measured| entry.value(m.units, m.timed.0 as f64 / 1e9);
    entry
        .metric
        .map(|metric| (metric, Box::new(value) as Value))
        .into_iter()
        .collect()
}

/// Whether a reading may be off by more than 1 % of the quantity: the clock's bound over the metric's
/// value. Work is timed by one counter, the payload's own, and has no such bound; readings taken by
/// the harness alone are bounded by the skew between CPUs, which is `clock_bound` where the payload
/// reads the same counter.
fn is_blurred(metric: &Metric, m: &Measured) -> bool {
    let value = match metric.name {
        "startup" => m.t1.0,
        "ready" if m.clock == "same" => m.t2.0,
        "reply" if m.clock == "same" => m.reply.map_or(0, |reply| reply.0),
        "total" if m.clock == "same" => m.t4.0,
        "teardown" if m.clock == "same" => m.t5.0 - m.t4.0,
        _ => return false,
    };
    m.clock_bound.0.saturating_mul(100) > value
}

/// The trials that estimates are made from: those that were not disturbed.
fn trials(records: &[Record]) -> impl Iterator<Item = &TrialRecord> {
    tried(records).filter(|trial| trial.tainted.is_empty())
}

/// The trials of a run, without those that only warm up.
pub(super) fn tried(records: &[Record]) -> impl Iterator<Item = &TrialRecord> {
    records.iter().filter_map(|record| match record {
        Record::Trial(trial) if !trial.warmup => Some(trial.as_ref()),
        _ => None,
    })
}

fn boundary(records: &[Record]) -> Vec<BoundaryResult> {
    let counted = records.iter().filter_map(|record| match record {
        Record::Boundary(record) => Some(BoundaryResult {
            backend: record.backend.clone(),
            workload: record.workload.clone(),
            crossed: record.crossed.clone(),
            reason: record
                .failure
                .as_ref()
                .map(|failure| failure.message.clone()),
        }),
        _ => None,
    });
    counted.collect()
}

fn isolation(records: &[Record]) -> Vec<IsolationFact> {
    let facts = records.iter().filter_map(|record| match record {
        Record::Probe(probe) => Some(probe.facts.iter().cloned()),
        _ => None,
    });
    facts.flatten().collect()
}

fn counts(records: &[Record]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for record in records {
        let (backend, warmup, tainted, failure) = match record {
            Record::Trial(t) => (&t.backend, t.warmup, !t.tainted.is_empty(), &t.failure),
            Record::Memory(m) => (&m.backend, false, false, &m.failure),
            Record::Burst(b) => (&b.backend, false, false, &b.failure),
            Record::Probe(p) => (&p.backend, false, false, &p.failure),
            // No trial: where counting is refused, nobody has failed.
            Record::Boundary(_) => continue,
        };
        let count = counts.entry(backend.clone()).or_default();
        // Warm-ups are not estimated from, but a failure among them is not hidden either.
        if !warmup || failure.is_some() {
            count.trials += 1;
            count.tainted += u64::from(tainted);
        }
        if let Some(failure) = failure {
            count.failures += 1;
            count
                .first_failure
                .get_or_insert_with(|| failure.message.clone());
        }
    }
    counts
}

fn per_configuration(
    configurations: &[Configuration],
    series: impl Fn(&str) -> Series,
) -> Vec<(String, Series)> {
    configurations
        .iter()
        .map(Configuration::id)
        .map(|id| {
            let series = series(&id);
            (id, series)
        })
        .filter(|(_, series)| !series.is_empty())
        .collect()
}

fn estimate(
    summary: &mut Summary,
    workload: &str,
    metric: &Metric,
    all: &[(String, Series)],
    blurred: impl Fn(&str) -> usize,
    phases: impl Fn(&str) -> Vec<PhaseResult>,
) {
    for (id, series) in all {
        let Ok(sample) =
            stats::Sample::new(series.iter().map(|(_, value)| *value).collect::<Vec<_>>())
        else {
            continue;
        };
        summary.metrics.push(MetricResult {
            backend: id.clone(),
            workload: workload.to_owned(),
            metric: metric.name.to_owned(),
            unit: metric.unit,
            better: metric.better,
            n: sample.n() as u64,
            median: stats::quantile::median(&sample),
            ci95: stats::quantile::median_ci(&sample, LEVEL).map(|ci| [ci.low, ci.high]),
            p99: (sample.n() >= 100).then(|| stats::quantile::p99(&sample)),
            min: sample.min(),
            blurred: blurred(id) as u64,
            outliers: outliers(&sample),
            phases: phases(id),
        });
        for reference in references(id) {
            let Some((_, other)) = all.iter().find(|(o, _)| *o == reference && o != id) else {
                continue;
            };
            let pairs = paired(other, series);
            let Some((ratio, ci95)) = ratio(&pairs) else {
                continue;
            };
            summary.ratios.push(RatioResult {
                workload: workload.to_owned(),
                metric: metric.name.to_owned(),
                backend: id.clone(),
                reference: reference.to_owned(),
                ratio,
                ci95,
                pairs: pairs.len() as u64,
            });
        }
    }
}

fn outliers(sample: &stats::Sample) -> Outliers {
    let flags = stats::outlier::flags(sample);
    let count = |severity| flags.iter().filter(|flag| **flag == severity).count() as u64;
    Outliers {
        mild: count(Severity::Mild),
        severe: count(Severity::Severe),
    }
}

/// The paired ratio with its interval; without one where there are too few pairs for the level;
/// nothing where a ratio has no meaning (a value is not positive).
fn ratio(pairs: &[(f64, f64)]) -> Option<(f64, Option<[f64; 2]>)> {
    if let Ok(ratio) = stats::paired::ratio(pairs, LEVEL) {
        return Some((ratio.ratio, Some([ratio.low, ratio.high])));
    }
    let logs = stats::paired::log_ratios(pairs).ok()?;
    Some((stats::quantile::median(&logs).exp(), None))
}

/// Values of both series in the blocks that have both: (reference, value).
pub(super) fn paired(reference: &Series, series: &Series) -> Vec<(f64, f64)> {
    ByBlock::of(reference).paired(series)
}

/// A series, ready to be asked for the value of a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ByBlock(Series);

impl ByBlock {
    /// A series; of two values of one block the later counts.
    pub(super) fn of(series: &Series) -> Self {
        let mut sorted = series.clone();
        // Trials mostly lie in the order of their blocks already.
        sorted.sort_by_key(|(block, _)| *block);
        Self(sorted)
    }

    /// The value of a block.
    pub(super) fn at(&self, block: u64) -> Option<f64> {
        let end = self.0.partition_point(|(known, _)| *known <= block);
        let (found, value) = self.0.get(end.checked_sub(1)?)?;
        (*found == block).then_some(*value)
    }

    /// Values of both in the blocks that have both: (this, value).
    pub(super) fn paired(&self, series: &Series) -> Vec<(f64, f64)> {
        let pair = |(block, value): &(u64, f64)| Some((self.at(*block)?, *value));
        series.iter().filter_map(pair).collect()
    }
}

/// Median of each phase over the trials of a configuration, in the order they happen; then what
/// is unaccounted. A name that occurs twice in a trial counts as the sum.
fn median_phases(trials: &[&TrialRecord], id: &str, start: bool) -> Vec<PhaseResult> {
    let mut order: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut unaccounted = Vec::new();
    for measured in trials
        .iter()
        .filter(|t| t.backend == id)
        .filter_map(|t| t.measured.as_ref())
    {
        let phases: &[PhaseRecord] = if start {
            &measured.phases
        } else {
            &measured.teardown
        };
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for phase in phases {
            if !order.contains(&phase.name) {
                order.push(phase.name.clone());
            }
            *sums.entry(&phase.name).or_default() += phase.ns.0 as f64;
        }
        let named: f64 = sums.values().sum();
        for (name, sum) in sums {
            values.entry(name.to_owned()).or_default().push(sum);
        }
        unaccounted.push(if start {
            measured.unaccounted.0 as f64
        } else {
            (measured.t5.0 - measured.t4.0) as f64 - named
        });
    }
    let mut all: Vec<PhaseResult> = order
        .into_iter()
        .filter_map(|name| {
            let sample = stats::Sample::new(values.remove(&name)?).ok()?;
            Some(PhaseResult {
                name,
                median: stats::quantile::median(&sample),
            })
        })
        .collect();
    if let Ok(sample) = stats::Sample::new(unaccounted) {
        let median = stats::quantile::median(&sample);
        all.push(PhaseResult {
            name: "unaccounted".to_owned(),
            median,
        });
    }
    all
}

/// One value per round that has no failure.
pub(super) fn memory_series(records: &[Record], id: &str, value: RoundValue) -> Series {
    balance::rounds(records, id)
        .into_iter()
        .filter_map(|(round, steps)| Some((u64::from(round), value(&steps)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_apart_is_counted_and_kept() {
        let mut values: Vec<f64> = (0..=100).map(f64::from).collect();
        let sample = |values: &[f64]| stats::Sample::new(values.to_vec()).unwrap();
        assert_eq!(outliers(&sample(&values)), Outliers::default());
        // Quartiles near 25 and 75: the fences are near 150 and 225.
        values.extend([180.0, 1e6]);
        let found = outliers(&sample(&values));
        assert_eq!((found.mild, found.severe), (1, 1));
    }
}
