//! Every guest address, in one map. Other modules own the mechanism, this one the numbers.
//!
//! ```text
//!   guest-virtual            guest-physical  what                          U  W  X
//!   ───────────────────────  ──────────────  ────────────────────────────  ───────
//!   0x0000_0000              –               null page, never mapped       ·  ·  ·
//!   –                        0x0_0000        PML4                          (only
//!   –                        0x0_1000        PDPT                           walked
//!   –                        0x0_2000        page directory of GiB 0        by the
//!   –                        0x0_3000        page table of 0..2 MiB         MMU)
//!   –                        0x0_4000        page table of 2..4 MiB
//!   –                        0x0_5000        page directories of the heap ×4
//!   0x0001_0000              0x0_9000        GDT, TSS, IDT                 ·  w  ·
//!   0x0001_2000              0x0_a000        fault stubs                   ·  ·  x
//!   0x0001_4000              0x0_b000        ring-0 stack                  ·  w  ·
//!   0x0020_0000              0x2_0000        payload image, by segment     u  by PF_W, PF_X
//!   0x003d_f000              –               guard page, never mapped      ·  ·  ·
//!   0x003e_0000..0x003f_0000 0x1_0000        stack                         u  w  ·
//!   0x003f_f000              0x0_c000        doorbell page                 u  w  ·
//!   0x4000_0000              0x0020_0000     heap, 2 MiB pages             u  w  ·
//! ```
//!
//! Virtual and physical addresses differ so that a VM without a heap owns 128 KiB and the image,
//! and not 4 MiB: KVM's book-keeping, the host's page tables and the chance that the host backs the
//! region with a 2 MiB page (and clears it) all grow with the slot.
//! All of it is one memory slot below the local APIC's hole (0xfee0_0000).

/// Bytes of a small page.
pub const PAGE: u64 = 4096;
/// Bytes of a large page.
pub const LARGE_PAGE: u64 = 2 << 20;
/// Bytes that one page directory maps.
pub const GIB: u64 = 1 << 30;

/// Guest-physical: the top-level table, CR3.
pub const PML4: u64 = 0x0000;
/// Guest-physical: page-directory-pointer table of the low 512 GiB.
pub const PDPT: u64 = 0x1000;
/// Guest-physical: page directory of the lowest GiB.
pub const PD_LOW: u64 = 0x2000;
/// Guest-physical: page table of the lowest 2 MiB, all supervisor.
pub const PT_SYSTEM: u64 = 0x3000;
/// Guest-physical: page table of the second 2 MiB: image, stack, doorbell.
pub const PT_USER: u64 = 0x4000;
/// Guest-physical: first page directory of the heap; [`HEAP_DIRECTORIES`] of them, adjacent.
pub const PD_HEAP: u64 = 0x5000;
/// Page directories reserved for the heap, one a GiB.
pub const HEAP_DIRECTORIES: u64 = 4;

/// Guest-physical: descriptor tables and TSS.
pub const DESCRIPTORS_PHYS: u64 = 0x9000;
/// Guest-virtual: descriptor tables and TSS.
pub const DESCRIPTORS: u64 = 0x1_0000;
/// Offset of the GDT in the descriptor page.
pub const GDT_OFFSET: u64 = 0x000;
/// Offset of the TSS and its I/O bitmap in the descriptor page (Intel SDM vol. 3, 9.7).
pub const TSS_OFFSET: u64 = 0x080;
/// Offset of the IDT in the descriptor page.
pub const IDT_OFFSET: u64 = 0x200;
/// Vectors with a gate: the architecture's exceptions (Intel SDM vol. 3, table 7-1).
pub const VECTORS: u64 = 32;

/// Guest-physical: the fault stubs.
pub const STUBS_PHYS: u64 = 0xa000;
/// Guest-virtual: the fault stubs.
pub const STUBS: u64 = 0x1_2000;

/// Guest-physical: the ring-0 stack, one page.
pub const RING0_STACK_PHYS: u64 = 0xb000;
/// Guest-virtual: the ring-0 stack. The pages on both sides are unmapped.
pub const RING0_STACK: u64 = 0x1_4000;
/// Guest-virtual: RSP0, the end of the ring-0 stack.
pub const RSP0: u64 = RING0_STACK + PAGE;

