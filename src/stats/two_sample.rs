//! Two independent samples: how far does the second lie from the first, and is that chance?
//!
//! Blocks of one run are paired with each other, blocks of two runs are not: what two runs are
//! compared by is one log-ratio per block, and each run's are a sample of their own.

use super::distribution::normal_cdf;
use super::error::{StatsError, check_open_unit};
use super::hodges_lehmann::{from_key, key};
use super::interval::Interval;
use super::rank;
use super::sample::Sample;

/// Up to this many pairs of values (50 against 50) null distributions are exact.
pub const EXACT_PAIRS: usize = 2_500;

/// Most values of one sample; counting is linear, so this only guards the rank's range.
const MOST_VALUES: usize = 10_000_000;

/// The two-sample Hodges–Lehmann shift of `head` against `base`, with its interval.
///
/// `median (yⱼ − xᵢ)` over all pairs; the interval runs from the `r`-th smallest to the `r`-th
/// largest difference, with the largest `r` for which the Mann–Whitney `U` has
/// `P(U ≤ r−1) ≤ α/2`: exactly up to [`EXACT_PAIRS`] pairs, then by the normal approximation with
/// mean `mn/2` and variance `mn(m+n+1)/12`. It assumes that the two samples differ by a shift
/// only; ties raise the coverage. Sources: Hodges & Lehmann (1963); Moses' interval in Hollander,
/// Wolfe & Chicken (2014), *Nonparametric Statistical Methods*, §4.2–4.3.
///
/// The differences are never stored: an order statistic is found by bisection over the
/// floating-point numbers with a count in linear time, exactly.
///
/// # Errors
/// [`StatsError::TooFew`] where even the extremes do not reach the level (fewer than 4 against 4
/// at 95 %), [`StatsError::TooMany`] beyond 10⁷ values, [`StatsError::Parameter`] for a level that
/// is not strictly between 0 and 1.
pub fn shift(base: &Sample, head: &Sample, level: f64) -> Result<(f64, Interval), StatsError> {
    check_open_unit("level", level)?;
    let (m, n) = (base.n(), head.n());
    if m.max(n) > MOST_VALUES {
        return Err(StatsError::TooMany {
            have: m.max(n),
            most: MOST_VALUES,
        });
    }
    let pairs = m as u64 * n as u64;
    let ranks = if m * n <= EXACT_PAIRS {
        rank::exact(&rank::mann_whitney(m, n), level)
    } else {
        let (a, b) = (m as f64, n as f64);
        let variance = a * b * (a + b + 1.0) / 12.0;
        rank::approximate(a * b / 2.0, variance.sqrt(), level)
    };
    let Some(ranks) = ranks else {
        return Err(StatsError::TooFew {
            have: m.min(n),
            need: needed(1.0 - level),
        });
    };
    let at = |rank| difference(base.sorted(), head.sorted(), rank);
    let (lower, upper) = (pairs.div_ceil(2), pairs / 2 + 1);
    let interval = Interval {
        low: at(ranks.rank),
        high: at(pairs + 1 - ranks.rank),
        coverage: ranks.coverage,
    };
    Ok((at(lower).midpoint(at(upper)), interval))
}

/// The rank-sum test: two-sided probability of a difference in rank at least this large if it does
/// not matter which values belong to which sample.
///
/// The pooled values are replaced by their ranks (ties share their mean rank). `W` is the sum of
/// `head`'s, and `p` twice the smaller of `P(W' ≤ W)` and `P(W' ≥ W)`, at most 1, where `W'` runs
/// over every way of dealing the same ranks into samples of these sizes: the permutation
/// distribution itself, ties included, by the shift algorithm up to [`EXACT_PAIRS`] pairs. Beyond
/// that its normal limit with the tied variance `mn/12·(N + 1 − Σ(t³ − t)/(N(N−1)))` and a
/// continuity correction. Nothing is drawn by chance, so `p` has no floor but the data's own.
/// Sources: Wilcoxon (1945); Mann & Whitney (1947); Streitberg & Röhmel (1986), *Exact
/// Distributions for Permutation and Rank Tests*; Lehmann (1975), *Nonparametrics*, §1.4 for ties.
///
/// # Errors
/// [`StatsError::TooMany`] beyond 10⁷ values of one sample.
pub fn rank_sum(base: &Sample, head: &Sample) -> Result<f64, StatsError> {
    let (m, n) = (base.n(), head.n());
    if m.max(n) > MOST_VALUES {
        return Err(StatsError::TooMany {
            have: m.max(n),
            most: MOST_VALUES,
        });
    }
    let Ranked { doubled, sum, ties } = pooled(base, head);
    if m * n <= EXACT_PAIRS {
        return Ok(exact_p(&doubled, n, sum));
    }
    let (a, b) = (m as f64, n as f64);
    let total = a + b;
    let variance = a * b / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return Ok(1.0);
    }
    let distance = (sum as f64 / 2.0 - b * (total + 1.0) / 2.0).abs() - 0.5;
    Ok((2.0 * normal_cdf(-distance / variance.sqrt())).min(1.0))
}

