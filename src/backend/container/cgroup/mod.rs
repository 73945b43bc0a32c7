//! The container's own control group: made for one trial, limits set, removed after it.
//!
//! | layout | where the group is made | how the payload gets in |
//! |---|---|---|
//! | v1 | below the harness's own group, in the hierarchy of each controller | the child writes "0" to `tasks` |
//! | v2 | beside the harness's own group (a group with processes cannot hand controllers down), below it if that is the root | the child is born there (CLONE_INTO_CGROUP) |
//! | hybrid | each controller where it is | both |
//!
//! `tasks` and not `cgroup.procs`: for a thread that moves itself the kernel skips the lock over
//! all forks and exits of the machine (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).
//! Taking that lock after a pause costs an RCU grace period: measured on Linux 6.18 with 40 ms
//! between trials, 10 ms through `cgroup.procs` against 0.03 ms through `tasks`; without pauses
//! there is no difference.

mod find;
mod leaf;
mod v1;
mod v2;

use std::io;
use std::path::PathBuf;

use isobench_guardian::{Owner, Place};

use crate::host::cgroup::Version;
use crate::metric::Bytes;

pub use leaf::Leaf;

/// What limits something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Processor time.
    Cpu,
}

impl Controller {
    /// Its name in both versions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// What a container may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All memory that the kernel charges to it.
    pub memory: Bytes,
    /// Tasks. The payload needs one.
    pub tasks: u32,
    /// Processor time in each [`PERIOD_US`], in microseconds.
    pub cpu_us: u32,
    /// Whether swap has to be denied to it, or the limit on memory would only make it slow.
    pub deny_swap: bool,
}

/// Period of the limit on processor time: the kernel's default.
pub const PERIOD_US: u32 = 100_000;

impl Limits {
    /// Room for this much memory. Two processors' time: the payload's one thread can never take it,
    /// so the limit is kept account of and costs what that costs, but stops nobody.
    #[must_use]
    pub const fn with_memory(memory: Bytes) -> Self {
        Self {
            memory,
            tasks: 16,
            cpu_us: 2 * PERIOD_US,
            deny_swap: false,
        }
    }
}

/// Where groups are made, for some of the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    directory: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// Where this harness may make groups.
#[derive(Clone, Debug)]
pub struct Groups {
    parents: Vec<Parent>,
    owner: Owner,
    /// Bound on [`Limits::cpu_us`]: what the harness itself may take.
    cpu_us: u32,
    /// The host has swap: where it has none, denying it would be a write for nothing.
    swap: bool,
}

impl Groups {
    /// Finds a place for these controllers. Nothing may be made there before the guardian knows
    /// [`Self::places`].
    ///
    /// # Errors
    /// In words: what is missing. Without a group the container still runs, without its limits.
    pub fn find(controllers: &[Controller]) -> Result<Self, String> {
        let parents = find::parents(controllers)?;
        let quota = parents.iter().filter_map(v1::quota_of_parent).min();
        Ok(Self {
            parents,
            owner: Owner::current().map_err(|e| e.to_string())?,
            cpu_us: quota.unwrap_or(u32::MAX),
            swap: find::has_swap(),
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
        self.create(Limits::with_memory(Bytes(64 << 20)))
            .and_then(Leaf::remove)
            .map_err(|e| format!("no group can be made: {e}"))
    }

    /// Makes a group with these limits.
    ///
    /// # Errors
    /// The file or folder that refused; nothing is left of it.
    pub fn create(&self, limits: Limits) -> io::Result<Leaf> {
        let limits = Limits {
            cpu_us: limits.cpu_us.min(self.cpu_us),
            deny_swap: self.swap,
            ..limits
        };
        Leaf::new(&self.parents, &self.owner.new_name(), &limits)
    }

    /// With less processor time than a payload can take.
    #[cfg(test)]
    pub fn throttle(&mut self, cpu_us: u32) {
        self.cpu_us = cpu_us;
    }

    /// A group of version 2 below the own one, without limits: how the payload gets in can be
    /// tried on hybrid hosts, too.
    #[cfg(test)]
    pub fn v2_without_limits() -> Option<Self> {
        let directory = crate::host::cgroup::Hierarchies::read()
            .ok()?
            .v2()?
            .own
            .clone()?;
        let groups = Self {
            parents: vec![Parent {
                directory,
                version: Version::V2,
                controllers: Vec::new(),
            }],
            owner: Owner::current().ok()?,
            cpu_us: u32::MAX,
            swap: false,
        };
        groups.probe().ok()?;
        Some(groups)
    }

    /// Names of what lies where groups are made.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<String> {
        let folders = self.parents.iter();
        let folders = folders.flat_map(|p| std::fs::read_dir(&p.directory));
        let entries = folders.flatten().flatten();
        entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }
}
