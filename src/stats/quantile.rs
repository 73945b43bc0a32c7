//! Quantiles, their exact intervals, and the spread around the median.

use super::distribution::{binomial_cdf, bisect};
use super::error::{StatsError, check_open_unit};
use super::interval::Interval;
use super::sample::Sample;

/// Slack for comparing a computed probability with a level, so that a level that an interval
/// attains exactly is not missed by one rounding.
pub(super) const LEVEL_SLACK: f64 = 1e-12;

/// The `p`-quantile, type 7 of Hyndman & Fan.
///
/// With `h = (n−1)·p`: `x₍⌊h⌋+1₎ + (h − ⌊h⌋)·(x₍⌊h⌋+2₎ − x₍⌊h⌋+1₎)`.
/// Source: Hyndman & Fan (1996), *Sample Quantiles in Statistical Packages*, definition 7; the
/// default of R and numpy, so that others can check the numbers.
///
/// # Errors
/// [`StatsError::Parameter`] unless `0 ≤ p ≤ 1`.
pub fn quantile(sample: &Sample, p: f64) -> Result<f64, StatsError> {
    if !(0.0..=1.0).contains(&p) {
        return Err(StatsError::Parameter {
            name: "quantile",
            value: p,
            range: "[0, 1]",
        });
    }
    Ok(interpolate(sample, p))
}

/// Type 7 for a `p` known to lie in `[0, 1]`.
pub(super) fn interpolate(sample: &Sample, p: f64) -> f64 {
    let h = (sample.n() - 1) as f64 * p;
    let below = h.floor();
    let share = h - below;
    let low = sample.order(below as usize + 1);
    let high = sample.order(below as usize + 2);
    // As a sum of shares, because `high − low` may lose digits; clamped against its rounding.
    (low * (1.0 - share) + high * share).clamp(low, high)
}

/// The median: the 0.5-quantile of [`quantile`], which is the usual one.
#[must_use]
pub fn median(sample: &Sample) -> f64 {
    interpolate(sample, 0.5)
}

/// The 0.99-quantile of [`quantile`].
#[must_use]
pub fn p99(sample: &Sample) -> f64 {
    interpolate(sample, 0.99)
}

/// The smallest value.
#[must_use]
pub fn min(sample: &Sample) -> f64 {
    sample.min()
}

/// Median absolute deviation `median |xᵢ − median x|`, not scaled.
///
/// Times 1.4826 it estimates the standard deviation of normal data. Source: Hampel (1974), *The
/// Influence Curve and its Role in Robust Estimation*.
#[must_use]
pub fn mad(sample: &Sample) -> f64 {
    let centre = median(sample);
    let mut distances: Vec<f64> = sample.values().iter().map(|x| (x - centre).abs()).collect();
    median_of(&mut distances)
}

/// The median of values known to be finite; reorders them. NaN for none.
pub(crate) fn median_of(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    let odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower * 0.5 + upper * 0.5
}

/// The exact, distribution-free interval for the `p`-quantile between two order statistics.
///
/// The number of values below the true quantile is binomial(n, p), so `[x₍ⱼ₎, x₍ₖ₎]` covers it
/// with probability `P(j ≤ B ≤ k−1)`. The tails are kept equal: `j` is the largest rank with
/// `P(B ≤ j−1) ≤ α/2` and `k` the smallest with `P(B ≥ k) ≤ α/2`, for `α = 1 − level`. Ties only
/// raise the coverage. Source: Conover (1999), *Practical Nonparametric Statistics*, §3.2; David
/// & Nagaraja (2003), *Order Statistics*, §7.1.
///
/// # Errors
/// [`StatsError::Parameter`] unless `p` and `level` lie strictly between 0 and 1;
/// [`StatsError::TooFew`] where even the extremes do not reach the level.
pub fn quantile_ci(sample: &Sample, p: f64, level: f64) -> Result<Interval, StatsError> {
    check_open_unit("quantile", p)?;
    check_open_unit("level", level)?;
    let n = sample.n();
    let tail = (1.0 - level) / 2.0 + LEVEL_SLACK;
    // P(B ≤ j−1) grows with j; the smallest count whose tail is too heavy is the rank wanted.
    let low_rank = first_count(n, |count| binomial_cdf(count, n, p) > tail);
    // P(B ≥ k) = P(n − B ≤ n − k): the same search from the other end.
    let high_rank = n + 1 - first_count(n, |count| binomial_cdf(count, n, 1.0 - p) > tail);
    if low_rank == 0 || high_rank > n {
        return Err(StatsError::TooFew {
            have: n,
            need: quantile_ci_min_n(p, level)?,
        });
    }
    let coverage = 1.0 - binomial_cdf(low_rank - 1, n, p) - binomial_cdf(n - high_rank, n, 1.0 - p);
    Ok(Interval {
        low: sample.order(low_rank),
        high: sample.order(high_rank),
        coverage,
    })
}

