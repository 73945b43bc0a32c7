//! Page tables (Intel SDM vol. 3, 5.5 "4-level paging"), prebuilt in guest memory.
//!
//! Every entry is born accessed and, where it maps a page, dirty: the MMU then has nothing to
//! write back, so a page table stays as shared and as clean as it was made.

use super::layout::{self, GIB, LARGE_PAGE, PAGE};

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12..52: the physical address in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a page may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// At CPL 3.
    pub user: bool,
    /// For writing.
    pub write: bool,
    /// For fetching instructions.
    pub execute: bool,
}

impl Access {
    /// Read-only data of the supervisor.
    pub const SYSTEM: Self = Self {
        user: false,
        write: false,
        execute: false,
    };
    /// Data of the payload.
    pub const USER_DATA: Self = Self {
        user: true,
        write: true,
        execute: false,
    };

    const fn bits(self) -> u64 {
        let mut bits = PRESENT | ACCESSED;
        if self.user {
            bits |= USER;
        }
        if self.write {
            bits |= WRITE;
        }
        if !self.execute {
            bits |= NO_EXECUTE;
        }
        bits
    }
}

/// An entry that refers to the next table. Permissions are the leaves' business, except that a
/// supervisor's subtree is closed to the user at the top.
const fn table(at: u64, user: bool) -> u64 {
    at | PRESENT | WRITE | ACCESSED | if user { USER } else { 0 }
}

/// The entries above the leaves, as (guest-physical address, value).
#[must_use]
pub const fn roots() -> [(u64, u64); 4] {
    [
        (layout::PML4, table(layout::PDPT, true)),
        (layout::PDPT, table(layout::PD_LOW, true)),
        (layout::PD_LOW, table(layout::PT_SYSTEM, false)),
        (layout::PD_LOW + 8, table(layout::PT_USER, true)),
    ]
}

/// The entry for one small page in the lowest 4 MiB, or `None` for an address beyond them.
#[must_use]
pub const fn leaf(virt: u64, phys: u64, access: Access) -> Option<(u64, u64)> {
    let table = match virt / LARGE_PAGE {
        0 => layout::PT_SYSTEM,
        1 => layout::PT_USER,
        _ => return None,
    };
    let slot = table + virt / PAGE % 512 * 8;
    Some((slot, phys & ADDRESS | DIRTY | access.bits()))
}

/// The entries that map `len` bytes of heap (whole large pages, at most
/// [`layout::HEAP_MAX`]), as (guest-physical address, value).
pub fn heap(len: u64) -> impl Iterator<Item = (u64, u64)> {
    let directories = (0..len.div_ceil(GIB)).map(|gib| {
        let slot = layout::PDPT + (layout::HEAP / GIB + gib) * 8;
        (slot, table(layout::PD_HEAP + gib * PAGE, true))
    });
    let pages = (0..len / LARGE_PAGE).map(|page| {
        // 512 entries a directory and the directories adjacent: one long array.
        let value = layout::HEAP_PHYS + page * LARGE_PAGE;
        (
            layout::PD_HEAP + page * 8,
            value | LARGE | DIRTY | Access::USER_DATA.bits(),
        )
    });
    directories.chain(pages)
}

/// Where an address leads, as the MMU would find out: physical address and effective access.
/// `read` gives the 64-bit word at a guest-physical address.
pub fn walk(virt: u64, read: impl Fn(u64) -> Option<u64>) -> Option<(u64, Access)> {
    let mut table = layout::PML4;
    let mut access = Access {
        user: true,
        write: true,
        execute: true,
    };
    for level in (0..4).rev() {
        let shift = 12 + 9 * level;
        let entry = read(table + (virt >> shift & 0x1ff) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        access.user &= entry & USER != 0;
        access.write &= entry & WRITE != 0;
        access.execute &= entry & NO_EXECUTE == 0;
        let base = entry & ADDRESS;
        if level == 0 || entry & LARGE != 0 {
            return Some((base | virt & ((1 << shift) - 1), access));
        }
        table = base;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn tables(heap_len: u64) -> HashMap<u64, u64> {
        roots().into_iter().chain(heap(heap_len)).collect()
    }

    #[test]
    fn heap_is_user_data_from_end_to_end_and_no_further() {
        let len = 3 * GIB;
        let memory = tables(len);
        let read = |at| Some(memory.get(&at).copied().unwrap_or(0));
        for offset in [0, 1, LARGE_PAGE, GIB - 1, GIB, 2 * GIB + 12_345, len - 1] {
            assert_eq!(
                walk(layout::HEAP + offset, read),
                Some((layout::HEAP_PHYS + offset, Access::USER_DATA))
            );
        }
        assert_eq!(walk(layout::HEAP + len, read), None);
        assert_eq!(walk(layout::HEAP - 1, read), None);
        assert!(heap(layout::HEAP_MAX).all(|(at, _)| at < layout::DESCRIPTORS_PHYS));
    }

    #[test]
    fn system_leaves_are_closed_to_the_user_twice() {
        let mut memory = tables(0);
        // Even a leaf that says "user" stays the supervisor's: the directory entry says no.
        let (slot, value) = leaf(0x1_0000, 0x9000, Access::USER_DATA).unwrap();
        memory.insert(slot, value);
        let read = |at| Some(memory.get(&at).copied().unwrap_or(0));
        let (phys, access) = walk(0x1_0008, read).unwrap();
        assert_eq!(phys, 0x9008);
        assert!(!access.user && !access.execute);
        assert_eq!(walk(0, read), None);
        assert_eq!(walk(8 * GIB, read), None);
    }

    #[test]
    fn only_the_lowest_four_mib_have_small_pages() {
        assert_eq!(leaf(2 * LARGE_PAGE, 0, Access::SYSTEM), None);
    }
}
