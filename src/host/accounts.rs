//! What the kernel says its memory is used for, at one moment.
//!
//! Two sides of one ledger. *What is left*: free pages, those that each CPU keeps in stock
//! included, and the page cache of files; memory less these is in use. *What it is used for*:
//! the accounts of anonymous memory, tmpfs, slab, page tables, vmalloc, percpu. The difference of
//! the sides is what no account names.
//!
//! `/proc/zoneinfo` has nearly all of it, printed in one go, so both sides are of the same moment
//! to within some 100 µs; `/proc/meminfo` has the rest (proc_meminfo(5), `fs/proc/meminfo.c`,
//! `mm/vmstat.c`). Each counter is of pages but for two, and appears once a zone or once a node;
//! the sum over all is the host's.

use std::fs;

use isobench_abi::workload::PAGE;
use serde::{Deserialize, Serialize};

use crate::metric::Bytes;

/// The accounts, in bytes. One that this kernel does not keep is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Free pages in the buddy allocator.
    pub free: Bytes,
    /// Free pages in the CPUs' lists (`pagesets`). The kernel tunes their length to the traffic,
    /// up to tens of MiB, and counts them neither as free nor as anything else.
    pub stock: Bytes,
    /// Page cache: files and block devices, without tmpfs.
    pub file: Bytes,
    /// Private memory of processes and guests.
    pub anon: Bytes,
    /// tmpfs, memory files, shared anonymous memory.
    pub shmem: Bytes,
    /// Slab, reclaimable and not.
    pub slab: Bytes,
    /// Page tables of processes.
    pub page_tables: Bytes,
    /// Page tables that KVM walks or shadows for guests.
    pub sec_page_tables: Bytes,
    /// Pages behind vmalloc: kernel stacks (CONFIG_VMAP_STACK) among them, so `KernelStack` is not
    /// an account of its own here.
    pub vmalloc: Bytes,
    /// Memory with a copy for each CPU.
    pub percpu: Bytes,
}

impl Accounts {
    /// Reads them now. As root the kernel is first made to add up its per-CPU differences, without
    /// which a counter can be off by some hundred KiB: reading `/proc/sys/vm/stat_refresh` does
    /// that (`Documentation/admin-guide/sysctl/vm.rst`).
    ///
    /// # Errors
    /// `/proc/meminfo` cannot be read.
    pub fn read() -> std::io::Result<Self> {
        let _ = fs::read("/proc/sys/vm/stat_refresh");
        let zoneinfo = fs::read_to_string("/proc/zoneinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        Ok(Self::parse(&zoneinfo, &meminfo))
    }

    /// From the texts of both files. Where `/proc/zoneinfo` is empty (masked, or a kernel that
    /// lacks a counter there) `/proc/meminfo` stands in, and the CPUs' stock stays unknown.
    fn parse(zoneinfo: &str, meminfo: &str) -> Self {
        let info = |name: &str| field(meminfo, name).unwrap_or(0);
        let zones = |name: &str| pages(zoneinfo, name);
        let shmem = zones("nr_shmem").unwrap_or_else(|| info("Shmem"));
        let file = zones("nr_file_pages")
            .unwrap_or_else(|| info("Cached") + info("Buffers") + info("SwapCached"));
        let slab = zones("nr_slab_reclaimable").zip(zones("nr_slab_unreclaimable"));
        Self {
            free: Bytes(zones("nr_free_pages").unwrap_or_else(|| info("MemFree"))),
            stock: Bytes(stock(zoneinfo)),
            file: Bytes(file - shmem),
            anon: Bytes(zones("nr_anon_pages").unwrap_or_else(|| info("AnonPages"))),
            shmem: Bytes(shmem),
            slab: Bytes(slab.map_or_else(|| info("Slab"), |(a, b)| a + b)),
            page_tables: Bytes(zones("nr_page_table_pages").unwrap_or_else(|| info("PageTables"))),
            sec_page_tables: Bytes(
                zones("nr_sec_page_table_pages").unwrap_or_else(|| info("SecPageTables")),
            ),
            vmalloc: Bytes(info("VmallocUsed")),
            percpu: Bytes(info("Percpu")),
        }
    }

    /// What is left over for anyone: free, in stock, or page cache that can be dropped.
    #[must_use]
    pub const fn left(&self) -> Bytes {
        Bytes(self.free.0 + self.stock.0 + self.file.0)
    }

    /// The accounts of use, by name.
    #[must_use]
    pub const fn uses(&self) -> [(&'static str, Bytes); 7] {
        [
            ("anon", self.anon),
            ("shmem", self.shmem),
            ("slab", self.slab),
            ("page_tables", self.page_tables),
            ("sec_page_tables", self.sec_page_tables),
            ("vmalloc", self.vmalloc),
            ("percpu", self.percpu),
        ]
    }
}

/// `Name:   123 kB` of `/proc/meminfo`, in bytes.
fn field(meminfo: &str, name: &str) -> Option<i64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Sum of the lines `name value` of `/proc/zoneinfo`, in bytes; `None` where there is none.
fn pages(zoneinfo: &str, name: &str) -> Option<i64> {
    let values = zoneinfo.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == name).then(|| words.next()?.parse::<i64>().ok())?
    });
    let sum = values.fold(None, |sum: Option<i64>, n| Some(sum.unwrap_or(0) + n))?;
    sum.checked_mul(PAGE.cast_signed())
}

