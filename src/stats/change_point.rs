//! Where does a series change? Hierarchical divisive estimation by energy statistics.
//!
//! For two stretches of a series, `X` of `m` values and `Y` of `n` values right behind it,
//!
//! ```text
//!   E(X, Y) = 2/(mn) Σᵢⱼ |xᵢ − yⱼ| − (m choose 2)⁻¹ Σᵢ<ₖ |xᵢ − xₖ| − (n choose 2)⁻¹ Σⱼ<ₖ |yⱼ − yₖ|
//!   Q(X, Y) = mn/(m + n) · E(X, Y)
//! ```
//!
//! estimates how far their distributions, not only their means, are apart. A change point is the `τ`
//! that maximises `Q` over all `τ` and all ends `κ` of the second stretch (a change that is taken
//! back later would else be hidden); whether it is one is asked of random orders of the values
//! within the segments found so far: `p = (1 + #{Q' ≥ Q})/(1 + R)`. Where it is, both sides are looked
//! at again. Source: Matteson & James (2014), *A Nonparametric Approach for Multiple Change Point
//! Analysis of Multivariate Data*, JASA 109:334–345, with `α = 1`. The exponent needs a finite first
//! moment only, which heavy tails have.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::{StatsError, check_open_unit};
use super::sample::Sample;

/// Most values: sums of distances are kept for all pairs.
pub const MOST_VALUES: usize = 2_000;

/// How a series is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Fewest values between two change points, and before the first; at least 2.
    pub segment: usize,
    /// A change point's p-value is at most this.
    pub level: f64,
    /// Random orders that each candidate is held against; `1/(1 + R)` is the smallest p.
    pub permutations: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            segment: 5,
            level: 0.01,
            permutations: 199,
        }
    }
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value behind it.
    pub index: usize,
    /// Its p-value.
    pub p: f64,
}

/// The change points of a series, in its order.
///
/// # Errors
/// [`StatsError::Parameter`] for a policy out of range, [`StatsError::TooMany`] beyond
/// [`MOST_VALUES`], as [`Sample::new`] for values that are none. A series too short for two segments
/// has no change point.
pub fn change_points(
    values: &[f64],
    policy: &Policy,
    seed: u64,
) -> Result<Vec<ChangePoint>, StatsError> {
    check_open_unit("level", policy.level)?;
    if values.len() > MOST_VALUES {
        return Err(StatsError::TooMany {
            have: values.len(),
            most: MOST_VALUES,
        });
    }
    let sample = Sample::new(values)?;
    let values = sample.values();
    let least = policy.segment.max(2);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found: Vec<ChangePoint> = Vec::new();
    loop {
        let bounds = bounds(&found, values.len());
        let Some((statistic, index)) = best(values, &bounds, least) else {
            break;
        };
        let p = p_value(values, &bounds, least, statistic, policy, &mut rng);
        if p > policy.level {
            break;
        }
        found.push(ChangePoint { index, p });
        found.sort_unstable_by_key(|c| c.index);
    }
    Ok(found)
}

/// Segments between change points, as ranges.
fn bounds(found: &[ChangePoint], n: usize) -> Vec<(usize, usize)> {
    let mut ends: Vec<usize> = found.iter().map(|c| c.index).collect();
    ends.push(n);
    let mut start = 0;
    ends.into_iter()
        .map(|end| (std::mem::replace(&mut start, end), end))
        .collect()
}

