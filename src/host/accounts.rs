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

use std::{fs, io};

use isobench_abi::workload::PAGE;
use serde::{Deserialize, Serialize};

use crate::metric::Bytes;

/// The accounts, in bytes.
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
    /// Page tables that KVM walks or shadows for guests; absent before Linux 6.1, which keeps no
    /// such account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sec_page_tables: Option<Bytes>,
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
    /// A file cannot be read, or has not a counter that every kernel of today has: a side of the
    /// ledger without it would not be what it is called.
    pub fn read() -> io::Result<Self> {
        // Refused to an ordinary user: then the counters stay as coarse as they are.
        drop(fs::read("/proc/sys/vm/stat_refresh"));
        let zoneinfo = fs::read_to_string("/proc/zoneinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        Self::parse(&zoneinfo, &meminfo)
    }

    /// From the texts of both files.
    fn parse(zoneinfo: &str, meminfo: &str) -> io::Result<Self> {
        let info = |name: &str| {
            let found = kibibytes(meminfo, name);
            found.ok_or_else(|| io::Error::other(format!("/proc/meminfo has no field {name}")))
        };
        let zones = |name: &str| {
            let found = pages(zoneinfo, name);
            found.ok_or_else(|| io::Error::other(format!("/proc/zoneinfo has no counter {name}")))
        };
        let shmem = zones("nr_shmem")?;
        Ok(Self {
            free: Bytes(zones("nr_free_pages")?),
            stock: Bytes(zones("count:")?),
            file: Bytes(zones("nr_file_pages")? - shmem),
            anon: Bytes(zones("nr_anon_pages")?),
            shmem: Bytes(shmem),
            slab: Bytes(zones("nr_slab_reclaimable")? + zones("nr_slab_unreclaimable")?),
            page_tables: Bytes(zones("nr_page_table_pages")?),
            sec_page_tables: pages(zoneinfo, "nr_sec_page_table_pages").map(Bytes),
            vmalloc: Bytes(info("VmallocUsed")?),
            percpu: Bytes(info("Percpu")?),
        })
    }

    /// What is left over for anyone: free, in stock, or page cache that can be dropped.
    #[must_use]
    pub const fn left(&self) -> Bytes {
        Bytes(self.free.0 + self.stock.0 + self.file.0)
    }

    /// The accounts of use, by name; those that this kernel keeps.
    #[must_use]
    pub const fn uses(&self) -> [(&'static str, Option<Bytes>); 7] {
        [
            ("anon", Some(self.anon)),
            ("shmem", Some(self.shmem)),
            ("slab", Some(self.slab)),
            ("page_tables", Some(self.page_tables)),
            ("sec_page_tables", self.sec_page_tables),
            ("vmalloc", Some(self.vmalloc)),
            ("percpu", Some(self.percpu)),
        ]
    }
}

/// A line `Name:   123 kB`, as `/proc/meminfo` and `smaps_rollup` have it, in bytes.
#[must_use]
pub fn kibibytes(text: &str, name: &str) -> Option<i64> {
    let line = text
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
VmallocUsed:       14504 kB
VmallocChunk:          0 kB
Percpu:             2088 kB
";

    #[test]
    fn zones_and_nodes_are_summed_and_both_sides_found() {
        let found = Accounts::parse(ZONEINFO, MEMINFO).unwrap();
        assert_eq!(found.free, Bytes(3940 * 4096));
        assert_eq!(found.stock, Bytes((157 + 599 + 1) * 4096));
        assert_eq!(found.file, Bytes((684_003 - 2218) * 4096));
        assert_eq!(found.anon, Bytes(4401 * 4096));
        assert_eq!(found.slab, Bytes(120 * 4096));
        assert_eq!(found.sec_page_tables, Some(Bytes(7 * 4096)));
        assert_eq!(found.vmalloc, Bytes(14_504 << 10));
        let left = found.free.0 + found.stock.0 + found.file.0;
        assert_eq!(found.left(), Bytes(left));
    }

    #[test]
    fn a_counter_that_is_missing_is_an_error_and_not_0() {
        let old = ZONEINFO.replace("nr_sec_page_table_pages", "nr_other");
        let found = Accounts::parse(&old, MEMINFO).unwrap();
        assert_eq!(found.sec_page_tables, None);
        for (zoneinfo, meminfo, named) in [
            ("", MEMINFO, "nr_shmem"),
            (&ZONEINFO.replace("count:", "n:"), MEMINFO, "count:"),
            (ZONEINFO, "", "VmallocUsed"),
        ] {
            let error = Accounts::parse(zoneinfo, meminfo).unwrap_err().to_string();
            assert!(error.ends_with(named), "{error}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text =
            "Pss:                  12 kB\nPss_Dirty:             8 kB\nPrivate_Clean: 4 kB\n";
        assert_eq!(kibibytes(text, "Pss"), Some(12 << 10));
        assert_eq!(kibibytes(text, "Private_Clean"), Some(4 << 10));
        assert_eq!(kibibytes(text, "Private_Dirty"), None);
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
