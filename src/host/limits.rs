//! How many more instances this process may have: its soft limits on open files and processes
//! (getrlimit(2)).

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors left for everything that is not an instance.
const SPARE: u64 = 64;

/// A number of instances, and what makes it no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many.
    pub instances: u32,
    /// The limit that is reached first.
    pub short: &'static str,
}

/// How many instances fit beside what is there, if each takes so many descriptors and one process
/// or kernel thread. A limit that cannot be read limits nothing.
#[must_use]
pub fn room(descriptors_each: u64) -> Room {
    let soft = |resource| getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    tighter(
        soft(Resource::RLIMIT_NOFILE).saturating_sub(open + SPARE) / descriptors_each.max(1),
        soft(Resource::RLIMIT_NPROC).saturating_sub(tasks_of_user()),
    )
}

fn tighter(by_files: u64, by_processes: u64) -> Room {
    let (least, short) = if by_files <= by_processes {
        (by_files, "open files (`ulimit -n`)")
    } else {
        (by_processes, "processes (`ulimit -u`)")
    };
    Room {
        instances: u32::try_from(least).unwrap_or(u32::MAX),
        short,
    }
}

/// Threads of all processes that belong to this process's user: what RLIMIT_NPROC counts.
fn tasks_of_user() -> u64 {
    let user = nix::unistd::geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|m| m.uid() == user))
        // A folder has two links more than folders in it: one a thread.
        .filter_map(|entry| fs::metadata(entry.path().join("task")).ok())
        .map(|task| task.nlink().saturating_sub(2))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_limit_is_named() {
        assert!(tighter(10, 20).short.contains("files"));
        let room = tighter(u64::MAX, 7);
        assert_eq!(room.instances, 7);
        assert!(room.short.contains("processes"));
        assert_eq!(tighter(u64::MAX, u64::MAX).instances, u32::MAX);
    }

    #[test]
    fn this_process_is_counted() {
        assert!(tasks_of_user() >= 1);
        assert!(room(3).instances > 0);
    }
}
