//! Whether this host's KVM makes virtual machines, and runs a kernel in them.

use std::path::Path;

use kvm_ioctls::Kvm;

use crate::backend::Unavailable;
use crate::backend::microvm::{check, open, prepare_watchdog, refused};
use crate::host::kvm;
use crate::vmm::linux::cpu::LinuxCpu;
use crate::vmm::linux::ring0;
use crate::vmm::vcpu;

/// A KVM that makes virtual machines, and what a vCPU is in them.
pub(super) struct Ready {
    kvm: Kvm,
    pub(super) cpu: LinuxCpu,
    pub(super) tsc_offset: bool,
}

impl Ready {
    pub(super) fn new() -> Result<Self, Unavailable> {
        let kvm = open(Path::new("/dev/kvm"))?;
        check(kvm.get_api_version(), |cap| kvm.check_extension(cap))?;
        let vm = kvm.create_vm().map_err(|e| refused("KVM_CREATE_VM", e))?;
        vm.create_irq_chip()
            .map_err(|e| refused("KVM_CREATE_IRQCHIP", e))?;
        let vcpu = vm
            .create_vcpu(0)
            .map_err(|e| refused("KVM_CREATE_VCPU", e))?;
        let cpu = LinuxCpu::new(&kvm, &vcpu)
            .map_err(|e| refused("reading the CPU model KVM supports", e))?;
        let tsc_offset = vcpu::tsc_offset(&vcpu).is_ok();
        prepare_watchdog()?;
        Ok(Self {
            kvm,
            cpu,
            tsc_offset,
        })
    }

    pub(super) fn can_run_a_kernel(&self) -> Result<(), Unavailable> {
        ring0::try_kernel_instructions(&self.kvm, &self.cpu).map_err(|error| Unavailable {
            reason: format!(
                "this KVM ({}) cannot run a kernel: {error}",
                kvm::detect(Path::new("/")).kind
            ),
            remedy: "a host whose CPU has SVM or VMX; inside a VM, nested virtualisation"
                .to_owned(),
        })
    }
}

/// Whether this KVM runs a kernel in any VMM: a few instructions of ring 0 that kernels need.
///
/// # Errors
/// There is no KVM, or it emulates them and cannot.
pub fn kernel_can_run() -> Result<(), Unavailable> {
    Ready::new()?.can_run_a_kernel()
}
