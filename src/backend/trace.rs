//! System calls of a payload, counted under ptrace(2): the child asks to be traced right before its
//! exec ([`Op::TraceMe`](crate::sys::program::Op::TraceMe)) and stops at each call. That takes some
//! microseconds a call, so counting has a launch of its own and no trial is ever traced.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use syscalls::Sysno;

use super::child::{Child, Deadline};
use crate::exits::{Boundary, Crossings, Stage};
use crate::sys::watchdog::{self, Verdict};
use crate::trial::{Failure, Launch};

/// Lets a traced child run to its end, and counts its system calls.
///
/// # Errors
/// As a trial's; the kernel refuses to trace.
pub(super) fn calls(child: &mut Child, launch: &Launch) -> Result<Crossings, Failure> {
    let deadline = Deadline::after(launch.deadline);
    let calls = follow(child, launch)?;
    child.until_exit(deadline)?;
    let exit = child.reap()?;
    child.close();
    child.verdict(exit)?;
    let report = child.report()?;
    Ok(Crossings {
        boundary: Boundary::SystemCalls,
        counts: count(&calls),
        noted: Vec::new(),
        kvm: Vec::new(),
        report,
        seen: None,
    })
}

/// Numbers of all system calls, in their order. The child has ended and is still to be reaped.
fn follow(child: &Child, launch: &Launch) -> Result<Vec<u64>, Failure> {
    let refused = |errno: Errno| Failure::setup("ptrace", errno);
    let watchdog = watchdog::arm(Instant::now(), launch.deadline)
        .map_err(|cause| Failure::setup("arm_watchdog", cause))?;
    let pid = Pid::from_raw(child.pid());
    let mut calls = Vec::new();
    let mut inside = false;
    let mut begun = false;
    loop {
        let wanted = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        let signal = match waitid(
            Id::PIDFd(child.pidfd().as_fd()),
            wanted | WaitPidFlag::__WALL,
        ) {
            Err(Errno::EINTR) => match watchdog.verdict() {
                Ok(Verdict::Continue) => continue,
                Ok(Verdict::Expired) => return Err(Failure::Timeout(launch.deadline)),
                Ok(Verdict::Requested) => return Err(Failure::Interrupted),
                Err(cause) => return Err(Failure::setup("timer_settime", cause)),
            },
            Err(errno) => return Err(refused(errno)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return Ok(calls),
            Ok(WaitStatus::PtraceSyscall(_)) => {
                // Stops come in pairs: before the call and behind it.
                if !inside {
                    let registers = ptrace::getregs(pid).map_err(refused)?;
                    calls.push(registers.orig_rax);
                }
                inside = !inside;
                None
            }
            // The exec itself: what stops from here on is the payload.
            Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, _)) if !begun => {
                begun = true;
                let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
                ptrace::setoptions(pid, options).map_err(refused)?;
                None
            }
            Ok(WaitStatus::PtraceEvent(_, signal, _) | WaitStatus::Stopped(_, signal)) => {
                Some(signal)
            }
            Ok(_) => None,
        };
        match ptrace::syscall(pid, signal) {
            // Killed in the meantime: the next wait says so.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
}

/// By part of the trial and name. The first `write` is the payload's first message, the last one its
/// result.
fn count(calls: &[u64]) -> Vec<(Stage, String, u64)> {
    let write = libc::SYS_write.cast_unsigned();
    let first = calls.iter().position(|call| *call == write);
    let last = calls.iter().rposition(|call| *call == write);
    let mut counts: Vec<(Stage, u64, u64)> = Vec::new();
    for (at, &call) in calls.iter().enumerate() {
        let stage = match (first, last) {
            (Some(first), _) if at <= first => Stage::Start,
            (_, Some(last)) if at <= last => Stage::Work,
            _ => Stage::End,
        };
        match counts
            .iter_mut()
            .find(|(s, c, _)| (*s, *c) == (stage, call))
        {
            Some((_, _, count)) => *count += 1,
            None => counts.push((stage, call, 1)),
        }
    }
    let name = |call: u64| {
        let known = usize::try_from(call).ok().and_then(Sysno::new);
        known.map_or_else(|| format!("call {call}"), |call| call.name().to_owned())
    };
    let named = counts.into_iter().map(|(s, call, n)| (s, name(call), n));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_with_the_first_and_the_last_message() {
        let [write, mmap, exit] = [libc::SYS_write, libc::SYS_mmap, libc::SYS_exit_group];
        let calls = [write, mmap, write, write, exit].map(i64::cast_unsigned);
        let expected = [
            (Stage::Start, "write".to_owned(), 1),
            (Stage::Work, "mmap".to_owned(), 1),
            (Stage::Work, "write".to_owned(), 2),
            (Stage::End, "exit_group".to_owned(), 1),
        ];
        assert_eq!(count(&calls), expected);
        assert_eq!(count(&[999_999])[0].1, "call 999999");
    }
}
