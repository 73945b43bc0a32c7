//! A root directory that is prepared once and shared by all instances (`rootfs=bind`, `overlay`).
//!
//! ```text
//!   $TMPDIR/isobench-PID-NAMESPACE-N/    0700: nobody but the harness gets in
//!     root/                              0755, since the payload has another id
//!       payload                          0555
//!       proc/                            empty, to mount on
//!       dev/null …                       device nodes, or empty files to bind nodes onto
//! ```
//!
//! It needs a file system that allows execution: the first of `$TMPDIR` (or `/tmp`), `/var/tmp` and
//! `/dev/shm` that is not mounted `noexec`. `nosuid` does no harm; on `nodev`, nodes are bound. Where
//! it lies decides whose page cache holds the payload: one copy for all instances, charged to the
//! harness.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};

use isobench_guardian::{Owner, Place};

use super::guard;
use super::rootfs::{Devices, NODES};
use crate::backend::{Limitation, Unavailable};
use crate::sys::program::Known;

/// The directory; removed when it is dropped.
#[derive(Debug)]
pub struct Prepared {
    folder: PathBuf,
    root: Known,
    devices: Devices,
}

impl Prepared {
    /// Makes it. `nodes`: whether device nodes may be made here (mknod(2)). The guardian knows the
    /// place before; that there is none is a limitation.
    ///
    /// # Errors
    /// No place allows it; nothing is left.
    pub fn new(
        payload: &[u8],
        nodes: bool,
        limitations: &mut Vec<Limitation>,
    ) -> Result<Self, Unavailable> {
        let mut why = String::new();
        for place in places() {
            let guard = || guard(&Place::Folders(place.clone()), limitations);
            match Self::below(&place, payload, nodes, guard) {
                Ok(prepared) => return Ok(prepared),
                Err(error) => why = format!("{why}; {}: {error}", place.display()),
            }
        }
        Err(Unavailable {
            reason: format!(
                "rootfs: no directory for a prepared root{}",
                why.replacen(';', ":", 1)
            ),
            remedy: "set TMPDIR to a directory on a file system that is writable and not mounted \
                     noexec"
                .to_owned(),
        })
    }

    fn below(place: &Path, payload: &[u8], nodes: bool, guard: impl FnOnce()) -> io::Result<Self> {
        let flags = statvfs(place)?.flags();
        if flags.contains(FsFlags::ST_NOEXEC) {
            return Err(io::Error::other("mounted noexec"));
        }
        guard();
        let folder = place.join(Owner::current()?.new_name());
        let root = Known {
            path: text(&folder.join("root"))?,
            device: 0,
            inode: 0,
        };
        DirBuilder::new().mode(0o700).create(&folder)?;
        // From here on the folder is removed again, whatever happens.
        let mut prepared = Self {
            folder,
            root,
            devices: if nodes && !flags.contains(FsFlags::ST_NODEV) {
                Devices::Made
            } else {
                Devices::Bound
            },
        };
        prepared.fill(payload)?;
        Ok(prepared)
    }

    fn fill(&mut self, payload: &[u8]) -> io::Result<()> {
        let root = self.folder.join("root");
        directory(&root, 0o755)?;
        file(&root.join("payload"), payload, 0o555)?;
        directory(&root.join("proc"), 0o555)?;
        let dev = root.join("dev");
        directory(&dev, 0o755)?;
        for (name, minor) in NODES {
            let path = dev.join(name);
            match self.devices {
                Devices::Made => {
                    let mode = Mode::from_bits_truncate(0o666);
                    mknod(&path, SFlag::S_IFCHR, mode, makedev(1, minor.into()))?;
                    // mknod(2) heeds the umask.
                    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
                }
                Devices::Bound => file(&path, b"", 0o444)?,
            }
        }
        let facts = fs::symlink_metadata(&root)?;
        (self.root.device, self.root.inode) = (facts.dev(), facts.ino());
        Ok(())
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Known {
        &self.root
    }

    /// How its `/dev` is to be filled.
    #[must_use]
    pub const fn devices(&self) -> Devices {
        self.devices
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Err(error) = isobench_guardian::remove_folder(&self.folder) {
            tracing::error!(path = %self.folder.display(), %error, "prepared root left behind");
        }
    }
}

/// Where it may be, best first.
pub fn places() -> [PathBuf; 3] {
    // Instances may start with another working directory.
    let first = std::path::absolute(std::env::temp_dir());
    [
        first.unwrap_or_else(|_| "/tmp".into()),
        "/var/tmp".into(),
        "/dev/shm".into(),
    ]
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    // Exactly this mode, whatever the umask.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn text(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_holds_the_payload_and_goes_when_dropped() {
        let place = tempfile::tempdir().unwrap();
        let prepared = Prepared::below(place.path(), b"bytes", false, || ()).unwrap();
        let folder = prepared.folder.clone();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read(folder.join("root/payload")).unwrap(), b"bytes");
        let facts = fs::metadata(folder.join("root/dev/null")).unwrap();
        assert!(facts.is_file() && facts.len() == 0);
        drop(prepared);
        assert!(!folder.exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Prepared::below(Path::new("/proc"), b"", false, || ()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
