//! Kernel memory that the harness's own control group is charged with.
//!
//! The kernel charges most of what it allocates on behalf of a process to that process's group,
//! page by page, whether or not one of the host's accounts names the page: pages in pipes, KVM's
//! `kvm_run` and its stock of pages for page tables are charged, and in no account. So a charge
//! less what accounts name of it says how much of the rest is known to be the instances' own
//! (`Documentation/admin-guide/cgroup-v1/memory.rst`, section 2.7; `cgroup-v2.rst`, "memory.stat").

use std::path::{Path, PathBuf};

use super::cgroup::{Hierarchies, Version};
use crate::metric::Bytes;
use crate::sys::fd;

/// The group and where to read it.
#[derive(Clone, Debug)]
pub struct OwnGroup {
    version: Version,
    path: PathBuf,
}

impl OwnGroup {
    /// The group of this process that has the memory controller; `None` where there is none, or it
    /// is the root, which is charged with nothing.
    #[must_use]
    pub fn find() -> Option<Self> {
        let all = Hierarchies::read().ok()?;
        let (hierarchy, file) = match all.v1("memory") {
            Some(v1) => (v1, "memory.kmem.usage_in_bytes"),
            None => (all.v2()?, "memory.stat"),
        };
        let path = hierarchy
            .own
            .clone()
            .filter(|own| *own != hierarchy.mount)?;
        let group = Self {
            version: hierarchy.version,
            path: path.join(file),
        };
        group.read().map(|_| group)
    }

    /// The charge now. On version 1, where groups are hierarchical, it includes the groups below.
    #[must_use]
    pub fn read(&self) -> Option<Charge> {
        let text = fd::text(Path::new(&self.path)).ok()?;
        match self.version {
            Version::V1 => Some(Charge {
                kernel: Bytes(text.trim().parse().ok()?),
                named: None,
            }),
            Version::V2 => Charge::parse(&text),
        }
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
