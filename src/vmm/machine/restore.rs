//! A VM's state taken, given to another VM, and given back to the same one.
//!
//! What a payload at CPL 3 can change is memory, general registers and the state of the FPU; of the
//! special registers only the data segments, which no payload here does, so that a copy gets the
//! special registers of a cold start. Model-specific and debug registers, XCR0 and the descriptor
//! tables' registers are out of its reach, and ring 0 here is a few instructions that touch none.

use std::io;
use std::sync::Arc;

use kvm_bindings::{kvm_regs, kvm_sregs, kvm_xsave};
use kvm_ioctls::{Kvm, VcpuFd};

use super::Machine;
use crate::exits::{Exits, Stage};
use crate::sys::pagemap::Pagemap;
use crate::trial::{Failure, PhaseLog};
use crate::vmm::cpu::Cpu;
use crate::vmm::memory::GuestRam;
use crate::vmm::snapshot::Snapshot;
use crate::vmm::vcpu::set_registers;

/// The words of an XSAVE area that say which components are not as after a reset (Intel SDM vol. 1,
/// 13.4.2).
const XSTATE_BV: [usize; 2] = [128, 129];

/// Of a vCPU, what a payload can have changed.
#[derive(Debug)]
pub struct Vcpu {
    /// General registers.
    pub regs: kvm_regs,
    /// x87, SSE, AVX and AVX-512 state, as XSAVE lays it out (Intel SDM vol. 1, 13.4).
    pub fpu: Box<kvm_xsave>,
}

/// Why a VM's state cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// KVM refused.
    #[error("{0}: {1}")]
    Kvm(&'static str, #[source] io::Error),
    /// The vCPU has something left to do that registers do not say.
    #[error("the vCPU does not come to rest: {0}")]
    Busy(String),
    /// A segment is not what it was at the start.
    #[error("the payload changed segment {0}, which a copy does not keep")]
    Segment(&'static str),
}

/// KVM_SET_XSAVE.
pub(super) fn set_fpu(vcpu: &VcpuFd, fpu: &kvm_xsave) -> io::Result<()> {
    // SAFETY: KVM reads 4096 bytes, the size of the structure, unless this process has enabled
    // features beyond them with arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which it never does.
    unsafe { vcpu.set_xsave(fpu) }.map_err(io::Error::from)
}

impl Machine {
    /// A copy: a new VM with a snapshot's memory, copy-on-write, and its vCPU's state. Everything up
    /// to, and without, the first KVM_RUN. `budget`: exits it may cause.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the phase's name.
    pub fn restore(
        snapshot: &Arc<Snapshot>,
        cpu: &Cpu,
        budget: u64,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
        let kvm = log.step("open_kvm", Kvm::new)?;
        let ram = log.step("mmap_snapshot", || snapshot.map())?;
        let vcpu = snapshot.vcpu();
        let mut machine =
            Self::assemble((kvm, ram), cpu, (&vcpu.regs, Some(&vcpu.fpu)), budget, log)?;
        machine.origin = Some(Arc::clone(snapshot));
        machine.begin_again();
        Ok(machine)
    }

    /// Gives this VM, itself a copy, back its snapshot's state, whatever a payload at CPL 3 has done. Without
    /// `pages` all of its memory is dropped, and found again by its next life, fault by fault.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the phase's name; the VM is good for nothing but to be closed then. EINVAL: it
    /// is no copy.
    pub fn reset(
        &mut self,
        pages: Option<&Pagemap>,
        cpu: &Cpu,
        budget: u64,
        log: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let no_copy = || Failure::setup("reset", io::Error::from_raw_os_error(libc::EINVAL));
        let snapshot = Arc::clone(self.origin.as_ref().ok_or_else(no_copy)?);
        // First the instruction that the guest left with: KVM ends it at the next entry, and would
        // else do so in the midst of the next life.
        log.step("complete_exit", || self.settle().map_err(io::Error::other))?;
        match pages {
            Some(pages) => log.step("rewind_memory", || snapshot.rewind(&mut self.ram, pages))?,
            None => log.step("forget_memory", || self.ram.forget())?,
        }
        let vcpu = snapshot.vcpu();
        log.step("set_xsave", || set_fpu(&self.vcpu, &vcpu.fpu))?;
        let registers = (&cpu.sregs, &vcpu.regs);
        set_registers(&mut self.vcpu, cpu.sync_regs, registers, log)?;
        self.begin_again();
        self.budget = budget;
        Ok(())
    }

    /// A payload that was ready before has said its first message: what it does now is its work.
    const fn begin_again(&mut self) {
        self.exits = Exits::new();
        self.exits.enter(Stage::Work);
    }

    /// Brings the vCPU to rest after an exit: a port access is complete only once KVM is entered
    /// again, which a KVM_RUN that must leave at once does without running the guest (KVM API, 5,
    /// "immediate_exit").
    fn settle(&mut self) -> Result<(), CaptureError> {
        self.vcpu.set_kvm_immediate_exit(1);
        let answer = self.vcpu.run().map(|exit| format!("{exit:?}"));
        self.vcpu.set_kvm_immediate_exit(0);
        match answer {
            Err(error) if error.errno() == libc::EINTR => Ok(()),
            Err(error) => Err(CaptureError::Kvm("KVM_RUN", error.into())),
            Ok(exit) => Err(CaptureError::Busy(exit)),
        }
    }

    /// Takes the vCPU's state, after an exit.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn capture(&mut self, cpu: &Cpu) -> Result<Vcpu, CaptureError> {
        self.settle()?;
        let kvm = |what| move |error: kvm_ioctls::Error| CaptureError::Kvm(what, error.into());
        let regs = self.vcpu.get_regs().map_err(kvm("KVM_GET_REGS"))?;
        let sregs = self.vcpu.get_sregs().map_err(kvm("KVM_GET_SREGS"))?;
        let mut fpu = self.vcpu.get_xsave().map_err(kvm("KVM_GET_XSAVE"))?;
        limit(&mut fpu, cpu.states());
        unchanged(&sregs, &cpu.sregs)?;
        Ok(Vcpu {
            regs,
            fpu: Box::new(fpu),
        })
    }

    /// Guest memory.
    #[must_use]
    pub const fn ram(&self) -> &GuestRam {
        &self.ram
    }
}

