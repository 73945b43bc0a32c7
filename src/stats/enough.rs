//! How much more data would decide?
//!
//! Both answers are factors on the amount of data at hand, read off the interval of a ratio. They
//! rest on its standard error falling with the square root of the amount, which holds as long as
//! more data has the same noise.

use super::distribution::normal_quantile;
use super::error::{StatsError, check_open_unit};
use super::paired::Ratio;
use super::power::{check_tests, standard_error};

/// The factor with which the whole interval would, with probability `power`, lie within
/// `threshold` (0.05 is five per cent) if the two do not differ.
///
/// `((z_c + z_{(1+power)/2})·se/ln(1 + threshold))²`, with `se` read off the interval and `z_c` the
/// normal quantile of its coverage: the sample size of two one-sided tests for a difference of 0.
/// A difference that is there, but smaller than the threshold, needs more. Source: Schuirmann
/// (1987), as for [`judge`](super::verdict::judge), whose power it inverts; Julious (2004), *Sample
/// Sizes for Clinical Trials with Normal Data*, for the closed form.
///
/// # Errors
/// [`StatsError::Parameter`] for an interval that is none, a `power` outside [0.5, 1) or a threshold
/// that is not positive and finite.
pub fn for_equivalence(ratio: &Ratio, threshold: f64, power: f64) -> Result<f64, StatsError> {
    let error = standard_error(ratio)?;
    check_tests(0.5, power)?;
    let level = normal_quantile(f64::midpoint(1.0, ratio.coverage));
    let power = normal_quantile(f64::midpoint(1.0, power));
    Ok(((level + power) * error / log_effect(threshold)?).powi(2))
}

/// The factor with which a test at `alpha` would, with probability `power`, find a change as large
/// as `effect` (0.05 is five per cent).
///
/// `((z_{1−α/2} + z_power)·se/ln(1 + effect))²`:
/// [`detectable_from`](super::power::detectable_from) solved for the amount.
///
/// # Errors
/// As [`for_equivalence`]; [`StatsError::Parameter`] for an `alpha` outside (0, 1).
pub fn for_effect(ratio: &Ratio, effect: f64, alpha: f64, power: f64) -> Result<f64, StatsError> {
    let error = standard_error(ratio)?;
    check_tests(alpha, power)?;
    let sum = normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power);
    Ok((sum * error / log_effect(effect)?).powi(2))
}

/// The half-width, relative, that the interval of *one* run may have so that two such runs that do
/// not differ are called the same with probability `power`: the difference of two has √2 times the
/// standard error of one.
///
/// # Errors
/// [`StatsError::Parameter`] for a `level` or `power` that is none, or such a threshold.
pub fn half_width_of_one(threshold: f64, level: f64, power: f64) -> Result<f64, StatsError> {
    check_open_unit("level", level)?;
    check_tests(0.5, power)?;
    let level = normal_quantile(f64::midpoint(1.0, level));
    let both = level + normal_quantile(f64::midpoint(1.0, power));
    Ok((log_effect(threshold)? * level / (both * std::f64::consts::SQRT_2)).exp_m1())
}

/// `ln(1 + effect)`, where that is a change.
fn log_effect(effect: f64) -> Result<f64, StatsError> {
    let log = effect.ln_1p();
    if log > 0.0 && log.is_finite() {
        Ok(log)
    } else {
        Err(StatsError::Parameter {
            name: "effect",
            value: effect,
            range: "(0, ∞)",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::stats::power::detectable_from;
    use crate::stats::reference;

    fn ratio(centre: f64, half_width: f64) -> Ratio {
        Ratio {
            ratio: centre,
            low: centre / (1.0 + half_width),
            high: centre * (1.0 + half_width),
            coverage: 0.95,
            pairs: 12,
        }
    }

    #[test]
    fn agrees_with_scipy() {
        for case in reference::cases("enough") {
            let r = Ratio {
                coverage: case.number("coverage"),
                ..ratio(1.0, case.number("half_width"))
            };
            let (threshold, power) = (case.number("threshold"), case.number("power"));
            let got = for_equivalence(&r, threshold, power).unwrap();
            case.agrees("equivalence", got);
            let got = for_effect(&r, threshold, case.number("alpha"), power).unwrap();
            case.agrees("effect", got);
            let got = half_width_of_one(threshold, r.coverage, power).unwrap();
            case.agrees("half_width_of_one", got);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let good = ratio(1.0, 0.1);
        for threshold in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(for_equivalence(&good, threshold, 0.9).is_err());
            assert!(for_effect(&good, threshold, 0.01, 0.9).is_err());
            assert!(half_width_of_one(threshold, 0.95, 0.9).is_err());
        }
        assert!(for_equivalence(&good, 0.05, 1.0).is_err());
        assert!(for_effect(&good, 0.05, 0.0, 0.9).is_err());
        assert!(half_width_of_one(0.05, 1.0, 0.9).is_err());
        let swapped = Ratio {
            low: good.high,
            high: good.low,
            ..good
        };
        assert!(for_equivalence(&swapped, 0.05, 0.9).is_err());
    }

    /// Two runs of the precision asked for, without a difference, again and again.
    #[test]
    fn two_runs_of_that_half_width_are_the_same_as_often_as_promised() {
        let (threshold, power) = (0.05_f64, 0.9);
        let half_width = half_width_of_one(threshold, 0.95, power).unwrap();
        let error = half_width.ln_1p() / 1.96;
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut normal = || (0..12).map(|_| rng.random::<f64>() - 0.5).sum::<f64>();
        let same = (0..2000)
            .filter(|_| {
                let shift = error * (normal() - normal());
                shift.abs() + 1.96 * error * 2_f64.sqrt() <= threshold.ln_1p()
            })
            .count();
        assert!((1740..=1860).contains(&same), "{same} of 2000");
    }

    proptest! {
        #[test]
        fn the_amount_at_hand_is_enough_for_what_it_detects(half_width in 0.001..0.5_f64) {
            let r = ratio(1.0, half_width);
            let seen = detectable_from(&r, 0.01, 0.9).unwrap().relative;
            prop_assert!((for_effect(&r, seen, 0.01, 0.9).unwrap() - 1.0).abs() < 1e-9);
        }

        #[test]
        fn more_noise_or_less_room_need_more(half_width in 0.001..0.5_f64, threshold in 0.01..0.5_f64) {
            let here = for_equivalence(&ratio(1.0, half_width), threshold, 0.9).unwrap();
            prop_assert!(for_equivalence(&ratio(1.0, half_width * 1.1), threshold, 0.9).unwrap() > here);
            prop_assert!(for_equivalence(&ratio(1.0, half_width), threshold * 0.9, 0.9).unwrap() > here);
            // Where the ratio lies does not matter, only how well it is known.
            let there = for_equivalence(&ratio(3.0, half_width), threshold, 0.9).unwrap();
            prop_assert!((there / here - 1.0).abs() < 1e-9);
        }
    }
}
