//! Can this KVM run a kernel? Asked of a vCPU, not of a name: a KVM that emulates ring 0 in software
//! begins a kernel and stops somewhere in it after tens of seconds, or hangs.
#![allow(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use isobench_abi::{DOORBELL_PORT, Op};
use kvm_bindings::{kvm_dtable, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};

use super::cpu::LinuxCpu;
use super::{entry, layout};
use crate::sys::watchdog::{self, Verdict};
use crate::vmm::layout::LARGE_PAGE;
use crate::vmm::memory::GuestRam;

/// Time for the two dozen instructions below. With hardware they take microseconds, on an emulated
/// SVM under load milliseconds.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Where the IDT and the handler lie: in the page that a kernel's command line has else.
const IDT: u64 = layout::COMMAND_LINE;
const HANDLER: u64 = layout::COMMAND_LINE + 0x100;
const VECTOR: u64 = 3;

/// What a kernel does within its first milliseconds and a software KVM may not be able to.
///
/// ```text
///   lock cmpxchg16b [rsp-16]     the slab allocator's
///   int3                         the self-test of text patching; through the IDT and back
///   mov eax, Exit; mov dx, DOORBELL; out dx, eax
/// ```
const INSTRUCTIONS: [u8; 20] = {
    let port = DOORBELL_PORT.to_le_bytes();
    let word = Op::Exit.encode(0).to_le_bytes();
    [
        0xf0, 0x48, 0x0f, 0xc7, 0x4c, 0x24, 0xf0, // lock cmpxchg16b [rsp-16]
        0xcc, // int3
        0xb8, word[0], word[1], word[2], word[3], // mov eax, imm32
        0x66, 0xba, port[0], port[1], // mov dx, imm16
        0xef,    // out dx, eax
        0xf4, 0xf4, // hlt
    ]
};
/// `iretq`.
const RETURN: [u8; 2] = [0x48, 0xcf];

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub enum Ring0Error {
    /// The VM for the attempt cannot be made.
    #[error("{0}: {1}")]
    Setup(&'static str, io::Error),
    /// It stopped.
    #[error("ring 0 stops at {at}: {how}")]
    Stopped {
        /// Where: the instruction that was to be carried out.
        at: &'static str,
        /// How KVM put it.
        how: String,
    },
    /// It neither came to its end nor stopped.
    #[error("ring 0 does not come to its end within {LIMIT:?}")]
    Hangs,
}

/// Carries out the instructions in a VM of its own.
///
/// # Errors
/// See [`Ring0Error`].
pub fn try_kernel_instructions(kvm: &Kvm, cpu: &LinuxCpu) -> Result<(), Ring0Error> {
    let setup = |what| move |error: io::Error| Ring0Error::Setup(what, error);
    let ram = GuestRam::mosaic(LARGE_PAGE, &[]).map_err(setup("mmap"))?;
    load(&ram).map_err(|e| Ring0Error::Setup("load", io::Error::other(e)))?;
    let vm = kvm
        .create_vm()
        .map_err(|e| Ring0Error::Setup("KVM_CREATE_VM", e.into()))?;
    let region = kvm_userspace_memory_region {
        memory_size: ram.len() as u64,
        userspace_addr: ram.host_address(),
        ..Default::default()
    };
    // SAFETY: `ram` was made before `vm` and is dropped after it; only volatile views access it.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(|e| Ring0Error::Setup("KVM_SET_USER_MEMORY_REGION", e.into()))?;
    let mut vcpu = vm
        .create_vcpu(0)
        .map_err(|e| Ring0Error::Setup("KVM_CREATE_VCPU", e.into()))?;
    let mut sregs = cpu.sregs;
    sregs.idt = kvm_dtable {
        base: IDT,
        limit: ((VECTOR + 1) * 16 - 1) as u16,
        ..Default::default()
    };
    vcpu.set_cpuid2(&cpu.cpuid)
        .and_then(|()| vcpu.set_sregs(&sregs))
        .and_then(|()| vcpu.set_regs(&cpu.regs(0)))
        .map_err(|e| Ring0Error::Setup("registers", e.into()))?;
    let watchdog = watchdog::arm(Instant::now(), LIMIT).map_err(setup("timer_settime"))?;
    loop {
        let stopped = match vcpu.run() {
            Ok(VcpuExit::IoOut(DOORBELL_PORT, _)) => return Ok(()),
            Ok(VcpuExit::Intr) => None,
            Ok(exit) => Some(format!("{exit:?}")),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => None,
            Err(error) => Some(format!("KVM_RUN: {error}")),
        };
        if let Some(how) = stopped {
            let rip = vcpu.get_regs().map_or(0, |regs| regs.rip);
            return Err(Ring0Error::Stopped {
                at: instruction(rip),
                how,
            });
        }
        match watchdog.verdict().map_err(setup("timer_settime"))? {
            Verdict::Continue => {}
            Verdict::Expired | Verdict::Requested => return Err(Ring0Error::Hangs),
        }
    }
}

fn load(ram: &GuestRam) -> Result<(), vm_memory::VolatileMemoryError> {
    entry::write(ram)?;
    ram.write(layout::ENTRY, &INSTRUCTIONS)?;
    ram.write(HANDLER, &RETURN)?;
    // A 64-bit interrupt gate, present (Intel SDM vol. 3, 7.14.1); the handler lies below 64 KiB.
    let gate = HANDLER | u64::from(entry::CODE) << 16 | 0x8e00 << 32;
    ram.write(IDT + VECTOR * 16, &gate.to_le_bytes())
}

const fn instruction(rip: u64) -> &'static str {
    match rip.wrapping_sub(layout::ENTRY) {
        0..7 => "`lock cmpxchg16b`",
        7 => "`int3`",
        8..18 => "`out`",
        _ if rip == HANDLER => "`iretq`",
        _ => "an interrupt",
    }
}
