//! The container's own control group: made for one trial, limits set, removed after it.
//!
//! | layout | where the group is made | how the payload gets in |
//! |---|---|---|
//! | v1, hybrid | below the harness's own group, in the `memory` and in the `pids` hierarchy | the child writes "0" to `tasks` |
//! | v2 | beside the harness's own group (a group with processes cannot hand controllers down), below it if that is the root | the child is born there (CLONE_INTO_CGROUP) |
//!
//! `tasks` and not `cgroup.procs`: for a thread that moves itself the kernel skips the lock over
//! all forks and exits of the machine (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).
//! Taking that lock after a pause costs an RCU grace period: measured on Linux 6.18 with 40 ms
//! between trials, 10 ms through `cgroup.procs` against 0.03 ms through `tasks`; without pauses
//! there is no difference.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isobench_guardian::{Owner, Place};

use crate::host::cgroup::{Hierarchies, Version};
use crate::host::charge::Group;
use crate::metric::Bytes;
use crate::sys::fd;

/// Tasks a container may have. The payload needs one.
const MAX_TASKS: u32 = 16;
/// How long the kernel may say "busy" to a removal after the last process was reaped.
const BUSY: Duration = Duration::from_secs(1);

/// Where groups are made.
#[derive(Clone, Debug)]
struct Parent {
    directory: PathBuf,
    version: Version,
    memory: bool,
    pids: bool,
}

/// Where this harness may make groups.
#[derive(Clone, Debug)]
pub struct Groups {
    parents: Vec<Parent>,
    owner: Owner,
}

impl Groups {
    /// Finds a place for the controllers `memory` and `pids`. Nothing may be made there
    /// before the guardian knows [`Self::places`].
    ///
    /// # Errors
    /// In words: what is missing. Without a group the container still runs, without its limits.
    pub fn find() -> Result<Self, String> {
        let all = Hierarchies::read().map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
        let groups = match (all.v1("memory"), all.v1("pids")) {
            (Some(memory), Some(pids)) => {
                let own = |h: &crate::host::cgroup::Hierarchy| {
                    h.own.clone().ok_or_else(|| {
                        format!("this process's group is outside {}", h.mount.display())
                    })
                };
                v1(own(memory)?, own(pids)?)
            }
            _ => v2(&all)?,
        };
        Ok(Self {
            parents: groups,
            owner: Owner::current().map_err(|e| e.to_string())?,
        })
    }

    /// Where groups are made.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.parents
            .iter()
            .map(|parent| Place::Groups(parent.directory.clone()))
    }

    /// Whether a group can be made and removed.
    ///
    /// # Errors
    /// In words: what refuses.
    pub fn probe(&self) -> Result<(), String> {
        self.create(Bytes(64 << 20))
            .and_then(Leaf::remove)
            .map_err(|e| format!("no group can be made: {e}"))
    }

    /// Makes a group with these limits.
    ///
    /// # Errors
    /// The file or folder that refused; nothing is left of it.
    pub fn create(&self, memory_max: Bytes) -> io::Result<Leaf> {
        let name = self.owner.new_name();
        let mut leaf = Leaf {
            directories: Vec::with_capacity(self.parents.len()),
        };
        for parent in &self.parents {
            let path = parent.directory.join(&name);
            named(&path, fs::create_dir(&path))?;
            leaf.directories.push(Directory {
                path,
                version: parent.version,
                memory: parent.memory,
                handle: None,
            });
        }
        for (parent, made) in self.parents.iter().zip(&mut leaf.directories) {
            let path = &made.path;
            if parent.memory {
                let file = match parent.version {
                    Version::V1 => "memory.limit_in_bytes",
                    Version::V2 => "memory.max",
                };
                write(&path.join(file), &memory_max.0.to_string())?;
            }
            if parent.pids {
                write(&path.join("pids.max"), &MAX_TASKS.to_string())?;
            }
            made.handle = Some(match parent.version {
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

    /// A group of version 2 below the own one, without limits: how the payload gets in can be
    /// tried on hybrid hosts, too.
    #[cfg(test)]
    pub fn v2_without_limits() -> Option<Self> {
        let directory = Hierarchies::read().ok()?.v2()?.own.clone()?;
        let parent = Parent {
            directory,
            version: Version::V2,
            memory: false,
            pids: false,
        };
        let groups = Self {
            parents: vec![parent],
            owner: Owner::current().ok()?,
        };
        groups.probe().ok()?;
        Some(groups)
    }

    /// Names of what lies where groups are made.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<String> {
        let folders = self.parents.iter().flat_map(|p| fs::read_dir(&p.directory));
        let entries = folders.flatten().flatten();
        entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// Two hierarchies, or one that has both controllers.
fn v1(memory: PathBuf, pids: PathBuf) -> Vec<Parent> {
    let parent = |directory, memory, pids| Parent {
        directory,
        version: Version::V1,
        memory,
        pids,
    };
    if memory == pids {
        return vec![parent(memory, true, true)];
    }
    vec![parent(memory, true, false), parent(pids, false, true)]
}

/// The one place that version 2 allows, or why there is none.
fn v2(all: &Hierarchies) -> Result<Vec<Parent>, String> {
    let hierarchy = all
        .v2()
        .ok_or("no cgroup hierarchy with the memory and pids controllers is mounted")?;
    let own = hierarchy.own.clone().ok_or_else(|| {
        format!(
            "this process's group is outside {}",
            hierarchy.mount.display()
        )
    })?;
    // Only the true root has no `cgroup.type`; it alone may have both processes and controllers
    // that it hands down.
    let directory = if !own.join("cgroup.type").exists() {
        if !hands_down(&own) {
            write(&own.join("cgroup.subtree_control"), "+memory +pids")
                .map_err(|e| format!("the root group does not hand its controllers down: {e}"))?;
        }
        own
    } else if own == hierarchy.mount {
        return Err(format!(
            "the group of this process, {}, is the top of a cgroup namespace and holds processes, \
             so it cannot hand controllers down",
            own.display()
        ));
    } else {
        own.parent().map_or(own.clone(), Path::to_path_buf)
    };
    if !hands_down(&directory) {
        return Err(format!(
            "{} does not hand the memory and pids controllers down",
            directory.display()
        ));
    }
    Ok(vec![Parent {
        directory,
        version: Version::V2,
        memory: true,
        pids: true,
    }])
}

fn hands_down(directory: &Path) -> bool {
    fd::text(&directory.join("cgroup.subtree_control")).is_ok_and(|text| {
        ["memory", "pids"]
            .iter()
            .all(|c| text.split_whitespace().any(|word| word == *c))
    })
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    version: Version,
    memory: bool,
    /// v1: `tasks`, open for writing. v2: the directory.
    handle: Option<File>,
}

/// The group of one container. Dropping it removes it.
#[derive(Debug)]
pub struct Leaf {
    directories: Vec<Directory>,
}

impl Leaf {
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

    /// Where the group's memory is accounted for.
    #[must_use]
    pub fn memory(&self) -> Option<Group> {
        let directory = self.directories.iter().find(|d| d.memory)?;
        Some(Group::at(directory.version, directory.path.clone()))
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

fn open_for_writing(path: &Path) -> io::Result<File> {
    named(path, File::options().write(true).open(path))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    named(path, open_for_writing(path)?.write_all(text.as_bytes()))
}

/// An error that says which file it is about.
fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}
