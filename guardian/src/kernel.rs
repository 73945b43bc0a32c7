//! The few system calls that the standard library has no name for. Declared here and not taken from
//! a crate, because the program is compiled without any.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// SAFETY: declared as in glibc's and musl's <unistd.h>, <signal.h> and <sys/socket.h> for x86-64.
// Those marked `safe` take integers and touch no memory of the caller.
unsafe extern "C" {
    #[link_name = "fork"]
    fn fork_raw() -> c_int;
    safe fn signal(number: c_int, handler: usize) -> usize;
    safe fn geteuid() -> u32;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    safe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
}

const SYS_PIDFD_OPEN: c_long = 434;
const SYS_PIDFD_SEND_SIGNAL: c_long = 424;
const SIGKILL: c_int = 9;
const SIG_IGN: usize = 1;

/// fork(2): 0 in the child, the child's id in the parent.
///
/// # Errors
/// The caller has another thread: what that holds locked would stay locked in the child. No process
/// is left.
pub fn fork() -> io::Result<i32> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("fork by one of several threads"));
    }
    // SAFETY: the caller is the only thread, so the child has everything the parent has, and no
    // other thread can appear meanwhile.
    match unsafe { fork_raw() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Ignores the signals that ask a process to end: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
pub fn ignore_signals() {
    for number in [1, 2, 3, 15] {
        // SIG_IGN can be set for each of these: the call cannot fail.
        signal(number, SIG_IGN);
    }
}

/// Whether somebody has this process id, whoever it is (kill(2), signal 0). `/proc` cannot tell: with
/// `hidepid` it does not show other users' processes. What no process can have counts as somebody.
pub(crate) fn is_process(pid: u32) -> bool {
    const ESRCH: i32 = 3;
    match c_int::try_from(pid) {
        Ok(pid) if pid > 0 => {
            kill(pid, 0) == 0 || io::Error::last_os_error().raw_os_error() != Some(ESRCH)
        }
        _ => true,
    }
}

/// Takes a mount out of the tree, whoever still uses it, and never what a symbolic link points to
/// (umount(2): MNT_DETACH, UMOUNT_NOFOLLOW).
///
/// # Errors
/// No CAP_SYS_ADMIN (EPERM).
pub(crate) fn detach(point: &Path) -> io::Result<()> {
    const MNT_DETACH: c_int = 2;
    const UMOUNT_NOFOLLOW: c_int = 8;
    let point = CString::new(point.as_os_str().as_bytes())?;
    // SAFETY: `point` is NUL-terminated and outlives the call.
    match unsafe { umount2(point.as_ptr(), MNT_DETACH | UMOUNT_NOFOLLOW) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The effective user id (geteuid(2)).
pub(crate) fn user() -> u32 {
    geteuid()
}

/// A netlink socket for NETLINK_ROUTE (netlink(7)).
pub(crate) fn route_socket() -> io::Result<OwnedFd> {
    const AF_NETLINK: c_int = 16;
    const SOCK_RAW_CLOEXEC: c_int = 3 | 0o2_000_000;
    own(c_long::from(socket(AF_NETLINK, SOCK_RAW_CLOEXEC, 0)))
}

/// A process by descriptor: the id cannot be reused under our hands (pidfd_open(2)).
#[derive(Debug)]
pub(crate) struct Process(OwnedFd);

impl Process {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: two integers; opens a descriptor, close-on-exec by definition.
        own(unsafe { syscall(SYS_PIDFD_OPEN, pid, 0) }).map(Self)
    }

    /// SIGKILL (pidfd_send_signal(2)).
    pub(crate) fn kill(&self) -> io::Result<()> {
        // SAFETY: integers and a null siginfo, which the kernel fills in as kill(2) does.
        let answer = unsafe {
            syscall(
                SYS_PIDFD_SEND_SIGNAL,
                self.0.as_raw_fd(),
                SIGKILL,
                std::ptr::null::<u8>(),
                0,
            )
        };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Takes ownership of what a call has just opened.
fn own(answer: c_long) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(answer).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the callers pass a descriptor that the kernel has just opened for this process and that
    // nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_of_several_threads_does_not_fork() {
        // A test runs beside the thread that started it.
        assert!(super::fork().is_err());
    }
}
