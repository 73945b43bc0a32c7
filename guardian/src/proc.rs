//! What `/proc` says of a process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::kernel::Process;

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

/// Name of the environment variable by which a process that outlives its harness is known.
pub const MARK: &str = "ISOBENCH_INSTANCE";

/// Programs that have not the environment of whoever started them, and are known by a word of their command
/// line: podman's monitor, and the podman that this starts in the end.
const MONITORS: [&str; 2] = ["conmon", "podman"];

/// Processes that were started with [`MARK`] set to a name that is looked for
/// (`/proc/PID/environ`, proc_pid_environ(5)): an engine's own and, where it hands its environment on,
/// the payload; and monitors with such a name on their command line. Those of other users cannot be read
/// and are left out, as is the calling process.
pub fn marked(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own && is_marked(*pid, &wanted))
        .collect()
}

/// Whether a process has such a mark.
pub(crate) fn is_marked(pid: u32, wanted: impl Fn(&str) -> bool) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARK.as_bytes())?;
        std::str::from_utf8(value.strip_prefix(b"=")?).ok()
    });
    mark.is_some_and(&wanted) || is_monitor(pid) && is_named(pid, &wanted)
}

fn is_monitor(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    MONITORS.contains(&name.trim_end())
}

/// Whether a word of its command line, or a part of a path there, is such a name (`/proc/PID/cmdline`).
fn is_named(pid: u32, wanted: impl Fn(&str) -> bool) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, 0 | b'/' | b'='));
    words.any(|word| std::str::from_utf8(word).is_ok_and(&wanted))
}

/// Ends the processes that are marked by such a name; their ids. They may take a moment to go.
pub fn end_marked(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let mut ended = marked(&wanted);
    // A monitor that sees its payload end starts something.
    ended.sort_by_key(|pid| !is_monitor(*pid));
    ended.retain(|pid| {
        // Only who is marked after the descriptor is known to be the one that it names.
        Process::open(*pid).is_ok_and(|process| is_marked(*pid, &wanted) && process.kill().is_ok())
    });
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By its mark a process is found and ended, whatever it has become since; another's is not.
    #[test]
    fn a_marked_process_is_found_and_ended() {
        let start = |mark: &str| {
            let mut command = std::process::Command::new("sleep");
            command.arg("60").env(MARK, mark).spawn().unwrap()
        };
        let name = crate::Owner::current().unwrap().new_name();
        let [mut ours, mut other] = [name.as_str(), "somebody"].map(start);
        let is_ours = |mark: &str| mark == name;
        // Until its exec it has the environment of this process.
        while marked(is_ours).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(marked(is_ours), [ours.id()]);
        assert_eq!(end_marked(is_ours), [ours.id()]);
        ours.wait().unwrap();
        assert!(end_marked(is_ours).is_empty());
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// A monitor is known by its command line, another program with the same words is not.
    #[test]
    fn a_monitor_is_found_by_its_command_line() {
        use std::os::unix::process::CommandExt;
        let folder = std::env::temp_dir().join(format!("guardian-monitor-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let name = crate::Owner::current().unwrap().new_name();
        let start = |program: &str| {
            // A link: a copy that another thread's child still holds open for writing cannot be executed.
            std::os::unix::fs::symlink("/bin/sleep", folder.join(program)).unwrap();
            let mut command = std::process::Command::new(folder.join(program));
            command.arg0(format!("--root=/tmp/{name}/store")).arg("60");
            command.spawn().unwrap()
        };
        let [mut conmon, mut other] = ["conmon", "other"].map(start);
        while marked(|word| word == name).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(end_marked(|word| word == name), [conmon.id()]);
        conmon.wait().unwrap();
        assert!(marked(|word| word == name).is_empty());
        other.kill().unwrap();
        other.wait().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

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
