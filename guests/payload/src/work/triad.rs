//! STREAM's four kernels (McCalpin 1995), with 16-byte loads and stores.

use core::arch::x86_64::{__m128d, _mm_add_pd, _mm_load_pd, _mm_mul_pd, _mm_set1_pd};

use isobench_abi::{
    Fold64,
    workload::{LINE, TRIAD_SCALAR, triad_entry},
};

use super::{Done, timed};

/// Copy, scale, add, triad over three arrays of `size` bytes, `reps` times.
pub fn run(heap: &mut [u64], size: u64, reps: u64) -> Done {
    let words = size as usize / 8;
    let (a, rest) = heap.split_at_mut(words);
    let (b, rest) = rest.split_at_mut(words);
    let c = &mut rest[..words];
    for (word, index) in a.iter_mut().zip(0..) {
        *word = (triad_entry(index) as f64).to_bits();
    }
    b.fill(0);
    c.fill(0);
    let (start, [a, b, c], end) = timed(([a, b, c], reps), |([a, b, c], reps)| {
        for _ in 0..reps {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { repetition(a, b, c) };
        }
        [a, b, c]
    });
    let digest = [a, b, c]
        .into_iter()
        .flat_map(|array| array.iter())
        .fold(Fold64::EMPTY, |fold, &word| fold.word(word));
    Done {
        start,
        end,
        digest,
        isa: 0,
    }
}

/// The arrays, aligned to 64 bytes, have the same length, a multiple of 64 bytes.
#[target_feature(enable = "sse2")]
fn repetition(a: &mut [u64], b: &mut [u64], c: &mut [u64]) {
    let q = _mm_set1_pd(TRIAD_SCALAR as f64);
    stream(c, |at| load(a, at));
    stream(b, |at| _mm_mul_pd(q, load(c, at)));
    stream(c, |at| _mm_add_pd(load(a, at), load(b, at)));
    stream(a, |at| _mm_add_pd(load(b, at), _mm_mul_pd(q, load(c, at))));
}

/// Two entries, from word `at` on (even, inside the array: see `stream`).
#[inline(always)]
fn load(array: &[u64], at: usize) -> __m128d {
    // SAFETY: `stream` passes even positions below the length that all arrays share; their start
    // is 64-byte aligned, so the address is 16-byte aligned and both words are inside.
    unsafe { _mm_load_pd(array.as_ptr().add(at).cast()) }
}

/// Fills `out`, a cache line at a time. The stores are volatile so that they stay what they are:
/// neither a call to memcpy nor merged with the next kernel.
#[inline(always)]
fn stream(out: &mut [u64], value: impl Fn(usize) -> __m128d) {
    for (line, first) in out
        .chunks_exact_mut(LINE as usize / 8)
        .zip((0..).step_by(LINE as usize / 8))
    {
        for pair in [0, 2, 4, 6] {
            // SAFETY: `line` has eight words and is 64-byte aligned; the pair lies inside.
            unsafe {
                line.as_mut_ptr()
                    .add(pair)
                    .cast::<__m128d>()
                    .write_volatile(value(first + pair));
            }
        }
    }
}
