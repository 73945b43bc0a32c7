//! An instance whose state took long to make, and one request that is answered from it: what a snapshot
//! of the instance saves.

use isobench_abi::{
    Fold64, Mark, Message,
    workload::{WARM_LOOKUPS, WARM_REQUEST, warm_place},
};

use super::{Done, Refusal, fill, timed};
use crate::transport::Link;

/// Fills `heap`, says so, waits for the host's request, answers it. The timed section is the answer.
pub fn run(heap: &mut [u64], link: &mut Link) -> Result<Done, Refusal> {
    fill(heap);
    link.send(&Message::Mark(Mark::Waiting(size_of_val(heap) as u64)));
    link.wait()?;
    let (start, digest, end) = timed((&*heap, WARM_REQUEST), |(state, request)| {
        answer(state, request)
    });
    link.send(&Message::Mark(Mark::Answer(digest.finish())));
    Ok(Done {
        start,
        end,
        digest,
        isa: 0,
    })
}

/// Lookups that depend on each other.
fn answer(state: &[u64], request: u64) -> Fold64 {
    let words = state.len() as u64;
    let mut found = request;
    let mut digest = Fold64::EMPTY;
    for _ in 0..WARM_LOOKUPS {
        found = state[warm_place(words, found) as usize];
        digest = digest.word(found);
    }
    digest
}
