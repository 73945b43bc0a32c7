//! An instance that exists and waits.

use isobench_abi::{Mark, Message};

use super::{Done, Refusal, noop};
use crate::transport::Link;

/// Waits for the host's request and answers it. "Ready" has gone out before (`crate::main`).
pub fn run(link: &mut Link) -> Result<Done, Refusal> {
    link.wait()?;
    link.send(&Message::Mark(Mark::Awake));
    Ok(noop())
}