/// `count: n` of every CPU in every zone.
fn stock(zoneinfo: &str) -> i64 {
    pages(zoneinfo, "count:").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two zones, two CPUs; Linux 6.18, shortened.
    const ZONEINFO: &str = "\
Node 0, zone    DMA32
  per-node stats
      nr_slab_reclaimable 100
      nr_slab_unreclaimable 20
      nr_anon_pages 4401
      nr_file_pages 684003
      nr_shmem     2218
      nr_kernel_stack 1440
      nr_page_table_pages 413
      nr_sec_page_table_pages 7
  pages free     3840
      nr_free_pages 3840
      nr_free_pages_blocks 3584
  pagesets
    cpu: 0
              count:    157
              high:     3290
  vm stats threshold: 24
    cpu: 1
              count:    599
Node 0, zone   Normal
  pages free     100
      nr_free_pages 100
  pagesets
    cpu: 0
              count:    1
";
    const MEMINFO: &str = "\
MemTotal:       24684084 kB
MemFree:           15760 kB
Buffers:               4 kB
Cached:              100 kB
SwapCached:            0 kB
AnonPages:            50 kB
Shmem:                20 kB
Slab:                 30 kB
PageTables:           40 kB
VmallocUsed:       14504 kB
VmallocChunk:          0 kB
Percpu:             2088 kB
";

    #[test]
    fn zones_and_nodes_are_summed_and_both_sides_found() {
        let found = Accounts::parse(ZONEINFO, MEMINFO);
        assert_eq!(found.free, Bytes(3940 * 4096));
        assert_eq!(found.stock, Bytes((157 + 599 + 1) * 4096));
        assert_eq!(found.file, Bytes((684_003 - 2218) * 4096));
        assert_eq!(found.anon, Bytes(4401 * 4096));
        assert_eq!(found.slab, Bytes(120 * 4096));
        assert_eq!(found.sec_page_tables, Bytes(7 * 4096));
        assert_eq!(found.vmalloc, Bytes(14_504 << 10));
        let left = found.free.0 + found.stock.0 + found.file.0;
        assert_eq!(found.left(), Bytes(left));
    }

    #[test]
    fn without_zones_meminfo_stands_in() {
        let found = Accounts::parse("", MEMINFO);
        assert_eq!((found.free, found.stock), (Bytes(15_760 << 10), Bytes(0)));
        assert_eq!(found.file, Bytes(84 << 10));
        assert_eq!(found.slab, Bytes(30 << 10));
        // This kernel has no SecPageTables.
        assert_eq!(found.sec_page_tables, Bytes(0));
        assert_eq!(Accounts::parse("", ""), Accounts::default());
    }

    #[test]
    fn this_host_uses_memory() {
        let now = Accounts::read().unwrap();
        assert!(
            now.free.0 > 0 && now.anon.0 > 0 && now.slab.0 > 0,
            "{now:?}"
        );
    }
}