/// The largest statistic over all segments, with its place.
fn best(values: &[f64], bounds: &[(usize, usize)], least: usize) -> Option<(f64, usize)> {
    let of = |&(start, end): &(usize, usize)| {
        let (statistic, at) = split(&values[start..end], least)?;
        Some((statistic, start + at))
    };
    let found = bounds.iter().filter_map(of);
    found.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// How often a random order of each segment's values does as well. Stops where it is too often.
fn p_value(
    values: &[f64],
    bounds: &[(usize, usize)],
    least: usize,
    statistic: f64,
    policy: &Policy,
    rng: &mut impl Rng,
) -> f64 {
    let orders = policy.permutations;
    let mut shuffled = values.to_vec();
    let mut as_good = 0;
    let p = |as_good: u32| f64::from(as_good + 1) / f64::from(orders + 1);
    for _ in 0..orders {
        for &(start, end) in bounds {
            shuffled[start..end].shuffle(rng);
        }
        if best(&shuffled, bounds, least).is_some_and(|(other, _)| other >= statistic) {
            as_good += 1;
        }
        if p(as_good) > policy.level {
            break;
        }
    }
    p(as_good)
}

/// The best split of one segment: `max Q` over `τ` and `κ`, and its `τ`.
///
/// With `W(a, b)` the sum of distances among the values of `a..b`, the sum between `0..τ` and `τ..κ` is
/// `W(0, κ) − W(0, τ) − W(τ, κ)`; `W(τ, ·)` grows by one row at a time. Time and space are quadratic.
fn split(x: &[f64], least: usize) -> Option<(f64, usize)> {
    let n = x.len();
    if n < 2 * least {
        return None;
    }
    // rows[k][t]: sum of |x_i − x_k| for t ≤ i < k.
    let rows: Vec<Vec<f64>> = (0..n)
        .map(|k| {
            let mut row = vec![0.0; k + 1];
            for i in (0..k).rev() {
                row[i] = row[i + 1] + (x[i] - x[k]).abs();
            }
            row
        })
        .collect();
    let mut whole = vec![0.0; n + 1];
    for k in 0..n {
        whole[k + 1] = whole[k] + rows[k][0];
    }
    let pairs = |n: usize| n as f64 * (n - 1) as f64 / 2.0;
    let mut best: Option<(f64, usize)> = None;
    for t in least..=n - least {
        let mut right = 0.0;
        for (k, row) in rows.iter().enumerate().skip(t) {
            right += row[t];
            let end = k + 1;
            let m = end - t;
            if m < least {
                continue;
            }
            let between = whole[end] - whole[t] - right;
            let (a, b) = (t as f64, m as f64);
            let energy = 2.0 / (a * b) * between - whole[t] / pairs(t) - right / pairs(m);
            let statistic = a * b / (a + b) * energy;
            if best.is_none_or(|(largest, _)| statistic > largest) {
                best = Some((statistic, t));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sum of four uniforms, from a seed.
    fn noise(n: usize, seed: u64) -> Vec<f64> {
        use rand::RngExt;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut one = || (0..4).map(|_| rng.random::<f64>() - 0.5).sum::<f64>();
        (0..n).map(|_| one()).collect()
    }

    fn stepped(n: usize, seed: u64, steps: &[(usize, f64)]) -> Vec<f64> {
        let mut values = noise(n, seed);
        for &(from, by) in steps {
            for value in &mut values[from..] {
                *value += by;
            }
        }
        values
    }

    fn indices(values: &[f64]) -> Vec<usize> {
        let found = change_points(values, &Policy::default(), 7).unwrap();
        found.iter().map(|c| c.index).collect()
    }

    /// The definition, word by word: every split, every pair.
    fn by_definition(x: &[f64], least: usize) -> (f64, usize) {
        let within = |s: &[f64]| {
            let mut sum = 0.0;
            for i in 0..s.len() {
                for k in i + 1..s.len() {
                    sum += (s[i] - s[k]).abs();
                }
            }
            sum / (s.len() * (s.len() - 1) / 2) as f64
        };
        let mut best = (f64::NEG_INFINITY, 0);
        for t in least..=x.len() - least {
            for k in t + least..=x.len() {
                let (a, b) = (&x[..t], &x[t..k]);
                let between: f64 = a
                    .iter()
                    .flat_map(|p| b.iter().map(move |q| (p - q).abs()))
                    .sum();
                let (m, n) = (a.len() as f64, b.len() as f64);
                let q = m * n / (m + n) * (2.0 / (m * n) * between - within(a) - within(b));
                if q > best.0 {
                    best = (q, t);
                }
            }
        }
        best
    }

    #[test]
    fn steps_are_found_where_they_are_and_noise_has_none() {
        assert_eq!(indices(&noise(60, 1)), Vec::<usize>::new());
        let one = indices(&stepped(60, 2, &[(30, 4.0)]));
        assert_eq!(one, [30]);
        let there_and_back = indices(&stepped(60, 3, &[(20, 5.0), (40, -5.0)]));
        assert_eq!(there_and_back, [20, 40]);
    }

    #[test]
    fn false_alarms_keep_to_the_level() {
        // 200 series of noise at a level of 1 %: more than 8 has a probability of 2 in 10,000.
        let alarms = (0..200)
            .filter(|seed| !indices(&noise(30, 1000 + seed)).is_empty())
            .count();
        assert!(alarms <= 8, "{alarms}");
    }

    #[test]
    fn what_is_too_short_or_constant_has_no_change() {
        assert_eq!(indices(&[1.0, 9.0, 1.0, 9.0]), Vec::<usize>::new());
        assert_eq!(indices(&[2.5; 40]), Vec::<usize>::new());
        let policy = Policy::default();
        assert!(change_points(&[], &policy, 1).is_err());
        assert!(change_points(&[f64::NAN; 20], &policy, 1).is_err());
        assert!(change_points(&vec![0.0; MOST_VALUES + 1], &policy, 1).is_err());
        let level = Policy {
            level: 1.0,
            ..policy
        };
        assert!(change_points(&[1.0; 20], &level, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_best_split_is_that_of_the_definition(
            x in prop::collection::vec(-1e3..1e3_f64, 6..24),
            least in 2..4_usize,
        ) {
            let (statistic, index) = split(&x, least).unwrap();
            let (expected, at) = by_definition(&x, least);
            prop_assert!((statistic - expected).abs() <= 1e-9 * expected.abs().max(1.0));
            // Two splits may be equally good.
            prop_assert!(index == at || (by_definition(&x[..], least).0 - statistic).abs() < 1e-6);
        }

        #[test]
        fn scale_and_origin_do_not_matter(
            seed in 0..1000_u64,
            scale in 0.01..100.0_f64,
            origin in -100.0..100.0_f64,
        ) {
            let values = stepped(40, seed, &[(17, 5.0)]);
            let moved: Vec<f64> = values.iter().map(|v| origin + scale * v).collect();
            prop_assert_eq!(indices(&values), indices(&moved));
        }

        #[test]
        fn change_points_are_apart_by_a_segment(
            values in prop::collection::vec(-5.0..5.0_f64, 10..60),
            seed in 0..100_u64,
        ) {
            let found = change_points(&values, &Policy::default(), seed).unwrap();
            let mut last = 0;
            for point in &found {
                prop_assert!(point.index - last >= 5 && point.p <= 0.01);
                last = point.index;
            }
            prop_assert!(values.len() - last >= 5);
        }
    }
}