/// Guest-physical: end of what only the supervisor can reach: page tables, descriptors, stubs, ring-0 stack.
pub const SUPERVISOR_END: u64 = DOORBELL_PHYS;
/// Guest-physical: the doorbell page ([`isobench_abi::DoorbellPage`]).
pub const DOORBELL_PHYS: u64 = 0xc000;
/// Guest-virtual: the doorbell page.
pub const DOORBELL: u64 = 0x3f_f000;

/// Guest-physical: the user stack.
pub const STACK_PHYS: u64 = 0x1_0000;
/// Guest-virtual: lowest byte of the user stack; the page below is the guard.
pub const STACK: u64 = 0x3e_0000;
/// Bytes of the user stack.
pub const STACK_BYTES: u64 = 0x1_0000;
/// Guest-virtual: end of the user stack.
pub const STACK_TOP: u64 = STACK + STACK_BYTES;

/// Guest-physical: where [`IMAGE`] lies.
pub const IMAGE_PHYS: u64 = 0x2_0000;
/// Guest-virtual: the window that a payload may occupy (`guests/payload/payload.ld`).
pub const IMAGE: u64 = 0x20_0000;
/// Guest-virtual: end of that window, the guard page of the stack.
pub const IMAGE_END: u64 = STACK - PAGE;

/// Guest-physical: the heap, aligned so that a large page of the guest can be one of the host.
pub const HEAP_PHYS: u64 = LARGE_PAGE;
/// Guest-virtual: the heap.
pub const HEAP: u64 = GIB;
/// Most heap a VM can have.
pub const HEAP_MAX: u64 = 0xfec0_0000 - HEAP_PHYS;

const _: () = {
    // Tables are adjacent and below everything else.
    assert!(PD_HEAP + HEAP_DIRECTORIES * PAGE == DESCRIPTORS_PHYS);
    assert!(DOORBELL_PHYS + PAGE <= STACK_PHYS);
    assert!(STACK_PHYS + STACK_BYTES == IMAGE_PHYS);
    assert!(IMAGE_PHYS + (IMAGE_END - IMAGE) <= HEAP_PHYS);
    // Descriptor tables share a page without touching.
    assert!(GDT_OFFSET + 8 * 8 <= TSS_OFFSET);
    assert!(IDT_OFFSET + VECTORS * 16 <= PAGE);
    // Supervisor pages share the lowest 2 MiB with no user page; null stays unmapped.
    assert!(DESCRIPTORS >= 16 * PAGE);
    assert!(DESCRIPTORS + PAGE < STUBS && STUBS + PAGE < RING0_STACK);
    assert!(RSP0 < LARGE_PAGE && IMAGE == LARGE_PAGE);
    // Image, guard, stack and doorbell share one page table.
    assert!(IMAGE_END + PAGE == STACK && STACK_TOP < DOORBELL);
    assert!(DOORBELL + PAGE == 2 * LARGE_PAGE);
    // The heap: aligned alike in both spaces, inside its directories, below the APIC.
    assert!(HEAP.is_multiple_of(LARGE_PAGE) && HEAP_PHYS.is_multiple_of(LARGE_PAGE));
    assert!(HEAP_MAX <= HEAP_DIRECTORIES * GIB);
};

/// Heap in whole large pages, or `None` if it does not fit below the hole.
#[must_use]
pub const fn heap_len(bytes: u64) -> Option<u64> {
    match bytes.checked_next_multiple_of(LARGE_PAGE) {
        Some(len) if len <= HEAP_MAX => Some(len),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_is_whole_large_pages_below_the_hole() {
        assert_eq!(heap_len(0), Some(0));
        assert_eq!(heap_len(1), Some(LARGE_PAGE));
        assert_eq!(heap_len(3 << 30), Some(3 << 30));
        assert_eq!(heap_len(HEAP_MAX + 1), None);
        assert_eq!(heap_len(u64::MAX), None);
    }
}
