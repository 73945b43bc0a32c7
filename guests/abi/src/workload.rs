//! The names, parameters and constants of the workloads: everything the payload and the host's
//! independent reference implementations must agree on. The algorithms are written twice, once on
//! each side, so that a known answer is a check and not an echo.
//!
//! Command line of the payload: `payload WORKLOAD SIZE REPS`, decimal.

use crate::question::END;

/// One thing the payload does.
///
/// Each prepares its data, reads the counter, works, reads the counter, and only then folds what it
/// computed into a digest ([`crate::Fold64`], from `EMPTY` unless said otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Workload {
    /// Say ready, do nothing, leave. Digest: the fold of nothing.
    Noop,
    /// SHA-256 over SIZE bytes, REPS times. The bytes are [`xorshift`]'s outputs from state [`SEED`]
    /// on, little-endian; each round's digest overwrites the first 32. Digest: the last round's
    /// 32 bytes.
    Sha256,
    /// C = A·B for SIZE×SIZE matrices of f64 ([`matrix_a`], [`matrix_b`]), REPS times. Digest: the
    /// entries of C as `i64`, row by row.
    Matmul,
    /// SIZE instructions of a small interpreter ([`instruction`]), REPS times. Digest: its four
    /// registers.
    Branch,
    /// STREAM's copy (c = a), scale (b = q·c), add (c = a + b) and triad (a = b + q·c) over three
    /// arrays of f64, SIZE bytes each ([`triad_entry`], [`TRIAD_SCALAR`]), REPS times. Digest: the
    /// bits of a, then b, then c.
    Triad,
    /// REPS dependent loads through a random cycle ([`sattolo`]) over SIZE bytes, one node a cache
    /// line. Digest: the node reached.
    Chase,
    /// First touch of SIZE bytes of fresh memory, one write a page; REPS must be 1. Page i of
    /// 0.. gets the word i + 1. Digest: these words, read back.
    Fault,
    /// REPS times the cheapest crossing to whoever serves this payload. Digest: how many succeeded.
    Crossing,
    /// REPS reads of the fenced time-stamp counter, which must not run backwards. Digest: how many.
    Clock,
    /// Say ready, touch SIZE bytes of fresh memory as `fault` does, say [`crate::Mark::Waiting`],
    /// wait for one request, answer it with [`crate::Mark::Awake`], leave. SIZE may be 0. Digest:
    /// the words that were written, read back.
    Idle,
    /// Say ready, fill SIZE bytes of fresh memory with [`xorshift`]'s outputs from state [`SEED`] on,
    /// say [`crate::Mark::Waiting`], wait for one request, answer it from that memory with
    /// [`crate::Mark::Answer`], leave. The answer is [`WARM_LOOKUPS`] lookups, each where the word
    /// found before says ([`warm_place`], from [`WARM_REQUEST`]). Digest: the words found.
    Warm,
    /// Answers REPS questions about its surroundings, from number SIZE on
    /// ([`Ask`](crate::question::Ask)), each with a fact ([`crate::fact`]). Digest: the numbers of
    /// the questions, since what it finds is the host's and no known answer.
    Probe,
}

impl Workload {
    /// Every workload, in the catalogue's order.
    pub const ALL: [Self; 12] = [
        Self::Noop,
        Self::Sha256,
        Self::Matmul,
        Self::Branch,
        Self::Triad,
        Self::Chase,
        Self::Fault,
        Self::Crossing,
        Self::Clock,
        Self::Idle,
        Self::Warm,
        Self::Probe,
    ];

    /// `argv[1]`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Sha256 => "sha256",
            Self::Matmul => "matmul",
            Self::Branch => "branch",
            Self::Triad => "triad",
            Self::Chase => "chase",
            Self::Fault => "fault",
            Self::Crossing => "crossing",
            Self::Clock => "clock",
            Self::Idle => "idle",
            Self::Warm => "warm",
            Self::Probe => "probe",
        }
    }

    /// The workload with this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.name().as_bytes() == name)
    }
}

