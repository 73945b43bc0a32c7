//! What a quantity is made of: the phases of a start, the accounts of an instance's memory. A
//! comparison looks among them for what explains a change.

use super::balance;
use super::summary::paired;
use crate::metric::{MARGINAL, Metric, READY, REPLY, STARTUP, TEARDOWN, TOTAL};
use crate::stats::Sample;
use crate::stats::batch::batch_medians;
use crate::store::record::{Measured, PhaseRecord, Record, TrialRecord};

/// A part of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The phase, or the account.
    pub name: String,
    /// Batch medians of its share of the reference's quantity in the same block; of memory, which
    /// has no reference, of its bytes.
    pub batches: Sample,
}

/// The parts of one trial's metric, in the order they happen. They add up to the metric.
pub(super) fn of_trial(metric: &Metric, m: &Measured) -> Vec<(String, f64)> {
    let after = |until: i64| ("after the first instruction".to_owned(), until as f64);
    let start = || {
        let mut parts = sums(&m.phases);
        parts.push(("unaccounted".to_owned(), m.unaccounted.0 as f64));
        parts
    };
    let with = |last| {
        let mut parts = start();
        parts.push(last);
        parts
    };
    match metric.name {
        name if name == STARTUP.name => start(),
        name if name == READY.name => with(after(m.t2.0 - m.t1.0)),
        name if name == TOTAL.name => with(after(m.t4.0 - m.t1.0)),
        name if name == REPLY.name => with(after(m.reply.map_or(0, |r| r.0 - m.t1.0))),
        name if name == TEARDOWN.name => {
            let mut parts = sums(&m.teardown);
            let named: f64 = parts.iter().map(|(_, ns)| ns).sum();
            let rest = (m.t5.0 - m.t4.0) as f64 - named;
            parts.push(("unaccounted".to_owned(), rest));
            parts
        }
        _ => Vec::new(),
    }
}

/// Phases by name; one that occurs twice counts as the sum.
fn sums(phases: &[PhaseRecord]) -> Vec<(String, f64)> {
    let mut parts: Vec<(String, f64)> = Vec::new();
    for phase in phases {
        match parts.iter_mut().find(|(name, _)| *name == phase.name) {
            Some((_, sum)) => *sum += phase.ns.0 as f64,
            None => parts.push((phase.name.clone(), phase.ns.0 as f64)),
        }
    }
    parts
}

/// The parts of a metric of trials. `reference` are the blocks' reference values.
#[must_use]
pub(super) fn of_trials(
    metric: &Metric,
    trials: &[&TrialRecord],
    reference: &[(u64, f64)],
) -> Vec<Part> {
    let quiet = trials.iter().filter(|t| t.tainted.is_empty());
    let split = quiet.filter_map(|t| Some((t.block, of_trial(metric, t.measured.as_ref()?))));
    collect(split, reference)
}

/// The accounts that the memory of one more instance goes into.
#[must_use]
pub(super) fn of_memory(metric: &Metric, records: &[Record], id: &str) -> Vec<Part> {
    if metric.name != MARGINAL.name {
        return Vec::new();
    }
    let rounds = balance::rounds(records, id);
    let one: Vec<(u64, f64)> = rounds
        .keys()
        .map(|round| (u64::from(*round), 1.0))
        .collect();
    let split = rounds.iter().map(|(round, steps)| {
        let accounts = balance::accounts(steps).into_iter();
        let parts = accounts.map(|(name, bytes)| (name.to_owned(), bytes));
        (u64::from(*round), parts.collect::<Vec<_>>())
    });
    collect(split, &one)
}

/// Turns blocks into parts: each name's values over the reference of the same block. A block
/// without a phase of some name spent nothing in it.
fn collect(
    blocks: impl Iterator<Item = (u64, Vec<(String, f64)>)>,
    reference: &[(u64, f64)],
) -> Vec<Part> {
    let blocks: Vec<(u64, Vec<(String, f64)>)> = blocks.collect();
    let mut names: Vec<&str> = Vec::new();
    for (_, parts) in &blocks {
        for (name, _) in parts {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let reference = reference.to_vec();
    let of_name = |name: &str| {
        let values: Vec<(u64, f64)> = blocks
            .iter()
            .map(|(block, parts)| {
                let found = parts.iter().find(|(n, _)| n == name);
                (*block, found.map_or(0.0, |(_, value)| *value))
            })
            .collect();
        let shares: Vec<f64> = paired(&reference, &values)
            .into_iter()
            .map(|(reference, value)| value / reference)
            .collect();
        Some(Part {
            name: name.to_owned(),
            batches: batch_medians(&shares).ok()?,
        })
    };
    names.into_iter().filter_map(of_name).collect()
}
