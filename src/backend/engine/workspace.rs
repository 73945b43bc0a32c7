//! The one folder of a run in which engines find the payload and put what they make.
//!
//! ```text
//!   $TMPDIR/isobench-PID-NAMESPACE-START-N/    0700
//!     root/          payload, proc/, dev/: the root directory of every instance
//!     …              a runtime's state, bundles, a daemon's data: what [`Workspace::folder`] is asked for
//! ```
//! Its name says whose it is; the guardian knows the place, and the processes' marks.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use isobench_guardian::{Owner, Place};

use crate::backend::container::prepared::Prepared;
use crate::backend::services::Services;
use crate::backend::{Limitation, Unavailable, guardian};
use crate::workload::payload;

/// The folder; a service of the run, removed when the last engine is dropped.
#[derive(Debug)]
pub struct Workspace {
    prepared: Prepared,
    owner: Owner,
    limitations: Vec<Limitation>,
    /// Another, short name for the folder.
    short: OnceCell<PathBuf>,
}

impl Workspace {
    /// Makes it.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn new(_services: &mut Services) -> Result<Self, Unavailable> {
        let mut limitations = Vec::new();
        // Before folders: what runs in them goes first.
        if let Err(limitation) = guardian::watch(&Place::Processes) {
            limitations.push(limitation);
        }
        let owner = Owner::current().map_err(|error| Unavailable {
            reason: error.to_string(),
            remedy: "mount -t proc proc /proc".to_owned(),
        })?;
        Ok(Self {
            prepared: Prepared::new(payload::BYTES, false, &mut limitations)?,
            owner,
            limitations,
            short: OnceCell::new(),
        })
    }

    /// A name that nobody has used: of an instance, its bundle, its control group.
    #[must_use]
    pub fn new_name(&self) -> String {
        self.owner.new_name()
    }

    /// Whether a name is one that a harness has left which is no more.
    #[must_use]
    pub fn is_left(&self, name: &str) -> bool {
        Owner::of(name).is_some_and(|owner| owner.is_gone(self.owner))
    }

    /// The root directory with the payload: `payload`, and empty `proc` and `dev` to mount on.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.prepared.folder().join("root")
    }

    /// A folder of this name, made where there is none, mode 0700 by the one above it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.prepared.folder().join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(path),
        }
    }

    /// Another root directory with the payload, for an engine that makes things in it, and with these
    /// empty directories.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn copy_of_root(&self, name: &str, directories: &[&str]) -> io::Result<PathBuf> {
        let root = self.folder(name)?;
        for directory in ["proc", "dev"].iter().chain(directories) {
            self.folder(&format!("{name}/{directory}"))?;
        }
        fs::copy(self.root().join("payload"), root.join("payload"))?;
        for open in [&root, &root.join("payload")] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
        }
        Ok(root)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.prepared.folder()
    }

    /// The folder by a name of 15 letters beside it, for programs and sockets that have no room for its
    /// own (unix(7): 108 bytes for a socket's path).
    ///
    /// # Errors
    /// A symbolic link cannot be made there.
    pub fn short(&self) -> io::Result<&Path> {
        if let Some(short) = self.short.get() {
            return Ok(short);
        }
        let place = self.path().parent().unwrap_or(Path::new("/"));
        let short = place.join(self.owner.new_link_name());
        std::os::unix::fs::symlink(self.path(), &short)?;
        Ok(self.short.get_or_init(|| short))
    }

    /// A folder for sockets, by a name that leaves room for theirs.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn socket_folder(&self, name: &str) -> io::Result<PathBuf> {
        self.folder(name)?;
        Ok(self.short()?.join(name))
    }

    /// That no guardian watches over it, if so.
    #[must_use]
    pub fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(short) = self.short.get()
            && let Err(error) = fs::remove_file(short)
        {
            tracing::error!(path = %short.display(), %error, "link left behind");
        }
    }
}
