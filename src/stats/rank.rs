//! Null distributions of rank statistics, as used to pick which order statistic ends an interval.

use super::distribution::{normal_cdf, normal_quantile};
use super::quantile::LEVEL_SLACK;

/// The narrowest equal-tailed interval between order statistics that keeps the level.
pub(super) struct Ranks {
    /// Rank of the lower end, from 1; the upper end has the same rank from above.
    pub(super) rank: u64,
    /// Coverage of the interval.
    pub(super) coverage: f64,
}

/// Ranks from an exact distribution: the largest `r` with `P(T ≤ r−1) ≤ α/2`.
/// `None` where even the extremes do not reach the level.
pub(super) fn exact(probabilities: &[f64], level: f64) -> Option<Ranks> {
    let tail = (1.0 - level) / 2.0 + LEVEL_SLACK;
    let (mut rank, mut below) = (0, 0.0);
    for p in probabilities {
        if below + p > tail {
            break;
        }
        below += p;
        rank += 1;
    }
    (rank > 0).then_some(Ranks {
        rank,
        coverage: 1.0 - 2.0 * below,
    })
}

/// Ranks from the normal approximation with continuity correction: `T` has the given mean and
/// standard deviation, so `r − 1 = ⌊mean − ½ + z_{α/2}·sd⌋`.
pub(super) fn approximate(mean: f64, sd: f64, level: f64) -> Option<Ranks> {
    let rank = (mean + 0.5 + normal_quantile((1.0 - level) / 2.0) * sd).floor();
    if rank < 1.0 || sd <= 0.0 {
        return None;
    }
    let below = normal_cdf((rank - 0.5 - mean) / sd);
    Some(Ranks {
        rank: rank as u64,
        coverage: 1.0 - 2.0 * below,
    })
}

/// `P(T⁺ = t)` of Wilcoxon's signed-rank statistic for `n` values, by the recursion that adds
/// rank `k` with probability ½. Source: Hollander, Wolfe & Chicken (2014), *Nonparametric
/// Statistical Methods*, §3.1.
pub(super) fn signed_rank(n: usize) -> Vec<f64> {
    let mut p = vec![1.0];
    for k in 1..=n {
        let mut next = vec![0.0; p.len() + k];
        for (t, value) in p.iter().enumerate() {
            next[t] += value / 2.0;
            next[t + k] += value / 2.0;
        }
        p = next;
    }
    p
}

/// `P(D = d)` for the number of discordant pairs between groups of the given sizes when there is
/// no trend (Jonckheere–Terpstra; Kendall's distribution where every group has one member).
///
/// Adding a group of `m` to `n` earlier values adds an independent Mann–Whitney count. Source:
/// Hollander, Wolfe & Chicken (2014), §6.2 and §8.1; Harding (1984), *An Efficient, Compact
/// Algorithm for Computing Frequencies for the Mann–Whitney U*.
pub(super) fn discordant(groups: &[usize]) -> Vec<f64> {
    let (mut p, mut earlier) = (vec![1.0], 0);
    for &size in groups {
        let u = mann_whitney(size, earlier);
        let mut next = vec![0.0; p.len() + u.len() - 1];
        for (i, a) in p.iter().enumerate() {
            for (j, b) in u.iter().enumerate() {
                next[i + j] += a * b;
            }
        }
        p = next;
        earlier += size;
    }
    p
}

/// `P(U = u)` for groups of `m` and `n`: the largest value belongs to the first group with
/// probability `m/(m+n)` and then adds `n`.
pub(super) fn mann_whitney(m: usize, n: usize) -> Vec<f64> {
    // row[j]: the distribution for i and j members, for the current i.
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=n {
            let mut p = vec![0.0; i * j + 1];
            let share = i as f64 / (i + j) as f64;
            for (u, value) in row[j].iter().enumerate() {
                p[u + j] += share * value;
            }
            for (u, value) in next[j - 1].iter().enumerate() {
                p[u] += (1.0 - share) * value;
            }
            next.push(p);
        }
        row = next;
    }
    row.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    #[test]
    fn agrees_with_scipy_and_enumeration() {
        for case in reference::cases("signed_rank") {
            let p = signed_rank(case.count("n"));
            let t = case.count("t");
            case.agrees("cdf", p[..=t].iter().sum());
        }
        for case in reference::cases("discordant") {
            let groups: Vec<usize> = case.numbers("groups").iter().map(|g| *g as usize).collect();
            let p = discordant(&groups);
            let want = case.numbers("p");
            assert_eq!(p.len(), want.len());
            for (got, want) in p.iter().zip(want) {
                assert!((got - want).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_approximation_meets_the_exact_ranks() {
        for n in [60_usize, 100, 200] {
            let m = n as f64;
            let sd = (m * (m + 1.0) * (2.0 * m + 1.0) / 24.0).sqrt();
            let near = approximate(m * (m + 1.0) / 4.0, sd, 0.95).unwrap();
            let exact = exact(&signed_rank(n), 0.95).unwrap();
            assert!(near.rank.abs_diff(exact.rank) <= 1 && exact.coverage >= 0.95);
            assert!((near.coverage - exact.coverage).abs() < 2e-3);
        }
    }

    #[test]
    fn distributions_sum_to_one_and_are_symmetric() {
        for p in [
            signed_rank(1),
            signed_rank(17),
            discordant(&[1; 9]),
            discordant(&[2, 3, 1, 4]),
        ] {
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let n = p.len();
            assert!((0..n).all(|i| (p[i] - p[n - 1 - i]).abs() < 1e-12));
        }
    }
}
