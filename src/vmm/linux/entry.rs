//! What stands before the kernel: page tables that map the lowest GiB one to one, a GDT as the boot
//! protocol wants it, and a few instructions that read the counter and jump into the kernel.

use super::layout::{self, ENTRY, GDT, PD, PDPT, PML4, READING, RESERVED};
use crate::vmm::layout::{LARGE_PAGE, PAGE};
use crate::vmm::memory::GuestRam;

/// `__BOOT_CS`.
pub const CODE: u16 = 0x10;
/// `__BOOT_DS`.
pub const DATA: u16 = 0x18;
/// Limit of the GDT.
pub const GDT_LIMIT: u16 = 4 * 8 - 1;

/// Present, writable, accessed, and for a page dirty: nothing for the MMU to write back.
const TABLE: u64 = 0x23;
const LARGE: u64 = 0xe3;

/// The page directory: 512 large pages, one to one.
static DIRECTORY: [u8; PAGE as usize] = {
    assert!(layout::MAPPED_END / LARGE_PAGE * 8 == PAGE);
    let mut directory = [0; PAGE as usize];
    let mut at = 0;
    while at < directory.len() {
        let entry = (((at / 8) as u64 * LARGE_PAGE) | LARGE).to_le_bytes();
        directory[at] = entry[0];
        directory[at + 1] = entry[1];
        directory[at + 2] = entry[2];
        directory[at + 3] = entry[3];
        at += 8;
    }
    directory
};

/// Writes all of it.
///
/// # Errors
/// The memory is smaller than the layout.
pub fn write(ram: &GuestRam) -> Result<(), vm_memory::VolatileMemoryError> {
    ram.write(PML4, &(PDPT | TABLE).to_le_bytes())?;
    ram.write(PDPT, &(PD | TABLE).to_le_bytes())?;
    ram.write(PD, &DIRECTORY)?;
    // Flat, 4 GiB, accessed; code is 64-bit (Intel SDM vol. 3, 3.4.5).
    let gdt: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    ram.write(GDT, &gdt.map(u64::to_le_bytes).concat())?;
    ram.write(ENTRY, &INSTRUCTIONS)
}

/// ```text
///   rdtsc                    the first thing the guest does: "kernel entered"
///   shl  rdx, 32
///   or   rax, rdx
///   mov  [READING], rax
///   jmp  rbx                 RBX: the kernel's entry; RSI: its parameters
/// ```
const INSTRUCTIONS: [u8; 19] = {
    let at = (READING as u32).to_le_bytes();
    [
        0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, // rdtsc; shl; or
        0x48, 0x89, 0x04, 0x25, at[0], at[1], at[2], at[3], // mov [disp32], rax
        0xff, 0xe3, // jmp rbx
    ]
};

const _: () = {
    assert!(GDT + (GDT_LIMIT as u64) < ENTRY && ENTRY + 19 <= READING);
    assert!(RESERVED.is_multiple_of(PAGE));
};
