//! Values that passed inspection.

use super::error::StatsError;

/// Largest magnitude a [`Sample`] accepts: sums of 10⁸ such values still fit into an `f64`.
pub const MAX_MAGNITUDE: f64 = 1e300;

/// One or more finite values, in the order they were measured and sorted.
///
/// Sorting happens once, here, so that every method that needs order statistics shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    values: Vec<f64>,
    sorted: Vec<f64>,
}

impl Sample {
    /// Takes values in the order they were measured.
    ///
    /// # Errors
    /// [`StatsError::Empty`] for no values, [`StatsError::NotFinite`] naming the first value that
    /// is NaN, infinite or beyond [`MAX_MAGNITUDE`].
    pub fn new(values: impl Into<Vec<f64>>) -> Result<Self, StatsError> {
        let values = values.into();
        if values.is_empty() {
            return Err(StatsError::Empty);
        }
        // NaN compares false with everything, so finiteness is asked first.
        let bad = values
            .iter()
            .enumerate()
            .find(|(_, v)| !v.is_finite() || v.abs() > MAX_MAGNITUDE);
        if let Some((index, &value)) = bad {
            return Err(StatsError::NotFinite { index, value });
        }
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Self { values, sorted })
    }

    /// The values in the order they were measured.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values in ascending order.
    #[must_use]
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// How many values there are; never 0.
    #[must_use]
    pub fn n(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.order(1)
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.order(self.n())
    }

    /// The arithmetic mean `Σ xᵢ / n`, clamped to `[min, max]` against rounding.
    #[must_use]
    pub fn mean(&self) -> f64 {
        mean(&self.sorted).clamp(self.min(), self.max())
    }

    /// The `rank`-th smallest value, counted from 1; a rank outside `1..=n` gets the nearest end.
    pub(super) fn order(&self, rank: usize) -> f64 {
        let index = rank.clamp(1, self.sorted.len()) - 1;
        self.sorted[index]
    }
}

/// `Σ xᵢ / n`; NaN for no values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_cannot_be_described() {
        assert_eq!(Sample::new([]), Err(StatsError::Empty));
        for bad in [f64::INFINITY, f64::NEG_INFINITY, 1.1e300] {
            let refused = Sample::new([1.0, 2.0, bad]);
            assert_eq!(
                refused,
                Err(StatsError::NotFinite {
                    index: 2,
                    value: bad
                })
            );
        }
        let nan = Sample::new([1.0, f64::NAN, f64::NAN]);
        assert!(matches!(nan, Err(StatsError::NotFinite { index: 1, .. })));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let s = Sample::new([-1e300, 1e-300, 1e300, 1e300]).unwrap();
        assert_eq!((s.min(), s.max()), (-1e300, 1e300));
        assert!(s.mean().is_finite());
    }

    proptest! {
        #[test]
        fn keeps_order_and_sorts(values in prop::collection::vec(-1e300..1e300_f64, 1..50)) {
            let s = Sample::new(values.clone()).unwrap();
            prop_assert_eq!(s.values(), &values[..]);
            prop_assert!(s.sorted().is_sorted());
            prop_assert_eq!(s.n(), values.len());
            prop_assert!(s.min() <= s.mean() && s.mean() <= s.max());
        }
    }
}
