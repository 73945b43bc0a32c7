//! How small an effect could this data have shown?

use super::clip::clipped;
use super::distribution::{normal_quantile, t_quantile};
use super::error::{StatsError, check_open_unit};
use super::paired::Ratio;
use super::sample::{Sample, mean};

/// The smallest effect that would probably have been found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detectable {
    /// As a shift of `ln(b/a)`, never negative.
    pub log: f64,
    /// As a relative change: 0.05 is five per cent. `exp(log) − 1`.
    pub relative: f64,
    /// How many pairs it rests on.
    pub pairs: usize,
}

/// The shift of log-ratios that a two-sided test at `alpha` finds with probability `power`.
///
/// `δ = (t_{n−1; 1−α/2} + t_{n−1; power})·s_c/(f·√n)`, where `s_c` is the standard deviation of the
/// log-ratios after the clip of [`clipped_mean`](super::clip::clipped_mean) and `f` the share
/// that the clip leaves alone: a small shift moves the clipped mean by `f` times itself. The data
/// is measured around its own centre, so an effect that is there does not hide what could be seen.
/// Sources: Zar (2010), *Biostatistical Analysis*, ch. 7 ("minimum detectable difference"); Huber
/// & Ronchetti (2009), *Robust Statistics*, §3.2 for `s_c/f`.
///
/// # Errors
/// [`StatsError::TooFew`] below 2 log-ratios, [`StatsError::Parameter`] for an `alpha` outside (0, 1)
/// or a `power` outside [0.5, 1), [`StatsError::Overflow`] where the ratio is beyond `f64`.
pub fn detectable(log_ratios: &Sample, alpha: f64, power: f64) -> Result<Detectable, StatsError> {
    let noise = noise(log_ratios)?;
    let n = log_ratios.n();
    let log = multiplier(n, alpha, power)? * noise / (n as f64).sqrt();
    if !log.exp_m1().is_finite() {
        return Err(StatsError::Overflow);
    }
    Ok(Detectable {
        log,
        relative: log.exp_m1(),
        pairs: n,
    })
}

/// The shift that a test which belongs to a ratio's interval finds with probability `power`,
/// whichever estimator the interval comes from.
///
/// `δ = (z_{1−α/2} + z_{power})·se`, with the standard error read off the interval:
/// `se = (ln high − ln low)/(2·z)` and `z` the normal quantile of its coverage. As good as the
/// estimator is close to normal: from a few dozen pairs on. Source: Altman & Bland (2011), *How to
/// Obtain the P Value from a Confidence Interval*, for reading it off; Zar (2010) as in
/// [`detectable`].
///
/// # Errors
/// As [`detectable`]; [`StatsError::Parameter`] for a ratio whose interval or coverage is not one.
pub fn detectable_from(ratio: &Ratio, alpha: f64, power: f64) -> Result<Detectable, StatsError> {
    check_tests(alpha, power)?;
    let error = standard_error(ratio)?;
    let log = (normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power)) * error;
    if !log.exp_m1().is_finite() {
        return Err(StatsError::Overflow);
    }
    Ok(Detectable {
        log,
        relative: log.exp_m1(),
        pairs: ratio.pairs,
    })
}

/// The relative effect that is called one with this power where it must be significant at `alpha` *and* lie
/// beyond a threshold: the ratio itself, or, where a level is given, its whole interval of that level.
///
/// # Errors
/// As [`detectable_from`].
pub fn called_from(
    ratio: &Ratio,
    alpha: f64,
    (threshold, level): (f64, Option<f64>),
    power: f64,
) -> Result<f64, StatsError> {
    let found = detectable_from(ratio, alpha, power)?.log;
    let margin = level.map_or(0.0, |level| normal_quantile(f64::midpoint(1.0, level)));
    let beyond = threshold.ln_1p() + (margin + normal_quantile(power)) * standard_error(ratio)?;
    let relative = found.max(beyond).exp_m1();
    if !relative.is_finite() {
        return Err(StatsError::Overflow);
    }
    Ok(relative)
}

/// Standard error of `ln ratio`, read off the interval: half its width over the normal quantile of
/// its coverage.
pub(super) fn standard_error(ratio: &Ratio) -> Result<f64, StatsError> {
    check_open_unit("coverage", ratio.coverage)?;
    let width = ratio.high.ln() - ratio.low.ln();
    if !(width >= 0.0 && width.is_finite()) {
        return Err(StatsError::Parameter {
            name: "high",
            value: ratio.high,
            range: "[low, ∞)",
        });
    }
    Ok(width / 2.0 / normal_quantile(f64::midpoint(1.0, ratio.coverage)))
}

