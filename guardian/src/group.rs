//! A control group that nobody needs any more.

use std::fs;
use std::io;
use std::path::Path;

use crate::kernel::Process;

/// Ends what still runs in the group and in those below it, and removes them, the deepest first. Its
/// name says that only one harness put processes there.
///
/// # Errors
/// rmdir(2): "busy" until the last process has gone, a moment after it was killed.
pub fn remove(group: &Path) -> io::Result<()> {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    let first = fs::remove_dir(group);
    match &first {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        _ => return first,
    }
    // Version 2 since Linux 5.14; elsewhere one after the other.
    if fs::write(group.join("cgroup.kill"), "1").is_err() {
        for pid in members(group) {
            // Only who is a member after the descriptor is known to be the member that it names.
            if let Ok(process) = Process::open(pid)
                && members(group).contains(&pid)
            {
                // Gone already, or not ours to end: rmdir(2) tells.
                let _ = process.kill();
            }
        }
    }
    fs::remove_dir(group)
}

/// Process ids in the group; those of other pid namespaces read as 0 and are left out.
fn members(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Owner, Place};

    /// Where this file system type is mounted.
    fn mounted(kind: &str) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(kind))?;
        Some(line.split(' ').nth(4)?.into())
    }

    /// What has outlived its harness in a group is killed, and the group removed: by `cgroup.kill`
    /// on version 2, one by one on version 1. The group of a later process with the same id keeps
    /// its process.
    #[test]
    fn what_still_runs_in_a_group_is_ended_with_it() {
        for kind in [" - cgroup cgroup ", " - cgroup2 "] {
            let own = Owner::current().unwrap();
            let Some(place) = mounted(kind) else {
                println!("skipped: what_still_runs_in_a_group: no{kind}is mounted");
                continue;
            };
            let groups = [own.new_name(), own.later().new_name()].map(|n| place.join(n));
            if let Err(why) = fs::create_dir(&groups[0]) {
                println!(
                    "skipped: what_still_runs_in_a_group: {}: {why}",
                    place.display()
                );
                continue;
            }
            fs::create_dir(&groups[1]).unwrap();
            let mut sleepers = groups.each_ref().map(|group| {
                // An engine makes groups below the one that it was given.
                fs::create_dir(group.join("below")).unwrap();
                let sleeper = Command::new("sleep").arg("60").spawn().unwrap();
                fs::write(group.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
                sleeper
            });
            let end = Instant::now() + Duration::from_secs(10);
            let sweep = || Place::Groups(place.clone()).sweep(|owner| owner == own);
            while !sweep().left.is_empty() {
                assert!(Instant::now() < end, "{:?}", sweep());
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!groups[0].exists() && groups[1].exists());
            assert_eq!(sleepers[0].wait().unwrap().signal(), Some(9));
            assert_eq!(sleepers[1].try_wait().unwrap(), None);
            sleepers[1].kill().unwrap();
            sleepers[1].wait().unwrap();
            while fs::remove_dir(&groups[1]).is_err() {
                let _ = fs::remove_dir(groups[1].join("below"));
                assert!(Instant::now() < end);
            }
        }
    }
}
