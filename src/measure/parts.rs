//! What a quantity is made of: the phases of a start, the accounts of an instance's memory. A
//! comparison looks among them for what explains a change.

use super::balance;
use crate::metric::{MARGINAL, Metric, READY, REPLY, STARTUP, TEARDOWN, TOTAL};
use crate::stats::Sample;
use crate::stats::batch::batch_medians;
use crate::store::record::{Measured, PhaseRecord, Record};

/// A part of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The phase, or the account.
    pub name: String,
    /// Batch medians of its share of the reference's quantity in the same block; of memory, which
    /// has no reference, of its bytes.
    pub batches: Sample,
}

/// Calls `each` with the parts of one trial's metric, in the order they happen; a name may come twice
/// and counts as the sum. They add up to the metric.
fn of_trial(metric: &Metric, m: &Measured, each: &mut dyn FnMut(&str, f64)) {
    const AFTER: &str = "after the first instruction";
    let mut phases = |phases: &[PhaseRecord], rest: i64| {
        for phase in phases {
            each(&phase.name, phase.ns.0 as f64);
        }
        each("unaccounted", rest as f64);
    };
    match metric.name {
        name if name == STARTUP.name => phases(&m.phases, m.unaccounted.0),
        name if name == READY.name => {
            phases(&m.phases, m.unaccounted.0);
            each(AFTER, (m.t2.0 - m.t1.0) as f64);
        }
        name if name == TOTAL.name => {
            phases(&m.phases, m.unaccounted.0);
            each(AFTER, (m.t4.0 - m.t1.0) as f64);
        }
        name if name == REPLY.name => {
            phases(&m.phases, m.unaccounted.0);
            each(AFTER, m.reply.map_or(0, |r| r.0 - m.t1.0) as f64);
        }
        name if name == TEARDOWN.name => {
            let named: i64 = m.teardown.iter().map(|phase| phase.ns.0).sum();
            phases(&m.teardown, m.t5.0 - m.t4.0 - named);
        }
        _ => {}
    }
}

/// Amounts by name, a column each, a row for each of a number of trials or rounds. What a row does
/// not name is 0 there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Columns {
    rows: usize,
    /// In the order in which names first came.
    columns: Vec<(String, Vec<f64>)>,
}

impl Columns {
    /// Adds the parts of a trial's metric.
    pub(super) fn add(&mut self, metric: &Metric, measured: &Measured) {
        self.row(|each| of_trial(metric, measured, each));
    }

    /// Adds a row: `fill` names its amounts.
    fn row(&mut self, fill: impl FnOnce(&mut dyn FnMut(&str, f64))) {
        let (row, columns) = (self.rows, &mut self.columns);
        self.rows += 1;
        // Names mostly come in the order in which they came before.
        let mut next = 0;
        fill(&mut |name: &str, amount: f64| {
            let here = |(known, _): &(String, Vec<f64>)| known == name;
            let index = match columns.get(next) {
                Some(column) if here(column) => next,
                _ => columns.iter().position(here).unwrap_or_else(|| {
                    columns.push((name.to_owned(), Vec::new()));
                    columns.len() - 1
                }),
            };
            next = index + 1;
            let column = &mut columns[index].1;
            column.resize(row + 1, 0.0);
            column[row] += amount;
        });
    }

    /// The names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The amounts by this name, row by row.
    pub(super) fn amounts(&self, name: &str) -> impl Iterator<Item = f64> {
        let column = self.columns.iter().find(|(known, _)| *known == name);
        let column = column.map_or(&[][..], |(_, column)| column.as_slice());
        (0..self.rows).map(move |row| column.get(row).copied().unwrap_or(0.0))
    }

    /// The sums of the rows.
    pub(super) fn sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.rows];
        for (_, column) in &self.columns {
            for (sum, amount) in sums.iter_mut().zip(column) {
                *sum += amount;
            }
        }
        sums
    }

    /// The parts: each column's amounts over its rows' references; rows without one are left out.
    pub(super) fn parts(&self, references: &[Option<f64>]) -> Vec<Part> {
        let of_name = |name: &str| {
            let shares: Vec<f64> = self
                .amounts(name)
                .zip(references)
                .filter_map(|(amount, reference)| Some(amount / (*reference)?))
                .collect();
            Some(Part {
                name: name.to_owned(),
                batches: batch_medians(&shares).ok()?,
            })
        };
        self.names().filter_map(of_name).collect()
    }
}

/// The accounts that the memory of one more instance goes into.
#[must_use]
pub(super) fn of_memory(metric: &Metric, records: &[Record], id: &str) -> Vec<Part> {
    if metric.name != MARGINAL.name {
        return Vec::new();
    }
    let mut columns = Columns::default();
    for steps in balance::rounds(records, id).values() {
        columns.row(|each| {
            for (name, bytes) in balance::accounts(steps) {
                each(name, bytes);
            }
        });
    }
    columns.parts(&vec![Some(1.0); columns.rows])
}