impl Workload {
    /// Whether it waits for a request before it leaves.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Idle | Self::Warm)
    }
}

/// Largest SIZE in bytes of a workload that owns memory: 1 GiB (`triad`: of each array).
pub const MAX_BYTES: u64 = 1 << 30;
/// Largest side of a matrix.
pub const MAX_MATRIX: u64 = 2048;
/// Largest number of interpreted instructions in one repetition.
pub const MAX_INSTRUCTIONS: u64 = 1 << 30;
/// Largest REPS. `matmul` and `triad` have limits of their own ([`Workload::limits`]).
pub const MAX_REPS: u64 = 1 << 32;
/// Bytes of a cache line: the distance of two nodes of `chase`.
pub const LINE: u64 = 64;
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of memory that `probe` reads files and folders into.
pub const PROBE_BYTES: u64 = 4 * PAGE;
/// Seed of every pseudo-random sequence.
pub const SEED: u64 = 0x1505_be4c_6973_6f62;

/// `warm`: lookups that make one answer.
pub const WARM_LOOKUPS: u64 = 64;
/// `warm`: the request, from which the first lookup's place comes.
pub const WARM_REQUEST: u64 = 0x9e37_79b9_7f4a_7c15;

/// `warm`: which of `words` words a lookup reads, by the word that the lookup before it found.
#[must_use]
pub const fn warm_place(words: u64, found: u64) -> u64 {
    ((found >> 32) * words) >> 32
}

/// What SIZE and REPS of a workload may be. The payload refuses anything else with
/// [`crate::GuestFault::BadArgument`] and the offending value; the host does not start it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Smallest SIZE. A workload without a size takes 0 only.
    pub min_size: u64,
    /// Largest SIZE.
    pub max_size: u64,
    /// SIZE is a multiple of this.
    pub size_step: u64,
    /// Largest REPS; the smallest is 1.
    pub max_reps: u64,
}

impl Limits {
    /// Whether a SIZE is allowed.
    #[must_use]
    pub const fn allow_size(&self, size: u64) -> bool {
        self.min_size <= size && size <= self.max_size && size.is_multiple_of(self.size_step)
    }

    /// Whether a REPS is allowed.
    #[must_use]
    pub const fn allow_reps(&self, reps: u64) -> bool {
        1 <= reps && reps <= self.max_reps
    }
}

impl Workload {
    /// What SIZE and REPS may be, such that [`Report::units`](crate::Report::units) fits 64 bits
    /// and every answer is exact.
    #[must_use]
    pub const fn limits(self) -> Limits {
        let (min_size, max_size, size_step, max_reps) = match self {
            Self::Noop => (0, 0, 1, 1),
            Self::Idle => (0, MAX_BYTES, PAGE, 1),
            Self::Crossing | Self::Clock => (0, 0, 1, MAX_REPS),
            Self::Sha256 => (64, MAX_BYTES, 8, MAX_REPS),
            Self::Matmul => (1, MAX_MATRIX, 1, 1 << 20),
            Self::Branch => (1, MAX_INSTRUCTIONS, 1, MAX_REPS),
            Self::Triad => (LINE, MAX_BYTES, LINE, TRIAD_MAX_REPS),
            Self::Chase => (2 * LINE, MAX_BYTES, LINE, MAX_REPS),
            Self::Fault | Self::Warm => (PAGE, MAX_BYTES, PAGE, 1),
            Self::Probe => (0, END as u64 - 1, 1, END as u64),
        };
        Limits {
            min_size,
            max_size,
            size_step,
            max_reps,
        }
    }

