//! Guest-physical addresses of a Linux guest, in one map.
//!
//! ```text
//!   0x0000_1000   page tables: 1 GiB, one to one, 2 MiB pages     usable
//!   0x0000_4000   boot parameters ("zero page")                   usable
//!   0x0000_5000   command line, one page                          usable
//!   0x0009_f000   GDT, first instructions, their reading          reserved
//!   0x000a_0000   where a PC has its firmware: zeros              reserved
//!   0x000e_0000   ACPI tables, if there are any                   reserved
//!   0x0010_0000   free                                            usable
//!   (its wish)    kernel                                          usable
//!   BASE − size   initramfs                                       usable
//!   BASE          memory for the payload                          usable
//!   end           below 3 GiB
//!   0xd000_0000   registers of virtio devices, if there are any   no memory
//! ```
//!
//! "Usable" is what the kernel may take once it has read what lies there; it keeps the lowest 64 KiB
//! for itself untouched (CONFIG_X86_RESERVE_LOW). All of it is one memory slot.

use crate::vmm::layout::{GIB, LARGE_PAGE, PAGE};

/// Top-level page table, CR3.
pub const PML4: u64 = 0x1000;
/// Page-directory-pointer table.
pub const PDPT: u64 = 0x2000;
/// Page directory of the lowest GiB.
pub const PD: u64 = 0x3000;
/// End of what the tables map: everything that the kernel touches before it has tables of its own.
pub const MAPPED_END: u64 = GIB;

/// `struct boot_params`.
pub const BOOT_PARAMS: u64 = 0x4000;
/// The command line, with its NUL.
pub const COMMAND_LINE: u64 = 0x5000;
/// Room for it.
pub const COMMAND_LINE_BYTES: u64 = PAGE;

/// The page that is the VMM's, for as long as the guest runs.
pub const RESERVED: u64 = 0x9_f000;
/// The GDT in it.
pub const GDT: u64 = RESERVED;
/// The first instructions.
pub const ENTRY: u64 = RESERVED + 0x100;
/// Where they leave the counter.
pub const READING: u64 = RESERVED + 0x200;
/// Their stack's end; the kernel has its own from its first instructions on.
pub const STACK_TOP: u64 = RESERVED + PAGE;

/// The ACPI root pointer, where a PC has it, and the tables behind it.
pub const ACPI: u64 = 0xe_0000;
/// Registers of the first virtio device.
pub const VIRTIO: u64 = 0xd000_0000;

/// End of the low memory.
pub const LOW_END: u64 = RESERVED;
/// Start of the high memory.
pub const HIGH: u64 = 0x10_0000;
/// Least memory before the payload's: what the distributions' kernels boot in with room to spare.
pub const LEAST_BASE: u64 = 128 << 20;
/// What a kernel gets beyond itself and the initramfs.
pub const ROOM: u64 = 64 << 20;
/// Most memory: below the addresses of devices.
pub const RAM_MAX: u64 = 3 * GIB;

const _: () = {
    assert!(PD + PAGE == BOOT_PARAMS && BOOT_PARAMS + PAGE == COMMAND_LINE);
    assert!(COMMAND_LINE + COMMAND_LINE_BYTES <= 0x1_0000);
    assert!(READING + 8 <= STACK_TOP && STACK_TOP == 0xa_0000);
    assert!(ACPI >= STACK_TOP && ACPI < HIGH && VIRTIO >= RAM_MAX);
    assert!(LEAST_BASE.is_multiple_of(LARGE_PAGE) && RAM_MAX.is_multiple_of(LARGE_PAGE));
};

/// Memory before the payload's, in whole large pages: `kernel_end` is the end of all that the kernel
/// needs to start. `None` where it does not fit below [`MAPPED_END`].
#[must_use]
pub const fn base(kernel_end: u64, initramfs: u64) -> Option<u64> {
    let Some(needed) = kernel_end.checked_add(initramfs) else {
        return None;
    };
    let Some(needed) = needed.checked_add(ROOM) else {
        return None;
    };
    let Some(needed) = needed.checked_next_multiple_of(LARGE_PAGE) else {
        return None;
    };
    let base = if needed < LEAST_BASE {
        LEAST_BASE
    } else {
        needed
    };
    if base <= MAPPED_END { Some(base) } else { None }
}

/// All memory of a guest whose payload may take `heap` bytes: the kernel needs a 64th for its account
/// of every page (`struct page`, 64 bytes), and page tables. `None` beyond [`RAM_MAX`].
#[must_use]
pub const fn ram(base: u64, heap: u64) -> Option<u64> {
    let Some(needed) = heap.checked_add(heap / 32) else {
        return None;
    };
    let Some(needed) = needed.checked_next_multiple_of(LARGE_PAGE) else {
        return None;
    };
    match base.checked_add(needed) {
        Some(ram) if ram <= RAM_MAX => Some(ram),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_it_must_hold_and_has_an_end() {
        assert_eq!(base(80 << 20, 1), Some(146 << 20));
        assert_eq!(base(0, 0), Some(LEAST_BASE));
        assert_eq!(base(u64::MAX, 1), None);
        assert_eq!(base(GIB, 0), None);
        assert_eq!(ram(LEAST_BASE, 0), Some(LEAST_BASE));
        assert_eq!(ram(LEAST_BASE, 64 << 20), Some((128 + 66) << 20));
        assert_eq!(ram(LEAST_BASE, 3 << 30), None);
        assert_eq!(ram(LEAST_BASE, u64::MAX), None);
    }
}
