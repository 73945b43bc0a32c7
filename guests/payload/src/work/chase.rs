//! Dependent loads through a random cycle: the latency of each level of the memory system.

use core::hint::black_box;

use isobench_abi::{
    Fold64,
    workload::{LINE, SEED, sattolo, xorshift},
};

use super::{Done, timed};

/// Words in a cache line; the first holds the position (in words) of the next node.
const STEP: usize = LINE as usize / 8;

/// Follows the cycle over `size` bytes for `reps` loads.
pub fn run(heap: &mut [u64], size: u64, reps: u64) -> Done {
    let nodes = &mut heap[..size as usize / 8];
    link_up(nodes);
    warm(nodes);
    let (start, reached, end) = timed((&*nodes, reps), |(nodes, reps)| {
        let mut at = 0;
        for _ in 0..reps {
            // The bounds check is off the critical path: the next address needs only this load.
            at = nodes[at] as usize;
        }
        at
    });
    Done {
        start,
        end,
        digest: Fold64::EMPTY.word((reached / STEP) as u64),
        isa: 0,
    }
}

/// One cycle through every node (Sattolo 1986): a walk cannot fall into a short loop that fits a
/// nearer cache.
fn link_up(nodes: &mut [u64]) {
    let count = nodes.len() / STEP;
    for node in 0..count {
        nodes[node * STEP] = (node * STEP) as u64;
    }
    let mut state = SEED;
    for index in (1..count).rev() {
        let (next, draw) = xorshift(state);
        state = next;
        nodes.swap(index * STEP, sattolo(index as u64, draw) as usize * STEP);
    }
}

/// Touches every node once, in address order: whatever fits a cache or the TLB is there before the
/// walk, and what was left where does not depend on how the cycle was made.
fn warm(nodes: &[u64]) {
    for line in nodes.chunks_exact(STEP) {
        black_box(line[0]);
    }
}
