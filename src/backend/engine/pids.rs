//! Processes of an instance of a daemon: the payload and the shim above it.

use std::fs;

/// The process above this one (`/proc/PID/stat`, field 4), unless it is the system's first.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "pid (name) state ppid …": the name may hold blanks and brackets.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    parent.parse().ok().filter(|pid| *pid > 1)
}

/// The process above this one, if that is a shim of containerd's.
#[must_use]
pub fn shim(pid: u32) -> Option<u32> {
    let parent = parent(pid)?;
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    // Cut off behind 15 bytes (proc_pid_comm(5)).
    name.starts_with("containerd-shim").then_some(parent)
}

/// A payload and its shim.
#[must_use]
pub fn with_shim(pid: u32) -> Vec<u32> {
    [Some(pid), shim(pid)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parent_of_a_child_is_this_process() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert_eq!(super::parent(child.id()), Some(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
