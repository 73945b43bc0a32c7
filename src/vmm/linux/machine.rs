//! One VM with a Linux in it: built ioctl by ioctl, run, and taken down, each step a named phase.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use isobench_abi::{FRAME_BYTES, frame_from_registers};
use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::ByteValued;

use super::cpu::LinuxCpu;
use super::devices::{Devices, Line, SERIAL_IRQ};
use super::exits::{Next, SERVE_AT_MOST, answer, cost, reason};
use super::image::Image;
use super::slots::{Slots, Used, Wanted};
use super::{acpi, entry, layout, params};
use crate::exits::{Exits, Reason, Stage};
use crate::trial::{Failure, PhaseLog};
use crate::vmm::exit::{Exit, Unexpected};
use crate::vmm::memory::GuestRam;
use crate::vmm::session::Speaker;
use crate::vmm::statistics;
use crate::vmm::vcpu::{set_registers, tsc_offset};

/// What one launch has of its own, computed before t0.
#[derive(Clone, Debug)]
pub struct LinuxStart {
    /// The command line, with its NUL.
    pub command_line: Vec<u8>,
    /// All memory, from [`layout::ram`].
    pub ram: u64,
    /// Devices beside the serial port.
    pub wanted: Wanted,
    /// Whether ACPI tables tell of them.
    pub acpi: bool,
    /// Exits that it may cause.
    pub budget: u64,
}

/// A VM with its vCPU and devices. Fields are dropped in this order: the vCPU, the VM, then the
/// memory that the VM's slot refers to.
#[derive(Debug)]
pub struct LinuxMachine {
    vcpu: VcpuFd,
    run: Range<u64>,
    exits: Exits,
    budget: u64,
    /// What is served before the caller is asked whether it is time to stop, in what [`cost`] counts.
    left: u32,
    devices: Devices,
    slots: Slots,
    vm: VmFd,
    ram: GuestRam,
    kvm: Kvm,
}

impl LinuxMachine {
    /// Everything up to, and without, the first KVM_RUN. Whatever fails, what was made before is
    /// dropped.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the phase's name.
    pub fn start(
        image: &Image,
        cpu: &LinuxCpu,
        start: &LinuxStart,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
        let kvm = log.step("open_kvm", Kvm::new)?;
        // The memory before the VM: dropped in reverse order, the VM goes first.
        let ram = log.step("mmap_memory", || {
            GuestRam::mosaic(start.ram, &image.pieces())
        })?;
        log.step("load", || {
            load(&ram, image, start).map_err(io::Error::other)
        })?;
        let vm = log.step("create_vm", || kvm.create_vm())?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: ram.len() as u64,
            userspace_addr: ram.host_address(),
        };
        log.step("set_user_memory_region", || {
            // SAFETY: the range is mapped for as long as `ram` lives, which the order of fields
            // makes longer than the VM; only volatile views of `ram` access it on the host's side.
            unsafe { vm.set_user_memory_region(region) }
        })?;
        // Before the vCPU, which gets its local APIC from it.
        log.step("create_irqchip", || vm.create_irq_chip())?;
        log.step("create_pit2", || {
            // Without the dummy, reads of port 0x61 leave KVM, for a speaker that nobody has.
            vm.create_pit2(kvm_pit_config {
                flags: KVM_PIT_SPEAKER_DUMMY,
                ..Default::default()
            })
        })?;
        let devices = log.step("serial_irqfd", || {
            let line = Line::new()?;
            vm.register_irqfd(line.event(), SERIAL_IRQ)?;
            Ok::<_, io::Error>(Devices::new(line))
        })?;
        let slots = match start.wanted.places().is_empty() {
            true => Slots::default(),
            false => log.step("virtio_devices", || Slots::new(&start.wanted, &vm))?,
        };
        let mut vcpu = log.step("create_vcpu", || vm.create_vcpu(0))?;
        // CPUID first: KVM checks CR4 and MSRs against it.
        log.step("set_cpuid2", || vcpu.set_cpuid2(&cpu.cpuid))?;
        log.step("set_msrs", || set_msrs(&vcpu, cpu))?;
        let regs = cpu.regs(image.placement().entry);
        set_registers(&mut vcpu, cpu.sync_regs, (&cpu.sregs, &regs), log)?;
        let run = std::ptr::from_ref(vcpu.get_kvm_run()).addr() as u64;
        let run = run..run + vm.run_size() as u64;
        Ok(Self {
            vcpu,
            run,
            exits: Exits::new(),
            budget: start.budget,
            left: SERVE_AT_MOST,
            devices,
            slots,
            vm,
            ram,
            kvm,
        })
    }

    /// How often the vCPU came back, and why.
    #[must_use]
    pub const fn exits(&self) -> Exits {
        self.exits
    }

    /// KVM's own counters of this VM and its vCPU that are not 0.
    ///
    /// # Errors
    /// As [`statistics::of`].
    pub fn statistics(&self) -> io::Result<Vec<(String, u64)>> {
        statistics::of(&self.vcpu, &self.vm)
    }

    /// The guest's counter at its first instruction, as it wrote it down; the guest may have written
    /// anything since.
    ///
    /// # Errors
    /// Never for the layout's address; typed all the same.
    pub fn entered(&self) -> Result<u64, Failure> {
        let bytes = self.ram.read(layout::READING);
        bytes
            .map(u64::from_le_bytes)
            .map_err(|error| Failure::VmExit(format!("reading of the entry: {error}")))
    }

    /// The end of what the kernel printed, in one line.
    #[must_use]
    pub fn last_words(&self) -> String {
        match self.slots.printed() {
            Some(console) => console.last_words(),
            None => self.devices.console().last_words(),
        }
    }

    /// What the guest has done with its virtio devices.
    #[must_use]
    pub fn used(&self) -> Used {
        self.slots.used()
    }

    /// Bytes that the kernel printed.
    #[must_use]
    pub fn printed(&self) -> u64 {
        self.devices.console().total()
    }

    /// Guest-physical memory in bytes: what the VMM handed out.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.ram.len()
    }

    /// The mappings that belong to this VM: guest memory and `kvm_run`, as address ranges.
    #[must_use]
    pub fn mappings(&self) -> [Range<u64>; 2] {
        let ram = self.ram.host_address();
        [ram..ram + self.ram.len() as u64, self.run.clone()]
    }

    /// The offset of the guest's counter (guest − host) as KVM reports it.
    ///
    /// # Errors
    /// See [`tsc_offset`].
    pub fn tsc_offset(&self) -> io::Result<u64> {
        tsc_offset(&self.vcpu)
    }

    /// Takes it down, vCPU first, as in a drop, but timed.
    pub fn close(self, log: &mut PhaseLog) {
        let Self {
            vcpu,
            devices,
            slots,
            vm,
            ram,
            kvm,
            ..
        } = self;
        log.time("close_vcpu", || drop(vcpu));
        log.time("close_vm", || drop(vm));
        // The event lives on in the VM until that is gone.
        log.time("close_devices", || drop((devices, slots)));
        log.time("munmap_memory", || drop(ram));
        log.time("close_kvm", || drop(kvm));
    }

    /// The guest's kernel has come to an end.
    fn ended(&self, how: impl Into<String>) -> Failure {
        Failure::GuestKernel {
            how: how.into(),
            console: self.last_words(),
        }
    }
}

