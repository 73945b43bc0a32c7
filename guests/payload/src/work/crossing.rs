//! The cheapest crossing to whoever serves this payload.

use isobench_abi::{Fold64, GuestFault};

use super::{Done, Refusal, timed};
use crate::transport::Link;

/// Crosses `reps` times; every crossing must succeed.
pub fn run(reps: u64, link: &Link) -> Result<Done, Refusal> {
    let (start, crossed, end) = timed(reps, |reps| {
        let mut crossed = 0u64;
        for _ in 0..reps {
            crossed += u64::from(link.cross());
        }
        crossed
    });
    if crossed != reps {
        return Err((GuestFault::Transport, reps - crossed));
    }
    Ok(Done {
        start,
        end,
        digest: Fold64::EMPTY.word(crossed),
        isa: 0,
    })
}
