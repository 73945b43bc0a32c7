//! Where private daemons live, and by which name all that is theirs is known.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use isobench_guardian::{Owner, Place};

use crate::backend::container::network::bridge::Bridge;
use crate::backend::container::{is_privileged, prepared};
use crate::backend::engine::groups::EngineGroups;
use crate::backend::{Unavailable, guardian};

/// Name of everything that `isobench engines up` keeps; no owner's name, so that no harness sweeps it.
pub const KEPT: &str = "isobench-engines";
/// Name of its bridge: 15 bytes at most (IFNAMSIZ, netdevice(7)).
pub(super) const KEPT_LINK: &str = "isobench-eng";
/// Longest path of a folder: behind it come the name of a socket and what containerd appends to that.
/// A socket's path has 107 bytes at most (unix(7)).
const LONGEST: usize = 107 - "/containerd.sock.ttrpc".len();

/// The folder of some daemons, and their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    folder: PathBuf,
    name: String,
    kept: bool,
}

impl Home {
    /// One of this harness, made now. The guardian knows of it before.
    ///
    /// # Errors
    /// Not root, or no folder can be made.
    pub(super) fn own() -> Result<Self, Unavailable> {
        privileged()?;
        let owner = Owner::current().map_err(|e| unavailable("no name can be had", &e))?;
        let name = owner.new_name();
        Self::watch()?;
        Self::make(&name, false)
    }

    /// Tells the guardian of every place where something of private daemons can be, and sweeps those of
    /// what dead harnesses have left there.
    pub(super) fn watch() -> Result<(), Unavailable> {
        // Before folders: what runs in them goes first.
        for place in [Place::Processes, Place::Links] {
            watch(&place);
        }
        let mut limitations = Vec::new();
        EngineGroups::find(&mut limitations).map_err(no_groups)?;
        for limitation in limitations {
            tracing::warn!(%limitation, "private daemons");
        }
        for place in places() {
            watch(&Place::Folders(place));
        }
        Ok(())
    }

    /// The one that is kept, made now.
    ///
    /// # Errors
    /// As [`Self::own`]; it is there already.
    pub(super) fn keep() -> Result<Self, Unavailable> {
        privileged()?;
        Self::make(KEPT, true)
    }

    /// The one that is kept, if there is one. What another user has put in its place is none.
    pub(super) fn kept() -> Option<Self> {
        let folder = places().map(|place| place.join(KEPT)).find(|folder| {
            let own = nix::unistd::geteuid().as_raw();
            fs::symlink_metadata(folder).is_ok_and(|f| f.is_dir() && f.uid() == own)
        })?;
        Some(Self {
            folder,
            name: KEPT.to_owned(),
            kept: true,
        })
    }

    fn make(name: &str, kept: bool) -> Result<Self, Unavailable> {
        let mut why = io::Error::other("no place is fit");
        for place in places() {
            let folder = place.join(name);
            match fit(&place, &folder).and_then(|()| DirBuilder::new().mode(0o700).create(&folder))
            {
                Ok(()) => {
                    return Ok(Self {
                        folder,
                        name: name.to_owned(),
                        kept,
                    });
                }
                Err(error) => {
                    why = io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
                }
            }
        }
        Err(unavailable("no folder for private daemons", &why))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it outlives the harness.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.kept
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the control groups are that containers' groups lie in.
    pub(super) fn groups() -> Result<EngineGroups, Unavailable> {
        EngineGroups::look().map_err(no_groups)
    }

    /// A bridge for containers.
    pub(super) fn bridge(&self) -> Result<Bridge, Unavailable> {
        let made = if self.kept {
            Bridge::named(KEPT_LINK)
        } else {
            Owner::current().and_then(Bridge::of)
        };
        made.map_err(|e| unavailable("no bridge can be made", &e))
    }
}

/// Where a folder may be, best first. The kept one is looked for wherever it may have been put.
fn places() -> impl Iterator<Item = PathBuf> {
    let mut places = vec![PathBuf::from("/var/tmp"), "/tmp".into(), "/dev/shm".into()];
    let wanted = prepared::places()
        .into_iter()
        .next()
        .filter(|p| !places.contains(p));
    places.extend(wanted);
    places.into_iter()
}

/// The daemons see another `/run`; files in it are executed.
fn fit(place: &Path, folder: &Path) -> io::Result<()> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let place = fs::canonicalize(place)?;
    if place.starts_with("/run") {
        return Err(io::Error::other("below /run"));
    }
    if folder.as_os_str().len() > LONGEST {
        return Err(io::Error::other("too long for the path of a socket"));
    }
    if statvfs(&place)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(io::Error::other("mounted noexec"));
    }
    Ok(())
}

fn no_groups(why: String) -> Unavailable {
    Unavailable {
        reason: format!("no control groups for containers: {why}"),
        remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned(),
    }
}

/// That there is no guardian is no obstacle: the next harness sweeps.
fn watch(place: &Place) {
    if let Err(limitation) = guardian::watch(place) {
        tracing::warn!(%limitation, "private daemons");
    }
}

fn privileged() -> Result<(), Unavailable> {
    if is_privileged() {
        return Ok(());
    }
    Err(Unavailable {
        reason: "private daemons need root".to_owned(),
        remedy: "run as root, or name a daemon's socket: --docker-socket, --containerd-socket"
            .to_owned(),
    })
}

fn unavailable(what: &str, error: &io::Error) -> Unavailable {
    Unavailable {
        reason: format!("{what}: {error}"),
        remedy: match error.kind() {
            io::ErrorKind::AlreadyExists => "isobench engines down",
            _ => "see the error",
        }
        .to_owned(),
    }
}
