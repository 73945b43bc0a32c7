//! From what is compared to a baseline file and back.

use super::compare::Comparable;
use super::parts::Part;
use super::series::{Key, Quantity, defaults};
use crate::metric::CATALOGUE;
use crate::stats::Sample;
use crate::store::baseline::{Baseline, BaselinePart, BaselineQuantity, SCHEMA};

/// Digits of a part's share: phases are read to a ten-thousandth, verdicts do not rest on them.
const DIGITS: i32 = 6;

impl From<&Comparable> for Baseline {
    fn from(of: &Comparable) -> Self {
        let mut run = of.run.clone();
        // None of these is compared.
        (run.isolation, run.boundary, run.ladder) = (Vec::new(), Vec::new(), None);
        Self {
            schema: SCHEMA.to_owned(),
            run,
            quantities: of.quantities.iter().map(BaselineQuantity::from).collect(),
        }
    }
}

impl From<&Quantity> for BaselineQuantity {
    fn from(q: &Quantity) -> Self {
        let values = |sample: &Sample| sample.values().to_vec();
        Self {
            backend: q.key.backend.clone(),
            workload: q.key.workload.clone(),
            metric: q.key.metric.to_owned(),
            blocks: q.blocks,
            trials: q.trials,
            failed: q.failed,
            reference: q.reference,
            batches: q.batches.as_ref().map(values).unwrap_or_default(),
            parts: q
                .parts
                .iter()
                .map(|part| BaselinePart {
                    name: part.name.clone(),
                    batches: part.batches.values().iter().map(|v| rounded(*v)).collect(),
                })
                .collect(),
        }
    }
}

/// To [`DIGITS`] significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return value;
    }
    let text = format!("{value:.*e}", DIGITS.unsigned_abs() as usize - 1);
    // What was a number is read as one.
    text.parse().unwrap_or(value)
}

impl From<Baseline> for Comparable {
    /// What a checked baseline holds. A metric that this program compares in another way than the
    /// one that wrote it did would have another schema.
    fn from(baseline: Baseline) -> Self {
        let notes = super::stored::injected(&baseline.run).into_iter().collect();
        let quantities = baseline.quantities.into_iter().filter_map(quantity);
        Self {
            quantities: quantities.collect(),
            run: baseline.run,
            notes,
        }
    }
}

/// Nothing of a metric or task that reading has not let through.
fn quantity(q: BaselineQuantity) -> Option<Quantity> {
    let metric = CATALOGUE.iter().find(|known| known.name == q.metric)?;
    let (threshold, relative) = defaults(&q.workload, metric)?;
    let part = |part: BaselinePart| {
        Some(Part {
            name: part.name,
            batches: Sample::new(part.batches).ok()?,
        })
    };
    Some(Quantity {
        key: Key {
            backend: q.backend,
            workload: q.workload,
            metric: metric.name,
        },
        metric: *metric,
        threshold,
        relative,
        blocks: q.blocks,
        trials: q.trials,
        failed: q.failed,
        reference: q.reference,
        batches: Sample::new(q.batches).ok(),
        parts: q.parts.into_iter().filter_map(part).collect(),
    })
}
