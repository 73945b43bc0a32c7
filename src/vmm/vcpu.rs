//! What every vCPU has in common, whatever runs on it: how it gets its registers, flat segments, the offset of
//! its counter.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use kvm_bindings::{
    KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, kvm_device_attr,
    kvm_regs, kvm_segment, kvm_sregs,
};
use kvm_ioctls::{Cap, Kvm, SyncReg, VcpuFd};

use crate::trial::{Failure, PhaseLog};

/// `_IOW(KVMIO, 0xe2, struct kvm_device_attr)`: kvm-ioctls has it for devices only.
pub(crate) const KVM_GET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee2;

/// What KVM_CAP_SYNC_REGS must offer.
const SYNC_NEEDED: i32 = (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS) as i32;

/// Whether registers can be handed over with the first KVM_RUN (KVM API, 5, "kvm_valid_regs and
/// kvm_dirty_regs"): two ioctls fewer.
#[must_use]
pub fn takes_sync_regs(kvm: &Kvm) -> bool {
    kvm.check_extension_int(Cap::SyncRegs) & SYNC_NEEDED == SYNC_NEEDED
}

/// Special and general registers: with the next KVM_RUN where KVM takes them so ([`takes_sync_regs`]).
///
/// # Errors
/// [`Failure::Setup`] with the phase's name.
pub fn set_registers(
    vcpu: &mut VcpuFd,
    sync: bool,
    (sregs, regs): (&kvm_sregs, &kvm_regs),
    log: &mut PhaseLog,
) -> Result<(), Failure> {
    if sync {
        log.time("sync_regs", || {
            let shared = vcpu.sync_regs_mut();
            shared.sregs = *sregs;
            shared.regs = *regs;
            vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
            vcpu.set_sync_dirty_reg(SyncReg::Register);
        });
        return Ok(());
    }
    log.step("set_sregs", || vcpu.set_sregs(sregs))?;
    log.step("set_regs", || vcpu.set_regs(regs))
}

/// A code segment of 64-bit mode: execute/read, accessed.
#[must_use]
pub fn flat_code(selector: u16, dpl: u8) -> kvm_segment {
    kvm_segment {
        type_: 11,
        l: 1,
        ..flat(selector, dpl)
    }
}

/// A data segment over all of memory: read/write, accessed.
#[must_use]
pub fn flat_data(selector: u16, dpl: u8) -> kvm_segment {
    kvm_segment {
        type_: 3,
        db: 1,
        ..flat(selector, dpl)
    }
}

/// What both have (Intel SDM vol. 3, 3.4.5).
fn flat(selector: u16, dpl: u8) -> kvm_segment {
    kvm_segment {
        limit: 0xffff_ffff,
        selector,
        present: 1,
        dpl,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// KVM_VCPU_TSC_OFFSET (Documentation/virt/kvm/devices/vcpu.rst, section 4).
///
/// # Errors
/// This KVM does not have the attribute.
pub fn tsc_offset(vcpu: &VcpuFd) -> io::Result<u64> {
    let mut offset = 0u64;
    let attribute = kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: (&raw mut offset).addr() as u64,
    };
    // SAFETY: a vCPU descriptor; KVM reads `attribute` and writes eight bytes to `offset`, both of
    // which outlive the call.
    let answer =
        unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_DEVICE_ATTR, &raw const attribute) };
    if answer == 0 {
        // SAFETY: a local variable, read again because the kernel wrote it through its address.
        Ok(unsafe { (&raw const offset).read_volatile() })
    } else {
        Err(io::Error::last_os_error())
    }
}
