//! Comparisons inside blocks: how many times slower is B than A?
//!
//! A block's two trials share the state of the machine, so the drift that moves both cancels in
//! `ln(b/a)`; a logarithm makes "twice as slow" and "twice as fast" equally far from "the same".

use super::bootstrap;
use super::error::{StatsError, check_open_unit};
use super::interval::Interval;
use super::quantile::{median, median_of, quantile_ci};
use super::rank;
use super::sample::{Sample, mean};

/// How far from the median [`clipped_mean`] lets a value count, in robust standard deviations.
pub const CLIP: f64 = 3.0;

/// MAD × this estimates the standard deviation of normal data (`1/Φ⁻¹(¾)`).
pub(super) const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// Mean absolute deviation × this does the same (`√(π/2)`).
const MEAN_AD_TO_SD: f64 = 1.253_314_137_315_500_3;

/// Up to this many values the Wilcoxon interval uses the exact null distribution.
const EXACT_VALUES: usize = 200;

/// Most values [`hodges_lehmann`] takes; counting is linear, so this only guards the rank's range.
const MOST_VALUES: usize = 10_000_000;

/// How many times `b` is of `a`, with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The estimate of `b/a`: 1 is "no difference", 2 "twice as much".
    pub ratio: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// Coverage of the interval (see [`Interval::coverage`]).
    pub coverage: f64,
    /// How many pairs it rests on.
    pub pairs: usize,
}

impl Ratio {
    /// Half of the interval's width relative to the ratio, on the scale of logarithms:
    /// `(high/low)^½ − 1`. What adaptive stopping compares with its target.
    #[must_use]
    pub fn relative_half_width(&self) -> f64 {
        ((self.high.ln() - self.low.ln()) / 2.0).exp_m1()
    }

    /// The interval.
    #[must_use]
    pub fn interval(&self) -> Interval {
        Interval {
            low: self.low,
            high: self.high,
            coverage: self.coverage,
        }
    }

    fn from_logs(log: f64, interval: Interval, pairs: usize) -> Result<Self, StatsError> {
        let (ratio, low, high) = (log.exp(), interval.low.exp(), interval.high.exp());
        if low > 0.0 && high.is_finite() {
            Ok(Self {
                ratio,
                low,
                high,
                coverage: interval.coverage,
                pairs,
            })
        } else {
            Err(StatsError::Overflow)
        }
    }
}

/// `ln(b/a)` of every pair, in the order given.
///
/// # Errors
/// [`StatsError::Empty`] for no pairs, [`StatsError::NotPositive`] naming the first pair of which
/// a side is not a positive finite number.
pub fn log_ratios(pairs: &[(f64, f64)]) -> Result<Sample, StatsError> {
    let positive = |v: f64| v > 0.0 && v.is_finite();
    if let Some((index, &(a, b))) = pairs
        .iter()
        .enumerate()
        .find(|(_, (a, b))| !positive(*a) || !positive(*b))
    {
        return Err(StatsError::NotPositive { index, a, b });
    }
    let log = |&(a, b): &(f64, f64)| {
        let quotient: f64 = b / a;
        // The quotient keeps more digits, unless it overflows or vanishes.
        if quotient.is_normal() {
            quotient.ln()
        } else {
            b.ln() - a.ln()
        }
    };
    Sample::new(pairs.iter().map(log).collect::<Vec<_>>())
}

/// The typical ratio: `exp(median ln(b/a))`, with the exact binomial interval of the median.
///
/// Half of the blocks show more, half show less; nothing is assumed about the shape of the noise.
/// The interval is [`quantile_ci`]'s (Conover 1999, §3.2), carried through the exponential, which
/// preserves order and hence coverage.
///
/// # Errors
/// As [`log_ratios`]; [`StatsError::TooFew`] below 6 pairs at 95 %; [`StatsError::Parameter`] for
/// a level that is not one; [`StatsError::Overflow`] where a ratio is beyond `f64`.
pub fn ratio(pairs: &[(f64, f64)], level: f64) -> Result<Ratio, StatsError> {
    let logs = log_ratios(pairs)?;
    let interval = quantile_ci(&logs, 0.5, level)?;
    Ratio::from_logs(median(&logs), interval, pairs.len())
}

