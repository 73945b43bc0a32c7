//! The clipped mean: nearly as sharp as the mean, and no wild value can carry it away.

use super::bootstrap;
use super::error::StatsError;
use super::interval::Interval;
use super::quantile::median_of;
use super::sample::{Sample, mean};

/// How far from the median [`clipped_mean`] lets a value count, in robust standard deviations.
pub const CLIP: f64 = 3.0;

/// MAD × this estimates the standard deviation of normal data (`1/Φ⁻¹(¾)`).
pub(super) const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// Mean absolute deviation × this does the same (`√(π/2)`).
const MEAN_AD_TO_SD: f64 = 1.253_314_137_315_500_3;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn interval_is_a_point_for_a_constant_and_holds_the_estimate_else() {
        let constant = Sample::new([0.25; 9]).unwrap();
        let point = clipped_mean_ci(&constant, 0.95, 200, 1).unwrap();
        assert_eq!((point.low, point.high), (0.25, 0.25));
        let spread = Sample::new((0..40).map(|i| f64::from(i * i)).collect::<Vec<_>>()).unwrap();
        let interval = clipped_mean_ci(&spread, 0.95, 500, 1).unwrap();
        assert!(interval.contains(clipped_mean(&spread)) && interval.low < interval.high);
        assert!(clipped_mean_ci(&Sample::new([1.0]).unwrap(), 0.95, 200, 1).is_err());
    }

    proptest! {
        #[test]
        fn inside_the_range_and_moves_with_the_data(
            mut values in prop::collection::vec(-1e3..1e3_f64, 1..40), shift in -1e3..1e3_f64, wild in 1e3..1e300_f64,
        ) {
            let s = Sample::new(values.clone()).unwrap();
            let centre = clipped_mean(&s);
            prop_assert!(s.min() - 1e-9 <= centre && centre <= s.max() + 1e-9);
            let moved = Sample::new(values.iter().map(|v| v + shift).collect::<Vec<_>>()).unwrap();
            prop_assert!((clipped_mean(&moved) - centre - shift).abs() < 1e-6);
            // A larger largest value is clipped at the same fence, or moves the mean within it.
            values.push(wild);
            let with_wild = clipped_mean(&Sample::new(values.clone()).unwrap());
            prop_assert!(values.len() < 4 || with_wild < 1e5);
        }
    }
}
