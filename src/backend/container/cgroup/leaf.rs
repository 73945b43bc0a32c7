//! One container's group, from its directories to its accounts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Controller, Limits, Parent, v1, v2};
use crate::backend::group::{GroupAccounts, Throttling};
use crate::host::cgroup::Version;
use crate::host::charge::Group;
use crate::sys::fd;

/// How long the kernel may say "busy" to a removal after the last process was reaped.
const BUSY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
    /// v1: `tasks`, open for writing. v2: the directory.
    handle: Option<File>,
}

/// The group of one container. Dropping it removes it.
#[derive(Debug)]
pub struct Leaf {
    directories: Vec<Directory>,
}

impl Leaf {
    /// Makes a directory below each parent, then sets the limits.
    ///
    /// # Errors
    /// The file or folder that refused; nothing is left of it.
    pub(super) fn new(parents: &[Parent], name: &str, limits: &Limits) -> io::Result<Self> {
        let mut leaf = Self {
            directories: Vec::with_capacity(parents.len()),
        };
        for parent in parents {
            let path = parent.directory.join(name);
            named(&path, fs::create_dir(&path))?;
            leaf.directories.push(Directory {
                path,
                version: parent.version,
                controllers: parent.controllers.clone(),
                handle: None,
            });
        }
        for made in &mut leaf.directories {
            let path = &made.path;
            for controller in &made.controllers {
                let (file, value) = match made.version {
                    Version::V1 => v1::limit(*controller, limits),
                    Version::V2 => v2::limit(*controller, limits),
                };
                write(&path.join(file), &value)?;
                if *controller == Controller::Memory && limits.deny_swap {
                    deny_swap(path, made.version, limits)?;
                }
            }
            made.handle = Some(match made.version {
                Version::V1 => open_for_writing(&path.join("tasks"))?,
                Version::V2 => {
                    let mut options = File::options();
                    options.read(true).custom_flags(libc::O_DIRECTORY);
                    named(path, options.open(path))?
                }
            });
        }
        Ok(leaf)
    }

    /// v1: the files that the child writes itself into.
    #[must_use]
    pub fn tasks(&self) -> [Option<BorrowedFd<'_>>; 3] {
        let mut tasks = self.handles(Version::V1);
        [tasks.next(), tasks.next(), tasks.next()]
    }

    /// v2: the group that the child is born into.
    #[must_use]
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.handles(Version::V2).next()
    }

    fn handles(&self, version: Version) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories
            .iter()
            .filter(move |d| d.version == version)
            .filter_map(|d| d.handle.as_ref())
            .map(AsFd::as_fd)
    }

    /// Closes what only the way in needs: the process is in.
    pub fn entered(&mut self) {
        for directory in &mut self.directories {
            directory.handle = None;
        }
    }

    /// Everything the kernel keeps account of for the group.
    #[must_use]
    pub fn accounts(&self) -> GroupAccounts {
        let mut accounts = GroupAccounts::default();
        for directory in &self.directories {
            if directory.controllers.contains(&Controller::Memory) {
                let group = Group::at(directory.version, directory.path.clone());
                accounts.memory = group.usage();
                accounts.peak = group.peak();
                accounts.kernel = group.kernel().map(|charge| charge.kernel);
            }
            if directory.version == Version::V2 {
                accounts.pressure = v2::pressure(|file| fd::text(&directory.path.join(file)).ok());
            }
        }
        accounts.throttling = self.throttling();
        accounts
    }

    /// How often it had to wait for processor time; `None` without a limit on it.
    #[must_use]
    pub fn throttling(&self) -> Option<Throttling> {
        let limits = |d: &&Directory| d.controllers.contains(&Controller::Cpu);
        let directory = self.directories.iter().find(limits)?;
        let text = fd::text(&directory.path.join("cpu.stat")).ok()?;
        match directory.version {
            Version::V1 => v1::throttling(&text),
            Version::V2 => v2::throttling(&text),
        }
    }

    /// Removes the group; its processes have been reaped.
    ///
    /// # Errors
    /// It stays busy, or somebody else removed it.
    pub fn remove(mut self) -> io::Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for mut directory in self.directories.drain(..) {
            directory.handle = None;
            let removed = remove(&directory.path);
            result = result.and(named(&directory.path, removed));
        }
        result
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::error!(%error, "control group left behind");
        }
    }
}

/// The value behind a name in a file of such lines (`cpu.stat`).
pub(super) fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        value.trim().parse().ok()
    })
}

/// rmdir(2), again while the kernel is still letting go of the last process.
fn remove(path: &Path) -> io::Result<()> {
    let mut wait = Duration::from_micros(50);
    let end = Instant::now() + BUSY;
    loop {
        match fs::remove_dir(path) {
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() + wait < end =>
            {
                std::thread::sleep(wait);
                wait *= 2;
            }
            other => return other,
        }
    }
}

/// A kernel that keeps no account of swap has no file for it; then the limit on memory only makes slow.
fn deny_swap(path: &Path, version: Version, limits: &Limits) -> io::Result<()> {
    let (file, value) = match version {
        Version::V1 => v1::swap(limits),
        Version::V2 => v2::swap(),
    };
    match write(&path.join(file), &value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_for_writing(path: &Path) -> io::Result<File> {
    named(path, File::options().write(true).open(path))
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    named(path, open_for_writing(path)?.write_all(text.as_bytes()))
}

/// Which file an error is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
struct Named {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|cause| {
        let path = path.to_path_buf();
        io::Error::new(cause.kind(), Named { path, cause })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Bytes;
    use crate::trial::Failure;

    #[test]
    fn what_refuses_is_named_and_its_errno_known() {
        let parent = Parent {
            directory: "/nowhere".into(),
            version: Version::V2,
            controllers: Vec::new(),
        };
        let limits = Limits::with_memory(Bytes(0));
        let refused = Leaf::new(&[parent], "group", &limits).unwrap_err();
        assert!(refused.to_string().starts_with("/nowhere/group: "));
        let failure = Failure::setup("cgroup_create", refused);
        assert_eq!(failure.errno(), Some(libc::ENOENT));
    }
}