/// x87 and SSE state.
const LEGACY: u32 = 0b11;

/// Leaves out the components that XCR0 does not have, which a payload can neither see nor change: KVM may
/// list them as in use all the same (seen with `kvm_amd` on Linux 6.12). The two that every processor has are
/// always listed: of an area that lists none, a kernel need not take MXCSR (`copy_uabi_to_xstate` in
/// `arch/x86/kernel/fpu/xstate.c`), and the one of the life before would stay.
const fn limit(fpu: &mut kvm_xsave, states: u64) {
    let [low, high] = XSTATE_BV;
    fpu.region[low] = fpu.region[low] & states as u32 | LEGACY;
    fpu.region[high] &= (states >> 32) as u32;
}

/// Whether the segments are those of a start. A selector says enough: its descriptor is the same as
/// then, for the guest cannot write to the table.
fn unchanged(now: &kvm_sregs, start: &kvm_sregs) -> Result<(), CaptureError> {
    for (name, now, start) in [
        ("CS", now.cs, start.cs),
        ("SS", now.ss, start.ss),
        ("DS", now.ds, start.ds),
        ("ES", now.es, start.es),
        ("FS", now.fs, start.fs),
        ("GS", now.gs, start.gs),
    ] {
        if (now.selector, now.base) != (start.selector, start.base) {
            return Err(CaptureError::Segment(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_beyond_xcr0_are_left_out() {
        let mut fpu = kvm_xsave::default();
        let pkru = 1 << 9;
        fpu.region[127..131].copy_from_slice(&[u32::MAX, 0b111 | pkru, 1 << 30, u32::MAX]);
        limit(&mut fpu, 0b111);
        assert_eq!(fpu.region[127..131], [u32::MAX, 0b111, 0, u32::MAX]);
        fpu.region[128] = 0b100;
        limit(&mut fpu, 0b111);
        assert_eq!(fpu.region[128], 0b111);
    }
}
