//! What a vCPU is before its first instruction: CPUID, XCR0, registers. Prepared once, from what
//! this KVM says it supports and from a vCPU of its own making.

use std::path::Path;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs,
    kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::{Kvm, VcpuFd};
use sha2::{Digest, Sha256};

use super::vcpu::{flat_code, flat_data, takes_sync_regs};
use super::{descriptors, layout};
use crate::host::kvm::{self, KvmKind};

// CR0 (Intel SDM vol. 3, 2.5). NE, because VMX operation demands it; EM and TS stay clear.
const CR0: u64 = PE | MP | ET | NE | WP | AM | PG;
const PE: u64 = 1 << 0;
const MP: u64 = 1 << 1;
const ET: u64 = 1 << 4;
const NE: u64 = 1 << 5;
const WP: u64 = 1 << 16;
const AM: u64 = 1 << 18;
const PG: u64 = 1 << 31;
// CR4.
const PAE: u64 = 1 << 5;
const OSFXSR: u64 = 1 << 9;
const OSXMMEXCPT: u64 = 1 << 10;
const OSXSAVE: u64 = 1 << 18;
// EFER: long mode enabled and active, no-execute.
const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;
/// RFLAGS: the bit that is always set. IOPL 0: the TSS opens the one port (see `descriptors`).
const RFLAGS: u64 = 1 << 1;

// XCR0 (Intel SDM vol. 1, 13.3).
const X87_SSE: u64 = 0b11;
const AVX: u64 = 1 << 2;
const AVX512: u64 = 0b111 << 5;

/// Type of the segment in TR. The payload's `out` is looked up in the I/O bitmap of this task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskType {
    /// "Busy 64-bit TSS": VMX refuses to enter a guest with any other (Intel SDM vol. 3, 28.3.1.2).
    Busy = 11,
    /// "Available 64-bit TSS". SVM does not look at it when it enters a guest (AMD APM vol. 2,
    /// 15.5.1), and this is what LTR leaves in the VMCB of a guest: reading it, KVM adds the busy bit
    /// (`svm_get_segment` in `arch/x86/kvm/svm/svm.c`). An SVM emulated by QEMU consults the bitmap
    /// for no other type (`helper_check_io`, below `target/i386/tcg`).
    Available = 9,
}

impl TaskType {
    /// What this host's kind of KVM asks for.
    #[must_use]
    pub fn of_host() -> Self {
        match kvm::detect(Path::new("/")).kind {
            KvmKind::HardwareSvm => Self::Available,
            KvmKind::HardwareVmx | KvmKind::Software | KvmKind::Absent => Self::Busy,
        }
    }
}

/// The state that every vCPU of a backend starts with, except for the stack pointer.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// The leaves of KVM_GET_SUPPORTED_CPUID that a payload without an operating system needs.
    pub cpuid: CpuId,
    /// XCR0, if the CPU has XSAVE.
    pub xcrs: Option<kvm_xcrs>,
    /// Segments, tables, control registers.
    pub sregs: kvm_sregs,
    /// As [`takes_sync_regs`].
    pub sync_regs: bool,
    entry: u64,
}

/// A CPU model, with the special registers that a vCPU of it starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// SHA-256 over CPUID's leaves, XCR0, control registers and where the tables lie.
    pub digest: [u8; 32],
    /// The components of XSAVE state that a vCPU can have.
    pub states: u64,
}

impl Cpu {
    /// Asks KVM what it supports, and tries the answer on a vCPU.
    ///
    /// # Errors
    /// KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_GET_SREGS, KVM_SET_SREGS.
    pub fn new(
        kvm: &Kvm,
        vcpu: &VcpuFd,
        entry: u64,
        task: TaskType,
    ) -> Result<Self, kvm_ioctls::Error> {
        let cpuid = leaves(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?);
        vcpu.set_cpuid2(&cpuid)?;
        let reset = vcpu.get_sregs()?;
        // With XSAVE if this vCPU takes it, plain SSE else: what a start sets is what was tried.
        let extended = xcr0(&cpuid).map(xcrs).filter(|xcrs| {
            let state = sregs(&reset, true, task);
            vcpu.set_sregs(&state)
                .and_then(|()| vcpu.set_xcrs(xcrs))
                .is_ok()
        });
        let sregs = sregs(&reset, extended.is_some(), task);
        vcpu.set_sregs(&sregs)?;
        Ok(Self {
            cpuid,
            xcrs: extended,
            sregs,
            sync_regs: takes_sync_regs(kvm),
            entry,
        })
    }

