//! The time-stamp counter.
#![allow(unsafe_code)]

use std::arch::x86_64::{_mm_lfence, _rdtsc};

use crate::metric::Ticks;

/// The counter, fenced on both sides (`lfence; rdtsc; lfence`; Intel SDM vol. 2, RDTSC): every
/// instruction before has completed, none after has begun.
#[inline]
#[must_use]
pub fn now() -> Ticks {
    // SAFETY: LFENCE is part of SSE2, which every x86-64 CPU has; RDTSC is allowed in user mode
    // unless CR4.TSD is set (prctl(2), PR_SET_TSC), which this program never does.
    unsafe {
        _mm_lfence();
        let reading = _rdtsc();
        _mm_lfence();
        Ticks(reading)
    }
}
