//! The gate's rule, from pairs to words: what decides whether a metric changed.

use crate::metric::{Better, Metric};
use crate::stats::verdict::{self, Direction, Evidence, Policy};
use crate::stats::{StatsError, Verdict, holm, paired, permutation, power};

/// Level of the interval that the evidence carries.
pub(in crate::measure) const LEVEL: f64 = 0.95;
/// Power at which "could have been seen" is meant.
pub(in crate::measure) const POWER: f64 = 0.9;
/// Times as many random sign assignments as the smallest p needs: with fewer, the p-value's own
/// chance error would decide comparisons near the limit.
pub(in crate::measure) const FINER: usize = 10;

/// Pairs of one metric: (reference, candidate).
pub type MetricPairs = (Metric, Vec<(f64, f64)>);

/// What is known about one metric of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The metric.
    pub metric: Metric,
    /// Effect, corrected p, what could have been seen.
    pub evidence: Evidence,
}

/// The evidence of one comparison: for each metric the Hodges–Lehmann ratio and the signed-rank
/// permutation test, corrected by Holm over all metrics of the comparison.
///
/// # Errors
/// A value that is not positive, or too few pairs for an interval.
pub fn evidence(family: &[MetricPairs], seed: u64) -> Result<Vec<Judged>, StatsError> {
    let alpha = Policy::default().alpha;
    let resamples = FINER * permutation::resamples_for(family.len(), alpha)?;
    let p_values = family
        .iter()
        .map(|(_, pairs)| Ok(permutation::paired_ranks(pairs, resamples, seed)?.p))
        .collect::<Result<Vec<f64>, StatsError>>()?;
    let corrected = holm::holm(&p_values)?;
    // The first test of a family faces the strictest level.
    let strictest = alpha / family.len().max(1) as f64;
    family
        .iter()
        .zip(corrected)
        .map(|((metric, pairs), p)| {
            let ratio = paired::hodges_lehmann_ratio(pairs, LEVEL)?;
            let detectable = power::detectable_from(&ratio, strictest, POWER)?.relative;
            Ok(Judged {
                metric: *metric,
                evidence: Evidence {
                    ratio,
                    p,
                    detectable,
                    tainted: 0,
                    trials: 2 * pairs.len(),
                },
            })
        })
        .collect()
}

impl Judged {
    /// The word at a threshold, everything else by the default policy.
    ///
    /// # Errors
    /// As [`verdict::judge`].
    pub fn word(&self, threshold: f64) -> Result<Verdict, StatsError> {
        let policy = Policy {
            threshold,
            ..Policy::default()
        };
        verdict::judge(&self.evidence, direction(self.metric.better), &policy)
    }
}

/// A metric's direction, as the statistics have it.
pub(in crate::measure) const fn direction(better: Better) -> Direction {
    match better {
        Better::Lower => Direction::LowerIsBetter,
        Better::Higher => Direction::HigherIsBetter,
    }
}