    /// What a snapshot's CPU must agree with.
    #[must_use]
    pub fn model(&self) -> Model {
        let mut hash = Sha256::new();
        for e in self.cpuid.as_slice() {
            for word in [e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx] {
                hash.update(word.to_le_bytes());
            }
        }
        let s = &self.sregs;
        for word in [
            s.cr0, s.cr3, s.cr4, s.efer, s.gdt.base, s.idt.base, s.tr.base,
        ] {
            hash.update(word.to_le_bytes());
        }
        let xcr0 = self.xcrs.as_ref().map_or(0, |xcrs| xcrs.xcrs[0].value);
        hash.update(xcr0.to_le_bytes());
        Model {
            digest: hash.finalize().into(),
            states: self.states(),
        }
    }

    /// The components of XSAVE state that a vCPU can have: XCR0, or x87 and SSE.
    #[must_use]
    pub fn states(&self) -> u64 {
        let xcrs = self.xcrs.as_ref();
        xcrs.map_or(X87_SSE, |xcrs| xcrs.xcrs[0].value)
    }

    /// As numbers, to hand it to another process.
    #[must_use]
    pub fn to_words(&self) -> Vec<u64> {
        let states = self.xcrs.as_ref().map_or(0, |xcrs| xcrs.xcrs[0].value);
        let mut words = vec![
            self.entry,
            u64::from(self.sync_regs),
            states,
            self.sregs.apic_base,
            self.sregs.cr8,
            u64::from(self.sregs.tr.type_),
        ];
        for e in self.cpuid.as_slice() {
            let of = [e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx];
            words.extend(of.map(u64::from));
        }
        words
    }

    /// The reverse; `None` if these are not such numbers.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Option<Self> {
        let (&[entry, sync_regs, states, apic_base, cr8, task], leaves) =
            words.split_first_chunk()?;
        let types = [TaskType::Busy, TaskType::Available];
        let task = types.into_iter().find(|&one| one as u64 == task)?;
        let mut entries = Vec::new();
        for leaf in leaves.chunks(7) {
            let &[function, index, flags, eax, ebx, ecx, edx] = leaf.first_chunk()?;
            let word = |word: u64| u32::try_from(word).ok();
            entries.push(kvm_cpuid_entry2 {
                function: word(function)?,
                index: word(index)?,
                flags: word(flags)?,
                eax: word(eax)?,
                ebx: word(ebx)?,
                ecx: word(ecx)?,
                edx: word(edx)?,
                padding: [0; 3],
            });
        }
        let reset = kvm_sregs {
            apic_base,
            cr8,
            ..Default::default()
        };
        let xcrs = (states != 0).then(|| xcrs(states));
        Some(Self {
            cpuid: CpuId::from_entries(&entries).ok()?,
            sregs: sregs(&reset, xcrs.is_some(), task),
            xcrs,
            sync_regs: sync_regs != 0,
            entry,
        })
    }

    /// General registers at the payload's first instruction.
    #[must_use]
    pub fn regs(&self, rsp: u64) -> kvm_regs {
        kvm_regs {
            rip: self.entry,
            rsp,
            rflags: RFLAGS,
            ..Default::default()
        }
    }
}

/// Of what KVM supports, the leaves by which a program finds its instruction set and KVM its address
/// width. Values are KVM's own. The rest (caches, topology, the components of XSAVE) is for operating
/// systems, and not free: KVM_SET_CPUID2 executes CPUID itself, which traps where this host is a
/// guest; measured there, 105 µs for all leaves and 69 µs for these.
fn leaves(all: &CpuId) -> CpuId {
    let mut some = all.clone();
    some.retain(|e| {
        matches!(
            (e.function, e.index),
            (0 | 1 | 0x8000_0000 | 0x8000_0001 | 0x8000_0008, _) | (7 | 0xd, 0)
        )
    });
    some
}

/// XCR0: of what KVM supports (CPUID leaf 0xd), x87 and SSE, AVX, and AVX-512's three components
/// together or not at all. `None` without XSAVE: then the leaf is missing or empty. (Leaf 1's XSAVE
/// bit is no witness: a software KVM was seen that has the state and hides the bit, while the guest's
/// CPUID instruction shows it.)
fn xcr0(cpuid: &CpuId) -> Option<u64> {
    let states = cpuid
        .as_slice()
        .iter()
        .find(|e| e.function == 0xd && e.index == 0)?;
    let supported = u64::from(states.eax) | u64::from(states.edx) << 32;
    if supported & X87_SSE != X87_SSE {
        return None;
    }
    let mut value = X87_SSE;
    if supported & AVX != 0 {
        value |= AVX;
        if supported & AVX512 == AVX512 {
            value |= AVX512;
        }
    }
    Some(value)
}

