//! Who gets the time that is left? Everyone up to the same share of it, and what the modest do not
//! want is for the others.

use std::time::Duration;

/// What a task would still do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Blocks.
    pub blocks: u32,
    /// Time of one.
    pub cost: Duration,
}

impl Want {
    fn time(&self) -> Duration {
        self.cost * self.blocks
    }
}

/// Blocks for each task within `time`, by max-min fairness: each gets an equal share of the time, as
/// far as it wants it; what it does not want is shared among the others in the same way, from the
/// smallest want on. Shares are rounded down to whole blocks, so at most a block of each is left.
/// Source: Bertsekas & Gallager (1992), *Data Networks*, on max-min fair flow control.
///
/// A task that wants a block and has the time of none gets none. A cost of zero is a block whose
/// length is not known: it gets what it wants.
#[must_use]
pub fn share(wants: &[Want], time: Duration) -> Vec<u32> {
    let mut order: Vec<usize> = (0..wants.len()).filter(|&i| wants[i].blocks > 0).collect();
    order.sort_by_key(|&i| wants[i].time());
    let (mut given, mut left) = (vec![0; wants.len()], time);
    for (position, &i) in order.iter().enumerate() {
        let fair = left / u32::try_from(order.len() - position).unwrap_or(u32::MAX);
        let Want { blocks, cost } = wants[i];
        let fit = fair.as_nanos().checked_div(cost.as_nanos());
        given[i] = fit.map_or(blocks, |fit| {
            blocks.min(u32::try_from(fit).unwrap_or(u32::MAX))
        });
        left = left.saturating_sub(cost * given[i]);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn want(blocks: u32, ms: u64) -> Want {
        Want {
            blocks,
            cost: Duration::from_millis(ms),
        }
    }

    #[test]
    fn the_modest_get_all_and_the_others_share_the_rest() {
        let wants = [want(100, 100), want(10, 10), want(0, 5), want(100, 50)];
        // 100 ms for the second; 450 each for the first and the last.
        assert_eq!(share(&wants, Duration::from_secs(1)), [4, 10, 0, 9]);
        assert_eq!(share(&wants, Duration::from_secs(3600)), [100, 10, 0, 100]);
        assert_eq!(share(&wants, Duration::ZERO), [0; 4]);
        assert_eq!(share(&[], Duration::from_secs(1)), [0; 0]);
    }

    #[test]
    fn a_block_of_unknown_length_is_given() {
        assert_eq!(
            share(&[want(12, 0), want(3, 400)], Duration::from_secs(1)),
            [12, 2]
        );
    }

    proptest! {
        #[test]
        fn no_more_than_there_is_and_fair(
            wants in prop::collection::vec((0..200_u32, 1..500_u64), 1..12), ms in 0..20_000_u64,
        ) {
            let wants: Vec<Want> = wants.into_iter().map(|(blocks, ms)| want(blocks, ms)).collect();
            let time = Duration::from_millis(ms);
            let given = share(&wants, time);
            let got: Vec<Duration> = given.iter().zip(&wants).map(|(n, w)| w.cost * *n).collect();
            prop_assert!(got.iter().sum::<Duration>() <= time);
            let wanting = wants.iter().filter(|w| w.blocks > 0).count().max(1);
            let equal = time / wanting as u32;
            for (n, w) in given.iter().zip(&wants) {
                let fits = (equal.as_nanos() / w.cost.as_nanos()) as u32;
                prop_assert!(*n <= w.blocks && *n >= w.blocks.min(fits));
            }
            let short = (0..wants.len()).filter(|&i| given[i] < wants[i].blocks);
            let blocks: Duration = short.clone().map(|i| wants[i].cost).sum();
            prop_assert!(short.count() == 0 || time - got.iter().sum::<Duration>() < blocks);
        }
    }
}
