//! Private `containerd` and `dockerd`: started for a run and taken down with it, or kept by
//! `isobench engines up`. The system's own are never touched.
//!
//! ```text
//!   harness                          a mount namespace of its own, `/run` empty
//!   ───────                          ──────────────────────────────────────────
//!   clone3(CLONE_NEWNS) ───────────► containerd ──► shims ──► runc ──► payloads
//!   clone3, setns ─────────────────► dockerd ─────► (the same containerd)
//!   FOLDER/containerd.sock, FOLDER/docker.sock
//! ```
//!
//! All that they write lies in one folder: sockets, configuration, logs, images, state. What they would
//! write elsewhere (`/run/containerd/s`, `/run/docker`) lands on a tmpfs that only they see, and so do
//! their mounts: the kernel removes all of it with the last of their processes, however that ends.
//! What is left has a name by which it is found: processes and shims carry a mark in their
//! environment, containers' control groups lie in one group of each hierarchy, and the bridge
//! that `dockerd` plugs containers into is of isobench's own making. No rule of iptables is made, no setting of
//! the kernel changed, nothing pulled.
//!
//! `dockerd` is given this containerd and starts none of its own: then a container is the same in
//! `containerd` and `dockerd` but for what `dockerd` adds, and one daemon is resident instead of two.

mod containerd;
mod dockerd;
mod home;
pub mod kept;
mod launch;
mod program;
mod sweep;

use std::path::{Path, PathBuf};

use crate::backend::Unavailable;
use crate::backend::container::network::bridge::Bridge;
use crate::metric::Bytes;

pub use containerd::PAUSE_IMAGE;
pub use home::{Home, KEPT};
pub use launch::Daemon;
pub use launch::tail as last_words;
pub use program::Program;
pub use sweep::Left;

/// Daemons of this harness's own. Taken down when dropped.
#[derive(Debug)]
pub struct Daemons {
    home: Home,
    containerd: Option<Daemon>,
    dockerd: Option<Daemon>,
    bridge: Option<Bridge>,
}

impl Daemons {
    /// A place for them; none is started yet.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn new() -> Result<Self, Unavailable> {
        Ok(Self::at(Home::own()?))
    }

    const fn at(home: Home) -> Self {
        Self {
            home,
            containerd: None,
            dockerd: None,
            bridge: None,
        }
    }

    /// containerd, started if it is not yet.
    ///
    /// # Errors
    /// It is not installed, or does not start; with the end of what it logged.
    pub fn containerd(&mut self) -> Result<&Daemon, Unavailable> {
        let started = match self.containerd.take() {
            Some(running) => running,
            None => containerd::start(&self.home)?,
        };
        Ok(self.containerd.insert(started))
    }

    /// dockerd in front of [`Self::containerd`], started if it is not yet.
    ///
    /// # Errors
    /// As [`Self::containerd`].
    pub fn dockerd(&mut self) -> Result<&Daemon, Unavailable> {
        let started = match self.dockerd.take() {
            Some(running) => running,
            None => {
                // Missing, it would be found only once containerd and the bridge are there.
                let program = Program::of("dockerd", dockerd::REMEDY)?;
                self.containerd()?;
                let Some(containerd) = &self.containerd else {
                    return Err(program.refused("it has no containerd"));
                };
                if self.bridge.is_none() {
                    self.bridge = Some(self.home.bridge()?);
                }
                let bridge = self.bridge.as_ref().map(Bridge::name);
                dockerd::start(&self.home, program, containerd, bridge)?
            }
        };
        Ok(self.dockerd.insert(started))
    }

    /// Where all of it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// Name of the group that containers' control groups belong into, and of their mark.
    #[must_use]
    pub fn name(&self) -> &str {
        self.home.name()
    }

    /// Path of the group that containers' control groups belong into.
    #[must_use]
    pub fn parent(&self) -> Option<PathBuf> {
        parent(self.home.name())
    }

    /// Ends all of them and removes everything.
    ///
    /// # Errors
    /// What stays.
    pub fn take_down(mut self) -> Result<(), Left> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), Left> {
        let daemons = [self.dockerd.take(), self.containerd.take()];
        sweep::clear(&self.home, daemons, self.bridge.take())
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        if let Err(left) = self.clear() {
            tracing::error!(%left, "private daemons left something behind");
        }
    }
}

/// What to type where a daemon's program is not there.
#[must_use]
pub fn remedy(name: &str) -> &'static str {
    match name {
        "dockerd" => dockerd::REMEDY,
        _ => containerd::REMEDY,
    }
}

/// Path of the control group of daemons of this name.
#[must_use]
pub fn parent(name: &str) -> Option<PathBuf> {
    Some(Home::groups().ok()?.path(name))
}

/// One daemon as it is known from outside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// `containerd` or `dockerd`.
    pub name: String,
    /// What it says it is.
    pub version: String,
    /// Its process id.
    pub pid: i32,
    /// Its socket.
    pub socket: PathBuf,
}

impl Facts {
    /// Memory of its process: Pss of `/proc/PID/smaps_rollup` (proc_pid_smaps(5)); `None` once it is gone.
    #[must_use]
    pub fn memory(&self) -> Option<Bytes> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = crate::sys::fd::text(path.as_ref()).ok()?;
        crate::host::accounts::kibibytes(&text, "Pss").map(Bytes)
    }
}
