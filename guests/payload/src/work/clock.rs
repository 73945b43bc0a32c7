//! The time-stamp counter, and what reading it costs.

use core::arch::x86_64::{_mm_lfence, _rdtsc};

use isobench_abi::{Fold64, GuestFault};

use super::{Done, Refusal, timed};

/// The counter, after everything before it has completed and before anything after it starts
/// (`lfence; rdtsc; lfence`, Intel SDM vol. 2, RDTSC).
#[inline]
pub fn now() -> u64 {
    // SAFETY: LFENCE is SSE2, which x86-64 has; RDTSC is allowed at CPL 3 (CR4.TSD is clear on
    // Linux and in our VM).
    unsafe {
        _mm_lfence();
        let reading = _rdtsc();
        _mm_lfence();
        reading
    }
}

/// Reads the counter `reps` times; one that runs backwards is no clock.
pub fn run(reps: u64) -> Result<Done, Refusal> {
    let (start, (forward, backward), end) = timed(reps, |reps| {
        let (mut forward, mut backward) = (0u64, 0u64);
        let mut before = 0;
        for _ in 0..reps {
            let reading = now();
            if reading >= before {
                forward += 1;
            } else {
                backward += 1;
            }
            before = reading;
        }
        (forward, backward)
    });
    if backward > 0 {
        return Err((GuestFault::Transport, backward));
    }
    Ok(Done {
        start,
        end,
        digest: Fold64::EMPTY.word(forward),
        isa: 0,
    })
}
