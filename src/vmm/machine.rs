//! One VM: built ioctl by ioctl, run, and taken down, each step a named phase.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use isobench_abi::{DoorbellPage, FRAME_BYTES, Op};
use kvm_bindings::{kvm_regs, kvm_run, kvm_userspace_memory_region, kvm_xsave};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::cpu::Cpu;
use super::exit::{self, Exit, Unexpected};
use super::memory::GuestRam;
use super::snapshot::Snapshot;
use super::stack::InitialStack;
use super::template::Template;
use super::vcpu::tsc_offset;
use super::{descriptors, layout, statistics, vcpu};
use crate::exits::{Exits, Noted, Reason, Stage};
use crate::sys::clock::now;
use crate::trial::{Failure, PhaseLog, Registers};

mod restore;

pub use restore::{CaptureError, Vcpu};

/// `_IO(KVMIO, 0x41)` (include/uapi/linux/kvm.h). By hand, so that creating the vCPU and mapping
/// its `kvm_run` are two phases.
const KVM_CREATE_VCPU: libc::c_ulong = 0xae41;
/// Exits of one VM that are noted with their instants at most.
pub const MOST_NOTED: usize = 4096;

/// What one launch has of its own, computed before t0.
#[derive(Clone, Debug)]
pub struct Start {
    /// The initial stack.
    pub stack: InitialStack,
    /// Heap in whole large pages.
    pub heap_len: u64,
    /// Exits that it may cause, signals of the host aside.
    pub budget: u64,
    /// Whether the first [`MOST_NOTED`] exits are noted with their instants.
    pub note_exits: bool,
}

/// A VM with its vCPU. Fields are dropped in this order: the vCPU, the VM, then the memory the
/// VM's slot refers to.
#[derive(Debug)]
pub struct Machine {
    vcpu: VcpuFd,
    /// Where `kvm_run` is mapped.
    run: Range<u64>,
    exits: Exits,
    /// Exits that are left to it.
    budget: u64,
    noted: Option<Vec<Noted>>,
    /// What it is a copy of.
    origin: Option<Arc<Snapshot>>,
    vm: VmFd,
    ram: GuestRam,
    kvm: Kvm,
}

impl Machine {
    /// Everything up to, and without, the first KVM_RUN. Whatever fails, what was made before is
    /// dropped.
    ///
    /// # Errors
    /// [`Failure::Setup`] with the phase's name.
    pub fn start(
        template: &Template,
        cpu: &Cpu,
        start: &Start,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
        let kvm = log.step("open_kvm", Kvm::new)?;
        Self::with(kvm, template, cpu, start, log)
    }

    /// As [`Self::start`], with KVM opened already.
    ///
    /// # Errors
    /// As there.
    pub fn with(
        kvm: Kvm,
        template: &Template,
        cpu: &Cpu,
        start: &Start,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
        // The memory before the VM: dropped in reverse order, the VM goes first.
        let ram = log.step("mmap_memory", || GuestRam::map(template, start.heap_len))?;
        log.step("load", || {
            ram.load(&start.stack, start.heap_len)
                .map_err(io::Error::other)
        })?;
        let regs = cpu.regs(start.stack.rsp());
        let mut machine = Self::assemble((kvm, ram), cpu, (&regs, None), start.budget, log)?;
        if start.note_exits {
            machine.note_exits();
        }
        Ok(machine)
    }

