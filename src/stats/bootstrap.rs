//! The bootstrap: an interval for a statistic that has no formula for one.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::distribution::{normal_cdf, normal_quantile};
use super::error::{StatsError, check_open_unit};
use super::interval::Interval;
use super::quantile::interpolate;
use super::sample::{Sample, mean};

/// Fewest resamples [`bca`] accepts; 2,000 and more are usual.
pub const FEWEST_RESAMPLES: usize = 100;

/// The bias-corrected and accelerated bootstrap interval of any statistic of one sample.
///
/// Resamples are drawn with replacement by ChaCha8 from `seed`; the ends are their quantiles (type
/// 7) at `α₁ = Φ(ẑ₀ + (ẑ₀ + z_{α/2})/(1 − â(ẑ₀ + z_{α/2})))` and likewise `α₂` with `z_{1−α/2}`.
/// The bias is `ẑ₀ = Φ⁻¹((#{θ* < θ̂} + #{θ* ≤ θ̂})/2B)`, where ties count half, and the acceleration
/// comes from the jackknife values `θ₍ᵢ₎`: `â = Σ(θ̄ − θ₍ᵢ₎)³ / (6·(Σ(θ̄ − θ₍ᵢ₎)²)^{3/2})`. Coverage is
/// nominal, with an error that falls as `1/n`. Source: Efron & Tibshirani (1993), *An Introduction
/// to the Bootstrap*, ch. 14.
///
/// Where every resample gives the same value (a constant sample) the interval is that point.
///
/// # Errors
/// [`StatsError::TooFew`] below 2 values or [`FEWEST_RESAMPLES`] resamples,
/// [`StatsError::Parameter`] for a level that is not strictly between 0 and 1,
/// [`StatsError::NotFinite`] if the statistic returns what a [`Sample`] would refuse.
pub fn bca(
    sample: &Sample,
    statistic: impl Fn(&[f64]) -> f64,
    level: f64,
    resamples: usize,
    seed: u64,
) -> Result<Interval, StatsError> {
    check_open_unit("level", level)?;
    let n = sample.n();
    if n < 2 {
        return Err(StatsError::TooFew { have: n, need: 2 });
    }
    if resamples < FEWEST_RESAMPLES {
        return Err(StatsError::TooFew {
            have: resamples,
            need: FEWEST_RESAMPLES,
        });
    }
    // Sorted, so that the interval does not depend on the order of the values.
    let values = sample.sorted();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scratch = vec![0.0; n];
    let mut replicates = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        scratch.fill_with(|| values[rng.random_range(0..n)]);
        replicates.push(statistic(&scratch));
    }
    let mut jackknife = Vec::with_capacity(n);
    for left_out in 0..n {
        scratch.clear();
        scratch.extend_from_slice(&values[..left_out]);
        scratch.extend_from_slice(&values[left_out + 1..]);
        jackknife.push(statistic(&scratch));
    }
    let estimate = Sample::new([statistic(values)])?.min();
    Ok(from_replicates(
        estimate,
        &Sample::new(replicates)?,
        &Sample::new(jackknife)?,
        level,
    ))
}

