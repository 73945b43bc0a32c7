//! Control groups that engines make: where, and whether they are gone.
//!
//! An engine is told a path, which it makes in every hierarchy: at the top of each of version 1, beside
//! the harness's own group in version 2.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isobench_guardian::Place;

use crate::backend::group::GroupAccounts;
use crate::backend::{Limitation, guardian};
use crate::host::cgroup::{Hierarchies, Version};
use crate::host::charge::Group;

/// How long the kernel may call a group busy after its last process was killed.
const BUSY: Duration = Duration::from_secs(5);

/// Where they are made.
#[derive(Clone, Debug)]
pub struct EngineGroups {
    /// Below which path of every hierarchy.
    parent: PathBuf,
    directories: Vec<Directory>,
}

#[derive(Clone, Debug)]
struct Directory {
    version: Version,
    path: PathBuf,
    accounts: bool,
    of_systemd: bool,
}

impl EngineGroups {
    /// Looks at what is mounted, and tells the guardian.
    ///
    /// # Errors
    /// In words: there is no place.
    pub fn find(limitations: &mut Vec<Limitation>) -> Result<Self, String> {
        Self::look()?.watched(limitations)
    }

    /// As [`Self::find`], only in the hierarchies that systemd calls its own: its named one, and that of
    /// version 2.
    ///
    /// # Errors
    /// As there.
    pub fn of_systemd(limitations: &mut Vec<Limitation>) -> Result<Self, String> {
        let mut groups = Self::look()?;
        groups.directories.retain(|directory| directory.of_systemd);
        groups.watched(limitations)
    }

    /// As [`Self::find`], and the guardian is not told.
    ///
    /// # Errors
    /// As there.
    pub fn look() -> Result<Self, String> {
        let all = Hierarchies::read().map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
        Self::of(&all)
    }

    fn watched(self, limitations: &mut Vec<Limitation>) -> Result<Self, String> {
        let groups = self;
        for directory in &groups.directories {
            if let Err(limitation) = guardian::watch(&Place::Groups(directory.path.clone()))
                && !limitations.contains(&limitation)
            {
                limitations.push(limitation);
            }
        }
        Ok(groups)
    }

    fn of(all: &Hierarchies) -> Result<Self, String> {
        let has_v1 = all
            .iter()
            .any(|h| h.version == Version::V1 && !h.controllers.is_empty());
        let mut parent = PathBuf::from("/");
        if let (false, Some(hierarchy)) = (has_v1, all.v2()) {
            let own = hierarchy.own.as_deref().unwrap_or(&hierarchy.mount);
            // A group with processes hands no controllers down; only the root may have both.
            let above = own.parent().filter(|_| own != hierarchy.mount);
            if let Some(below) = above.and_then(|p| p.strip_prefix(&hierarchy.mount).ok()) {
                parent.push(below);
            }
        }
        let below = parent.strip_prefix("/").unwrap_or(&parent).to_path_buf();
        let directories: Vec<_> = all
            .iter()
            .map(|hierarchy| Directory {
                version: hierarchy.version,
                path: hierarchy.mount.join(&below),
                of_systemd: hierarchy.version == Version::V2 || hierarchy.controllers.is_empty(),
                accounts: match hierarchy.version {
                    Version::V1 => hierarchy.controllers.iter().any(|c| c == "memory"),
                    Version::V2 => !has_v1,
                },
            })
            .collect();
        if directories.is_empty() {
            return Err("no cgroup file system is mounted".to_owned());
        }
        Ok(Self {
            parent,
            directories,
        })
    }

    /// The path of a group of this name, as engines take it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.parent.join(name)
    }

    /// What a group of this name is charged with.
    #[must_use]
    pub fn accounts(&self, name: &str) -> Option<GroupAccounts> {
        let directory = self.directories.iter().find(|d| d.accounts)?;
        let group = Group::at(directory.version, directory.path.join(name));
        Some(GroupAccounts {
            memory: group.usage(),
            peak: group.peak(),
            kernel: group.kernel().map(|charge| charge.kernel),
            ..GroupAccounts::default()
        })
    }

    /// Makes a group of this name, without limits, for an engine that makes none.
    ///
    /// # Errors
    /// mkdir(2); what was made is removed again.
    pub fn create(&self, name: &str) -> io::Result<()> {
        for path in self.made(name) {
            if let Err(error) = std::fs::create_dir(&path) {
                self.sweep(name);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The directories of a group of this name.
    #[must_use]
    pub fn directories(&self, name: &str) -> Vec<PathBuf> {
        self.made(name).collect()
    }

    /// A directory of this name that is still there.
    #[must_use]
    pub fn left(&self, name: &str) -> Option<PathBuf> {
        self.made(name).find(|path| path.exists())
    }

    /// Ends what runs in a group of this name and removes it, as far as its engine has not. The kernel
    /// may call it busy for a moment.
    pub fn sweep(&self, name: &str) {
        let end = Instant::now() + BUSY;
        for path in self.made(name) {
            while let Err(error) = isobench_guardian::remove_group(&path) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if Instant::now() > end {
                    tracing::error!(path = %path.display(), %error, "control group left behind");
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Where groups of this name are made.
    pub fn all(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.made(name)
    }

    fn made(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let below = move |directory: &Directory| directory.path.join(name);
        self.directories.iter().map(below)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn groups_lie_at_the_top_of_version_1_and_beside_the_own_one_of_version_2() {
        let memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let unified = "36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a/b\n0::/user/own\n";
        let hybrid = EngineGroups::of(&Hierarchies::parse(&[memory, unified].concat(), own));
        let hybrid = hybrid.unwrap();
        assert_eq!(hybrid.path("x"), Path::new("/x"));
        let made: Vec<_> = hybrid.made("x").collect();
        assert_eq!(
            made,
            [
                Path::new("/sys/fs/cgroup/memory/x"),
                Path::new("/sys/fs/cgroup/unified/x")
            ]
        );
        let pure = EngineGroups::of(&Hierarchies::parse(unified, own)).unwrap();
        assert_eq!(pure.path("x"), Path::new("/user/x"));
        let made: Vec<_> = pure.made("x").collect();
        assert_eq!(made, [Path::new("/sys/fs/cgroup/unified/user/x")]);
        assert!(EngineGroups::of(&Hierarchies::parse("", own)).is_err());
    }
}
