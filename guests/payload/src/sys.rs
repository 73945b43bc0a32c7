//! Linux system calls, raw.

use core::arch::asm;

/// Numbers for x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const STAT: usize = 4;
    pub const MMAP: usize = 9;
    pub const IOCTL: usize = 16;
    pub const SHMCTL: usize = 31;
    pub const PAUSE: usize = 34;
    pub const GETPID: usize = 39;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const KILL: usize = 62;
    pub const UNAME: usize = 63;
    pub const SEMCTL: usize = 66;
    pub const MSGCTL: usize = 71;
    pub const FCNTL: usize = 72;
    pub const READLINK: usize = 89;
    pub const SYSINFO: usize = 99;
    pub const SYSLOG: usize = 103;
    pub const GETEUID: usize = 107;
    pub const GETEGID: usize = 108;
    pub const GETPPID: usize = 110;
    pub const GETGROUPS: usize = 115;
    pub const GETSID: usize = 124;
    pub const CAPGET: usize = 125;
    pub const PRCTL: usize = 157;
    pub const MKNOD: usize = 133;
    pub const REBOOT: usize = 169;
    pub const IOPERM: usize = 173;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const GETDENTS64: usize = 217;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const MQ_OPEN: usize = 240;
    pub const OPENAT: usize = 257;
    pub const FINIT_MODULE: usize = 313;
    pub const FACCESSAT2: usize = 439;
    /// Bit of the x32 entry (`__X32_SYSCALL_BIT`).
    pub const X32: usize = 0x4000_0000;
}

/// A system call with up to three arguments; a negative answer is −errno.
///
/// # Safety
/// Whatever the call does to memory and descriptors is something this program can live with.
#[inline]
pub unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> isize {
    let answer: isize;
    // SAFETY: the caller's contract; rcx and r11 are clobbered by `syscall` (Intel SDM vol. 2).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// As [`syscall3`], with six arguments.
///
/// # Safety
/// As [`syscall3`].
pub unsafe fn syscall6(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: as in `syscall3`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// `getppid` by the i386 entry, `int 0x80`. Where the kernel has none, it is SIGSEGV.
///
/// # Safety
/// There is a kernel.
pub unsafe fn i386_getppid() -> isize {
    /// `arch/x86/entry/syscalls/syscall_32.tbl`.
    const GETPPID: usize = 64;
    let answer: isize;
    // SAFETY: the call takes nothing and changes nothing; the entry preserves all registers but
    // rax and clears r8 to r11 (`entry_INT80_compat`).
    unsafe {
        asm!(
            "int 0x80",
            inlateout("rax") GETPPID => answer,
            lateout("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// An error number of errno(3).
pub type Errno = u16;

/// The kernel, as somebody to ask: only [`crate::transport`] has one to give, and only where the
/// payload is a process.
#[derive(Clone, Copy)]
pub struct Kernel(());

impl Kernel {
    /// # Safety
    /// `syscall` reaches a Linux kernel.
    pub const unsafe fn new() -> Self {
        Self(())
    }

    /// A system call with up to three arguments.
    ///
    /// # Safety
    /// As [`syscall3`].
    #[inline(never)]
    pub unsafe fn call(self, number: usize, a: usize, b: usize, c: usize) -> Result<usize, Errno> {
        // SAFETY: the caller's contract.
        result(unsafe { syscall3(number, a, b, c) })
    }

    /// A system call with up to six arguments.
    ///
    /// # Safety
    /// As [`syscall3`].
    #[inline(never)]
    pub unsafe fn call6(self, number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
        // SAFETY: the caller's contract.
        result(unsafe { syscall6(number, arguments) })
    }
}

/// Tells an answer from an error: −4095 … −1 are errors.
pub const fn result(answer: isize) -> Result<usize, Errno> {
    if answer < 0 && answer >= -4095 {
        return Err(-answer as u16);
    }
    Ok(answer as usize)
}
