//! Taking private daemons down, whatever state they are in: also those that somebody has killed.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use isobench_guardian::{end_marked, marked, remove_folder, remove_group, remove_link};

use super::home::{Home, KEPT_LINK};
use super::launch::Daemon;
use crate::backend::container::network::bridge::Bridge;

/// How long what was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What could not be removed, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Left(Vec<String>);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// Ends every process of a home, and removes its groups, its bridge and its folder.
pub(super) fn clear(
    home: &Home,
    daemons: [Option<Daemon>; 2],
    bridge: Option<Bridge>,
) -> Result<(), Left> {
    let mut left = Vec::new();
    // Shims have the mark of the daemon that started them. All are ended at once: a daemon that sees
    // its shims go would begin to clean up.
    let end = Instant::now() + PATIENCE;
    end_marked(|name| name == home.name());
    for daemon in daemons.into_iter().flatten() {
        let name = daemon.facts().name.clone();
        if let Err(error) = daemon.end() {
            left.push(format!("{name}: {error}"));
        }
    }
    let groups = Home::groups().ok();
    // Containers' processes that have another environment are known by their groups.
    loop {
        let processes = end_marked(|name| name == home.name());
        let busy = groups.as_ref().and_then(|groups| {
            for path in groups.all(home.name()).filter(|path| path.exists()) {
                // Busy while what was killed has not gone.
                let _ = remove_group(&path);
            }
            groups.left(home.name())
        });
        if processes.is_empty() && busy.is_none() && marked(|n| n == home.name()).is_empty() {
            break;
        }
        if Instant::now() >= end {
            left.extend(busy.map(|path| path.display().to_string()));
            left.extend(processes.iter().map(|pid| format!("process {pid}")));
            break;
        }
        std::thread::sleep(PAUSE);
    }
    // With the containers' network namespaces their interfaces go, which the bridge waits for.
    drop(bridge);
    if home.is_kept()
        && let Err(error) = remove_link(KEPT_LINK)
        && !is_absent(&error)
    {
        left.push(format!("interface {KEPT_LINK}: {error}"));
    }
    if let Err(error) = remove_folder(home.folder())
        && !is_absent(&error)
    {
        left.push(format!("{}: {error}", home.folder().display()));
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(Left(left))
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
