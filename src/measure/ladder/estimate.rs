//! From the records of a ladder run to the cost of each rung.

use std::collections::BTreeMap;

use super::{Ladder, Rung, container};
use crate::backend::Configuration;
use crate::backend::container::mechanism::Mechanisms;
use crate::measure::balance;
use crate::measure::summary::{LEVEL, metrics_of, tried};
use crate::metric::{MARGINAL, Metric, STARTUP, TEARDOWN};
use crate::stats::{Sample, bootstrap, hodges_lehmann::hodges_lehmann, quantile};
use crate::store::document::{DebtResult, DifferenceResult, LadderResult, RungResult, TotalResult};
use crate::store::record::Record;
use crate::workload::{Profile, Workload};

/// Values of one metric: configuration id → block → nanoseconds, or round → bytes.
pub(super) type Values = BTreeMap<String, BTreeMap<u64, f64>>;

/// The ladder's estimates.
#[must_use]
pub fn estimate(ladder: &Ladder, records: &[Record]) -> LadderResult {
    let mut result = LadderResult {
        name: "namespaces".to_owned(),
        base: container(ladder.base).id(),
        top: container(ladder.top).id(),
        rungs: Vec::new(),
        totals: Vec::new(),
        debts: debts(ladder, records),
    };
    // The interactions of one metric are one family: together they hold at 95 % (Bonferroni).
    let family = 1.0 - (1.0 - LEVEL) / ladder.rungs.len().max(1) as f64;
    for metric in [STARTUP, TEARDOWN, MARGINAL] {
        let values = if metric == MARGINAL {
            memory(ladder, records)
        } else {
            values(records, &metric)
        };
        for rung in &ladder.rungs {
            result.rungs.push(RungResult {
                mechanism: rung.mechanism.name().to_owned(),
                metric: metric.name.to_owned(),
                over: None,
                added: difference(&values, rung.added),
                alone: difference(&values, rung.alone),
                left_out: difference(&values, rung.left_out),
                interaction: interaction(&values, rung, family),
            });
        }
        if let Some(total) = total(&values, ladder) {
            result.totals.push(TotalResult {
                metric: metric.name.to_owned(),
                ..total
            });
        }
    }
    result
}

pub(super) fn values(records: &[Record], metric: &Metric) -> Values {
    let noop = Profile::default().task(Workload::Noop, 0);
    let read = metrics_of(&noop)
        .into_iter()
        .find(|(m, _)| m.name == metric.name);
    let mut values = Values::new();
    let Some((_, read)) = read else { return values };
    for trial in tried(records).filter(|t| t.tainted.is_empty() && t.workload == noop.to_string()) {
        if let Some(value) = trial.measured.as_ref().and_then(&read) {
            let of = values.entry(trial.backend.clone()).or_default();
            of.insert(trial.block, value);
        }
    }
    values
}

/// What one more idle instance takes: configuration id → round → bytes.
fn memory(ladder: &Ladder, records: &[Record]) -> Values {
    let way_up = ladder.way_up().into_iter().map(|c| c.id());
    let slopes = |id: &str| {
        let rounds = balance::rounds(records, id).into_iter();
        rounds.filter_map(|(number, round)| Some((number.into(), balance::marginal(&round)?)))
    };
    way_up
        .map(|id| (id.clone(), slopes(&id).collect()))
        .collect()
}

/// In every block that has both: with − without.
fn differences(
    values: &Values,
    (with, without): (Mechanisms, Mechanisms),
) -> Option<BTreeMap<u64, f64>> {
    let with = values.get(&container(with).id())?;
    let without = values.get(&container(without).id())?;
    Some(
        with.iter()
            .filter_map(|(block, value)| Some((*block, value - without.get(block)?)))
            .collect(),
    )
}

fn difference(values: &Values, pair: (Mechanisms, Mechanisms)) -> Option<DifferenceResult> {
    centre(differences(values, pair)?, LEVEL)
}

/// Hodges–Lehmann with Wilcoxon's interval; the median without an interval where there are too few.
pub(super) fn centre(differences: BTreeMap<u64, f64>, level: f64) -> Option<DifferenceResult> {
    let sample = Sample::new(differences.into_values().collect::<Vec<_>>()).ok()?;
    let (difference, ci95) = match hodges_lehmann(&sample, level) {
        Ok((centre, interval)) => (centre, Some([interval.low, interval.high])),
        Err(_) => (quantile::median(&sample), None),
    };
    Some(DifferenceResult {
        difference,
        ci95,
        pairs: sample.n() as u64,
    })
}

/// What a mechanism costs more on the ladder than alone.
fn interaction(values: &Values, rung: &Rung, level: f64) -> Option<DifferenceResult> {
    if rung.added == rung.alone {
        return None;
    }
    let alone = differences(values, rung.alone)?;
    let added = differences(values, rung.added)?;
    let more = added
        .into_iter()
        .filter_map(|(block, value)| Some((block, value - alone.get(&block)?)));
    centre(more.collect(), level)
}

/// Resamples behind the interval of what is unexplained.
const RESAMPLES: usize = 1000;

/// All mechanisms together.
fn total(values: &Values, ladder: &Ladder) -> Option<TotalResult> {
    Some(TotalResult {
        metric: String::new(),
        together: centre(differences(values, (ladder.top, ladder.base))?, LEVEL)?,
        unexplained: unexplained(values, ladder),
    })
}