    /// Units of work of one run: what [`Report::units`](crate::Report::units) shall say and a rate
    /// is made of. Arguments within [`Self::limits`] do not overflow it.
    ///
    /// | workload | unit |
    /// |---|---|
    /// | `noop` | 1 |
    /// | `idle`, `warm` | requests answered: 1 |
    /// | `sha256` | bytes hashed |
    /// | `matmul` | floating-point operations: 2·SIZE³ a repetition |
    /// | `branch` | interpreted instructions |
    /// | `triad` | bytes moved as STREAM counts them: 2+2+3+3 arrays a repetition |
    /// | `chase` | dependent loads |
    /// | `fault` | pages |
    /// | `crossing` | crossings |
    /// | `clock` | readings |
    /// | `probe` | questions |
    #[must_use]
    pub const fn units(self, size: u64, reps: u64) -> u64 {
        match self {
            Self::Noop | Self::Idle | Self::Warm => 1,
            Self::Sha256 | Self::Branch => size * reps,
            Self::Matmul => 2 * size * size * size * reps,
            Self::Triad => 10 * size * reps,
            Self::Fault => size / PAGE,
            Self::Chase | Self::Crossing | Self::Clock | Self::Probe => reps,
        }
    }

    /// Fresh memory a run takes, in bytes, a multiple of [`PAGE`]: the payload asks for it once,
    /// before its work; a host that serves memory must have this much and no more.
    #[must_use]
    pub const fn heap_bytes(self, size: u64) -> u64 {
        let bytes = match self {
            Self::Noop | Self::Crossing | Self::Clock | Self::Branch => 0,
            Self::Sha256 | Self::Chase | Self::Fault | Self::Idle | Self::Warm => size,
            // A, B, C and a rearranged copy of B.
            Self::Matmul => 4 * 8 * matrix_stride(size) * matrix_stride(size),
            Self::Triad => 3 * size,
            Self::Probe => PROBE_BYTES,
        };
        bytes.next_multiple_of(PAGE)
    }
}

/// One step of xorshift64* (Marsaglia 2003, Vigna 2016): state and output.
#[must_use]
pub const fn xorshift(state: u64) -> (u64, u64) {
    let mut x = state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    (x, x.wrapping_mul(0x2545_f491_4f6c_dd1d))
}

/// Entry (row, column) of matrix A: a small integer, so that every sum of up to [`MAX_MATRIX`]
/// products is exact in f64 and the answer does not depend on the order or fusing of operations.
#[must_use]
pub const fn matrix_a(row: u64, column: u64) -> i64 {
    ((row * 31 + column * 17 + 5) % 15) as i64 - 7
}

/// Entry (row, column) of matrix B.
#[must_use]
pub const fn matrix_b(row: u64, column: u64) -> i64 {
    ((row * 13 + column * 29 + 3) % 13) as i64 - 6
}

/// `matmul`: entries in a stored row, and rows: the side rounded up to eight, the rest zeros, so
/// that no edge needs code of its own.
#[must_use]
pub const fn matrix_stride(side: u64) -> u64 {
    side.next_multiple_of(8)
}

/// `triad`: the scalar q of `b = q·c` and `a = b + q·c`. A repetition of the four kernels multiplies
/// `a` by q² + 2q = 8: a power of two, so every value stays an integer of few significant bits
/// and is exact however often it is repeated (STREAM's own 3.0 multiplies by 15, which rounds from
/// the 14th repetition on).
pub const TRIAD_SCALAR: u64 = 2;
/// `triad`: largest REPS; the values stay finite (7·3·8³⁰⁰ < 2¹⁰²⁴).
pub const TRIAD_MAX_REPS: u64 = 300;

/// `triad`: entry of array `a` before the first repetition: 1 to 7. `b` and `c` start at zero.
#[must_use]
pub const fn triad_entry(index: u64) -> u64 {
    index % 7 + 1
}

/// `chase`: Sattolo's choice for `index` ≥ 1: a number below it, made of a draw of [`xorshift`] by
/// multiplication instead of division (Lemire 2019).
///
/// The cycle is `next = [0, 1, …]`, then for index from last down to 1, with one draw each from
/// state [`SEED`] on: swap `next[index]` and `next[sattolo(index, draw)]`. The walk starts at node 0.
#[must_use]
pub const fn sattolo(index: u64, draw: u64) -> u64 {
    ((draw >> 32) * index) >> 32
}

