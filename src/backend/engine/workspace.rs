//! The one folder of a run in which engines find the payload and put what they make.
//!
//! ```text
//!   $TMPDIR/isobench-PID-NAMESPACE-START-N/    0700
//!     root/          payload, proc/, dev/: the root directory of every instance
//!     …              a runtime's state, bundles, a daemon's data: what [`Workspace::folder`] is asked for
//! ```
//! Its name says whose it is; the guardian knows the place, and the processes' marks.

use std::fs;
use std::io;
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
        })
    }

    /// A name that nobody has used: of an instance, its bundle, its control group.
    #[must_use]
    pub fn new_name(&self) -> String {
        self.owner.new_name()
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

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.prepared.folder()
    }

    /// That no guardian watches over it, if so.
    #[must_use]
    pub fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }
}
