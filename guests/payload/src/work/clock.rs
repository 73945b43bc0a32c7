//! The time-stamp counter.

use core::arch::x86_64::{_mm_lfence, _rdtsc};

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
