//! The boundary between the payload and whoever serves it.
//!
//! ```text
//!   payload (CPL 3)                                   host
//!   ───────────────                                   ────
//!   Linux transport   : write(1, frame, 64)      ──►  pipe, 64-byte records
//!   doorbell transport: frame → DoorbellPage,    ──►  KVM_EXIT_IO on DOORBELL_PORT,
//!                       out DOORBELL_PORT, eax        eax = op | argument << 8
//!   Linux in a VM     : frame → R8 to R15,       ──►  the same exit
//!                       out DOORBELL_PORT, eax
//! ```
//!
//! The host treats every byte as hostile: [`Frame::decode`] is total, and returns a typed error
//! for anything that is not exactly a message of this vocabulary.
#![no_std]
#![forbid(unsafe_code)]

pub mod fact;
pub mod frame;
pub mod question;
pub mod workload;

pub use fact::{Fact, Part, Value};
pub use frame::{DecodeError, FRAME_BYTES, Frame, GuestFault, MAGIC, Mark, Message, Ready, Report};
pub use question::{Ask, Question};

/// Version of this boundary; the payload says it in its first message.
pub const ABI_VERSION: u64 = 5;

/// Type of the auxiliary-vector entry that selects the doorbell transport. Its value is the
/// guest-virtual address of a [`DoorbellPage`]. Absent on Linux. The number ("isob") lies far
/// above every `AT_*` of the kernel (`include/uapi/linux/auxvec.h`).
pub const AT_ISOBENCH: u64 = 0x6973_6f62;

/// The payload's name, `argv[0]` of every launch. As `/init` it is an argument of its own: a kernel puts
/// words of its command line that it does not know before those behind `--`, and the request follows
/// this one.
pub const PROGRAM_NAME: &str = "/payload";

/// The environment string that says, where [`AT_ISOBENCH`] is absent, that the VMM around this Linux
/// takes doorbells and frames in registers. A kernel hands what it does not know of its command line to
/// `/init` (`Documentation/admin-guide/kernel-parameters.rst`).
pub const GUEST_ENVIRONMENT: &str = "ISOBENCH_DOORBELL=registers";

/// Environment string by which process 1 of a virtual machine of somebody else's knows that it speaks on
/// the second serial port of a PC, `/dev/ttyS1`: messages out, requests in, a byte each. It waits for one
/// byte after its first message, too.
pub const SERIAL_ENVIRONMENT: &str = "ISOBENCH_SERIAL=ttyS1";

/// As [`SERIAL_ENVIRONMENT`], for a machine with one serial port, `/dev/ttyS0`, which is its kernel's console,
/// too. Before its first message process 1 has the kernel say no more there than that it dies.
pub const CONSOLE_ENVIRONMENT: &str = "ISOBENCH_SERIAL=ttyS0";

/// Environment string by which such a process 1 knows that its VMM takes a restart for a wish to go on: it
/// switches the machine off instead.
pub const POWER_OFF_ENVIRONMENT: &str = "ISOBENCH_END=off";

/// Environment string by which process 1 of such a virtual machine knows that it has drivers to load
/// before it is ready: the kernel's modules [`DRIVERS`]`/0`, `/1`, … in that order.
pub const DRIVERS_ENVIRONMENT: &str = "ISOBENCH_DRIVERS=load";

/// Folder of those modules.
pub const DRIVERS: &str = "/drivers";

/// The environment string that asks for a line end behind each frame: between this payload and the host
/// somebody keeps what comes until a line is whole, as the log of Kubernetes' containers does.
pub const LINES_ENVIRONMENT: &str = "ISOBENCH_LINES=1";

/// The environment string that asks a payload that waits to wait for ever: it only holds namespaces open,
/// as the first process of a pod does, and nobody will have a request for it.
pub const PAUSE_ENVIRONMENT: &str = "ISOBENCH_PAUSE=1";

/// A frame as it lies in R8 to R15, eight little-endian words.
#[must_use]
pub fn frame_to_registers(frame: &[u8; FRAME_BYTES]) -> [u64; 8] {
    core::array::from_fn(|i| {
        let mut word = [0u8; 8];
        word.copy_from_slice(&frame[8 * i..8 * i + 8]);
        u64::from_le_bytes(word)
    })
}

