//! GDT, TSS, IDT and the fault stubs (Intel SDM vol. 3, chapters 3, 6 and 9).
//!
//! The doorbell is opened by the TSS's I/O permission bitmap (Intel SDM vol. 1, 19.5.2) and not by
//! IOPL: the bitmap lets the payload reach these four port bytes and nothing else (any other port is a
//! #GP inside the guest, on every KVM alike), IOPL 3 would open all 65,536 and CLI besides, and
//! a KVM that runs guest CPL 3 on the host's own CPL 3 forgets IOPL at the first exit.
//!
//! Ring 0 exists for one purpose: to say which exception was taken. A stub pushes a dummy error code
//! where the CPU pushed none, pushes the vector and the two registers that it needs itself, and rings
//! the doorbell with `Op::Trap`. The VMM then finds this on the ring-0 stack, from RSP upwards:
//!
//! ```text
//!   RDX │ RAX │ vector │ error │ RIP │ CS │ RFLAGS │ RSP │ SS
//! ```

use isobench_abi::{DOORBELL_PORT, Op};

use super::layout;

/// Selector of ring-0 code.
pub const RING0_CODE: u16 = 0x08;
/// Selector of ring-0 data.
pub const RING0_DATA: u16 = 0x10;
/// Selector of user data, RPL 3.
pub const USER_DATA: u16 = 0x18 | 3;
/// Selector of 64-bit user code, RPL 3.
pub const USER_CODE: u16 = 0x20 | 3;
/// Selector of the TSS (two slots).
pub const TASK: u16 = 0x28;
/// Limit of the GDT.
pub const GDT_LIMIT: u16 = 7 * 8 - 1;
/// Bytes of the TSS proper.
const TSS_BYTES: u16 = 104;
/// Byte of the I/O bitmap that has the doorbell's bits. The CPU reads two bytes at a time, so one
/// more must lie inside the limit.
const DOORBELL_BITS: u16 = DOORBELL_PORT / 8;
/// Limit of the TSS, its I/O bitmap included.
pub const TSS_LIMIT: u16 = TSS_BYTES + DOORBELL_BITS + 1;
/// Limit of the IDT.
pub const IDT_LIMIT: u16 = (layout::VECTORS * 16 - 1) as u16;
/// Bytes that a trap leaves on the ring-0 stack.
pub const TRAP_BYTES: u64 = 9 * 8;

/// Guest-virtual address of the GDT.
pub const GDT: u64 = layout::DESCRIPTORS + layout::GDT_OFFSET;
/// Guest-virtual address of the TSS.
pub const TSS: u64 = layout::DESCRIPTORS + layout::TSS_OFFSET;
/// Guest-virtual address of the IDT.
pub const IDT: u64 = layout::DESCRIPTORS + layout::IDT_OFFSET;

const _: () = {
    assert!(layout::TSS_OFFSET + (TSS_LIMIT as u64) < layout::IDT_OFFSET);
    // The four bytes of one access share a byte of the bitmap.
    assert!(DOORBELL_PORT.is_multiple_of(4));
};

const STUB_BYTES: u64 = 16;
const COMMON: u64 = layout::STUBS + layout::VECTORS * STUB_BYTES;

/// The page of descriptor tables, to be placed at [`layout::DESCRIPTORS_PHYS`].
#[must_use]
pub fn tables() -> Vec<u8> {
    let mut page = vec![0u8; layout::PAGE as usize];
    // Present, accessed (so that no load writes to the table), limit 4 GiB; code has L set.
    let gdt: [u64; 7] = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        // 64-bit TSS, busy (type 11): what TR must hold at VM entry (Intel SDM vol. 3, 28.3.1.2).
        u64::from(TSS_LIMIT) | (TSS & 0x00ff_ffff) << 16 | 0x8b << 40 | (TSS >> 24 & 0xff) << 56,
        TSS >> 32,
    ];
    for (index, entry) in gdt.iter().enumerate() {
        put(
            &mut page,
            layout::GDT_OFFSET as usize + index * 8,
            &entry.to_le_bytes(),
        );
    }
    let tss = layout::TSS_OFFSET as usize;
    put(&mut page, tss + 4, &layout::RSP0.to_le_bytes());
    put(&mut page, tss + 102, &TSS_BYTES.to_le_bytes());
    let mut bitmap = [0xff; DOORBELL_BITS as usize + 2];
    bitmap[DOORBELL_BITS as usize] = !(0b1111 << (DOORBELL_PORT % 8));
    put(&mut page, tss + usize::from(TSS_BYTES), &bitmap);
    for vector in 0..layout::VECTORS {
        let stub = layout::STUBS + vector * STUB_BYTES;
        // `int3` and `into` may be executed by the payload; any other `int n` is a #GP.
        let dpl: u64 = if vector == 3 || vector == 4 { 3 } else { 0 };
        let low = (stub & 0xffff)
            | u64::from(RING0_CODE) << 16
            | (0x8e | dpl << 5) << 40
            | (stub >> 16 & 0xffff) << 48;
        let at = (layout::IDT_OFFSET + vector * 16) as usize;
        put(&mut page, at, &low.to_le_bytes());
        put(&mut page, at + 8, &(stub >> 32).to_le_bytes());
    }
    page
}