/// How much of all mechanisms together the sum of each alone leaves open.
///
/// It adds up many containers, each of which is delayed now and then: block by block these
/// delays pile up, and the centre of the sums is not the sum of the centres. It is therefore taken
/// from each container's own median, with a bootstrap over whole blocks for the interval.
fn unexplained(values: &Values, ladder: &Ladder) -> Option<DifferenceResult> {
    let mut parts: Vec<(f64, &BTreeMap<u64, f64>)> = Vec::new();
    let mut add = |sign: f64, (with, without): (Mechanisms, Mechanisms)| {
        parts.push((sign, values.get(&container(with).id())?));
        parts.push((-sign, values.get(&container(without).id())?));
        Some(())
    };
    add(1.0, (ladder.top, ladder.base))?;
    for rung in &ladder.rungs {
        add(-1.0, rung.alone)?;
    }
    let blocks: Vec<u64> = parts[0].1.keys().copied().collect();
    let whole = |block: &u64| -> Option<Vec<f64>> {
        parts.iter().map(|(_, of)| of.get(block).copied()).collect()
    };
    let rows: Vec<Vec<f64>> = blocks.iter().filter_map(whole).collect();
    let statistic = |drawn: &[usize]| {
        let mut column = vec![0.0; drawn.len()];
        let medians = parts.iter().enumerate().map(|(index, (sign, _))| {
            for (slot, &row) in column.iter_mut().zip(drawn) {
                *slot = rows[row][index];
            }
            sign * quantile::median_of(&mut column)
        });
        medians.sum::<f64>()
    };
    if rows.is_empty() {
        return None;
    }
    let all: Vec<usize> = (0..rows.len()).collect();
    let interval = bootstrap::percentile(rows.len(), statistic, LEVEL, RESAMPLES, 1).ok();
    Some(DifferenceResult {
        difference: statistic(&all),
        ci95: interval.map(|i| [i.low, i.high]),
        pairs: rows.len() as u64,
    })
}

/// Processor time that others spent for one launch, beyond what they spend for a launch of the base.
fn debts(ladder: &Ladder, records: &[Record]) -> Vec<DebtResult> {
    let mut others: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    let mut source = "";
    for record in records {
        if let Record::Burst(burst) = record
            && burst.failure.is_none()
            && burst.instances > 0
        {
            let per_launch = (burst.host.0 - burst.own.0) as f64 / f64::from(burst.instances);
            let of = others.entry(&burst.backend).or_default();
            of.insert(u64::from(burst.round), per_launch);
            source = &burst.source;
        }
    }
    let base = container(ladder.base).id();
    let Some(reference) = others.get(base.as_str()) else {
        return Vec::new();
    };
    ladder
        .bursts()
        .iter()
        .map(Configuration::id)
        .filter(|id| *id != base)
        .filter_map(|id| {
            let of = others.get(id.as_str())?;
            let more = of
                .iter()
                .filter_map(|(round, value)| Some((*round, value - reference.get(round)?)));
            Some(DebtResult {
                more: centre(more.collect(), LEVEL)?,
                backend: id,
                source: source.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::container::mechanism::Mechanism;

    /// Each mechanism costs its place in the order; `seccomp` costs 5 more beside `rootfs`.
    fn cost(mechanisms: Mechanisms) -> f64 {
        let own: f64 = mechanisms.iter().map(|m| f64::from(m as u8 + 1)).sum();
        let both = mechanisms.has(Mechanism::Seccomp) && mechanisms.has(Mechanism::Rootfs);
        100.0 + own + if both { 5.0 } else { 0.0 }
    }

    fn made(ladder: &Ladder) -> Values {
        let containers = ladder.configurations().into_iter().filter_map(|c| match c {
            Configuration::Container(options) => Some(options.mechanisms()),
            _ => None,
        });
        containers
            .map(|mechanisms| {
                let drift = |block: u64| (block % 7) as f64 * 1000.0;
                let blocks = (0..40).map(|block| (block, cost(mechanisms) + drift(block)));
                (container(mechanisms).id(), blocks.collect())
            })
            .collect()
    }

    #[test]
    fn drift_cancels_inside_blocks() {
        let ladder = Ladder::of(Mechanisms::of(Mechanism::ALL), true);
        let values = made(&ladder);
        for rung in &ladder.rungs {
            let found = difference(&values, rung.added).unwrap();
            let wanted = cost(rung.added.0) - cost(rung.added.1);
            assert!((found.difference - wanted).abs() < 1e-9, "{rung:?}");
            assert_eq!(found.ci95, Some([found.difference; 2]));
        }
    }

    #[test]
    fn what_does_not_add_up_is_found_and_named() {
        let ladder = Ladder::of(Mechanisms::of(Mechanism::ALL), true);
        let values = made(&ladder);
        for rung in &ladder.rungs {
            let Some(found) = interaction(&values, rung, LEVEL) else {
                assert_eq!(rung.added, rung.alone);
                continue;
            };
            let wanted = if rung.mechanism == Mechanism::Seccomp {
                5.0
            } else {
                0.0
            };
            assert!((found.difference - wanted).abs() < 1e-9, "{rung:?}");
        }
        let total = total(&values, &ladder).unwrap();
        assert!((total.unexplained.unwrap().difference - 5.0).abs() < 1e-9);
        let all = cost(ladder.top) - cost(ladder.base);
        assert!((total.together.difference - all).abs() < 1e-9);
    }

    #[test]
    fn a_container_that_did_not_run_leaves_its_rungs_empty() {
        let ladder = Ladder::of(Mechanisms::of([Mechanism::Pid, Mechanism::Net]), true);
        let mut values = made(&ladder);
        values.remove(&container(ladder.top).id());
        assert!(difference(&values, ladder.rungs[1].added).is_none());
        assert!(difference(&values, ladder.rungs[1].alone).is_some());
        assert!(total(&values, &ladder).is_none());
    }
}
