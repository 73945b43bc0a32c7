//! Daemons that outlive the harness: `isobench engines up`, `down`, `status`.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::home::Home;
use super::sweep::{self, Left};
use super::{Daemon, Daemons, Facts};
use crate::backend::Unavailable;
use crate::backend::container::is_privileged;
use crate::sys::interrupt;

/// What is kept, in its folder.
const RECORD: &str = "daemons.json";

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Where all of it lies.
    pub folder: PathBuf,
    /// The daemons.
    pub daemons: Vec<Facts>,
}

impl Kept {
    /// Whether a daemon still runs.
    #[must_use]
    pub fn is_up(&self, name: &str) -> bool {
        self.daemons
            .iter()
            .any(|daemon| daemon.name == name && is_theirs(daemon))
    }

    /// The daemon of this name, if it runs.
    #[must_use]
    pub fn daemon(&self, name: &str) -> Option<&Facts> {
        let found = self.daemons.iter().find(|daemon| daemon.name == name);
        found.filter(|daemon| is_theirs(daemon))
    }

    /// Name of the group that containers' control groups belong into, and of their mark.
    #[must_use]
    pub fn name() -> Option<String> {
        Home::kept().map(|home| home.name().to_owned())
    }
}

/// What is to be said of kept daemons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There are none.
    Down,
    /// These.
    Up(Kept),
    /// A folder without a record of what it holds: made by a command that was killed.
    Remains(PathBuf),
}

/// Looks.
#[must_use]
pub fn state() -> State {
    let Some(home) = Home::kept() else {
        return State::Down;
    };
    let text = fs::read(home.file(RECORD));
    match text
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
    {
        Some(kept) => State::Up(kept),
        None => State::Remains(home.folder().to_path_buf()),
    }
}

/// Starts containerd, and dockerd where it is installed, and leaves them running.
///
/// # Errors
/// Why they cannot be; nothing is left.
pub fn up() -> Result<(Kept, Option<Unavailable>), Unavailable> {
    let mut daemons = Daemons::at(Home::keep()?);
    daemons.containerd()?;
    let without = daemons.dockerd().err();
    // What was given up for the user is not missing, and who wants an end wants none of it.
    if let Some(why) = without.clone().filter(|_| interrupt::requested().is_some()) {
        return Err(why);
    }
    let home = daemons.home.clone();
    let record = |daemons: &Daemons| -> io::Result<Kept> {
        let running = [&daemons.containerd, &daemons.dockerd]
            .into_iter()
            .flatten();
        let kept = Kept {
            folder: home.folder().to_path_buf(),
            daemons: running.map(|daemon| daemon.facts().clone()).collect(),
        };
        fs::write(home.file(RECORD), serde_json::to_vec_pretty(&kept)?)?;
        Ok(kept)
    };
    let kept = record(&daemons).map_err(super::launch::cannot_write(&home.file(RECORD)))?;
    // From here on nothing of it is this process's.
    for daemon in [daemons.containerd.take(), daemons.dockerd.take()] {
        let _ = daemon.map(Daemon::leave);
    }
    std::mem::forget(daemons);
    Ok((kept, without))
}

/// Takes down what is kept, in whatever state it is, and what dead harnesses have left. `false`: nothing
/// was kept.
///
/// # Errors
/// What stays.
pub fn down() -> Result<bool, Left> {
    if is_privileged()
        && let Err(why) = Home::watch()
    {
        tracing::warn!(%why, "what dead harnesses have left stays");
    }
    let Some(home) = Home::kept() else {
        return Ok(false);
    };
    sweep::clear(&home, [None, None], None)?;
    Ok(true)
}

/// Whether a process is the daemon: it has the mark of what is kept.
fn is_theirs(daemon: &Facts) -> bool {
    let pid = u32::try_from(daemon.pid).unwrap_or(0);
    Kept::name().is_some_and(|name| isobench_guardian::marked(|n| n == name).contains(&pid))
}
