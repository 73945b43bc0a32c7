//! Hand-assembled payloads in the smallest ELF that the VMM accepts.

use isobench::vmm::layout;
use isobench_abi::{DOORBELL_PORT, Op};

/// Code at CPL 3, entered at [`Guest::ENTRY`], RSP as for any payload.
pub struct Guest(Vec<u8>);

impl Guest {
    /// Where the code lies: behind the headers of the one segment.
    pub const ENTRY: u64 = layout::IMAGE + 0x100;

    pub fn new(code: &[u8]) -> Self {
        Self(code.to_vec())
    }

    /// One read-only, executable segment with headers and code.
    pub fn elf(&self) -> Vec<u8> {
        let mut file = vec![0u8; 0x100];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        let len = 0x100 + self.0.len() as u64;
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &[2, 0, 62, 0, 1]);
        put(24, &Self::ENTRY.to_le_bytes());
        put(32, &64u64.to_le_bytes());
        put(54, &[56, 0, 1, 0]);
        put(64, &[1, 0, 0, 0, 5, 0, 0, 0]);
        put(80, &layout::IMAGE.to_le_bytes());
        put(96, &len.to_le_bytes());
        put(104, &len.to_le_bytes());
        file.extend_from_slice(&self.0);
        file
    }
}

/// `mov rax, address`, then `code`, then an endless loop.
pub fn at(address: u64, code: &[u8]) -> Vec<u8> {
    let mut all = vec![0x48, 0xb8];
    all.extend(address.to_le_bytes());
    all.extend_from_slice(code);
    all.extend([0xeb, 0xfe]);
    all
}

/// `mov dx, port; mov eax, value; out dx, eax`.
pub fn ring(value: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend(DOORBELL_PORT.to_le_bytes());
    code.push(0xb8);
    code.extend(value.to_le_bytes());
    code.push(0xef);
    code
}

/// Code that writes frames to the doorbell page and rings.
pub mod frame {
    use super::{Op, layout, ring};
    use std::mem::offset_of;

    use isobench_abi::{ABI_VERSION, DoorbellPage, Message, Ready, Report};

    /// What to lie about.
    #[derive(Clone, Copy, Debug)]
    pub enum Forgery {
        None,
        FirstInstruction(u64),
        Sent(u64),
    }

    /// `mov rdi, page`, then one `mov rax, word; mov [rdi + 8·n], rax` a word.
    pub fn store(message: &Message, seq: u16) -> Vec<u8> {
        let bytes = message.encode(seq, 0).to_bytes();
        let mut code = vec![0x48, 0xbf];
        code.extend(layout::DOORBELL.to_le_bytes());
        for (n, word) in bytes.chunks_exact(8).enumerate() {
            code.extend([0x48, 0xb8]);
            code.extend_from_slice(word);
            code.extend([0x48, 0x89, 0x47, n as u8 * 8]);
        }
        code
    }

    /// `rdtsc` into the word at this offset of the page.
    pub fn stamp(offset: u8) -> Vec<u8> {
        let mut code = vec![0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0];
        code.extend([0x48, 0x89, 0x47, offset]);
        code
    }

    /// A constant into the word at this offset.
    fn constant(offset: u8, value: u64) -> Vec<u8> {
        let mut code = vec![0x48, 0xb8];
        code.extend(value.to_le_bytes());
        code.extend([0x48, 0x89, 0x47, offset]);
        code
    }

    /// The first message, stamped with the counter unless forged; behind it, when it went on.
    pub fn ready(forgery: Forgery) -> Vec<u8> {
        let message = Message::Ready(Ready {
            first_instruction: 0,
            abi: ABI_VERSION,
        });
        let mut code = store(&message, 0);
        code.extend(match forgery {
            Forgery::FirstInstruction(value) => constant(16, value),
            _ => stamp(16),
        });
        code.extend(match forgery {
            Forgery::Sent(value) => constant(8, value),
            _ => stamp(8),
        });
        code.extend(ring(Op::Frame.encode(0)));
        code.extend(stamp(offset_of!(DoorbellPage, went_on) as u8));
        code
    }

    /// An honest result.
    pub fn result(seq: u16) -> Vec<u8> {
        let message = Message::Result(Report {
            start: 0,
            end: 0,
            units: 1,
            digest: 0,
            image: 0,
            isa: 0,
        });
        stamped(&message, seq)
    }

    /// This result, sent, with honest times.
    pub fn stamped(message: &Message, seq: u16) -> Vec<u8> {
        let mut code = store(message, seq);
        for offset in [16, 24, 8] {
            code.extend(stamp(offset));
        }
        code.extend(ring(Op::Frame.encode(0)));
        code
    }

    /// Ready, then logs without end, each with the next sequence number.
    pub fn flood() -> Vec<u8> {
        let mut code = ready(Forgery::None);
        code.extend(store(&Message::Log([b'x'; 48]), 0));
        let top = code.len();
        // inc word [rdi + 6]; rdtsc stamp; ring; jmp top.
        code.extend([0x66, 0xff, 0x47, 0x06]);
        code.extend(stamp(8));
        code.extend(ring(Op::Frame.encode(0)));
        code.push(0xe9);
        let next = code.len() + 4;
        code.extend((top as i32 - next as i32).to_le_bytes());
        code
    }
}
