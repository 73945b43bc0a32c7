//! The state in a snapshot: fields of fixed size in a fixed order, little-endian.
//!
//! ```text
//!      0  identity of payload and task, 32 bytes     32  digest of the CPU model, 32 bytes
//!     64  the payload's first instruction (its counter); messages so far; whether it waits; with
//!         how much memory: 4 × u64
//!     96  general registers, 18 × u64, in the order of `struct kvm_regs`
//!    240  XSAVE area, 4096 bytes
//! ```

use isobench_abi::FRAME_BYTES;
use kvm_bindings::{kvm_regs, kvm_xsave};

use super::{Identity, SnapshotError, field, put};
use crate::transcript::{MAX_OUTPUT, Said};
use crate::vmm::cpu::Model;
use crate::vmm::machine::Vcpu;

const CPU_AT: usize = 32;
const SAID_AT: usize = 64;
const REGS_AT: usize = 96;
const REGS: usize = 18;
const FPU_AT: usize = REGS_AT + REGS * 8;
const FPU_WORDS: usize = 1024;
/// Where XSTATE_BV lies in an XSAVE area: which components are not as after a reset (Intel SDM
/// vol. 1, 13.4.2).
const XSTATE_BV: usize = 512;
/// Bytes of a state.
pub(super) const BYTES: usize = FPU_AT + FPU_WORDS * 4;

const _: () = {
    assert!(size_of::<kvm_regs>() == REGS * 8);
    assert!(size_of::<kvm_xsave>() == FPU_WORDS * 4);
};

/// What a copy starts with, beyond memory.
#[derive(Debug)]
pub(super) struct State {
    pub identity: Identity,
    pub cpu: [u8; 32],
    pub said: Said,
    pub vcpu: Vcpu,
}

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        put(&mut bytes, 0, &self.identity);
        put(&mut bytes, CPU_AT, &self.cpu);
        let said = [
            self.said.first_instruction,
            u64::from(self.said.messages),
            u64::from(self.said.waiting.is_some()),
            self.said.waiting.unwrap_or(0),
        ];
        for (index, word) in said
            .into_iter()
            .chain(registers(&self.vcpu.regs))
            .enumerate()
        {
            put(&mut bytes, SAID_AT + index * 8, &word.to_le_bytes());
        }
        for (index, word) in self.vcpu.fpu.region.into_iter().enumerate() {
            put(&mut bytes, FPU_AT + index * 4, &word.to_le_bytes());
        }
        bytes
    }

    /// Of bytes whose digest is right.
    pub fn decode(
        bytes: &[u8; BYTES],
        cpu: &Model,
        identity: &Identity,
    ) -> Result<Self, SnapshotError> {
        if field(bytes, 0) != *identity {
            return Err(SnapshotError::Identity);
        }
        if field(bytes, CPU_AT) != cpu.digest {
            return Err(SnapshotError::Cpu);
        }
        let word = |index: usize| u64::from_le_bytes(field(bytes, SAID_AT + index * 8));
        let messages = u16::try_from(word(1))
            .ok()
            .filter(|&n| n > 0 && usize::from(n) * FRAME_BYTES <= MAX_OUTPUT)
            .ok_or(SnapshotError::State("number of messages"))?;
        let waiting = match (word(2), word(3)) {
            (0, 0) => None,
            (1, bytes) => Some(bytes),
            _ => return Err(SnapshotError::State("request")),
        };
        let said = Said {
            first_instruction: word(0),
            messages,
            waiting,
        };
        let states = u64::from_le_bytes(field(bytes, FPU_AT + XSTATE_BV));
        if states & !cpu.states != 0 {
            return Err(SnapshotError::State("FPU state"));
        }
        let mut fpu = Box::<kvm_xsave>::default();
        for (index, slot) in fpu.region.iter_mut().enumerate() {
            *slot = u32::from_le_bytes(field(bytes, FPU_AT + index * 4));
        }
        let first = (REGS_AT - SAID_AT) / 8;
        let regs = from_registers(std::array::from_fn(|index| word(first + index)));
        Ok(Self {
            identity: *identity,
            cpu: cpu.digest,
            said,
            vcpu: Vcpu { regs, fpu },
        })
    }
}

fn registers(r: &kvm_regs) -> [u64; REGS] {
    [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.rip, r.rflags,
    ]
}

fn from_registers(words: [u64; REGS]) -> kvm_regs {
    let [
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    ] = words;
    kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    }
}
