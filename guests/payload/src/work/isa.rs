//! Which vector instructions this CPU has and whoever serves the payload has switched on.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// CPUID.1:ECX (Intel SDM vol. 2, CPUID, table 3-10).
const FMA: u32 = 1 << 12;
const OSXSAVE: u32 = 1 << 27;
const AVX: u32 = 1 << 28;
/// CPUID.(7,0):EBX.
const AVX2: u32 = 1 << 5;
/// XCR0 (Intel SDM vol. 1, section 13.3): SSE and AVX state are both enabled.
const XCR0_SSE_AVX: u64 = 0b110;

/// Whether AVX2 and FMA may be used: the CPU has them, and XCR0 lets their state exist.
pub fn avx2_fma() -> bool {
    if __cpuid(0).eax < 7 {
        return false;
    }
    let has = __cpuid(1).ecx;
    has & (FMA | OSXSAVE | AVX) == FMA | OSXSAVE | AVX
        && xcr0() & XCR0_SSE_AVX == XCR0_SSE_AVX
        && __cpuid_count(7, 0).ebx & AVX2 != 0
}

/// XCR0. Only to be asked for once CPUID says OSXSAVE; otherwise XGETBV is an invalid opcode.
fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is set (the caller tests it first), so XGETBV is allowed at any level and
    // register 0 exists; it touches nothing but EDX:EAX.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}
