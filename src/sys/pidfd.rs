//! Processes by descriptor: no process id can be reused under our hands (pidfd_open(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By `exit_group`, with this status.
    Status(u32),
    /// By this signal.
    Signal(i32),
}

/// A descriptor of the calling process: readable once it is gone.
///
/// # Errors
/// Linux older than 5.3, or no descriptor left.
pub fn own() -> io::Result<OwnedFd> {
    open(std::process::id())
}

/// A descriptor of the process that has this id now: readable once it is gone. Of a child that is
/// not reaped yet it is that child.
///
/// # Errors
/// There is none (ESRCH), Linux older than 5.3, or no descriptor left.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: just opened by pidfd_open (close-on-exec by definition), owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process (pidfd_send_signal(2), SIGKILL). One that is already gone is no error.
///
/// # Errors
/// Not permitted.
pub fn kill(process: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a null siginfo asks the kernel to fill it in as kill(2) does.
    let answer = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    });
    match answer {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits for the end of a child and reaps it (waitid(2), P_PIDFD).
///
/// # Errors
/// It is not a child of this process, or was reaped before (ECHILD).
pub fn reap(child: BorrowedFd<'_>) -> io::Result<Exit> {
    loop {
        // SAFETY: all-zero bytes are a valid `siginfo_t`: it is plain data.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable and outlives the call.
        let answer = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                child.as_raw_fd().cast_unsigned(),
                &raw mut info,
                libc::WEXITED,
            )
        };
        match Errno::result(answer) {
            Ok(_) => {
                // SAFETY: after a successful waitid the kernel filled in the SIGCHLD fields.
                let status = unsafe { info.si_status() };
                return Ok(if info.si_code == libc::CLD_EXITED {
                    Exit::Status(status.cast_unsigned())
                } else {
                    Exit::Signal(status)
                });
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
