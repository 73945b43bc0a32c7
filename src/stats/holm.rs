//! Many tests at once: a family's false alarms, not each test's.

use super::error::StatsError;

/// Adjusted p-values after Holm's step-down correction, in the order given.
///
/// With `p₍₁₎ ≤ … ≤ p₍ₘ₎`: `p̃₍ᵢ₎ = max_{j ≤ i} min(1, (m − j + 1)·p₍ⱼ₎)`. Comparing each with `α`
/// keeps the probability of even one false alarm in the family at or below `α`, however the tests
/// depend on each other, and never sees less than Bonferroni's correction. Source: Holm (1979), *A
/// Simple Sequentially Rejective Multiple Test Procedure*.
///
/// # Errors
/// [`StatsError::Parameter`] for a value that is not in `[0, 1]`. An empty family is fine.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    if let Some(&value) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(StatsError::Parameter {
            name: "p-value",
            value,
            range: "[0, 1]",
        });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (step, &i) in order.iter().enumerate() {
        let remaining = (p_values.len() - step) as f64;
        highest = highest.max((remaining * p_values[i]).min(1.0));
        adjusted[i] = highest;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_statsmodels() {
        for case in reference::cases("holm") {
            let got = holm(&case.numbers("p")).unwrap();
            for (got, want) in got.iter().zip(case.numbers("adjusted")) {
                assert!((got - want).abs() <= 1e-9 * want);
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!(holm(&[]), Ok(vec![]));
        assert_eq!(holm(&[0.2]), Ok(vec![0.2]));
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(holm(&[0.5, bad]).is_err());
        }
    }

    proptest! {
        #[test]
        fn keeps_order_and_lies_between_raw_and_bonferroni(p in prop::collection::vec(0.0..=1.0_f64, 1..30)) {
            let adjusted = holm(&p).unwrap();
            for i in 0..p.len() {
                let bonferroni = (p.len() as f64 * p[i]).min(1.0);
                prop_assert!(p[i] <= adjusted[i] && adjusted[i] <= bonferroni);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
                }
            }
            let reversed: Vec<f64> = p.iter().rev().copied().collect();
            let back: Vec<f64> = holm(&reversed).unwrap().into_iter().rev().collect();
            prop_assert_eq!(back, adjusted);
        }
    }
}