/// The percentile bootstrap interval of a statistic of rows that belong together, such as blocks in
/// which many configurations were measured: whole rows are drawn, so what pairs them stays paired.
///
/// `statistic` gets the numbers of the drawn rows, each below `rows`; the ends are the quantiles
/// (type 7) of its values at `(1 − level)/2` and `(1 + level)/2`. Source: Efron & Tibshirani (1993),
/// ch. 13.
///
/// # Errors
/// As [`bca`].
pub fn percentile(
    rows: usize,
    statistic: impl Fn(&[usize]) -> f64,
    level: f64,
    resamples: usize,
    seed: u64,
) -> Result<Interval, StatsError> {
    check_open_unit("level", level)?;
    if rows < 2 {
        return Err(StatsError::TooFew {
            have: rows,
            need: 2,
        });
    }
    if resamples < FEWEST_RESAMPLES {
        return Err(StatsError::TooFew {
            have: resamples,
            need: FEWEST_RESAMPLES,
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; rows];
    let mut replicates = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        drawn.fill_with(|| rng.random_range(0..rows));
        replicates.push(statistic(&drawn));
    }
    let replicates = Sample::new(replicates)?;
    let tail = (1.0 - level) / 2.0;
    Ok(Interval {
        low: interpolate(&replicates, tail),
        high: interpolate(&replicates, 1.0 - tail),
        coverage: level,
    })
}

/// The deterministic half of [`bca`].
fn from_replicates(estimate: f64, replicates: &Sample, jackknife: &Sample, level: f64) -> Interval {
    let sorted = replicates.sorted();
    if replicates.min() == replicates.max() {
        return Interval {
            low: sorted[0],
            high: sorted[0],
            coverage: level,
        };
    }
    let below = sorted.partition_point(|r| *r < estimate);
    let up_to = sorted.partition_point(|r| *r <= estimate);
    let count = sorted.len() as f64;
    // If every resample lies on one side, the bias is only known to be large: half a resample.
    let share = (below + up_to) as f64 / (2.0 * count);
    let bias = normal_quantile(share.clamp(0.5 / count, 1.0 - 0.5 / count));
    let acceleration = acceleration(jackknife.values());
    let end = |p: f64| {
        let z = bias + normal_quantile(p);
        let shrink = 1.0 - acceleration * z;
        // Beyond the pole of the correction the end is the extreme on that side.
        let at = if shrink > 0.0 {
            normal_cdf(bias + z / shrink)
        } else {
            f64::from(p > 0.5)
        };
        interpolate(replicates, at.clamp(0.0, 1.0))
    };
    let tail = (1.0 - level) / 2.0;
    Interval {
        low: end(tail),
        high: end(1.0 - tail),
        coverage: level,
    }
}

/// `Σ(θ̄ − θ₍ᵢ₎)³ / (6·(Σ(θ̄ − θ₍ᵢ₎)²)^{3/2})`; 0 where all are equal. Scaled, as it has no unit.
fn acceleration(jackknife: &[f64]) -> f64 {
    let centre = mean(jackknife);
    let largest = jackknife
        .iter()
        .fold(0.0_f64, |m, v| m.max((centre - v).abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let (mut squares, mut cubes) = (0.0, 0.0);
    for v in jackknife {
        let d = (centre - v) / largest;
        squares += d * d;
        cubes += d * d * d;
    }
    cubes / (6.0 * squares * f64::sqrt(squares))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::quantile::median_of;
    use super::super::reference;
    use super::*;

    proptest! {
        /// A shift that all rows have in common is not in the interval of a difference.
        #[test]
        fn rows_stay_together(
            rows in prop::collection::vec((-1e6..1e6f64, -10.0..10.0f64), 2..60), seed: u64,
        ) {
            let difference = |drawn: &[usize]| {
                let of = |f: fn(&(f64, f64)) -> f64| mean(&drawn.iter().map(|&i| f(&rows[i])).collect::<Vec<_>>());
                of(|r| r.0 + r.1) - of(|r| r.0)
            };
            let interval = percentile(rows.len(), difference, 0.95, 200, seed).unwrap();
            prop_assert!(interval.low <= interval.high);
            prop_assert!(interval.low >= -10.0 - 1e-6 && interval.high <= 10.0 + 1e-6);
            prop_assert_eq!(interval, percentile(rows.len(), difference, 0.95, 200, seed).unwrap());
        }
    }

    #[test]
    fn rows_too_few_are_refused() {
        assert!(percentile(1, |_| 0.0, 0.95, 200, 1).is_err());
        assert!(percentile(2, |_| 0.0, 0.95, 99, 1).is_err());
        assert!(percentile(2, |_| f64::NAN, 0.95, 200, 1).is_err());
        let constant = percentile(5, |_| 7.0, 0.95, 200, 1).unwrap();
        assert_eq!((constant.low, constant.high), (7.0, 7.0));
    }

    /// The mean of 0..n−1 has the standard error of a uniform sample; the interval is about as wide.
    #[test]
    fn the_width_is_that_of_the_standard_error() {
        let n = 400_usize;
        let the_mean = |drawn: &[usize]| drawn.iter().sum::<usize>() as f64 / n as f64;
        let interval = percentile(n, the_mean, 0.95, 4000, 7).unwrap();
        let expected = 1.96 * (n as f64 / 12f64.sqrt()) / (n as f64).sqrt();
        let middle = (n as f64 - 1.0) / 2.0;
        for end in [middle - interval.low, interval.high - middle] {
            assert!(
                (end / expected - 1.0).abs() < 0.1,
                "{end} against {expected}"
            );
        }
    }

    fn the_mean(values: &[f64]) -> f64 {
        mean(values)
    }

    fn the_median(values: &[f64]) -> f64 {
        median_of(&mut values.to_vec())
    }

    #[test]
    fn agrees_with_scipy_on_the_same_resamples() {
        for case in reference::cases("bca") {
            let jackknife = Sample::new(case.numbers("jackknife")).unwrap();
            let replicates = Sample::new(case.numbers("replicates")).unwrap();
            let estimate = case.number("estimate");
            let got = from_replicates(estimate, &replicates, &jackknife, case.number("level"));
            case.agrees("low", got.low);
            case.agrees("high", got.high);
        }
    }

    #[test]
    fn degenerate_samples() {
        let constant = Sample::new([4.0; 7]).unwrap();
        let point = bca(&constant, the_mean, 0.95, 200, 1).unwrap();
        assert_eq!((point.low, point.high), (4.0, 4.0));
        let one = Sample::new([4.0]).unwrap();
        assert_eq!(
            bca(&one, the_mean, 0.95, 200, 1),
            Err(StatsError::TooFew { have: 1, need: 2 })
        );
        assert!(bca(&constant, the_mean, 0.95, 10, 1).is_err());
        assert!(bca(&constant, |_| f64::NAN, 0.95, 200, 1).is_err());
        let far = Sample::new([-1e300, 1e-300, 1e300]).unwrap();
        assert!(
            bca(&far, the_mean, 0.95, 200, 1)
                .unwrap()
                .half_width()
                .is_finite()
        );
    }

    #[test]
    fn covers_the_mean_about_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let hits = (0..200)
            .filter(|seed| {
                let values: Vec<f64> = (0..30).map(|_| rng.random::<f64>()).collect();
                let s = Sample::new(values).unwrap();
                bca(&s, the_mean, 0.9, 300, *seed).unwrap().contains(0.5)
            })
            .count();
        assert!((160..=196).contains(&hits), "{hits} of 200");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn ordered_inside_the_range_seeded_and_blind_to_order(
            mut values in prop::collection::vec((-20..20_i32).prop_map(f64::from), 2..20), seed: u64,
        ) {
            let s = Sample::new(values.clone()).unwrap();
            for statistic in [the_mean, the_median] {
                let i = bca(&s, statistic, 0.9, 200, seed).unwrap();
                prop_assert!(s.min() - 1e-9 <= i.low && i.low <= i.high && i.high <= s.max() + 1e-9);
                values.reverse();
                prop_assert_eq!(bca(&Sample::new(values.clone()).unwrap(), statistic, 0.9, 200, seed).unwrap(), i);
            }
        }
    }
}
