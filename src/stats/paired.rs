//! Comparisons inside blocks: how many times slower is B than A?
//!
//! A block's two trials share the state of the machine, so the drift that moves both cancels in
//! `ln(b/a)`; a logarithm makes "twice as slow" and "twice as fast" equally far from "the same".

use super::clip::{clipped_mean, clipped_mean_ci};
use super::error::StatsError;
use super::hodges_lehmann::hodges_lehmann;
use super::interval::Interval;
use super::quantile::{median, quantile_ci};
use super::sample::Sample;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_numpy_and_scipy() {
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
    }

    proptest! {
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