/// How many pairs with the noise of this data it takes to find `relative` (0.05 is five per cent):
/// the smallest `n` for which [`detectable`]'s formula gives no more than `ln(1 + relative)`.
///
/// # Errors
/// As [`detectable`]; [`StatsError::Parameter`] for an effect that is not positive and finite;
/// [`StatsError::TooMany`] where a thousand million pairs would not do.
pub fn pairs_needed(
    log_ratios: &Sample,
    relative: f64,
    alpha: f64,
    power: f64,
) -> Result<usize, StatsError> {
    const MOST: usize = 1_000_000_000;
    let effect = relative.ln_1p();
    if !(effect > 0.0 && effect.is_finite()) {
        return Err(StatsError::Parameter {
            name: "effect",
            value: relative,
            range: "(0, ∞)",
        });
    }
    let noise = noise(log_ratios)?;
    let enough = |n: usize| -> Result<bool, StatsError> {
        Ok(multiplier(n, alpha, power)? * noise / (n as f64).sqrt() <= effect)
    };
    if !enough(MOST)? {
        return Err(StatsError::TooMany {
            have: MOST,
            most: MOST,
        });
    }
    let (mut low, mut high) = (2, MOST);
    while low < high {
        let middle = usize::midpoint(low, high);
        if enough(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// `s_c/f`: the spread of one log-ratio as the clipped mean feels it.
fn noise(log_ratios: &Sample) -> Result<f64, StatsError> {
    let n = log_ratios.n();
    if n < 2 {
        return Err(StatsError::TooFew { have: n, need: 2 });
    }
    let values = log_ratios.sorted();
    let clipped = clipped(values);
    let untouched = values.iter().zip(&clipped).filter(|(v, c)| v == c).count();
    let centre = mean(&clipped);
    let largest = clipped
        .iter()
        .fold(0.0_f64, |m, c| m.max((c - centre).abs()));
    if largest == 0.0 {
        return Ok(0.0);
    }
    // Scaled, so that no square overflows.
    let squares: f64 = clipped
        .iter()
        .map(|c| ((c - centre) / largest).powi(2))
        .sum();
    let sd = largest * (squares / (n - 1) as f64).sqrt();
    Ok(sd * n as f64 / untouched as f64)
}

/// `t_{n−1; 1−α/2} + t_{n−1; power}`.
fn multiplier(n: usize, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_tests(alpha, power)?;
    let freedom = (n - 1) as f64;
    Ok(t_quantile(1.0 - alpha / 2.0, freedom) + t_quantile(power, freedom))
}

/// Refuses an `alpha` or a `power` that no test can be asked for.
pub(super) fn check_tests(alpha: f64, power: f64) -> Result<(), StatsError> {
    check_open_unit("alpha", alpha)?;
    if (0.5..1.0).contains(&power) {
        Ok(())
    } else {
        Err(StatsError::Parameter {
            name: "power",
            value: power,
            range: "[0.5, 1)",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::paired::{hodges_lehmann_ratio, log_ratios};
    use super::super::permutation;
    use super::*;
    use crate::stats::reference;

    #[test]
    fn agrees_with_scipy() {
        for case in reference::cases("power") {
            let s = Sample::new(case.numbers("values")).unwrap();
            let got = detectable(&s, case.number("alpha"), case.number("power")).unwrap();
            case.agrees("log", got.log);
        }
    }

    #[test]
    fn edges() {
        let one = Sample::new([1.0]).unwrap();
        assert_eq!(
            detectable(&one, 0.01, 0.9),
            Err(StatsError::TooFew { have: 1, need: 2 })
        );
        let constant = Sample::new([0.3; 5]).unwrap();
        assert_eq!(detectable(&constant, 0.01, 0.9).unwrap().log, 0.0);
        assert_eq!(pairs_needed(&constant, 0.05, 0.01, 0.9), Ok(2));
        assert!(detectable(&constant, 0.0, 0.9).is_err());
        assert!(detectable(&constant, 0.01, 0.4).is_err());
        assert!(pairs_needed(&constant, 0.0, 0.01, 0.9).is_err());
        let far = Sample::new([-1e300, 1e300, 0.0]).unwrap();
        assert_eq!(detectable(&far, 0.01, 0.9), Err(StatsError::Overflow));
    }

    #[test]
    fn an_interval_tells_the_same_as_the_noise() {
        for case in reference::cases("power_from_interval") {
            let r = Ratio {
                ratio: 1.0,
                low: case.number("low"),
                high: case.number("high"),
                coverage: case.number("coverage"),
                pairs: 9,
            };
            let got = detectable_from(&r, case.number("alpha"), case.number("power")).unwrap();
            case.agrees("log", got.log);
            assert!(
                detectable_from(
                    &Ratio {
                        low: r.high,
                        high: r.low,
                        ..r
                    },
                    0.01,
                    0.9
                )
                .is_err()
            );
            assert!(detectable_from(&Ratio { coverage: 1.0, ..r }, 0.01, 0.9).is_err());
            assert_eq!(
                detectable_from(
                    &Ratio {
                        low: 1.0,
                        high: 1.0,
                        ..r
                    },
                    0.01,
                    0.9
                )
                .unwrap()
                .log,
                0.0
            );
        }
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut noise = || (0..6).map(|_| rng.random::<f64>() - 0.5).sum::<f64>() / 10.0;
        let pairs: Vec<_> = (0..400).map(|_| (1.0, noise().exp())).collect();
        let direct = detectable(&log_ratios(&pairs).unwrap(), 0.01, 0.9)
            .unwrap()
            .log;
        let ratio = hodges_lehmann_ratio(&pairs, 0.95).unwrap();
        let read_off = detectable_from(&ratio, 0.01, 0.9).unwrap().log;
        assert!(
            (read_off / direct - 1.0).abs() < 0.15,
            "{read_off} {direct}"
        );
    }

    #[test]
    fn what_it_calls_detectable_is_detected_about_that_often() {
        let mut rng = ChaCha8Rng::seed_from_u64(21);
        // A near-normal sum with an occasional wild value.
        let mut noise = || {
            let sum: f64 = (0..6).map(|_| rng.random::<f64>() - 0.5).sum();
            sum * if rng.random_bool(0.03) { 0.8 } else { 0.1 }
        };
        let pilot: Vec<f64> = (0..100).map(|_| noise()).collect();
        let pilot = Sample::new(pilot).unwrap();
        let shift = detectable(&pilot, 0.05, 0.8).unwrap().log;
        let found = (0..200)
            .filter(|seed| {
                let pairs: Vec<_> = (0..100).map(|_| (1.0, (noise() + shift).exp())).collect();
                permutation::paired(&pairs, 199, *seed).unwrap().p <= 0.05
            })
            .count();
        // 160 are promised; the pilot's own error and 200 draws are in the margin.
        assert!((120..=195).contains(&found), "{found} of 200");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn more_power_less_alpha_or_more_noise_need_a_larger_effect(
            d in prop::collection::vec(-0.5..0.5_f64, 3..60), shift in -5.0..5.0_f64,
        ) {
            let s = Sample::new(d.clone()).unwrap();
            let base = detectable(&s, 0.05, 0.8).unwrap();
            prop_assert!(base.log >= 0.0);
            prop_assert!(detectable(&s, 0.05, 0.9).unwrap().log >= base.log);
            prop_assert!(detectable(&s, 0.01, 0.8).unwrap().log >= base.log);
            let noisier = Sample::new(d.iter().map(|v| 2.0 * v).collect::<Vec<_>>()).unwrap();
            prop_assert!((detectable(&noisier, 0.05, 0.8).unwrap().log - 2.0 * base.log).abs() < 1e-9);
            let moved = Sample::new(d.iter().map(|v| v + shift).collect::<Vec<_>>()).unwrap();
            prop_assert!((detectable(&moved, 0.05, 0.8).unwrap().log - base.log).abs() < 1e-6 * (1.0 + base.log));
        }

        #[test]
        fn the_pairs_needed_for_what_is_detectable_are_the_pairs_at_hand(d in prop::collection::vec(-0.5..0.5_f64, 5..60)) {
            let s = Sample::new(d).unwrap();
            let seen = detectable(&s, 0.05, 0.8).unwrap().relative;
            let needed = pairs_needed(&s, seen * (1.0 + 1e-9), 0.05, 0.8).unwrap();
            prop_assert_eq!(needed, s.n());
        }
    }
}
