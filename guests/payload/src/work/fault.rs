//! First touch: one write to each page of fresh memory.

use core::ptr;

use isobench_abi::{Fold64, workload::PAGE};

use super::{Done, timed};

const WORDS: usize = PAGE as usize / 8;

/// Writes its number, from 1, into the first word of each page.
pub fn run(heap: &mut [u64]) -> Done {
    let (start, heap, end) = timed(heap, |heap| {
        for (page, number) in heap.chunks_exact_mut(WORDS).zip(1u64..) {
            // SAFETY: the first word of a page that is borrowed exclusively. Volatile: each page
            // gets its own store, in order.
            unsafe { ptr::write_volatile(page.as_mut_ptr(), number) };
        }
        heap
    });
    let digest = heap
        .chunks_exact(WORDS)
        .fold(Fold64::EMPTY, |fold, page| fold.word(page[0]));
    Done {
        start,
        end,
        digest,
        isa: 0,
    }
}
