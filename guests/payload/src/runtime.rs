//! What a hosted Rust program gets from libc: the memory and string functions the compiler calls, and a
//! panic handler.

use core::arch::asm;
use core::panic::PanicInfo;

/// memcpy(3).
///
/// # Safety
/// As memcpy(3): `dest` and `src` are valid for `n` bytes and do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract; `rep movsb` writes exactly `n` bytes forwards (DF is clear by
    // the ABI).
    unsafe {
        asm!("rep movsb", inout("rdi") dest => _, inout("rsi") src => _, inout("rcx") n => _,
             options(nostack, preserves_flags));
    }
    dest
}

/// memmove(3).
///
/// # Safety
/// As memmove(3): both regions are valid for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    if (dest as usize).wrapping_sub(src as usize) >= n {
        // SAFETY: a forward copy is right when `dest` does not start inside `src..src+n`.
        return unsafe { memcpy(dest, src, n) };
    }
    // SAFETY: both regions are valid for n bytes and n > 0 here (0 takes the branch above), so the
    // last bytes exist; the direction flag is restored before anyone can see it.
    unsafe {
        asm!("std", "rep movsb", "cld",
             inout("rdi") dest.add(n - 1) => _, inout("rsi") src.add(n - 1) => _,
             inout("rcx") n => _, options(nostack));
    }
    dest
}

/// memset(3).
///
/// # Safety
/// As memset(3): `dest` is valid for writes of `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(dest: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract; `rep stosb` writes exactly `n` bytes.
    unsafe {
        asm!("rep stosb", inout("rdi") dest => _, in("al") byte as u8, inout("rcx") n => _,
             options(nostack, preserves_flags));
    }
    dest
}

/// memcmp(3).
///
/// # Safety
/// As memcmp(3): both regions are valid for reads of `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for at in 0..n {
        // SAFETY: at < n, inside both regions.
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// strlen(3). The volatile reads keep the compiler from turning the loop into a call to itself.
///
/// # Safety
/// As strlen(3): `text` is NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: every byte up to and including the NUL belongs to the string.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}

/// Referenced by the precompiled `core`, never called: panics abort.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    crate::transport::abandon(101)
}