/// The smallest count in `0..=n` for which `heavy`, false first and true later, holds.
fn first_count(n: usize, heavy: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low.midpoint(high);
        if heavy(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The fewest values for which [`quantile_ci`] can attain `level`.
///
/// The smallest `n` with `(1−p)ⁿ ≤ α/2` and `pⁿ ≤ α/2`, because the widest interval runs from the
/// smallest to the largest value. 6 for the median at 95 %.
///
/// # Errors
/// [`StatsError::Parameter`] unless `p` and `level` lie strictly between 0 and 1.
pub fn quantile_ci_min_n(p: f64, level: f64) -> Result<usize, StatsError> {
    check_open_unit("quantile", p)?;
    check_open_unit("level", level)?;
    let tail = (1.0 - level) / 2.0 + LEVEL_SLACK;
    let heavier = p.max(1.0 - p);
    let n = bisect(0.0, 1e18, |n| n * heavier.ln() <= tail.ln());
    // The bisection ends within one rounding above the real solution.
    Ok((n - 1e-9).ceil().max(1.0) as usize)
}

/// [`quantile_ci`] for the median; `None` where there are too few values for the level (fewer
/// than 6 at 95 %) or the level is not one.
#[must_use]
pub fn median_ci(sample: &Sample, level: f64) -> Option<Interval> {
    quantile_ci(sample, 0.5, level).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values).unwrap()
    }

    #[test]
    fn agrees_with_numpy_and_scipy() {
        for case in reference::cases("quantile") {
            let s = sample(&case.numbers("values"));
            case.agrees("quantile", quantile(&s, case.number("p")).unwrap());
            case.agrees("mad", mad(&s));
        }
        for case in reference::cases("quantile_ci") {
            let s = sample(&case.numbers("values"));
            let got = quantile_ci(&s, case.number("p"), case.number("level"));
            if case.is_null("low") {
                assert!(matches!(got, Err(StatsError::TooFew { .. })));
            } else {
                let got = got.unwrap();
                case.agrees("low", got.low);
                case.agrees("high", got.high);
                case.agrees("coverage", got.coverage);
            }
        }
    }

    #[test]
    fn small_samples_say_so() {
        for n in 1..=5 {
            let s = sample(&vec![1.0; n]);
            assert_eq!(median_ci(&s, 0.95), None);
            let refused = quantile_ci(&s, 0.5, 0.95);
            assert_eq!(refused, Err(StatsError::TooFew { have: n, need: 6 }));
        }
        let six = median_ci(&sample(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), 0.95).unwrap();
        assert_eq!((six.low, six.high, six.coverage), (1.0, 6.0, 0.96875));
        // A level that is attained exactly is not missed.
        assert!(median_ci(&sample(&[1.0; 6]), 0.96875).is_some());
    }

    #[test]
    fn parameters_outside_their_range_are_refused() {
        let s = sample(&[1.0, 2.0]);
        for p in [-0.1, 1.1, f64::NAN] {
            assert!(quantile(&s, p).is_err() && quantile_ci(&s, p, 0.9).is_err());
            assert!(quantile_ci(&s, 0.5, p).is_err() && quantile_ci_min_n(0.5, p).is_err());
        }
    }

    #[test]
    fn extremes_and_constants() {
        let s = sample(&[-1e300, 1e-300, 1e300]);
        assert_eq!(median(&s), 1e-300);
        assert_eq!(mad(&s), 1e300);
        assert_eq!(mad(&sample(&[7.5; 9])), 0.0);
        assert_eq!((min(&s), p99(&sample(&[3.0]))), (-1e300, 3.0));
    }

    proptest! {
        #[test]
        fn monotone_in_p_and_inside_the_range(
            values in prop::collection::vec(-1e9..1e9_f64, 1..40), p in 0.0..=1.0_f64, q in 0.0..=1.0_f64,
        ) {
            let s = sample(&values);
            let (low, high) = (quantile(&s, p.min(q)).unwrap(), quantile(&s, p.max(q)).unwrap());
            prop_assert!(s.min() <= low && low <= high && high <= s.max());
        }

        #[test]
        fn median_interval_holds_the_median_and_ignores_order(
            mut values in prop::collection::vec((-50..50_i32).prop_map(f64::from), 6..60),
        ) {
            let s = sample(&values);
            let ci = median_ci(&s, 0.95).unwrap();
            prop_assert!(ci.contains(median(&s)) && ci.coverage >= 0.95 - 1e-9);
            prop_assert_eq!(median_of(&mut values.clone()), median(&s));
            values.reverse();
            prop_assert_eq!(median_ci(&sample(&values), 0.95), Some(ci));
        }

        #[test]
        fn a_higher_level_is_never_narrower(
            values in prop::collection::vec(-1e9..1e9_f64, 20..60), a in 0.5..0.99_f64, b in 0.5..0.99_f64,
        ) {
            let s = sample(&values);
            let (less, more) = (median_ci(&s, a.min(b)).unwrap(), median_ci(&s, a.max(b)).unwrap());
            prop_assert!(more.low <= less.low && less.high <= more.high);
        }

        #[test]
        fn the_fewest_values_are_enough_and_one_less_is_not(p in 0.05..0.95_f64, level in 0.5..0.999_f64) {
            let n = quantile_ci_min_n(p, level).unwrap();
            prop_assert!(quantile_ci(&sample(&vec![0.0; n]), p, level).is_ok());
            if n > 1 {
                prop_assert!(quantile_ci(&sample(&vec![0.0; n - 1]), p, level).is_err());
            }
        }
    }
}
