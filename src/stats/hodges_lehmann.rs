//! The Hodges–Lehmann estimate: the median of all pairwise averages.

use super::error::{StatsError, check_open_unit};
use super::interval::Interval;
use super::quantile::quantile_ci_min_n;
use super::rank;
use super::sample::Sample;

/// Up to this many values the Wilcoxon interval uses the exact null distribution.
const EXACT_VALUES: usize = 200;

/// Most values [`hodges_lehmann`] takes; counting is linear, so this only guards the rank's range.
const MOST_VALUES: usize = 10_000_000;

/// The Hodges–Lehmann estimate of the centre with its Wilcoxon interval.
///
/// `median (xᵢ + xⱼ)/2` over all `i ≤ j` (the Walsh averages); the interval runs from the `r`-th
/// smallest to the `r`-th largest of them, with the largest `r` for which Wilcoxon's `T⁺` has
/// `P(T⁺ ≤ r−1) ≤ α/2`: exactly up to 200 values, then by the normal approximation with mean
/// `n(n+1)/4` and variance `n(n+1)(2n+1)/24`. It assumes that the values scatter symmetrically,
/// which `ln(b/a)` of exchangeable pairs does. Source: Hodges & Lehmann (1963); Hollander, Wolfe &
/// Chicken (2014), §3.2–3.3.
///
/// The averages are never stored: an order statistic is found by bisection over the floating-point
/// numbers with a count in linear time, exactly.
///
/// # Errors
/// [`StatsError::TooFew`] below 6 values at 95 %, [`StatsError::TooMany`] beyond 10⁷,
/// [`StatsError::Parameter`] for a level that is not strictly between 0 and 1.
pub fn hodges_lehmann(sample: &Sample, level: f64) -> Result<(f64, Interval), StatsError> {
    check_open_unit("level", level)?;
    let n = sample.n();
    if n > MOST_VALUES {
        return Err(StatsError::TooMany {
            have: n,
            most: MOST_VALUES,
        });
    }
    let ranks = if n <= EXACT_VALUES {
        rank::exact(&rank::signed_rank(n), level)
    } else {
        let m = n as f64;
        let variance = m * (m + 1.0) * (2.0 * m + 1.0) / 24.0;
        rank::approximate(m * (m + 1.0) / 4.0, variance.sqrt(), level)
    };
    let Some(ranks) = ranks else {
        // The widest interval misses with probability 2·2⁻ⁿ, as the median's does.
        return Err(StatsError::TooFew {
            have: n,
            need: quantile_ci_min_n(0.5, level)?,
        });
    };
    let x = sample.sorted();
    let averages = n as u64 * (n as u64 + 1) / 2;
    let interval = Interval {
        low: walsh(x, ranks.rank),
        high: walsh(x, averages + 1 - ranks.rank),
        coverage: ranks.coverage,
    };
    let (lower, upper) = (averages.div_ceil(2), averages / 2 + 1);
    let estimate = walsh(x, lower).midpoint(walsh(x, upper));
    Ok((estimate, interval))
}

/// The `rank`-th smallest (from 1) Walsh average of ascending values.
fn walsh(x: &[f64], rank: u64) -> f64 {
    // Keys order as the numbers do, so bisecting keys visits every float and ends on the average.
    let (mut low, mut high) = (key(x[0]), key(x[x.len() - 1]));
    while low < high {
        let middle = low.midpoint(high);
        if averages_up_to(x, from_key(middle)) >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    from_key(low)
}

/// How many pairs `i ≤ j` have `(xᵢ + xⱼ)/2 ≤ limit`. Rounding keeps the midpoint monotone in both
/// values, so the last such `j` only falls as `i` grows.
fn averages_up_to(x: &[f64], limit: f64) -> u64 {
    let (mut count, mut end) = (0, x.len());
    for (i, xi) in x.iter().enumerate() {
        while end > i && xi.midpoint(x[end - 1]) > limit {
            end -= 1;
        }
        if end <= i {
            break;
        }
        count += (end - i) as u64;
    }
    count
}

/// A key that orders as `f64::total_cmp` does.
pub(super) fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The number behind a key.
pub(super) fn from_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    /// Every Walsh average, sorted: the definition, without the counting.
    fn all_averages(x: &[f64]) -> Vec<f64> {
        let mut all: Vec<f64> = (0..x.len())
            .flat_map(|i| (i..x.len()).map(move |j| x[i].midpoint(x[j])))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    }

    #[test]
    fn agrees_with_numpy_and_scipy() {
        for case in reference::cases("hodges_lehmann") {
            let s = Sample::new(case.numbers("values")).unwrap();
            let (estimate, interval) = hodges_lehmann(&s, case.number("level")).unwrap();
            case.agrees("estimate", estimate);
            case.agrees("low", interval.low);
            case.agrees("high", interval.high);
            case.agrees("coverage", interval.coverage);
        }
    }

    #[test]
    fn edges() {
        let (estimate, i) = hodges_lehmann(&Sample::new([1e300; 8]).unwrap(), 0.95).unwrap();
        assert_eq!((estimate, i.low, i.high), (1e300, 1e300, 1e300));
        for n in 1..=5 {
            let refused = hodges_lehmann(&Sample::new(vec![1.0; n]).unwrap(), 0.95);
            assert_eq!(refused, Err(StatsError::TooFew { have: n, need: 6 }));
        }
        assert!(hodges_lehmann(&Sample::new([1.0; 8]).unwrap(), 0.0).is_err());
    }

    #[test]
    fn ten_thousand_values_need_no_table() {
        let n = 10_000;
        let s = Sample::new((0..n).map(f64::from).collect::<Vec<_>>()).unwrap();
        let (estimate, interval) = hodges_lehmann(&s, 0.95).unwrap();
        assert_eq!(estimate, f64::from(n - 1) / 2.0);
        assert!(interval.contains(estimate) && interval.half_width() < 100.0);
    }

    proptest! {
        #[test]
        fn counting_finds_what_sorting_finds(
            values in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (-3..3_i32).prop_map(f64::from), -1e300..1e300_f64], 1..25),
        ) {
            let s = Sample::new(values).unwrap();
            for (i, want) in all_averages(s.sorted()).into_iter().enumerate() {
                prop_assert_eq!(walsh(s.sorted(), i as u64 + 1), want);
            }
        }
    }
}
