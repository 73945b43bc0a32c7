//! Lines through points: what one more instance costs.

use super::distribution::t_quantile;
use super::error::{StatsError, check_open_unit};
use super::interval::Interval;
use super::quantile::median_of;
use super::rank;
use super::sample::{Sample, mean};

/// Most points [`theil_sen`] takes; it looks at every pair of them.
pub const MOST_POINTS: usize = 3_000;

/// Up to this many points the Theil–Sen interval uses the exact null distribution.
const EXACT_POINTS: usize = 60;

/// A fitted line `y = intercept + slope·x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Change of `y` for one more `x`.
    pub slope: f64,
    /// `y` at `x = 0`.
    pub intercept: f64,
    /// Interval of the slope.
    pub interval: Interval,
    /// How many points there were.
    pub points: usize,
}

/// The Theil–Sen line: the median of the slopes of all pairs of points with different `x`.
///
/// `slope = median (yⱼ − yᵢ)/(xⱼ − xᵢ)`, `intercept = median (yᵢ − slope·xᵢ)`. Nearly a third of
/// the points may be wrong by any amount without moving it far. The interval runs between two of
/// the ordered slopes: if `β` is the true slope, the number of slopes below `β` is distributed as
/// the number of discordant pairs without a trend, so `[s₍ᵣ₎, s₍ₙ₊₁₋ᵣ₎]` with the largest `r` for
/// which `P(D ≤ r−1) ≤ α/2`. Exact up to 60 points, with repeated `x` too; beyond, the normal
/// approximation with the variance corrected for repeated `x`. Five different `x` are the fewest
/// for 95 %. Source: Theil (1950); Sen (1968), *Estimates of the Regression Coefficient Based on
/// Kendall's Tau*; Hollander, Wolfe & Chicken (2014), §9.2–9.4.
///
/// # Errors
/// [`StatsError::TooFew`] where the level cannot be attained, [`StatsError::NoSpread`] where all
/// `x` are equal, [`StatsError::TooMany`] beyond [`MOST_POINTS`]; values and level as in [`Sample`]
/// and elsewhere; [`StatsError::Overflow`] where a slope is beyond `f64`.
pub fn theil_sen(points: &[(f64, f64)], level: f64) -> Result<Line, StatsError> {
    check_open_unit("level", level)?;
    let (x, y) = columns(points)?;
    let n = points.len();
    if n > MOST_POINTS {
        return Err(StatsError::TooMany {
            have: n,
            most: MOST_POINTS,
        });
    }
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, (xi, yi)) in points.iter().enumerate() {
        let others = points[..i].iter().filter(|(xj, _)| xj != xi);
        slopes.extend(others.map(|(xj, yj)| (yi - yj) / (xi - xj)));
    }
    if slopes.is_empty() {
        return Err(StatsError::NoSpread);
    }
    if slopes.iter().any(|s| !s.is_finite()) {
        return Err(StatsError::Overflow);
    }
    let groups: Vec<usize> = x
        .sorted()
        .chunk_by(|a, b| a == b)
        .map(<[f64]>::len)
        .collect();
    let ranks = if n <= EXACT_POINTS {
        rank::exact(&rank::discordant(&groups), level)
    } else {
        let term = |k: usize| (k * (k - 1) * (2 * k + 5)) as f64;
        let variance = (term(n) - groups.iter().map(|&g| term(g)).sum::<f64>()) / 18.0;
        // D = (pairs − S)/2, so its standard deviation is half that of Kendall's S.
        rank::approximate(slopes.len() as f64 / 2.0, variance.sqrt() / 2.0, level)
    };
    let Some(ranks) = ranks else {
        return Err(StatsError::TooFew {
            have: n,
            need: points_needed(level).max(n + 1),
        });
    };
    slopes.sort_unstable_by(f64::total_cmp);
    let rank = ranks.rank as usize;
    let interval = Interval {
        low: slopes[rank - 1],
        high: slopes[slopes.len() - rank],
        coverage: ranks.coverage,
    };
    let slope = median_of(&mut slopes);
    let mut rests: Vec<f64> = x
        .values()
        .iter()
        .zip(y.values())
        .map(|(x, y)| y - slope * x)
        .collect();
    let intercept = median_of(&mut rests);
    if !intercept.is_finite() {
        return Err(StatsError::Overflow);
    }
    Ok(Line {
        slope,
        intercept,
        interval,
        points: n,
    })
}

