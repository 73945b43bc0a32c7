//! Intervals for rates: how often did the ruler raise a false alarm, how often did it see a delay.

use super::distribution::{beta_tails, bisect};
use super::error::{StatsError, check_open_unit};
use super::interval::Interval;

/// The Clopper–Pearson interval for the probability behind `successes` out of `trials`.
///
/// With `α = 1 − level`: the lower end solves `P(B ≥ x) = α/2`, the upper end `P(B ≤ x) = α/2`,
/// that is, `Beta(α/2; x, n−x+1)` and `Beta(1−α/2; x+1, n−x)`; 0 and 1 where `x` is 0 or `n`.
/// The coverage is at least `level`, whatever the true rate: near 0, where false-alarm rates live,
/// the usual normal interval covers far less than it says. Source: Clopper & Pearson (1934), *The
/// Use of Confidence or Fiducial Limits*.
///
/// # Errors
/// [`StatsError::Empty`] for no trials, [`StatsError::Parameter`] for more successes than trials
/// or a level that is not strictly between 0 and 1.
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Result<Interval, StatsError> {
    check_open_unit("level", level)?;
    if trials == 0 {
        return Err(StatsError::Empty);
    }
    if successes > trials {
        let value = successes as f64;
        return Err(StatsError::Parameter {
            name: "successes",
            value,
            range: "[0, trials]",
        });
    }
    let tail = (1.0 - level) / 2.0;
    let (x, n) = (successes as f64, trials as f64);
    let low = if successes == 0 {
        0.0
    } else {
        bisect(0.0, 1.0, |p| beta_tails(x, n - x + 1.0, p).0 >= tail)
    };
    let high = if successes == trials {
        1.0
    } else {
        bisect(0.0, 1.0, |p| beta_tails(x + 1.0, n - x, p).1 <= tail)
    };
    Ok(Interval {
        low,
        high,
        coverage: level,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::distribution::binomial_cdf;
    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        for case in reference::cases("clopper_pearson") {
            let (x, n) = (case.count("successes") as u64, case.count("trials") as u64);
            let got = clopper_pearson(x, n, case.number("level")).unwrap();
            case.agrees("low", got.low);
            case.agrees("high", got.high);
        }
    }

    #[test]
    fn refuses_what_is_not_a_rate() {
        assert_eq!(clopper_pearson(0, 0, 0.95), Err(StatsError::Empty));
        assert!(clopper_pearson(2, 1, 0.95).is_err());
        assert!(clopper_pearson(1, 2, 1.0).is_err());
    }

    proptest! {
        #[test]
        fn holds_the_rate_mirrors_and_solves_its_equation(n in 1..400_u64, x in 0..400_u64, level in 0.5..0.999_f64) {
            let x = x % (n + 1);
            let ci = clopper_pearson(x, n, level).unwrap();
            prop_assert!(ci.contains(x as f64 / n as f64));
            let mirror = clopper_pearson(n - x, n, level).unwrap();
            prop_assert!((ci.low - (1.0 - mirror.high)).abs() < 1e-12);
            if x < n {
                let tail = binomial_cdf(x as usize, n as usize, ci.high);
                prop_assert!((tail - (1.0 - level) / 2.0).abs() < 1e-9);
            }
        }

        #[test]
        fn more_trials_at_the_same_rate_narrow_it(n in 1..50_u64, x in 0..50_u64) {
            let x = x % (n + 1);
            let (few, many) = (clopper_pearson(x, n, 0.95).unwrap(), clopper_pearson(4 * x, 4 * n, 0.95).unwrap());
            prop_assert!(many.half_width() < few.half_width());
        }
    }
}