/// Fewest blocks on each side with which [`rank_sum`] can fall below `alpha`:
/// the smallest `k` with `2/C(2k, k) < alpha`. For a family of `f` tests after Holm's correction,
/// pass `alpha/f`.
#[must_use]
pub fn needed(alpha: f64) -> usize {
    let (mut k, mut smallest) = (1_usize, 1.0_f64);
    // C(2k+2, k+1) = C(2k, k)·2(2k+1)/(k+1); 600 steps reach the smallest positive number.
    while smallest >= alpha && k < 600 {
        smallest *= (k + 1) as f64 / (2.0 * (2 * k + 1) as f64);
        k += 1;
    }
    k
}

/// Pooled values as ranks, doubled so that mean ranks are whole.
struct Ranked {
    /// Doubled ranks in ascending order.
    doubled: Vec<u64>,
    /// Sum of `head`'s.
    sum: u64,
    /// `Σ(t³ − t)` over groups of tied values.
    ties: f64,
}

fn pooled(base: &Sample, head: &Sample) -> Ranked {
    let mut all: Vec<(f64, bool)> = base.sorted().iter().map(|v| (*v, false)).collect();
    all.extend(head.sorted().iter().map(|v| (*v, true)));
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranked = Ranked {
        doubled: Vec::with_capacity(all.len()),
        sum: 0,
        ties: 0.0,
    };
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as u64;
        let rank = 2 * ranked.doubled.len() as u64 + size + 1;
        ranked.sum += rank * group.iter().filter(|(_, is_head)| *is_head).count() as u64;
        ranked
            .doubled
            .resize(ranked.doubled.len() + group.len(), rank);
        let t = size as f64;
        ranked.ties += t * t * t - t;
    }
    ranked
}

/// Twice the smaller tail of the sum of `k` of these ascending scores at `sum`, at most 1.
///
/// `ways[j]` counts the choices of `j` scores by their sum, stored from the smallest sum of `j`
/// scores on: then adding the score `s` moves a choice of `j − 1` by `s` minus the `j`-th smallest
/// score. Counts reach C(100, 50) ≈ 10²⁹, which `f64` adds with a relative error of 10⁻¹⁴ at most.
fn exact_p(scores: &[u64], k: usize, sum: u64) -> f64 {
    let mut ways: Vec<Vec<f64>> = vec![Vec::new(); k + 1];
    ways[0] = vec![1.0];
    for (taken, &score) in scores.iter().enumerate() {
        for j in (1..=k.min(taken + 1)).rev() {
            let offset = usize::try_from(score - scores[j - 1]).unwrap_or(usize::MAX);
            let (fewer, more) = ways.split_at_mut(j);
            let (from, to) = (&fewer[j - 1], &mut more[0]);
            to.resize(to.len().max(from.len() + offset), 0.0);
            for (slot, count) in to[offset..].iter_mut().zip(from) {
                *slot += count;
            }
        }
    }
    let least: u64 = scores[..k].iter().sum();
    let at = usize::try_from(sum.saturating_sub(least)).unwrap_or(usize::MAX);
    let counts = &ways[k];
    let all: f64 = counts.iter().sum();
    let at = at.min(counts.len() - 1);
    let (below, above): (f64, f64) = (counts[..=at].iter().sum(), counts[at..].iter().sum());
    (2.0 * below.min(above) / all).min(1.0)
}

/// The `rank`-th smallest (from 1) difference `y − x` of ascending values.
fn difference(x: &[f64], y: &[f64], rank: u64) -> f64 {
    let (mut low, mut high) = (key(y[0] - x[x.len() - 1]), key(y[y.len() - 1] - x[0]));
    while low < high {
        let middle = low.midpoint(high);
        if differences_up_to(x, y, from_key(middle)) >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    from_key(low)
}

/// How many pairs have `y − x ≤ limit`. Rounding keeps the difference monotone in both values, so
/// the first such `x` only rises with `y`.
fn differences_up_to(x: &[f64], y: &[f64], limit: f64) -> u64 {
    let (mut count, mut first) = (0, 0);
    for yj in y {
        while first < x.len() && yj - x[first] > limit {
            first += 1;
        }
        if first == x.len() {
            break;
        }
        count += (x.len() - first) as u64;
    }
    count
}

#[cfg(test)]
#[path = "two_sample_tests.rs"]
mod tests;