/// The fewest points with different `x` that attain `level`: the smallest `n` with `2/n! ≤ α`.
fn points_needed(level: f64) -> usize {
    let (mut n, mut orders) = (2, 2.0);
    while 2.0 / orders > 1.0 - level + super::quantile::LEVEL_SLACK {
        n += 1;
        orders *= n as f64;
    }
    n
}

/// The least-squares line with the t interval of its slope.
///
/// `slope = Σ(xᵢ−x̄)(yᵢ−ȳ)/Sxx`, `Sxx = Σ(xᵢ−x̄)²`, `slope ± t_{n−2; 1−α/2}·√(Σrᵢ²/((n−2)·Sxx))`.
/// The interval has its nominal coverage for independent, normal, equally noisy residuals; one
/// wrong point moves it at will, which is why it stands beside [`theil_sen`], not before it.
/// Source: Draper & Smith (1998), *Applied Regression Analysis*, §1.4.
///
/// # Errors
/// [`StatsError::TooFew`] below 3 points, [`StatsError::NoSpread`] where all `x` are equal,
/// [`StatsError::Overflow`] where a result is beyond `f64`; values and level as in [`Sample`].
pub fn least_squares(points: &[(f64, f64)], level: f64) -> Result<Line, StatsError> {
    check_open_unit("level", level)?;
    let (x, y) = columns(points)?;
    let n = points.len();
    if n < 3 {
        return Err(StatsError::TooFew { have: n, need: 3 });
    }
    if x.min() == x.max() {
        return Err(StatsError::NoSpread);
    }
    // Centred and scaled to [−1, 1], so that no square overflows or vanishes.
    let (centre_x, u, scale_x) = centred(&x);
    let (centre_y, v, scale_y) = centred(&y);
    let sxx: f64 = u.iter().map(|u| u * u).sum();
    let sxy: f64 = u.iter().zip(&v).map(|(u, v)| u * v).sum();
    let slope = sxy / sxx;
    let rss: f64 = u.iter().zip(&v).map(|(u, v)| (v - slope * u).powi(2)).sum();
    let freedom = (n - 2) as f64;
    let t = t_quantile(f64::midpoint(1.0, level), freedom);
    let half = t * (rss / freedom / sxx).sqrt();
    let unit = scale_y / scale_x;
    let interval = Interval {
        low: (slope - half) * unit,
        high: (slope + half) * unit,
        coverage: level,
    };
    let slope = slope * unit;
    let intercept = centre_y - slope * centre_x;
    if [slope, intercept, interval.low, interval.high]
        .iter()
        .all(|v| v.is_finite())
    {
        Ok(Line {
            slope,
            intercept,
            interval,
            points: n,
        })
    } else {
        Err(StatsError::Overflow)
    }
}

/// Mean, values minus mean divided by the scale, and the scale (1 where all values are equal).
fn centred(sample: &Sample) -> (f64, Vec<f64>, f64) {
    let centre = sample.mean();
    let mut rest: Vec<f64> = sample.values().iter().map(|v| v - centre).collect();
    // The mean is rounded; what is left of it is taken out too.
    let left = mean(&rest);
    rest.iter_mut().for_each(|r| *r -= left);
    let largest = rest.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    rest.iter_mut().for_each(|r| *r /= scale);
    (centre, rest, scale)
}

