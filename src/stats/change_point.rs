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

mod split;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::split::{Scratch, Weights};
use super::error::{StatsError, check_open_unit};
use super::sample::Sample;

/// Most values: weights are kept for all pairs of lengths, and time is quadratic.
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
    let mut search = Search {
        weights: Weights::new(values.len(), policy.segment.max(2)),
        scratch: Scratch::default(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found: Vec<ChangePoint> = Vec::new();
    loop {
        let bounds = bounds(&found, values.len());
        let Some((statistic, index)) = search.best(values, &bounds) else {
            break;
        };
        let p = search.p_value(values, &bounds, statistic, policy, &mut rng);
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

/// A search for splits, with what it needs again and again.
struct Search {
    weights: Weights,
    scratch: Scratch,
}

impl Search {
    /// The largest statistic over all segments, with its place.
    fn best(&mut self, values: &[f64], bounds: &[(usize, usize)]) -> Option<(f64, usize)> {
        let of = |&(start, end): &(usize, usize)| {
            let (statistic, at) = self.scratch.best(&values[start..end], &self.weights)?;
            Some((statistic, start + at))
        };
        let found = bounds.iter().filter_map(of);
        found.max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// How often a random order of each segment's values does as well. Stops where it is too often.
    fn p_value(
        &mut self,
        values: &[f64],
        bounds: &[(usize, usize)],
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
            let other = self.best(&shuffled, bounds);
            if other.is_some_and(|(other, _)| other >= statistic) {
                as_good += 1;
            }
            if p(as_good) > policy.level {
                break;
            }
        }
        p(as_good)
    }
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
