//! Memory that a control group is charged with.
//!
//! The kernel charges most of what it allocates on behalf of a process to that process's group,
//! page by page, whether or not one of the host's accounts names the page: pages in pipes, KVM's
//! `kvm_run` and its stock of pages for page tables are charged, and in no account. So a charge
//! less what accounts name of it says how much of the rest is known to be the instances' own
//! (`Documentation/admin-guide/cgroup-v1/memory.rst`, section 2.7; `cgroup-v2.rst`, "memory.stat").

use std::path::PathBuf;

use super::cgroup::{Hierarchies, Version};
use crate::metric::Bytes;
use crate::sys::fd;

/// A control group that has the memory controller.
#[derive(Clone, Debug)]
pub struct Group {
    version: Version,
    directory: PathBuf,
}

impl Group {
    /// The group at this directory of a hierarchy.
    #[must_use]
    pub const fn at(version: Version, directory: PathBuf) -> Self {
        Self { version, directory }
    }

    /// The harness's own group; `None` where there is none that is charged.
    #[must_use]
    pub fn own() -> Option<Self> {
        let all = Hierarchies::read().ok()?;
        let hierarchy = all.v1("memory").or_else(|| all.v2())?;
        let group = Self::at(hierarchy.version, hierarchy.own.clone()?);
        (!group.is_root() && group.kernel().is_some()).then_some(group)
    }

    /// The root of the whole hierarchy is charged with nothing. It alone has no `cgroup.type`
    /// (version 2) or has a `release_agent` (version 1); the top of a cgroup namespace is told apart
    /// by it.
    fn is_root(&self) -> bool {
        match self.version {
            Version::V1 => self.directory.join("release_agent").exists(),
            Version::V2 => !self.directory.join("cgroup.type").exists(),
        }
    }

    /// All memory charged: v1 `memory.usage_in_bytes`, v2 `memory.current`. Charges are drawn in
    /// batches of 64 pages a CPU (MEMCG_CHARGE_BATCH in `mm/memcontrol.c`), so a small group shows up
    /// to some hundred KiB more than it uses.
    #[must_use]
    pub fn usage(&self) -> Option<Bytes> {
        let number = self.file(match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        })?;
        number.trim().parse().ok().map(Bytes)
    }

    /// The most that [`Self::usage`] ever was: v1 `memory.max_usage_in_bytes`, v2 `memory.peak` (since
    /// Linux 5.19).
    #[must_use]
    pub fn peak(&self) -> Option<Bytes> {
        let number = self.file(match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        })?;
        number.trim().parse().ok().map(Bytes)
    }

    /// Kernel memory charged; `None` where the kernel does not tell. On version 1, where groups are
    /// hierarchical, it includes the groups below.
    #[must_use]
    pub fn kernel(&self) -> Option<Charge> {
        match self.version {
            Version::V1 => Some(Charge {
                kernel: Bytes(
                    self.file("memory.kmem.usage_in_bytes")?
                        .trim()
                        .parse()
                        .ok()?,
                ),
                named: None,
            }),
            Version::V2 => {
                self.fold();
                Charge::parse(&self.file("memory.stat")?)
            }
        }
    }

    /// Brings `memory.stat` up to date. Since Linux 6.8 reading it leaves up to 64 pages a CPU where each
    /// CPU counts them, for up to two seconds (`do_flush_stats` in `mm/memcontrol.c`): a small group
    /// shows nothing. Reading `cpu.stat`, which every group has, folds all counters of the group; since
    /// Linux 6.16 its own only, and the two seconds remain.
    fn fold(&self) {
        // Without it the figure is late, and not wrong.
        let _ = self.file("cpu.stat");
    }

    fn file(&self, name: &str) -> Option<String> {
        fd::text(&self.directory.join(name)).ok()
    }
}

/// What the group is charged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// All kernel memory.
    pub kernel: Bytes,
    /// What of it the group's own accounts name; version 1 has none.
    pub named: Option<Bytes>,
}

impl Charge {
    /// From `memory.stat` of version 2.
    fn parse(stat: &str) -> Option<Self> {
        let field = |name: &str| {
            stat.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(' ')?;
                value.trim().parse::<i64>().ok()
            })
        };
        // The stacks' pages are not in the group's `vmalloc`.
        let named = [
            "slab",
            "pagetables",
            "sec_pagetables",
            "percpu",
            "vmalloc",
            "kernel_stack",
        ];
        Some(Self {
            kernel: Bytes(field("kernel")?),
            named: Some(Bytes(named.iter().filter_map(|name| field(name)).sum())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_2_group_names_its_parts() {
        let stat = "anon 4096\nkernel 100000\nkernel_stack 16384\npagetables 8192\nsec_pagetables \
                    0\npercpu 720\nvmalloc 0\nslab_reclaimable 1\nslab 30000\n";
        let charge = Charge::parse(stat).unwrap();
        assert_eq!(charge.kernel, Bytes(100_000));
        assert_eq!(charge.named, Some(Bytes(16_384 + 8192 + 720 + 30_000)));
        assert_eq!(Charge::parse("anon 1\n"), None);
    }
}
