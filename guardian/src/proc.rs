//! What `/proc` says of a process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// When a process was started, in clock ticks since boot; `None` once it has ended, reaped or not.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let (state, started) = stat(&pid.to_string())?;
    (!matches!(state, 'Z' | 'X')).then_some(started)
}

/// State and start time (fields 3 and 22 of `/proc/PID/stat`, proc_pid_stat(5)).
pub(crate) fn stat(process: &str) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // "pid (name) state ppid …": the name may hold blanks and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Whether `/proc` has the same numbers for processes as this one: a parent pid namespace's has not
/// (NSpid lists a process's number in each namespace from the mount's on, proc_pid_status(5)).
pub(crate) fn is_own() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() == 1)
}

/// Whether a process has the clocks of this one: start times are told by the clock of whoever asks
/// (time_namespaces(7)). Of other users' processes only root knows.
pub(crate) fn has_our_clock(pid: u32) -> bool {
    let clock = |process: &str| match fs::metadata(format!("/proc/{process}/ns/time")) {
        Ok(facts) => Some(Some(facts.ino())),
        // A kernel without time namespaces; or the process has gone, which its start will tell.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
    };
    clock(&pid.to_string()).is_some_and(|theirs| clock("self") == Some(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // Not reaped: it stays a zombie, which has no start time.
        while started(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(fs::metadata(format!("/proc/{pid}")).is_ok());
        child.wait().unwrap();
    }
}
