//! Batches: what makes a handful of independent values out of many that depend on their neighbours.

use super::error::StatsError;
use super::quantile::median_of;
use super::sample::Sample;

/// Batches that [`batch_medians`] makes where there are values enough.
pub const BATCHES: usize = 12;

/// The medians of at most [`BATCHES`] groups of consecutive values, sizes as equal as they can be.
///
/// A disturbance of the machine lasts longer than a block, so the blocks of a run are not
/// independent: a test that takes them for so calls the disturbance a change. Groups longer than
/// the disturbance are nearly independent, and how much their medians differ from each other is
/// how much a run differs from the next. From 16 values on a group has at least two of them; fewer
/// values stand for themselves as far as [`BATCHES`] goes. Source: the method of batch means
/// (Conway 1963; Law (2015), *Simulation Modeling and Analysis*, §9.5.3), with the median, which a
/// heavy tail does not move.
///
/// # Errors
/// As [`Sample::new`].
pub fn batch_medians(values: &[f64]) -> Result<Sample, StatsError> {
    let n = values.len();
    let batches = if n < 16 { n } else { n / 2 }.min(BATCHES);
    let medians: Vec<f64> = (0..batches)
        .map(|i| median_of(&mut values[i * n / batches..(i + 1) * n / batches].to_vec()))
        .collect();
    Sample::new(medians)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_values_stand_for_themselves() {
        assert_eq!(batch_medians(&[]), Err(StatsError::Empty));
        assert_eq!(
            batch_medians(&[3.0, 1.0, 2.0]).unwrap().values(),
            [3.0, 1.0, 2.0]
        );
        let ten = |n: i32| {
            batch_medians(&(0..n).map(f64::from).collect::<Vec<_>>())
                .unwrap()
                .n()
        };
        assert_eq!(
            [6, 12, 15, 16, 20, 40, 400].map(ten),
            [6, 12, 12, 8, 10, 12, 12]
        );
        assert!(batch_medians(&[f64::NAN; 40]).is_err());
    }

    #[test]
    fn a_disturbance_of_several_blocks_moves_its_batch_only() {
        let mut values = vec![1.0; 120];
        values[30..40].fill(9.0);
        let medians = batch_medians(&values).unwrap();
        assert_eq!(medians.values().iter().filter(|m| **m == 9.0).count(), 1);
    }

    proptest! {
        #[test]
        fn medians_lie_in_the_range_and_keep_time_order(n in 1..500_u32) {
            let rising: Vec<f64> = (0..n).map(f64::from).collect();
            let medians = batch_medians(&rising).unwrap();
            prop_assert!(medians.n() <= BATCHES && medians.values().is_sorted());
            prop_assert!(medians.min() >= 0.0 && medians.max() <= f64::from(n - 1));
        }
    }
}
