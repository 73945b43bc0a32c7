//! A control group that nobody needs any more.

use std::fs;
use std::io;
use std::path::Path;

use crate::kernel::Process;

/// Ends what still runs in the group and removes it. Its name says that only one harness put
/// processes there.
///
/// # Errors
/// rmdir(2): "busy" until the last process has gone, a moment after it was killed.
pub(crate) fn remove(group: &Path) -> io::Result<()> {
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
