//! The workloads. Each prepares, reads the counter, works, reads the counter, and only then folds
//! its result into a digest. What each shall compute is said in [`isobench_abi::workload`].

mod branch;
mod chase;
pub mod clock;
mod crossing;
mod fault;
mod idle;
mod isa;
mod matmul;
mod probe;
mod sha256;
mod triad;
mod warm;

use core::hint::black_box;

use isobench_abi::{
    Fold64, GuestFault,
    workload::{SEED, Workload, xorshift},
};

use crate::transport::Link;

/// Why a workload gives up, with one word of detail.
pub type Refusal = (GuestFault, u64);

/// What a workload hands back.
pub struct Done {
    /// Counter at the start of the timed section.
    pub start: u64,
    /// Counter at its end.
    pub end: u64,
    /// Digest of the result.
    pub digest: Fold64,
    /// Instruction set used ([`isobench_abi::Report::isa`]).
    pub isa: u64,
}

/// Runs one workload, or refuses arguments outside its limits.
pub fn run(workload: Workload, size: u64, reps: u64, link: &mut Link) -> Result<Done, Refusal> {
    let limits = workload.limits();
    if !limits.allow_size(size) {
        return Err((GuestFault::BadArgument, size));
    }
    if !limits.allow_reps(reps) {
        return Err((GuestFault::BadArgument, reps));
    }
    let heap = link.memory(workload.heap_bytes(size))?;
    match workload {
        Workload::Noop => Ok(noop()),
        Workload::Sha256 => Ok(sha256::run(heap, size, reps)),
        Workload::Matmul => Ok(matmul::run(heap, size, reps)),
        Workload::Branch => Ok(branch::run(size, reps)),
        Workload::Triad => Ok(triad::run(heap, size, reps)),
        Workload::Chase => Ok(chase::run(heap, size, reps)),
        Workload::Fault => Ok(fault::run(heap)),
        Workload::Crossing => crossing::run(reps, link),
        Workload::Clock => clock::run(reps),
        Workload::Idle => idle::run(heap, link),
        Workload::Warm => warm::run(heap, link),
        Workload::Probe => probe::run(heap, size, reps, link),
    }
}

fn noop() -> Done {
    let now = clock::now();
    Done {
        start: now,
        end: now,
        digest: Fold64::EMPTY,
        isa: 0,
    }
}

/// The pseudo-random words that `sha256` hashes and `warm` looks up.
fn fill(words: &mut [u64]) {
    let mut state = SEED;
    for word in words {
        let (next, output) = xorshift(state);
        state = next;
        *word = output;
    }
}

/// The value of `work(input)` and the counter before and after. Passing input and value through
/// `black_box` between the readings pins the work there: the compiler may not compute any of it
/// from what it knew earlier, nor leave any of it for later.
#[inline(always)]
fn timed<I, T>(input: I, work: impl FnOnce(I) -> T) -> (u64, T, u64) {
    let start = clock::now();
    let value = black_box(work(black_box(input)));
    let end = clock::now();
    (start, value, end)
}
