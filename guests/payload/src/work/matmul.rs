//! C = A·B in f64: blocked for the caches, with a 4×8 tile of C in vector registers.
//!
//! ```text
//!   B rearranged into panels of 8 columns, so that a tile reads it front to back:
//!     for each block of DEPTH columns of A           one panel's part: 16 KiB, stays in L1
//!       for each block of ROWS rows of A             128 × 256 entries: 256 KiB, stays in L2
//!         for each panel, for each four rows         tile: 4×8 sums in registers
//! ```

use core::arch::x86_64::{
    _mm_add_pd, _mm_load_pd, _mm_mul_pd, _mm_set1_pd, _mm_setzero_pd, _mm_store_pd, _mm256_add_pd,
    _mm256_fmadd_pd, _mm256_load_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_store_pd,
};

use isobench_abi::{
    Fold64,
    workload::{matrix_a, matrix_b, matrix_stride},
};

use super::{Done, isa, timed};

/// Columns of B in a panel, and of C in a tile.
const WIDTH: usize = 8;
/// Rows of a tile.
const HEIGHT: usize = 4;
/// Columns of A taken at a time.
const DEPTH: usize = 256;
/// Rows of A taken at a time.
const ROWS: usize = 128;

/// Adds the product of four rows of A and one panel of B to a tile of C.
///
/// # Safety
/// `a` points at four rows of at least `depth` entries, `stride` apart; `panel` at `depth` rows of
/// eight entries; `c` at four rows of eight entries, `stride` apart, that nothing else refers to.
/// `panel` and `c` are 64-byte aligned and `stride` is a multiple of eight. The CPU has the
/// instructions the function was compiled for.
type Tile = unsafe fn(a: *const f64, panel: *const f64, c: *mut f64, stride: usize, depth: usize);

/// Four square matrices of `stride` rows and columns, a multiple of eight, 64-byte aligned.
struct Matrices<'a> {
    a: &'a [f64],
    b: &'a [f64],
    c: &'a mut [f64],
    panels: &'a mut [f64],
    stride: usize,
}

/// Multiplies two `side`×`side` matrices, `reps` times.
pub fn run(heap: &mut [u64], side: u64, reps: u64) -> Done {
    let stride = matrix_stride(side) as usize;
    let side = side as usize;
    let (a, rest) = floats(heap).split_at_mut(stride * stride);
    let (b, rest) = rest.split_at_mut(stride * stride);
    let (c, rest) = rest.split_at_mut(stride * stride);
    let panels = &mut rest[..stride * stride];
    for row in 0..side {
        for column in 0..side {
            let (i, j) = (row as u64, column as u64);
            a[row * stride + column] = matrix_a(i, j) as f64;
            b[row * stride + column] = matrix_b(i, j) as f64;
        }
    }
    // Their first touch belongs to the preparation too.
    c.fill(0.0);
    panels.fill(0.0);
    let (tile, isa): (Tile, u64) = if isa::avx2_fma() {
        (tile_avx2, 1)
    } else {
        (tile_sse2, 0)
    };
    let matrices = Matrices {
        a,
        b,
        c,
        panels,
        stride,
    };
    let (start, matrices, end) = timed((matrices, reps), |(mut matrices, reps)| {
        for _ in 0..reps {
            multiply(&mut matrices, tile);
        }
        matrices
    });
    let mut digest = Fold64::EMPTY;
    for row in matrices.c.chunks_exact(stride).take(side) {
        for &entry in &row[..side] {
            digest = digest.word((entry as i64).cast_unsigned());
        }
    }
    Done {
        start,
        end,
        digest,
        isa,
    }
}

/// The heap as f64.
fn floats(heap: &mut [u64]) -> &mut [f64] {
    // SAFETY: f64 has the size and alignment of u64, every bit pattern is one, and the exclusive
    // borrow passes to the result.
    unsafe { core::slice::from_raw_parts_mut(heap.as_mut_ptr().cast(), heap.len()) }
}

/// One repetition: clears C, rearranges B, multiplies.
fn multiply(m: &mut Matrices<'_>, tile: Tile) {
    let n = m.stride;
    m.c.fill(0.0);
    for (column, panel) in m.panels.chunks_exact_mut(n * WIDTH).enumerate() {
        for (row, slot) in m.b.chunks_exact(n).zip(panel.chunks_exact_mut(WIDTH)) {
            slot.copy_from_slice(&row[column * WIDTH..][..WIDTH]);
        }
    }
    for left in (0..n).step_by(DEPTH) {
        let depth = DEPTH.min(n - left);
        for top in (0..n).step_by(ROWS) {
            let bottom = n.min(top + ROWS);
            for column in (0..n).step_by(WIDTH) {
                let panel = &m.panels[column * n + left * WIDTH..][..depth * WIDTH];
                for row in (top..bottom).step_by(HEIGHT) {
                    let a = &m.a[row * n + left..][..(HEIGHT - 1) * n + depth];
                    let c = &mut m.c[row * n + column..][..(HEIGHT - 1) * n + WIDTH];
                    // SAFETY: the slices are exactly what a tile reads and writes; n is a multiple
                    // of 8 and the matrices are 64-byte aligned, so panel and c are; the tile was
                    // chosen by what the CPU has.
                    unsafe { tile(a.as_ptr(), panel.as_ptr(), c.as_mut_ptr(), n, depth) };
                }
            }
        }
    }
}

/// AVX2 with FMA: eight sums of four entries.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2(a: *const f64, panel: *const f64, c: *mut f64, stride: usize, depth: usize) {
    let mut sums = [[_mm256_setzero_pd(); 2]; HEIGHT];
    // SAFETY: every access is inside what the contract of `Tile` names.
    unsafe {
        for k in 0..depth {
            let left = _mm256_load_pd(panel.add(k * WIDTH));
            let right = _mm256_load_pd(panel.add(k * WIDTH + 4));
            for (row, sum) in sums.iter_mut().enumerate() {
                let factor = _mm256_set1_pd(a.add(row * stride + k).read());
                sum[0] = _mm256_fmadd_pd(factor, left, sum[0]);
                sum[1] = _mm256_fmadd_pd(factor, right, sum[1]);
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            for (half, &value) in sum.iter().enumerate() {
                let at = c.add(row * stride + half * 4);
                _mm256_store_pd(at, _mm256_add_pd(_mm256_load_pd(at), value));
            }
        }
    }
}

/// SSE2: the tile in two halves of four columns, each eight sums of two entries.
#[target_feature(enable = "sse2")]
unsafe fn tile_sse2(a: *const f64, panel: *const f64, c: *mut f64, stride: usize, depth: usize) {
    for half in [0, 4] {
        let mut sums = [[_mm_setzero_pd(); 2]; HEIGHT];
        // SAFETY: every access is inside what the contract of `Tile` names.
        unsafe {
            for k in 0..depth {
                let left = _mm_load_pd(panel.add(k * WIDTH + half));
                let right = _mm_load_pd(panel.add(k * WIDTH + half + 2));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let factor = _mm_set1_pd(a.add(row * stride + k).read());
                    sum[0] = _mm_add_pd(_mm_mul_pd(factor, left), sum[0]);
                    sum[1] = _mm_add_pd(_mm_mul_pd(factor, right), sum[1]);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                for (pair, &value) in sum.iter().enumerate() {
                    let at = c.add(row * stride + half + pair * 2);
                    _mm_store_pd(at, _mm_add_pd(_mm_load_pd(at), value));
                }
            }
        }
    }
}