fn xcrs(value: u64) -> kvm_xcrs {
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0] = kvm_xcr {
        xcr: 0,
        reserved: 0,
        value,
    };
    xcrs
}

/// Special registers for 64-bit mode at CPL 3, in a state that VMX entry accepts (Intel SDM vol. 3,
/// 28.3.1): accessed segment types, SS.DPL = CS.DPL = RPL, TR a 64-bit TSS, LDTR unusable.
fn sregs(reset: &kvm_sregs, xsave: bool, task: TaskType) -> kvm_sregs {
    let code = flat_code(descriptors::USER_CODE, 3);
    let data = flat_data(descriptors::USER_DATA, 3);
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: kvm_segment {
            base: descriptors::TSS,
            limit: u32::from(descriptors::TSS_LIMIT),
            selector: descriptors::TASK,
            type_: task as u8,
            present: 1,
            ..Default::default()
        },
        ldt: kvm_segment {
            unusable: 1,
            ..Default::default()
        },
        gdt: kvm_dtable {
            base: descriptors::GDT,
            limit: descriptors::GDT_LIMIT,
            ..Default::default()
        },
        idt: kvm_dtable {
            base: descriptors::IDT,
            limit: descriptors::IDT_LIMIT,
            ..Default::default()
        },
        cr0: CR0,
        cr2: 0,
        cr3: layout::PML4,
        cr4: PAE | OSFXSR | OSXMMEXCPT | if xsave { OSXSAVE } else { 0 },
        efer: EFER,
        apic_base: reset.apic_base,
        cr8: reset.cr8,
        interrupt_bitmap: [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpuid(states: u32) -> CpuId {
        CpuId::from_entries(&[kvm_cpuid_entry2 {
            function: 0xd,
            eax: states,
            ..Default::default()
        }])
        .unwrap()
    }

    #[test]
    fn only_states_that_the_payload_may_use_are_enabled() {
        assert_eq!(xcr0(&CpuId::from_entries(&[]).unwrap()), None);
        assert_eq!(xcr0(&cpuid(0)), None);
        assert_eq!(xcr0(&cpuid(0b11)), Some(0b11));
        assert_eq!(xcr0(&cpuid(0b111)), Some(0b111));
        assert_eq!(xcr0(&cpuid(0xe7)), Some(0xe7));
        // Half of AVX-512 and AMX's tiles stay off.
        assert_eq!(xcr0(&cpuid(0x6_0067)), Some(0b111));
    }

    #[test]
    fn what_is_handed_over_is_the_same() {
        let reset = kvm_sregs {
            apic_base: 0xfee0_0900,
            cr8: 3,
            ..Default::default()
        };
        for states in [None, Some(0xe7)] {
            let cpu = Cpu {
                cpuid: cpuid(0xe7),
                xcrs: states.map(xcrs),
                sregs: sregs(&reset, states.is_some(), TaskType::Available),
                sync_regs: true,
                entry: layout::IMAGE,
            };
            let words = cpu.to_words();
            let same = Cpu::from_words(&words).unwrap();
            assert_eq!(format!("{same:?}"), format!("{cpu:?}"));
            assert!(Cpu::from_words(&words[..words.len() - 1]).is_none());
            assert!(Cpu::from_words(&words[..5]).is_none());
        }
    }

    #[test]
    fn the_first_state_is_one_that_vmx_accepts() {
        let s = sregs(&kvm_sregs::default(), true, TaskType::Busy);
        assert_eq!((s.cs.l, s.cs.db, s.cs.dpl, s.ss.dpl), (1, 0, 3, 3));
        assert_eq!((s.cs.selector & 3, s.ss.selector & 3), (3, 3));
        assert_eq!((s.tr.type_, s.tr.s, s.ldt.unusable), (11, 0, 1));
        assert!(s.tr.limit >= 0x67 && s.tr.g == 0);
        assert_eq!(s.cr0 & (PE | PG | NE), PE | PG | NE);
        assert_eq!(s.efer & 0x500, 0x500);
        // SCE is clear: `syscall` is an invalid opcode (Intel SDM vol. 2), not a way to anybody.
        assert_eq!(s.efer & 1, 0);
    }
}