    /// A VM around memory that is ready, with a vCPU in this state: everything that a cold start and
    /// a copy have in common. The order is CPUID, XCR0, the state of the FPU (which XCR0 admits), then
    /// special and general registers.
    fn assemble(
        (kvm, ram): (Kvm, GuestRam),
        cpu: &Cpu,
        (regs, fpu): (&kvm_regs, Option<&kvm_xsave>),
        budget: u64,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
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
        let vcpu = log.step("create_vcpu", || {
            // SAFETY: a VM descriptor; the argument is the vCPU's id.
            let fd = unsafe { libc::ioctl(vm.as_raw_fd(), KVM_CREATE_VCPU, 0) };
            if fd < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(fd)
            }
        })?;
        let mut vcpu = log.step("mmap_run", || {
            // SAFETY: a vCPU descriptor of this VM that nobody else has; owned from here on, also
            // when the mapping fails.
            unsafe { vm.create_vcpu_from_rawfd(vcpu) }
        })?;
        // CPUID first: KVM checks CR4 and XCR0 against it.
        log.step("set_cpuid2", || vcpu.set_cpuid2(&cpu.cpuid))?;
        if let Some(xcrs) = &cpu.xcrs {
            log.step("set_xcrs", || vcpu.set_xcrs(xcrs))?;
        }
        if let Some(fpu) = fpu {
            log.step("set_xsave", || restore::set_fpu(&vcpu, fpu))?;
        }
        let takes = cpu.sync_regs;
        vcpu::set_registers(&mut vcpu, takes, (&cpu.sregs, regs), log)?;
        let run = ptr::from_ref(vcpu.get_kvm_run()).addr() as u64;
        let run = run..run + vm.run_size() as u64;
        Ok(Self {
            vcpu,
            run,
            exits: Exits::new(),
            budget,
            noted: None,
            origin: None,
            vm,
            ram,
            kvm,
        })
    }

    /// Runs the vCPU until it has something to say, or a signal arrives.
    ///
    /// # Errors
    /// [`Failure::VmExit`]; [`Failure::GuestException`] when ring 0 reports a fault;
    /// [`Failure::ExitBudget`].
    pub fn run(&mut self) -> Result<Exit, Failure> {
        let entered = self.noted.as_ref().map(|_| now());
        let answer = self.vcpu.run().map(drop);
        let left = entered.map(|entered| (entered, now()));
        let exit = match answer {
            Ok(()) => {
                let run: *const kvm_run = self.vcpu.get_kvm_run();
                let bytes = (self.run.end - self.run.start) as usize;
                // SAFETY: the start of this vCPU's mapping of `bytes` bytes, which lives as long as `vcpu`;
                // KVM_RUN has just returned 0, and only `&mut self` can start it again.
                unsafe { exit::classify(run, bytes) }
            }
            Err(error) => match error.errno() {
                libc::EINTR | libc::EAGAIN => Ok(Exit::Interrupted),
                errno => Err(Unexpected::Run(errno)),
            },
        };
        let reason = exit.map_or_else(Reason::from, Reason::from);
        if let (Some(noted), Some((entered, left))) = (&mut self.noted, left)
            && noted.len() < MOST_NOTED
        {
            noted.push(Noted {
                entered,
                left,
                stage: self.exits.stage(),
                reason,
            });
        }
        self.exits.count(reason);
        if reason != Reason::Signal {
            let left = self.budget.checked_sub(1);
            self.budget = left.ok_or(Failure::ExitBudget(self.exits.total()))?;
        }
        match exit? {
            Exit::Doorbell(Op::Trap, _) => Err(self.trap()),
            other => Ok(other),
        }
    }

    /// The part of the trial that exits belong to from now on.
    pub const fn enter(&mut self, stage: Stage) {
        self.exits.enter(stage);
    }

    /// Notes the next [`MOST_NOTED`] exits with their instants.
    pub fn note_exits(&mut self) {
        self.noted = Some(Vec::with_capacity(MOST_NOTED));
    }

    /// The first exits with their instants, if that was asked for.
    pub fn take_noted(&mut self) -> Vec<Noted> {
        self.noted.take().unwrap_or_default()
    }

    /// KVM's own counters of this VM and its vCPU that are not 0.
    ///
    /// # Errors
    /// As [`statistics::of`].
    pub fn statistics(&self) -> io::Result<Vec<(String, u64)>> {
        statistics::of(&self.vcpu, &self.vm)
    }

    /// Reads what a fault stub left on the ring-0 stack (see [`descriptors`]).
    fn trap(&self) -> Failure {
        let state = self
            .vcpu
            .get_regs()
            .and_then(|regs| Ok((regs, self.vcpu.get_sregs()?)));
        let (regs, sregs) = match state {
            Ok(state) => state,
            Err(error) => return Failure::VmExit(format!("trap, registers unreadable: {error}")),
        };
        if sregs.cs.selector & 3 != 0 {
            return Failure::Protocol("the payload rang the bell of ring 0");
        }
        let frame = regs
            .rsp
            .checked_sub(layout::RING0_STACK)
            .filter(|offset| *offset <= layout::PAGE - descriptors::TRAP_BYTES)
            .and_then(|offset| {
                let at = layout::RING0_STACK_PHYS + offset;
                self.ram
                    .read::<{ descriptors::TRAP_BYTES as usize }>(at)
                    .ok()
            });
        let Some(frame) = frame else {
            return Failure::VmExit(format!("trap with a wild stack {:#x}", regs.rsp));
        };
        let word = |index: usize| {
            let mut raw = [0u8; 8];
            raw.copy_from_slice(&frame[index * 8..index * 8 + 8]);
            u64::from_le_bytes(raw)
        };
        Failure::GuestException {
            vector: word(2) as u8,
            error: word(3),
            rip: word(4),
            address: sregs.cr2,
            registers: Box::new(Registers {
                rflags: word(6),
                rsp: word(7),
                general: [
                    word(1),
                    regs.rbx,
                    regs.rcx,
                    word(0),
                    regs.rsi,
                    regs.rdi,
                    regs.rbp,
                    regs.r8,
                    regs.r9,
                    regs.r10,
                    regs.r11,
                    regs.r12,
                    regs.r13,
                    regs.r14,
                    regs.r15,
                ],
            }),
        }
    }

    /// The frame that lies on the doorbell page.
    ///
    /// # Errors
    /// Never for the layout's addresses; typed all the same.
    pub fn frame(&self) -> Result<[u8; FRAME_BYTES], Failure> {
        self.ram
            .read(layout::DOORBELL_PHYS)
            .map_err(|error| Failure::VmExit(format!("doorbell page: {error}")))
    }

    /// What the doorbell page says of the payload's first instruction behind the doorbell before, by the
    /// guest's counter.
    ///
    /// # Errors
    /// Never for the layout's addresses; typed all the same.
    pub fn went_on(&self) -> Result<u64, Failure> {
        let at = layout::DOORBELL_PHYS + offset_of!(DoorbellPage, went_on) as u64;
        self.ram
            .read(at)
            .map(u64::from_le_bytes)
            .map_err(|error| Failure::VmExit(format!("doorbell page: {error}")))
    }

    /// How often the vCPU came back, and why.
    #[must_use]
    pub const fn exits(&self) -> Exits {
        self.exits
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

    /// Takes it down, vCPU first, as in a drop, but timed. (`kvm_run` is unmapped with the vCPU.)
    pub fn close(self, log: &mut PhaseLog) {
        let Self {
            vcpu, vm, ram, kvm, ..
        } = self;
        log.time("close_vcpu", || drop(vcpu));
        log.time("close_vm", || drop(vm));
        log.time("munmap_memory", || drop(ram));
        log.time("close_kvm", || drop(kvm));
    }

    /// The offset of the guest's counter (guest − host) as KVM reports it.
    ///
    /// # Errors
    /// See [`tsc_offset`].
    pub fn tsc_offset(&self) -> io::Result<u64> {
        tsc_offset(&self.vcpu)
    }
}

/// KVM out of a descriptor of `/dev/kvm` that was handed over.
#[must_use]
pub fn kvm_from(fd: OwnedFd) -> Kvm {
    // SAFETY: an open descriptor that nothing else owns; whether it is KVM's, the first ioctl says.
    unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
