//! One VM with a Linux in it: built ioctl by ioctl, run, and taken down, each step a named phase.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use isobench_abi::{DOORBELL_PORT, FRAME_BYTES, Op, frame_from_registers};
use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::ByteValued;

use super::cpu::LinuxCpu;
use super::devices::{Devices, Line, Reset, SERIAL_IRQ};
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

/// What is served before the caller is asked whether it is time to stop: so many accesses to ports.
const SERVE_AT_MOST: u32 = 256;
/// As many accesses to ports as a write to a virtio device may stand for: its notification has up to 64 chains
/// of buffers be served.
const NOTIFIED: u32 = 64;
/// Exits that a machine may cause. The deadline is what ends a guest; this ends one that exits all the time, where
/// nobody looks at clocks. A boot of Debian's kernel with its whole log has some hundred thousand.
const MOST_EXITS: u64 = 1 << 30;

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
}

/// A VM with its vCPU and devices. Fields are dropped in this order: the vCPU, the VM, then the
/// memory that the VM's slot refers to.
#[derive(Debug)]
pub struct LinuxMachine {
    vcpu: VcpuFd,
    run: Range<u64>,
    exits: Exits,
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

/// What an exit asks of the loop.
enum Next {
    Serve,
    Answer(Exit),
    Fail(Unexpected),
    End(&'static str),
}

impl Speaker for LinuxMachine {
    /// Serves the devices on the way.
    fn run(&mut self) -> Result<Exit, Failure> {
        let mut left = SERVE_AT_MOST;
        while left > 0 {
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
            if self.exits.total() > MOST_EXITS {
                return Err(Failure::ExitBudget(self.exits.total()));
            }
            left = left.saturating_sub(match reason {
                Reason::Mmio(_, true) => NOTIFIED,
                _ => 1,
            });
            match next {
                Next::Serve => {}
                Next::Answer(exit) => return Ok(exit),
                Next::Fail(why) => return Err(self.ended(why.to_string())),
                Next::End(how) => return Err(self.ended(how)),
            }
        }
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

/// What an exit is counted as.
fn reason(exit: &VcpuExit<'_>) -> Reason {
    match exit {
        VcpuExit::IoOut(DOORBELL_PORT, data) => <[u8; 4]>::try_from(*data)
            .ok()
            .and_then(|word| Op::decode(u32::from_le_bytes(word)))
            .map_or(Reason::Port(DOORBELL_PORT, true), |(op, _)| {
                Reason::Doorbell(op)
            }),
        VcpuExit::IoOut(port, _) => Reason::Port(*port, true),
        VcpuExit::IoIn(port, _) => Reason::Port(*port, false),
        VcpuExit::MmioRead(address, _) => Reason::Mmio(*address, false),
        VcpuExit::MmioWrite(address, _) => Reason::Mmio(*address, true),
        VcpuExit::Intr => Reason::Signal,
        VcpuExit::Hlt => Reason::Halt,
        VcpuExit::Shutdown => Reason::Shutdown,
        VcpuExit::InternalError => Reason::Kvm(KVM_EXIT_INTERNAL_ERROR),
        VcpuExit::FailEntry(..) => Reason::Kvm(KVM_EXIT_FAIL_ENTRY),
        VcpuExit::Unsupported(reason) => Reason::Kvm(*reason),
        _ => Reason::Rest,
    }
}

/// Narrows an exit. Memory without a device behaves as an empty bus, as ports do.
fn answer(exit: VcpuExit<'_>, devices: &mut Devices, slots: &mut Slots, ram: &GuestRam) -> Next {
    match exit {
        VcpuExit::IoOut(DOORBELL_PORT, data) => doorbell(data),
        VcpuExit::IoOut(port, data) => match devices.write(port, data) {
            Ok(()) => Next::Serve,
            Err(Reset) => Next::End("it reset the machine"),
        },
        VcpuExit::IoIn(port, data) => {
            devices.read(port, data);
            Next::Serve
        }
        VcpuExit::MmioRead(address, data) => {
            slots.read(address, data);
            Next::Serve
        }
        VcpuExit::MmioWrite(address, data) => {
            slots.write(address, data, ram);
            Next::Serve
        }
        VcpuExit::IoapicEoi(_) | VcpuExit::IrqWindowOpen => Next::Serve,
        VcpuExit::Intr => Next::Answer(Exit::Interrupted),
        VcpuExit::Shutdown => Next::End("it reset the machine (triple fault)"),
        VcpuExit::SystemEvent(..) => Next::End("it ended the machine"),
        // KVM's own interrupt controller waits for interrupts.
        VcpuExit::Hlt => Next::Fail(Unexpected::Halt),
        VcpuExit::FailEntry(reason, cpu) => Next::Fail(Unexpected::EntryFailed { reason, cpu }),
        VcpuExit::InternalError => Next::End("KVM could not go on (KVM_EXIT_INTERNAL_ERROR)"),
        VcpuExit::Unsupported(reason) => Next::Fail(Unexpected::Other(reason)),
        _ => Next::End("an exit of the vCPU that no x86 guest without such devices causes"),
    }
}

/// One 32-bit `out` to the doorbell, or not the payload's.
fn doorbell(data: &[u8]) -> Next {
    let Ok(bytes) = <[u8; 4]>::try_from(data) else {
        return Next::Fail(Unexpected::Port {
            direction: "out",
            port: DOORBELL_PORT,
            size: data.len().min(255) as u8,
            count: 1,
        });
    };
    let value = u32::from_le_bytes(bytes);
    match Op::decode(value) {
        Some((op, argument)) => Next::Answer(Exit::Doorbell(op, argument)),
        None => Next::Fail(Unexpected::Doorbell(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(exit: VcpuExit<'_>) -> Next {
        let mut devices = Devices::new(Line::new().unwrap());
        let ram = GuestRam::mosaic(0x1000, &[]).unwrap();
        answer(exit, &mut devices, &mut Slots::default(), &ram)
    }

    #[test]
    fn a_doorbell_is_four_bytes_with_a_meaning() {
        let ring = |data: &[u8]| answered(VcpuExit::IoOut(DOORBELL_PORT, data));
        let word = Op::Exit.encode(7).to_le_bytes();
        assert!(matches!(
            ring(&word),
            Next::Answer(Exit::Doorbell(Op::Exit, 7))
        ));
        assert!(matches!(
            ring(&[0xee, 0, 0, 0]),
            Next::Fail(Unexpected::Doorbell(0xee))
        ));
        for data in [&word[..1], &word[..2], &[word, word].concat(), &[]] {
            assert!(matches!(ring(data), Next::Fail(Unexpected::Port { .. })));
        }
    }

    #[test]
    fn what_has_no_device_is_an_empty_bus() {
        let mut data = [0u8; 8];
        let read = answered(VcpuExit::MmioRead(0xfee0_0000, &mut data));
        assert!(matches!(read, Next::Serve));
        assert_eq!(data, [0xff; 8]);
        let write = answered(VcpuExit::MmioWrite(u64::MAX, &[1]));
        assert!(matches!(write, Next::Serve));
    }

    #[test]
    fn the_ends_of_a_kernel_are_told_apart() {
        let end = |exit| match answered(exit) {
            Next::End(how) => how.to_owned(),
            Next::Fail(why) => why.to_string(),
            _ => "goes on".to_owned(),
        };
        assert!(end(VcpuExit::Shutdown).contains("triple fault"));
        assert!(end(VcpuExit::IoOut(0x64, &[0xfe])).contains("reset"));
        assert!(end(VcpuExit::InternalError).contains("INTERNAL_ERROR"));
        assert_eq!(end(VcpuExit::Hlt), "hlt");
        assert!(end(VcpuExit::FailEntry(0x8000_0021, 0)).contains("entry failed"));
    }
}