/// `exp` of the Hodges–Lehmann estimate of `ln(b/a)`; see [`hodges_lehmann`].
///
/// # Errors
/// As [`ratio`].
pub fn hodges_lehmann_ratio(pairs: &[(f64, f64)], level: f64) -> Result<Ratio, StatsError> {
    let (estimate, interval) = hodges_lehmann(&log_ratios(pairs)?, level)?;
    Ratio::from_logs(estimate, interval, pairs.len())
}

/// `exp` of the clipped mean of `ln(b/a)` with its bootstrap interval; see [`clipped_mean_ci`].
///
/// # Errors
/// As [`ratio`], except that 2 pairs are enough.
pub fn clipped_ratio(
    pairs: &[(f64, f64)],
    level: f64,
    resamples: usize,
    seed: u64,
) -> Result<Ratio, StatsError> {
    let logs = log_ratios(pairs)?;
    let interval = clipped_mean_ci(&logs, level, resamples, seed)?;
    Ratio::from_logs(clipped_mean(&logs), interval, pairs.len())
}

/// The clipped (metrically winsorised) mean: `Σ clip(xᵢ, m − c, m + c)/n` with `m = median x` and
/// `c = 3·1.4826·MAD`.
///
/// A wild value counts as one at the fence instead of being dropped. Where more than half of the
/// values are equal the MAD is 0; then `c = 3·1.2533·mean |xᵢ − m|` (the substitute of Iglewicz &
/// Hoaglin 1993, *How to Detect and Handle Outliers*, §3.3), because a clip to nothing would hide
/// the rest. Source: Huber & Ronchetti (2009), *Robust Statistics*, §1.7 and §4: one step from the
/// median of an estimator with Huber's ψ.
#[must_use]
pub fn clipped_mean(sample: &Sample) -> f64 {
    clipped_mean_of(sample.values(), &mut Vec::new())
}

/// The values of [`clipped_mean`] before they are averaged, in the order given.
pub(super) fn clipped(values: &[f64]) -> Vec<f64> {
    let (centre, fence) = fence(values, &mut Vec::new());
    values
        .iter()
        .map(|v| v.clamp(centre - fence, centre + fence))
        .collect()
}

/// The median and the distance from it at which values are clipped.
fn fence(values: &[f64], scratch: &mut Vec<f64>) -> (f64, f64) {
    scratch.clear();
    scratch.extend_from_slice(values);
    let centre = median_of(scratch);
    scratch.iter_mut().for_each(|v| *v = (*v - centre).abs());
    let spread = match median_of(scratch) {
        0.0 => mean(scratch) * MEAN_AD_TO_SD,
        mad => mad * MAD_TO_SD,
    };
    (centre, CLIP * spread)
}

/// [`clipped_mean`] without a `Sample`, for resamples.
pub(super) fn clipped_mean_of(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    let (centre, fence) = fence(values, scratch);
    let beyond: f64 = values
        .iter()
        .map(|v| (v - centre).clamp(-fence, fence))
        .sum();
    centre + beyond / values.len() as f64
}

