//! An instance that exists and waits, with as much memory as it was asked to take.

use isobench_abi::{Mark, Message};

use super::{Done, Refusal, clock, fault};
use crate::transport::Link;

/// Touches every page of `heap`, says so, waits for the host's request and answers it. "Ready" has
/// gone out before (`crate::main`). The pages are read back only after the wait, when nobody
/// measures memory any more.
pub fn run(heap: &mut [u64], link: &mut Link) -> Result<Done, Refusal> {
    fault::touch(heap);
    link.send(&Message::Mark(Mark::Waiting(size_of_val(heap) as u64)));
    link.wait()?;
    link.send(&Message::Mark(Mark::Awake));
    let now = clock::now();
    Ok(Done {
        start: now,
        end: now,
        digest: fault::digest(heap),
        isa: 0,
    })
}
