//! First touch: one write to each page of fresh memory.

use core::ptr;

use isobench_abi::{Fold64, workload::PAGE};

use super::{Done, timed};

const WORDS: usize = PAGE as usize / 8;

/// Writes its number, from 1, into the first word of each page.
pub fn run(heap: &mut [u64]) -> Done {
    let (start, heap, end) = timed(heap, |heap| {
        touch(heap);
        heap
    });
    Done {
        start,
        end,
        digest: digest(heap),
        isa: 0,
    }
}

/// The writes themselves.
#[inline(always)]
pub fn touch(heap: &mut [u64]) {
    for (page, number) in heap.chunks_exact_mut(WORDS).zip(1u64..) {
        // SAFETY: the first word of a page that is borrowed exclusively. Volatile: each page
        // gets its own store, in order.
        unsafe { ptr::write_volatile(page.as_mut_ptr(), number) };
    }
}

/// The fold of what [`touch`] wrote, read back.
#[inline(never)]
pub fn digest(heap: &[u64]) -> Fold64 {
    heap.chunks_exact(WORDS)
        .fold(Fold64::EMPTY, |fold, page| fold.word(page[0]))
}