/// The two columns, validated.
fn columns(points: &[(f64, f64)]) -> Result<(Sample, Sample), StatsError> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    Ok((Sample::new(x)?, Sample::new(y)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        for case in reference::cases("slope") {
            let points = case.pairs("points");
            let robust = theil_sen(&points, case.number("level")).unwrap();
            case.agrees("theil_sen", robust.slope);
            case.agrees("theil_sen_intercept", robust.intercept);
            case.agrees("theil_sen_low", robust.interval.low);
            case.agrees("theil_sen_high", robust.interval.high);
            let fit = least_squares(&points, case.number("level")).unwrap();
            case.agrees("least_squares", fit.slope);
            case.agrees("least_squares_intercept", fit.intercept);
            case.agrees("least_squares_low", fit.interval.low);
            case.agrees("least_squares_high", fit.interval.high);
        }
    }

    #[test]
    fn too_little_says_so() {
        let points = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0)];
        for n in 2..=4 {
            let refused = theil_sen(&points[..n], 0.95);
            assert_eq!(refused, Err(StatsError::TooFew { have: n, need: 5 }));
        }
        let (few, none) = (least_squares(&points[..2], 0.95), theil_sen(&[], 0.95));
        assert_eq!(few, Err(StatsError::TooFew { have: 2, need: 3 }));
        assert_eq!(none, Err(StatsError::Empty));
        for fit in [theil_sen, least_squares] {
            assert_eq!(
                fit(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)], 0.95),
                Err(StatsError::NoSpread)
            );
            assert!(fit(&[(1.0, f64::NAN); 6], 0.95).is_err());
            assert!(fit(&points, 0.0).is_err());
        }
    }

    #[test]
    fn five_counts_give_an_interval_and_one_wild_point_does_not_move_it_far() {
        let mut points = [
            (1.0, 12.0),
            (2.0, 22.1),
            (4.0, 41.9),
            (8.0, 82.0),
            (16.0, 162.2),
        ];
        let line = theil_sen(&points, 0.95).unwrap();
        assert!((line.slope - 10.0).abs() < 0.1 && line.interval.contains(line.slope));
        assert!((line.interval.coverage - (1.0 - 2.0 / 120.0)).abs() < 1e-12);
        points[2].1 = 4e6;
        assert!((theil_sen(&points, 0.95).unwrap().slope - 10.0).abs() < 0.2);
    }

    #[test]
    fn extremes_do_not_overflow_silently() {
        let huge: Vec<_> = (0..6)
            .map(|i| (f64::from(i) * 1e-300, f64::from(i) * 1e299))
            .collect();
        assert_eq!(theil_sen(&huge, 0.95), Err(StatsError::Overflow));
        assert_eq!(least_squares(&huge, 0.95), Err(StatsError::Overflow));
        let large: Vec<_> = (0..6)
            .map(|i| (f64::from(i) * 1e290, f64::from(i) * 1e299))
            .collect();
        assert!((least_squares(&large, 0.95).unwrap().slope / 1e9 - 1.0).abs() < 1e-9);
        assert!((theil_sen(&large, 0.95).unwrap().slope / 1e9 - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn finds_a_line_exactly_and_in_any_order(
            slope in -1e3..1e3_f64, intercept in -1e3..1e3_f64, n in 5..70_usize, turn in 0..70_usize,
        ) {
            let mut points: Vec<_> = (0..n).map(|i| (i as f64, intercept + slope * i as f64)).collect();
            points.rotate_left(turn % n);
            for line in [theil_sen(&points, 0.95).unwrap(), least_squares(&points, 0.95).unwrap()] {
                prop_assert!((line.slope - slope).abs() < 1e-8);
                prop_assert!((line.intercept - intercept).abs() < 1e-6);
            }
        }

        #[test]
        fn interval_holds_the_slope_and_follows_a_change_of_unit(
            points in prop::collection::vec((0..12_i32, -100..100_i32), 8..40), scale in 0.001..1e3_f64,
        ) {
            let points: Vec<_> = points.iter().enumerate()
                .map(|(i, (x, y))| (f64::from(*x) + if i < 5 { 100.0 * i as f64 } else { 0.0 }, f64::from(*y)))
                .collect();
            let scaled: Vec<_> = points.iter().map(|(x, y)| (*x, y * scale)).collect();
            for fit in [theil_sen, least_squares] {
                let line = fit(&points, 0.95).unwrap();
                prop_assert!(line.interval.contains(line.slope));
                let other = fit(&scaled, 0.95).unwrap();
                prop_assert!((other.slope - line.slope * scale).abs() <= 1e-9 * (1.0 + other.slope.abs()));
            }
        }
    }
}