fn load(
    ram: &GuestRam,
    image: &Image,
    start: &LinuxStart,
) -> Result<(), vm_memory::VolatileMemoryError> {
    entry::write(ram)?;
    if start.acpi {
        acpi::write(ram, &start.wanted.places())?;
    }
    let params = params::boot_params(image, start.ram, start.acpi);
    ram.write(layout::BOOT_PARAMS, params.as_slice())?;
    ram.write(layout::COMMAND_LINE, &start.command_line)
}

fn set_msrs(vcpu: &VcpuFd, cpu: &LinuxCpu) -> io::Result<()> {
    let wanted = cpu.msrs.as_slice().len();
    match vcpu.set_msrs(&cpu.msrs)? {
        taken if taken == wanted => Ok(()),
        taken => Err(io::Error::other(format!(
            "KVM took {taken} of {wanted} MSRs that it took before"
        ))),
    }
}

impl Speaker for LinuxMachine {
    /// Serves the devices on the way.
    fn run(&mut self) -> Result<Exit, Failure> {
        while self.left > 0 {
            let (reason, next) = match self.vcpu.run() {
                Ok(exit) => (
                    reason(&exit),
                    answer(exit, &mut self.devices, &mut self.slots, &self.ram),
                ),
                Err(error) => match error.errno() {
                    libc::EINTR | libc::EAGAIN => (Reason::Signal, Next::Answer(Exit::Interrupted)),
                    errno => (Reason::Errno(errno), Next::Fail(Unexpected::Run(errno))),
                },
            };
            self.exits.count(reason);
            if self.exits.total() > self.budget {
                return Err(Failure::ExitBudget(self.exits.total()));
            }
            self.left = self.left.saturating_sub(cost(reason));
            match next {
                Next::Serve => {}
                Next::Answer(exit) => return Ok(exit),
                Next::Fail(why) => return Err(self.ended(why.to_string())),
                Next::End(how) => return Err(self.ended(how)),
            }
        }
        self.left = SERVE_AT_MOST;
        Ok(Exit::Interrupted)
    }

    fn frame(&self) -> Result<[u8; FRAME_BYTES], Failure> {
        let r = self
            .vcpu
            .get_regs()
            .map_err(|error| Failure::VmExit(format!("a frame's registers: {error}")))?;
        Ok(frame_from_registers(&[
            r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15,
        ]))
    }

    fn total_exits(&self) -> u64 {
        self.exits.total()
    }

    fn enter(&mut self, stage: Stage) {
        self.exits.enter(stage);
    }
}