/// `branch`: the interpreter has four registers of 64 bits and this many opcodes.
pub const OPCODES: u64 = 8;
/// `branch`: its four registers before the first repetition.
pub const BRANCH_REGISTERS: [u64; 4] = [1, 2, 3, 4];
/// `branch`: multiplier of the jumping opcodes (Knuth's MMIX generator).
pub const BRANCH_STEP: u64 = 0x5851_f42d_4c95_7f2d;
/// `branch`: length of its program in instructions.
pub const PROGRAM: usize = 256;

/// Instruction at `index` of the interpreter's program: opcode 0..8, register 0..4, immediate.
/// A branching opcode steps its register as a random-number generator does and then jumps to its
/// immediate modulo [`PROGRAM`] or goes on, so that no loop is for ever and no branch predictable.
/// A repetition starts at index 0 and goes on from the last to the first; registers carry over.
///
/// | opcode | effect (wrapping) |
/// |---|---|
/// | 0 | `r += imm` |
/// | 1 | `r ^= r[(reg+1)%4]` |
/// | 2 | `r *= imm \| 1` |
/// | 3 | `r = r.rotate_left(imm % 64)` |
/// | 4 | `r -= r[(reg+2)%4]` |
/// | 5 | `r = r * BRANCH_STEP + imm`, then jump to imm if the top bit of `r` is set |
/// | 6 | `r = r * BRANCH_STEP + imm`, then jump to imm if the top bit of `r` is clear |
/// | 7 | swap `r` with `r[(reg+3)%4]`, then add 1 to `r` |
#[must_use]
pub const fn instruction(index: usize) -> (u8, u8, u32) {
    let (_, draw) =
        xorshift(SEED.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (
        (draw >> 61) as u8,
        ((draw >> 59) & 3) as u8,
        (draw & 0xffff_ffff) as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for workload in Workload::ALL {
            assert_eq!(
                Workload::from_name(workload.name().as_bytes()),
                Some(workload)
            );
        }
        assert_eq!(Workload::from_name(b"nope"), None);
    }

    #[test]
    fn units_and_heap_do_not_overflow_at_the_limits() {
        for workload in Workload::ALL {
            let limits = workload.limits();
            assert!(limits.allow_size(limits.min_size) && limits.allow_size(limits.max_size));
            assert!(limits.allow_reps(1) && limits.allow_reps(limits.max_reps));
            assert!(!limits.allow_reps(0) && !limits.allow_reps(limits.max_reps + 1));
            assert!(workload.units(limits.max_size, limits.max_reps) > 0);
            assert_eq!(workload.heap_bytes(limits.max_size) % PAGE, 0);
        }
    }

    #[test]
    fn the_interpreter_has_every_opcode_and_no_jump_to_itself() {
        let mut seen = [0; OPCODES as usize];
        for index in 0..PROGRAM {
            let (opcode, register, immediate) = instruction(index);
            assert!(register < 4);
            seen[usize::from(opcode)] += 1;
            assert!(opcode < 5 || opcode == 7 || immediate as usize % PROGRAM != index);
        }
        assert!(seen.iter().all(|&n| n > 8), "{seen:?}");
    }

    #[test]
    fn a_lookup_stays_inside() {
        let most = MAX_BYTES / 8;
        assert_eq!(warm_place(most, u64::MAX), most - 1);
        assert_eq!(warm_place(PAGE / 8, 0), 0);
    }

    #[test]
    fn sattolo_chooses_below_its_index() {
        assert_eq!(sattolo(1, u64::MAX), 0);
        assert_eq!(
            sattolo(MAX_BYTES / LINE - 1, u64::MAX),
            MAX_BYTES / LINE - 2
        );
    }
}
