//! The names, parameters and constants of the workloads: everything the payload and the host's
//! independent reference implementations must agree on. The algorithms are written twice, once on
//! each side, so that a known answer is a check and not an echo.
//!
//! Command line of the payload: `payload WORKLOAD SIZE REPS`, decimal.

/// One thing the payload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Workload {
    /// Say ready, do nothing, leave.
    Noop,
    /// SHA-256 over SIZE bytes, REPS times, each digest fed into the next round.
    Sha256,
    /// C = A·B for SIZE×SIZE matrices of f64, REPS times.
    Matmul,
    /// SIZE instructions of a small interpreter, REPS times.
    Branch,
    /// STREAM's copy, scale, add, triad over three arrays of SIZE bytes, REPS times.
    Triad,
    /// REPS dependent loads through a random cycle over SIZE bytes, one node a cache line.
    Chase,
    /// First touch of SIZE bytes of fresh memory, one write a page; REPS must be 1.
    Fault,
    /// REPS times the cheapest crossing to whoever serves this payload.
    Crossing,
    /// REPS reads of the fenced time-stamp counter.
    Clock,
    /// Say ready, wait for one request, answer it, leave.
    Idle,
}

impl Workload {
    /// Every workload, in the catalogue's order.
    pub const ALL: [Self; 10] = [
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
        }
    }

    /// The workload with this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.name().as_bytes() == name)
    }
}

/// Largest SIZE in bytes of a workload that owns memory: 1 GiB.
pub const MAX_BYTES: u64 = 1 << 30;
/// Largest side of a matrix.
pub const MAX_MATRIX: u64 = 2048;
/// Largest REPS.
pub const MAX_REPS: u64 = 1 << 32;
/// Bytes of a cache line: the distance of two nodes of `chase`.
pub const LINE: u64 = 64;
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Seed of every pseudo-random sequence.
pub const SEED: u64 = 0x1505_be4c_6973_6f62;

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

/// `branch`: the interpreter has four registers of 64 bits and this many opcodes.
pub const OPCODES: u64 = 8;
/// `branch`: length of its program in instructions.
pub const PROGRAM: usize = 256;

/// Instruction at `index` of the interpreter's program: opcode 0..8, register 0..4, immediate.
/// A branching opcode jumps to its immediate modulo [`PROGRAM`].
///
/// | opcode | effect (wrapping) |
/// |---|---|
/// | 0 | `r += imm` |
/// | 1 | `r ^= r[(reg+1)%4]` |
/// | 2 | `r *= imm \| 1` |
/// | 3 | `r = r.rotate_left(imm % 64)` |
/// | 4 | `r -= r[(reg+2)%4]` |
/// | 5 | jump to imm if `r` is odd |
/// | 6 | jump to imm if bit 7 of `r` is set |
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