/// The BCa bootstrap interval of [`clipped_mean`]; each resample finds its own median and fence,
/// so their uncertainty is in the interval. See [`bootstrap::bca`].
///
/// # Errors
/// As [`bootstrap::bca`].
pub fn clipped_mean_ci(
    sample: &Sample,
    level: f64,
    resamples: usize,
    seed: u64,
) -> Result<Interval, StatsError> {
    let scratch = std::cell::RefCell::new(Vec::new());
    let statistic = |values: &[f64]| clipped_mean_of(values, &mut scratch.borrow_mut());
    bootstrap::bca(sample, statistic, level, resamples, seed)
}

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
            need: super::quantile::quantile_ci_min_n(0.5, level)?,
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
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The number behind a key.
fn from_key(key: u64) -> f64 {
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
        for case in reference::cases("paired") {
            let pairs = case.pairs("pairs");
            let got = ratio(&pairs, case.number("level")).unwrap();
            case.agrees("ratio", got.ratio);
            case.agrees("low", got.low);
            case.agrees("high", got.high);
            case.agrees("clipped", clipped_mean(&log_ratios(&pairs).unwrap()).exp());
        }
    }

    #[test]
    fn bad_pairs_are_named() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = ratio(&[(1.0, 2.0), (1.0, bad)], 0.95);
            assert!(matches!(
                refused,
                Err(StatsError::NotPositive { index: 1, .. })
            ));
        }
        assert_eq!(ratio(&[], 0.95), Err(StatsError::Empty));
        let few = Err(StatsError::TooFew { have: 5, need: 6 });
        assert_eq!(ratio(&[(1.0, 2.0); 5], 0.95), few);
        assert_eq!(hodges_lehmann_ratio(&[(1.0, 2.0); 5], 0.95), few);
        assert!(ratio(&[(1.0, 2.0); 9], 1.5).is_err());
    }

    #[test]
    fn extremes_and_constants() {
        let wide = log_ratios(&[(1e300, 1e-300), (1e-300, 1e300)]).unwrap();
        assert!((wide.max() - 600.0 * 10.0_f64.ln()).abs() < 1e-9);
        assert_eq!(
            ratio(&[(1e-300, 1e300); 6], 0.95),
            Err(StatsError::Overflow)
        );
        let double = ratio(&[(2.0, 4.0); 6], 0.95).unwrap();
        assert!((double.ratio - 2.0).abs() < 1e-15 && double.low == double.high);
        assert_eq!(double.relative_half_width(), 0.0);
        let (estimate, i) = hodges_lehmann(&Sample::new([1e300; 8]).unwrap(), 0.95).unwrap();
        assert_eq!((estimate, i.low, i.high), (1e300, 1e300, 1e300));
    }

    #[test]
    fn clipping_bounds_a_wild_value_and_survives_ties() {
        let calm: Vec<f64> = (0..21).map(|i| f64::from(i) / 10.0).collect();
        let mut wild = calm.clone();
        wild[20] = 1e6;
        let (calm, wild) = (Sample::new(calm).unwrap(), Sample::new(wild).unwrap());
        assert!((clipped_mean(&wild) - clipped_mean(&calm)).abs() < 0.2);
        // More than half equal: the others still count.
        let tied = Sample::new([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]).unwrap();
        assert!((clipped_mean(&tied) - 1.0 / 3.0).abs() < 1e-12);
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

        #[test]
        fn swapping_the_sides_inverts_and_order_does_not_matter(
            mut pairs in prop::collection::vec((1e-3..1e3_f64, 1e-3..1e3_f64), 6..60),
        ) {
            let swapped: Vec<_> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
            for f in [ratio, hodges_lehmann_ratio] {
                let (r, s) = (f(&pairs, 0.95).unwrap(), f(&swapped, 0.95).unwrap());
                prop_assert!(r.interval().contains(r.ratio));
                prop_assert!((r.ratio * s.ratio - 1.0).abs() < 1e-9 && (r.low * s.high - 1.0).abs() < 1e-9);
            }
            let before = ratio(&pairs, 0.95).unwrap();
            pairs.reverse();
            prop_assert_eq!(ratio(&pairs, 0.95).unwrap(), before);
        }

        #[test]
        fn a_common_factor_multiplies(pairs in prop::collection::vec((0.5..2.0_f64, 0.5..2.0_f64), 6..40), k in 0.1..10.0_f64) {
            let slower: Vec<_> = pairs.iter().map(|(a, b)| (*a, b * k)).collect();
            for f in [ratio, hodges_lehmann_ratio] {
                let (r, s) = (f(&pairs, 0.95).unwrap(), f(&slower, 0.95).unwrap());
                prop_assert!((s.ratio / r.ratio / k - 1.0).abs() < 1e-9);
            }
            let (r, s) = (log_ratios(&pairs).unwrap(), log_ratios(&slower).unwrap());
            prop_assert!((clipped_mean(&s) - clipped_mean(&r) - k.ln()).abs() < 1e-9);
        }
    }
}