/// The page of fault stubs, to be placed at [`layout::STUBS_PHYS`].
#[must_use]
pub fn stubs() -> Vec<u8> {
    // hlt everywhere else: ring 0 that strays stops.
    let mut page = vec![0xf4u8; layout::PAGE as usize];
    for vector in 0..layout::VECTORS {
        let start = vector * STUB_BYTES;
        let mut code = Vec::new();
        if !has_error_code(vector) {
            code.extend([0x6a, 0x00]); // push 0
        }
        code.extend([0x6a, vector as u8]); // push vector
        code.push(0xe9); // jmp COMMON
        let next = layout::STUBS + start + code.len() as u64 + 4;
        code.extend((COMMON.wrapping_sub(next) as u32).to_le_bytes());
        put(&mut page, start as usize, &code);
    }
    let mut common = vec![0x50, 0x52, 0xb8]; // push rax; push rdx; mov eax, Op::Trap
    common.extend(Op::Trap.encode(0).to_le_bytes());
    common.extend([0x66, 0xba]); // mov dx, DOORBELL_PORT
    common.extend(DOORBELL_PORT.to_le_bytes());
    common.extend([0xef, 0xf4, 0xeb, 0xfd]); // out dx, eax; again: hlt; jmp again
    put(&mut page, (COMMON - layout::STUBS) as usize, &common);
    page
}

/// Whether the CPU pushes an error code (Intel SDM vol. 3, table 7-1; AMD APM vol. 2, table 8-1
/// for 29 and 30).
const fn has_error_code(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// Copies into a page; both offsets are constants of this module, bounded by `layout`'s asserts.
fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = page.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(page: &[u8], at: u64) -> u64 {
        u64::from_le_bytes(page[at as usize..at as usize + 8].try_into().unwrap())
    }

    #[test]
    fn gates_lead_to_their_stubs() {
        let page = tables();
        for vector in 0..layout::VECTORS {
            let low = word(&page, layout::IDT_OFFSET + vector * 16);
            let high = word(&page, layout::IDT_OFFSET + vector * 16 + 8);
            let target = low & 0xffff | (low >> 48) << 16 | high << 32;
            assert_eq!(target, layout::STUBS + vector * 16);
            assert_eq!(low >> 16 & 0xffff, u64::from(RING0_CODE));
            let dpl = low >> 45 & 3;
            assert_eq!(dpl == 3, vector == 3 || vector == 4);
        }
        assert_eq!(word(&page, layout::TSS_OFFSET + 4), layout::RSP0);
        let allowed = |port: u16| {
            let at = layout::TSS_OFFSET + 104 + u64::from(port / 8);
            at < layout::TSS_OFFSET + u64::from(TSS_LIMIT)
                && page[at as usize] >> (port % 8) & 1 == 0
        };
        let open: Vec<u16> = (0..=u16::MAX).filter(|port| allowed(*port)).collect();
        assert_eq!(open, [0x5b0, 0x5b1, 0x5b2, 0x5b3]);
        let low = word(&page, u64::from(TASK));
        let base = low >> 16 & 0xff_ffff | (low >> 56) << 24;
        assert_eq!(base, TSS);
    }

    #[test]
    fn stubs_balance_the_stack_and_end_in_common() {
        let page = stubs();
        for vector in 0..layout::VECTORS {
            let mut at = (vector * 16) as usize;
            if !has_error_code(vector) {
                assert_eq!(page[at..at + 2], [0x6a, 0]);
                at += 2;
            }
            assert_eq!(page[at..at + 3], [0x6a, vector as u8, 0xe9]);
            let jump = i32::from_le_bytes(page[at + 3..at + 7].try_into().unwrap());
            assert_eq!(
                at as i64 + 7 + i64::from(jump),
                (layout::VECTORS * 16) as i64
            );
        }
    }
}