/// The inverse of [`frame_to_registers`].
#[must_use]
pub fn frame_from_registers(registers: &[u64; 8]) -> [u8; FRAME_BYTES] {
    let mut frame = [0u8; FRAME_BYTES];
    for (slot, word) in frame.chunks_exact_mut(8).zip(registers) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    frame
}

/// The port of the doorbell: one 32-bit `out` from CPL 3, which the TSS's I/O bitmap allows (in a
/// Linux guest by ioperm(2)).
/// Outside every ISA device's range, so a stray access is never taken for a message.
pub const DOORBELL_PORT: u16 = 0x05b0;

/// What an `out` to [`DOORBELL_PORT`] asks for: the low eight bits of `eax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// A frame lies at [`DoorbellPage::frame`]; from a Linux guest, in R8 to R15.
    Frame = 1,
    /// Nothing: the cheapest crossing there is (`crossing`).
    Null = 2,
    /// Wait until the host has a request (`idle`, `warm`).
    Wait = 3,
    /// Done; the exit status is the argument (bits 8..16 of `eax`).
    Exit = 4,
    /// From ring 0 only: an exception was taken. The trap frame is on the ring-0 stack.
    Trap = 5,
}

impl Op {
    /// The operation and its argument (bits 8..32) out of a doorbell value.
    #[must_use]
    pub const fn decode(eax: u32) -> Option<(Self, u32)> {
        let op = match eax & 0xff {
            1 => Self::Frame,
            2 => Self::Null,
            3 => Self::Wait,
            4 => Self::Exit,
            5 => Self::Trap,
            _ => return None,
        };
        Some((op, eax >> 8))
    }

    /// The doorbell value for this operation; `argument` has 24 bits.
    #[must_use]
    pub const fn encode(self, argument: u32) -> u32 {
        self as u32 | argument << 8
    }
}

/// The page through which frames cross in the doorbell transport.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DoorbellPage {
    /// Guest → host: the frame that `Op::Frame` announces.
    pub frame: [u8; FRAME_BYTES],
    /// Host → guest, before the first instruction: start of the heap, page aligned.
    pub heap_base: u64,
    /// Host → guest: length of the heap in bytes, a multiple of 4096.
    pub heap_len: u64,
    /// Guest → host: the counter at the first instruction behind the last `Op::Frame` or `Op::Wait`. In a
    /// copy of a virtual machine, which goes on from there, that is its first one.
    pub went_on: u64,
}

const _: () = {
    assert!(core::mem::size_of::<DoorbellPage>() <= 4096);
    assert!(core::mem::offset_of!(DoorbellPage, frame) == 0);
    assert!(core::mem::offset_of!(DoorbellPage, heap_base) == 64);
    assert!(core::mem::offset_of!(DoorbellPage, heap_len) == 72);
    assert!(core::mem::offset_of!(DoorbellPage, went_on) == 80);
};

/// The digest both sides agree on: a 64-bit fold over 64-bit words, one multiply and one rotate a
/// word. It detects wrong answers; it is no defence against forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold64(u64);

impl Fold64 {
    /// The fold of nothing.
    pub const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Takes in one word.
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        Self(
            (self.0 ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29),
        )
    }

    /// Takes in bytes as little-endian words, the tail padded with zeros, then their count.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut fold = self;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0u8; 8];
            word.copy_from_slice(chunk);
            fold = fold.word(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0u8; 8];
            word[..rest.len()].copy_from_slice(rest);
            fold = fold.word(u64::from_le_bytes(word));
        }
        fold.word(bytes.len() as u64)
    }

    /// The digest.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0 ^ (self.0 >> 31)
    }
}

/// Fold over the payload's read-only load segments, in file order: what the payload reports about
/// itself after its work, and what the host expects, so that "the same bytes" is checked where
/// they landed and not only where they came from.
#[must_use]
pub fn image_fold<'a>(segments: impl Iterator<Item = (u64, &'a [u8])>) -> u64 {
    let mut fold = Fold64::EMPTY;
    for (vaddr, bytes) in segments {
        fold = fold.word(vaddr).bytes(bytes);
    }
    fold.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_registers() {
        let frame = core::array::from_fn(|i| i as u8 ^ 0xa5);
        assert_eq!(frame_from_registers(&frame_to_registers(&frame)), frame);
        assert_eq!(frame_to_registers(&frame)[0].to_le_bytes(), frame[..8]);
    }
}
