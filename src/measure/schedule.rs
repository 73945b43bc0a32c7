//! Who runs when: random blocks from a seed, spread so that a run cut short is still balanced.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One shuffled round: every configuration gets exactly one trial of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Index of the task.
    pub task: usize,
    /// Position among the blocks of this task, from 0.
    pub round: u32,
    /// Indices of the configurations in the order they run.
    pub order: Vec<usize>,
    /// Whether the block only warms up: kept and marked, not estimated from.
    pub warmup: bool,
}

/// All blocks of a run in order.
///
/// The first `warmups` rounds of every task come first and warm up. The others are laid out by
/// `(round + u) / rounds` with `u` uniform in 0..1: each task is spread evenly over the whole run
/// whatever its number of rounds, so that a run that ends early has lost the same share of each.
#[must_use]
pub fn blocks(rounds: &[u32], configurations: usize, warmups: u32, seed: u64) -> Vec<Block> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut keyed = Vec::new();
    for (task, &rounds) in rounds.iter().enumerate() {
        for round in 0..rounds + warmups {
            let mut order: Vec<usize> = (0..configurations).collect();
            order.shuffle(&mut rng);
            let warmup = round < warmups;
            let key = if warmup {
                f64::from(round) - f64::from(warmups)
            } else {
                (f64::from(round - warmups) + rng.random::<f64>()) / f64::from(rounds)
            };
            keyed.push((
                key,
                Block {
                    task,
                    round,
                    order,
                    warmup,
                },
            ));
        }
    }
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, block)| block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_block_has_every_configuration_once(
            rounds in prop::collection::vec(1u32..20, 1..6), configurations in 1usize..6,
            warmups in 0u32..3, seed: u64,
        ) {
            let all = blocks(&rounds, configurations, warmups, seed);
            prop_assert_eq!(all.len() as u32, rounds.iter().map(|r| r + warmups).sum::<u32>());
            for block in &all {
                let mut order = block.order.clone();
                order.sort_unstable();
                prop_assert_eq!(order, (0..configurations).collect::<Vec<_>>());
            }
            let first_real = all.iter().position(|b| !b.warmup).unwrap();
            prop_assert!(all[first_real..].iter().all(|b| !b.warmup));
            prop_assert_eq!(all, blocks(&rounds, configurations, warmups, seed));
        }
    }

    #[test]
    fn any_prefix_is_balanced_between_tasks() {
        let all = blocks(&[100, 10], 3, 0, 7);
        let half = &all[..all.len() / 2];
        let rare = half.iter().filter(|b| b.task == 1).count();
        assert!((4..=6).contains(&rare), "{rare} of 10 in the first half");
    }

    #[test]
    fn another_seed_gives_another_order() {
        assert_ne!(blocks(&[20], 3, 0, 1), blocks(&[20], 3, 0, 2));
    }
}
