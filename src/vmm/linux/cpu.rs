//! The vCPU of a Linux guest before its first instruction: CPUID, MSRs, registers. Prepared once.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::{entry, layout};
use crate::vmm::vcpu::{flat_code, flat_data, takes_sync_regs};

/// CR0: protected mode, paging, and what is fixed.
const CR0: u64 = 1 << 31 | 1 << 5 | 1 << 4 | 1;
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode, enabled and active.
const EFER: u64 = 1 << 8 | 1 << 10;
/// RFLAGS: the bit that is always set; interrupts off.
const RFLAGS: u64 = 1 << 1;
/// IA32_MISC_ENABLE, with fast strings on: without, Linux takes an Intel CPU's `rep movsb` for slow
/// (`early_init_intel` in `arch/x86/kernel/cpu/intel.c`).
const MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// IA32_MTRR_DEF_TYPE: on, write-back. After reset all memory is uncacheable by it, and Linux then
/// leaves the page attribute table alone, too.
const MTRR_DEF_TYPE: (u32, u64) = (0x2ff, 0x806);

/// What every vCPU of a backend starts with.
#[derive(Debug)]
pub struct LinuxCpu {
    /// All that KVM supports, made that of one CPU.
    pub cpuid: CpuId,
    /// Those MSRs of which this KVM takes the value.
    pub msrs: Msrs,
    /// Segments, tables, control registers.
    pub sregs: kvm_sregs,
    /// As [`takes_sync_regs`].
    pub sync_regs: bool,
}

impl LinuxCpu {
    /// Asks KVM what it supports, and tries the answer on a vCPU whose VM has KVM's interrupt
    /// controllers.
    ///
    /// # Errors
    /// KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_GET_SREGS, KVM_SET_SREGS, KVM_SET_MSRS.
    pub fn new(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self, kvm_ioctls::Error> {
        let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        one_cpu(&mut cpuid, kvm.check_extension(Cap::TscDeadlineTimer));
        vcpu.set_cpuid2(&cpuid)?;
        let sregs = sregs(&vcpu.get_sregs()?);
        vcpu.set_sregs(&sregs)?;
        // KVM_SET_MSRS says how many it took: one at a time, each is taken or not.
        let mut taken = Vec::new();
        for (index, data) in [MISC_ENABLE, MTRR_DEF_TYPE] {
            let entry = kvm_msr_entry {
                index,
                data,
                ..Default::default()
            };
            let one =
                Msrs::from_entries(&[entry]).map_err(|_| kvm_ioctls::Error::new(libc::E2BIG))?;
            if vcpu.set_msrs(&one)? == 1 {
                taken.push(entry);
            }
        }
        Ok(Self {
            cpuid,
            msrs: Msrs::from_entries(&taken).map_err(|_| kvm_ioctls::Error::new(libc::E2BIG))?,
            sregs,
            sync_regs: takes_sync_regs(kvm),
        })
    }

    /// General registers at the first instruction ([`entry`]).
    #[must_use]
    pub fn regs(&self, kernel_entry: u64) -> kvm_regs {
        kvm_regs {
            rip: layout::ENTRY,
            rsp: layout::STACK_TOP,
            rbx: kernel_entry,
            rsi: layout::BOOT_PARAMS,
            rflags: RFLAGS,
            ..Default::default()
        }
    }
}

/// CPUID as of a machine with one CPU, id 0, below a hypervisor (Intel SDM vol. 2, CPUID).
fn one_cpu(cpuid: &mut CpuId, deadline_timer: bool) {
    const HYPERVISOR: u32 = 1 << 31;
    const TSC_DEADLINE: u32 = 1 << 24;
    for leaf in cpuid.as_mut_slice() {
        match leaf.function {
            1 => {
                // Initial APIC id 0, one logical CPU.
                leaf.ebx = leaf.ebx & 0xffff | 1 << 16;
                leaf.ecx |= HYPERVISOR;
                // The APIC is KVM's, so its timer is KVM's to offer, whatever the host's CPU has.
                if deadline_timer {
                    leaf.ecx |= TSC_DEADLINE;
                }
            }
            // x2APIC id.
            0xb | 0x1f => leaf.edx = 0,
            _ => {}
        }
    }
}

/// 64-bit mode at CPL 0 with the boot protocol's segments, in a state that VMX entry accepts (Intel
/// SDM vol. 3, 28.3.1).
fn sregs(reset: &kvm_sregs) -> kvm_sregs {
    let code = flat_code(entry::CODE, 0);
    let data = flat_data(entry::DATA, 0);
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: kvm_segment {
            limit: 0x67,
            type_: 11,
            present: 1,
            ..Default::default()
        },
        ldt: kvm_segment {
            unusable: 1,
            ..Default::default()
        },
        gdt: kvm_dtable {
            base: layout::GDT,
            limit: entry::GDT_LIMIT,
            ..Default::default()
        },
        // Empty: an exception before the kernel has its own is a triple fault.
        idt: kvm_dtable::default(),
        cr0: CR0,
        cr2: 0,
        cr3: layout::PML4,
        cr4: CR4_PAE,
        efer: EFER,
        apic_base: reset.apic_base,
        cr8: reset.cr8,
        interrupt_bitmap: [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::*;

    #[test]
    fn the_guest_sees_one_cpu_with_id_0() {
        let leaf = |function| kvm_cpuid_entry2 {
            function,
            ebx: 0x0302_0800,
            edx: 3,
            ..Default::default()
        };
        let mut cpuid = CpuId::from_entries(&[leaf(1), leaf(0xb), leaf(7)]).unwrap();
        one_cpu(&mut cpuid, true);
        let [one, topology, other] = cpuid.as_slice() else {
            unreachable!("three leaves")
        };
        assert_eq!((one.ebx, one.ecx >> 24), (0x0001_0800, 0x81));
        assert_eq!((topology.edx, other.edx), (0, 3));
    }

    #[test]
    fn the_first_state_is_ring_0_of_64_bit_mode() {
        let s = sregs(&kvm_sregs::default());
        assert_eq!((s.cs.l, s.cs.db, s.cs.dpl, s.cs.selector), (1, 0, 0, 0x10));
        assert_eq!(s.efer & 0x500, 0x500);
        assert_eq!(s.cr0 & 0x8000_0001, 0x8000_0001);
    }
}
