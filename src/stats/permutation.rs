//! Could chance alone have produced this difference?

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clip::{CLIP, MAD_TO_SD};
use super::error::StatsError;
use super::paired::log_ratios;
use super::quantile::median_of;
use super::sample::Sample;

/// Up to this many differences every assignment of signs is tried.
pub const EXACT_DIFFERENCES: usize = 20;

/// The outcome of a permutation test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Permutation {
    /// Two-sided probability of a difference at least this large if the labels mean nothing.
    pub p: f64,
    /// Whether every assignment was tried; otherwise `p` is itself drawn by chance.
    pub exact: bool,
    /// How many assignments were tried.
    pub tried: u64,
}

/// The sign-flip test: is the mean of paired differences further from 0 than chance explains?
///
/// If the two sides of a pair are exchangeable, every difference is as likely with either sign.
/// `p` is the share of sign assignments with `|Σ sᵢdᵢ| ≥ |Σ dᵢ|`: all `2ⁿ` for `n ≤ 20`; otherwise
/// `(b + 1)/(m + 1)` with `b` of `m` random assignments (ChaCha8 from `seed`), which counts the
/// observed one and so never claims a `p` of 0 nor alarms too often. Sources: Fisher (1935), *The
/// Design of Experiments*, §21; Phipson & Smyth (2010), *Permutation P-values Should Never Be
/// Zero*.
///
/// The smallest possible `p` is `2/2ⁿ` or `1/(m+1)`: for a family of `k` tests at `α` after Holm,
/// choose `m ≥ k/α` ([`resamples_for`]).
///
/// # Errors
/// [`StatsError::TooFew`] for no resamples where they are needed.
pub fn sign_flip(
    differences: &Sample,
    resamples: usize,
    seed: u64,
) -> Result<Permutation, StatsError> {
    let largest = differences
        .sorted()
        .iter()
        .fold(0.0_f64, |m, d| m.max(d.abs()));
    if largest == 0.0 {
        return Ok(Permutation {
            p: 1.0,
            exact: true,
            tried: 1,
        });
    }
    // Scaled against overflow; sorted so that the result does not depend on the order of pairs.
    let scaled: Vec<f64> = differences.sorted().iter().map(|d| d / largest).collect();
    let magnitude: f64 = scaled.iter().map(|d| d.abs()).sum();
    // Assignments that tie with the observed one must count despite the rounding of sums.
    let observed = scaled.iter().sum::<f64>().abs() - 1e-12 * magnitude;
    let n = scaled.len();
    if n <= EXACT_DIFFERENCES {
        // |Σ| does not change when all signs do, so the first sign can stay.
        let tried = 1_u64 << (n - 1);
        let reached = count_assignments(scaled[0], &scaled[1..], observed);
        return Ok(Permutation {
            p: reached as f64 / tried as f64,
            exact: true,
            tried: 2 * tried,
        });
    }
    if resamples == 0 {
        return Err(StatsError::TooFew { have: 0, need: 1 });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut reached = 0_u64;
    for _ in 0..resamples {
        let sum: f64 = scaled
            .chunks(64)
            .map(|chunk| flipped_sum(chunk, rng.next_u64()))
            .sum();
        reached += u64::from(sum.abs() >= observed);
    }
    let p = (reached as f64 + 1.0) / (resamples as f64 + 1.0);
    Ok(Permutation {
        p,
        exact: false,
        tried: resamples as u64,
    })
}

/// The sum of up to 64 values, each with the sign that its bit says.
fn flipped_sum(values: &[f64], bits: u64) -> f64 {
    let signed = |(i, v): (usize, &f64)| f64::from_bits(v.to_bits() ^ (bits >> i << 63));
    values.iter().enumerate().map(signed).sum()
}

/// How many sign assignments of `rest` bring `|sum|` to `observed`.
fn count_assignments(sum: f64, rest: &[f64], observed: f64) -> u64 {
    match rest.split_first() {
        None => u64::from(sum.abs() >= observed),
        Some((first, rest)) => {
            count_assignments(sum + first, rest, observed)
                + count_assignments(sum - first, rest, observed)
        }
    }
}

/// [`sign_flip`] on the clipped log-ratios `ln(b/a)` of pairs.
///
/// Each is clipped to `±3·1.4826·median |ln(b/a)|`, so that a few wild blocks cannot drown a small
/// shift. The fence depends on magnitudes alone, which no sign flip changes, so the test stays
/// exact. Where more than half of the pairs are equal the fence would be 0 and nothing is clipped.
///
/// # Errors
/// As [`log_ratios`] and [`sign_flip`].
pub fn paired(
    pairs: &[(f64, f64)],
    resamples: usize,
    seed: u64,
) -> Result<Permutation, StatsError> {
    let logs = log_ratios(pairs)?;
    let mut magnitudes: Vec<f64> = logs.values().iter().map(|d| d.abs()).collect();
    let fence = CLIP * MAD_TO_SD * median_of(&mut magnitudes);
    if fence == 0.0 {
        return sign_flip(&logs, resamples, seed);
    }
    let clipped: Vec<f64> = logs
        .values()
        .iter()
        .map(|d| d.clamp(-fence, fence))
        .collect();
    sign_flip(&Sample::new(clipped)?, resamples, seed)
}

/// [`sign_flip`] on the signed ranks of `ln(b/a)`: Wilcoxon's signed-rank test, by permutation.
///
/// Each log-ratio is replaced by the rank of its magnitude (ties share their mean rank) with its
/// sign; 0 stays 0. Where timings gather in clusters this sees far smaller shifts than a mean does,
/// because a pair that straddles two clusters counts as one large rank, not as a large distance.
/// Permuting the scores keeps it valid with ties. It is the test that belongs to
/// [`hodges_lehmann_ratio`](super::paired::hodges_lehmann_ratio). Sources: Wilcoxon (1945); Pratt
/// (1959) for ranking zeros before they are left out.
///
/// # Errors
/// As [`log_ratios`] and [`sign_flip`].
pub fn paired_ranks(
    pairs: &[(f64, f64)],
    resamples: usize,
    seed: u64,
) -> Result<Permutation, StatsError> {
    let logs = log_ratios(pairs)?;
    let mut by_size = logs.values().to_vec();
    by_size.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let mut scores = Vec::with_capacity(by_size.len());
    for tied in by_size.chunk_by(|a, b| a.abs() == b.abs()) {
        let rank = scores.len() as f64 + f64::midpoint(tied.len() as f64, 1.0);
        scores.extend(
            tied.iter()
                .map(|d| if *d == 0.0 { 0.0 } else { rank.copysign(*d) }),
        );
    }
    sign_flip(&Sample::new(scores)?, resamples, seed)
}

/// Resamples with which the smallest `p` of each of `family` tests survives Holm at `alpha`:
/// `⌈family/alpha⌉`.
///
/// # Errors
/// [`StatsError::Parameter`] for an `alpha` that is not strictly between 0 and 1.
pub fn resamples_for(family: usize, alpha: f64) -> Result<usize, StatsError> {
    super::error::check_open_unit("alpha", alpha)?;
    Ok((family as f64 / alpha).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::super::reference;
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values).unwrap()
    }

    #[test]
    fn agrees_with_scipy_where_exact() {
        for case in reference::cases("permutation") {
            let got = sign_flip(&sample(&case.numbers("values")), 1, 0).unwrap();
            assert!(got.exact);
            case.agrees("p", got.p);
        }
    }

    #[test]
    fn signed_ranks_agree_with_scipy() {
        for case in reference::cases("signed_rank_test") {
            let pairs: Vec<_> = case
                .numbers("values")
                .iter()
                .map(|d| (1.0, d.exp()))
                .collect();
            case.agrees("p", paired_ranks(&pairs, 1, 0).unwrap().p);
        }
    }

    #[test]
    fn the_smallest_p_is_known() {
        for n in 1..=5 {
            let got = sign_flip(&sample(&vec![1.0; n]), 1, 0).unwrap();
            assert_eq!(got.p, 2.0 / f64::from(1 << n));
        }
        let many = sign_flip(&sample(&[1.0; 100]), 999, 3).unwrap();
        assert_eq!((many.p, many.exact, many.tried), (1.0 / 1000.0, false, 999));
        assert_eq!(sign_flip(&sample(&[0.0; 100]), 999, 3).unwrap().p, 1.0);
        assert!(sign_flip(&sample(&[1.0; 100]), 0, 3).is_err());
        assert_eq!(resamples_for(30, 0.01), Ok(3_000));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let far = sign_flip(&sample(&[1e300; 40]), 999, 1).unwrap();
        assert_eq!(far.p, 0.001);
        assert_eq!(
            sign_flip(&sample(&[1e-300, 1e300, -1e300]), 1, 1)
                .unwrap()
                .p,
            1.0
        );
    }

    #[test]
    fn sampling_meets_enumeration() {
        // 21 differences: one more than is enumerated by default.
        let d: Vec<f64> = (0..21).map(|i| f64::from(i) - 6.0).collect();
        let all = count_assignments(d[0], &d[1..], d.iter().sum::<f64>().abs() - 1e-9);
        let exact = all as f64 / f64::from(1 << 20);
        let drawn = sign_flip(&sample(&d), 20_000, 5).unwrap().p;
        assert!(
            (drawn - exact).abs() < 5.0 * (exact / 20_000.0).sqrt(),
            "{drawn} {exact}"
        );
    }

    /// A launch: a body, a cluster one tick later, a heavy tail.
    fn launch(rng: &mut ChaCha8Rng) -> f64 {
        let body = 0.6 + 0.1 * rng.random::<f64>();
        let tick = if rng.random_bool(0.2) { 4.0 } else { 0.0 };
        (body + tick) * if rng.random_bool(0.02) { 10.0 } else { 1.0 }
    }

    #[test]
    fn alarms_on_nothing_about_as_often_as_it_may() {
        for ranks in [false, true] {
            let alarms = alarms_of(if ranks { paired_ranks } else { paired });
            // 20 are expected; 400 draws leave that band less than once in 10⁴.
            assert!((5..=38).contains(&alarms), "{alarms} of 400");
        }
    }

    fn alarms_of(
        test: impl Fn(&[(f64, f64)], usize, u64) -> Result<Permutation, StatsError>,
    ) -> usize {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        (0..400)
            .filter(|seed| {
                // Drift moves the whole block and cancels.
                let pairs: Vec<_> = (0..60)
                    .map(|i| 1.0 + f64::from(i) / 60.0)
                    .map(|drift| (drift * launch(&mut rng), drift * launch(&mut rng)))
                    .collect();
                test(&pairs, 199, *seed).unwrap().p <= 0.05
            })
            .count()
    }

    #[test]
    fn sees_a_shift_behind_wild_values() {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let pairs: Vec<_> = (0..400)
            .map(|_| (launch(&mut rng), 1.1 * launch(&mut rng)))
            .collect();
        assert!(paired(&pairs, 1_999, 1).unwrap().p < 0.01);
        assert!(paired_ranks(&pairs, 1_999, 1).unwrap().p < 0.01);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_probability_blind_to_order_sign_and_unit(
            mut d in prop::collection::vec((-9..9_i32).prop_map(f64::from), 1..30), seed: u64,
        ) {
            let got = sign_flip(&sample(&d), 99, seed).unwrap();
            prop_assert!(got.p > 0.0 && got.p <= 1.0);
            d.reverse();
            prop_assert_eq!(sign_flip(&sample(&d), 99, seed).unwrap(), got);
            let scaled: Vec<f64> = d.iter().map(|v| v * 1024.0).collect();
            prop_assert_eq!(sign_flip(&sample(&scaled), 99, seed).unwrap(), got);
            if got.exact {
                let mirrored: Vec<f64> = d.iter().map(|v| -v).collect();
                prop_assert_eq!(sign_flip(&sample(&mirrored), 99, seed).unwrap(), got);
            }
        }

        #[test]
        fn a_larger_shift_never_raises_an_exact_p(d in prop::collection::vec(0.0..1.0_f64, 2..12), i in 0..12_usize, more in 0.0..5.0_f64) {
            let before = sign_flip(&sample(&d), 1, 0).unwrap().p;
            let mut further = d.clone();
            let i = i % d.len();
            further[i] += more;
            // All differences already point the same way: only ±all reaches the observed sum.
            prop_assert!(sign_flip(&sample(&further), 1, 0).unwrap().p <= before + 1e-12);
        }
    }
}
