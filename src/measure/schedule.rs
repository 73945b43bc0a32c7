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

/// Deals the blocks of a run, a stage at a time, all from one seed.
#[derive(Debug)]
pub struct Schedule {
    rng: ChaCha8Rng,
    configurations: usize,
    /// Blocks dealt of each task.
    dealt: Vec<u32>,
}

impl Schedule {
    /// Nothing dealt yet.
    #[must_use]
    pub fn new(seed: u64, configurations: usize, tasks: usize) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            configurations,
            dealt: vec![0; tasks],
        }
    }

    /// So many more blocks of each task, in order.
    ///
    /// The first `warmups` rounds of every task come first and warm up; they are on top of `rounds`.
    /// The others are laid out by `(round + u) / rounds` with `u` uniform in 0..1: each task is
    /// spread evenly over the whole stage whatever its number of rounds, so that a stage that ends
    /// early has lost the same share of each.
    pub fn stage(&mut self, rounds: &[u32], warmups: u32) -> Vec<Block> {
        let mut keyed = Vec::new();
        for (task, &rounds) in rounds.iter().enumerate() {
            for position in 0..rounds + warmups {
                let mut order: Vec<usize> = (0..self.configurations).collect();
                order.shuffle(&mut self.rng);
                let warmup = position < warmups;
                let key = if warmup {
                    f64::from(position) - f64::from(warmups)
                } else {
                    (f64::from(position - warmups) + self.rng.random::<f64>()) / f64::from(rounds)
                };
                let round = self.dealt[task] + position;
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
            self.dealt[task] += rounds + warmups;
        }
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        keyed.into_iter().map(|(_, block)| block).collect()
    }
}

/// All blocks of a run of one stage.
#[must_use]
pub fn blocks(rounds: &[u32], configurations: usize, warmups: u32, seed: u64) -> Vec<Block> {
    Schedule::new(seed, configurations, rounds.len()).stage(rounds, warmups)
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
    fn stages_go_on_where_the_last_one_ended() {
        let mut schedule = Schedule::new(5, 3, 2);
        let first = schedule.stage(&[4, 2], 1);
        let second = schedule.stage(&[3, 0], 0);
        assert_eq!(first, blocks(&[4, 2], 3, 1, 5));
        let rounds: Vec<u32> = second.iter().map(|b| b.round).collect();
        assert_eq!(rounds, [5, 6, 7]);
        assert!(second.iter().all(|b| b.task == 0 && !b.warmup));
    }

    #[test]
    fn another_seed_gives_another_order() {
        assert_ne!(blocks(&[20], 3, 0, 1), blocks(&[20], 3, 0, 2));
    }
}
