//! `qemu:tcg`, `qemu:microvm`, `qemu:pc`: the kernel and the initramfs of `linux-vm` in QEMU.
//!
//! ```text
//!   harness                                     QEMU                       guest
//!   ───────                                     ────                       ─────
//!   workspace: initramfs (once)
//!   qemu-system-x86_64 ───────────────────────► firmware, kernel ────────► /init: the payload, t1
//!   tail ◄─────────── standard error ────────── first serial port ◄─────── the kernel's console
//!   messages ◄─────── standard output ───────── second serial port ◄────── ready
//!   a byte ─────────► standard input ─────────► second serial port ──────► goes on
//!   end of QEMU: t4 ◄──────────────────────────────────────────────────── restarts the machine
//! ```
//! `qemu:microvm` has firmware, too (`microvm_devices_init` in `hw/i386/microvm.c`): a small one that only
//! starts the kernel, or SeaBIOS, whichever the host's QEMU has.
//!
//! The payload's bytes are the same, and so is the initramfs: the payload makes the serial port's device
//! node itself. It waits for a byte after its first message, so that its counter can be bracketed from both
//! sides: QEMU's TCG serves RDTSC from the host's counter with an offset (`cpu_get_ticks` in
//! `system/cpu-timers.c`), KVM does with an offset of its own. That it is one offset is not believed but
//! checked: readings of the whole trial must fit one, or the trial is a failure.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::command::Invocation;
use super::detect::Found;
use super::guest::{Guest, Port};
use super::kind::QemuMachine;
use super::machine::Machine;
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Order, Running};
use crate::backend::linux_vm::kernel_can_run;
use crate::backend::services::Services;
use crate::backend::{GuestKernel, Limitation, Provided, Unavailable};
use crate::trial::{Failure, Launch, PhaseLog};

/// A kernel that is emulated instruction by instruction takes seconds to its first process, and more on a
/// busy host.
const TIMEOUT: Duration = Duration::from_secs(120);

/// QEMU, found, with a kernel.
pub struct Qemu {
    machine: QemuMachine,
    found: Found,
    workspace: Rc<Workspace>,
    guest: Guest,
}

impl Qemu {
    /// Looks for QEMU, for KVM where the machine needs it, and for a kernel.
    ///
    /// # Errors
    /// What is missing, and what would help.
    pub fn open(
        machine: QemuMachine,
        provided: &Provided,
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        let found = Found::engine(&EngineKind::Qemu(machine))?;
        if machine != QemuMachine::Tcg {
            kernel_can_run().map_err(|why| found.but(why))?;
        }
        let workspace = services.get(Workspace::new)?;
        let guest = Guest::find(provided, &workspace, Port::Second);
        let guest = guest.map_err(|why| found.but(why))?;
        Ok(Self {
            machine,
            found,
            workspace,
            guest,
        })
    }

    fn command(&self, launch: &Launch, memory: u64) -> Result<Invocation, Failure> {
        let line = self.guest.command_line(launch)?;
        let second = "isa-serial,chardev=port,iobase=0x2f8,irq=3";
        let machine: &[&str] = match self.machine {
            QemuMachine::Tcg => &["-M", "pc", "-accel", "tcg", "-cpu", "max"],
            QemuMachine::Pc => &["-M", "pc", "-accel", "kvm", "-cpu", "host"],
            // On KVM it has no clock chip unless told to: a stock kernel then waits a second for one, asking
            // ten thousand times (`mc146818_does_rtc_work` in its `rtc-mc146818-lib.c`).
            QemuMachine::Microvm => &["-M", "microvm,rtc=on", "-accel", "kvm", "-cpu", "host"],
        };
        Ok(self
            .found
            .command()
            .with(machine)
            .with(["-smp", "1", "-m", &format!("{}k", memory >> 10)])
            .with(["-nodefaults", "-no-user-config", "-no-reboot"])
            .with(["-display", "none", "-sandbox", "on"])
            .with(["-chardev", "file,id=log,path=/proc/self/fd/2"])
            .with(["-serial", "chardev:log"])
            .with(["-chardev", "stdio,id=port,signal=off"])
            .with(["-device", second])
            .with([Path::new("-kernel"), self.guest.kernel()])
            .with([Path::new("-initrd"), self.guest.initramfs()])
            .with(["-append", &line]))
    }
}

impl Engine for Qemu {
    fn facts(&self) -> EngineFacts {
        let machine = match self.machine {
            QemuMachine::Tcg => "a PC with firmware, every instruction emulated, no KVM",
            QemuMachine::Microvm => {
                "a machine with little firmware, a clock chip and no PCI, on KVM"
            }
            QemuMachine::Pc => "a PC with firmware, on KVM",
        };
        let differences = [
            machine,
            "a Linux kernel of its own below the payload, which is its process 1: that of linux-vm",
            "messages come over an emulated serial port; its end is QEMU's: the payload restarts the \
             machine",
            "QEMU runs as who runs isobench, with its own seccomp filter (-sandbox on) and nothing \
             else around it",
        ];
        self.found.facts(&differences)
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.workspace.limitations()
    }

    fn guest_kernel(&self) -> Option<GuestKernel> {
        Some(self.guest.facts())
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let memory = self.guest.memory(order.launch)?;
        let command = self.command(order.launch, memory)?.marked(order.name);
        // Ends with the payload's first instruction.
        log.open("run");
        let machine = Machine::on_pipes(&command, order, memory, Port::Second)?;
        Ok(Box::new(machine))
    }
}

#[cfg(test)]
mod tests;
