//! `qemu:tcg`, `qemu:microvm`, `qemu:pc`: the kernel and the initramfs of `linux-vm` in QEMU.
//!
//! ```text
//!   harness                                     QEMU                       guest
//!   ───────                                     ────                       ─────
//!   workspace: initramfs (once)
//!   qemu-system-x86_64 ───────────────────────► firmware*, kernel ───────► /init: the payload, t1
//!   tail ◄─────────── standard error ────────── first serial port ◄─────── the kernel's console
//!   messages ◄─────── standard output ───────── second serial port ◄────── ready
//!   a byte ─────────► standard input ─────────► second serial port ──────► goes on
//!   end of QEMU: t4 ◄──────────────────────────────────────────────────── restarts the machine
//! ```
//! (* not with `qemu:microvm`)
//!
//! The payload's bytes are the same, and so is the initramfs: the payload makes the serial port's device
//! node itself. It waits for a byte after its first message, so that its counter can be bracketed from both
//! sides: QEMU's TCG serves RDTSC from the host's counter with an offset (`cpu_get_ticks` in
//! `system/cpu-timers.c`), KVM does with an offset of its own. That it is one offset is not believed but
//! checked: readings of the whole trial must fit one, or the trial is a failure.

mod instance;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use isobench_abi::SERIAL_ENVIRONMENT;

use self::instance::Machine;
use super::command::Invocation;
use super::detect::Found;
use super::kind::QemuMachine;
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Order, Running};
use crate::backend::linux_vm::options::Savings;
use crate::backend::linux_vm::{kernel_can_run, kernel_file};
use crate::backend::services::Services;
use crate::backend::{GuestKernel, Limitation, Provided, Unavailable};
use crate::metric::Bytes;
use crate::trial::{Failure, Launch, PhaseLog};
use crate::vmm::linux::image::Image;
use crate::vmm::linux::{layout, params};
use crate::workload::payload;

/// A kernel that is emulated instruction by instruction takes seconds to its first process, and more on a
/// busy host.
const TIMEOUT: Duration = Duration::from_secs(120);

/// QEMU, found, with a kernel.
pub struct Qemu {
    machine: QemuMachine,
    found: Found,
    workspace: Rc<Workspace>,
    kernel: PathBuf,
    initramfs: PathBuf,
    image: Image,
    guest: GuestKernel,
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
            kernel_can_run()?;
        }
        let kernel = kernel_file::find(provided.kernel.as_deref(), Path::new("/boot"))?;
        let path = fs::canonicalize(&kernel.path).map_err(|error| Unavailable {
            reason: format!("the kernel {}: {error}", kernel.path.display()),
            remedy: "--kernel PATH of a bzImage".to_owned(),
        })?;
        let image = Image::new(&kernel.kernel, payload::BYTES).map_err(|error| Unavailable {
            reason: format!("the kernel: {error}"),
            remedy: "--kernel PATH of another bzImage or vmlinux".to_owned(),
        })?;
        let workspace = services.get(Workspace::new)?;
        let initramfs = write_initramfs(&image, &workspace)
            .map_err(|error| found.unusable(&format!("the initramfs: {error}"), "free space"))?;
        Ok(Self {
            machine,
            found,
            workspace,
            guest: GuestKernel {
                sha256: kernel.sha256,
                format: kernel.kernel.format.name().to_owned(),
                version: kernel.kernel.version,
                command_line: parameters().join(" "),
            },
            kernel: path,
            initramfs,
            image,
        })
    }

    /// As much as `linux-vm` gives its guest.
    fn memory(&self, launch: &Launch) -> Result<u64, Failure> {
        let task = launch.task;
        let heap = task.workload.heap_bytes(task.size);
        layout::ram(self.image.base(), heap)
            .ok_or_else(|| invalid("the guest's memory does not fit below 3 GiB"))
    }

    fn command(&self, launch: &Launch, memory: u64) -> Result<Invocation, Failure> {
        let parameters = parameters();
        let line = params::command_line(
            &parameters,
            &launch.task.argv(),
            self.image.placement().command_line,
        )
        .map_err(|error| invalid(&error.to_string()))?;
        // Without its NUL, and text: it was put together from text.
        let line = String::from_utf8_lossy(&line[..line.len().saturating_sub(1)]).into_owned();
        let second = "isa-serial,chardev=port,iobase=0x2f8,irq=3";
        let machine: &[&str] = match self.machine {
            QemuMachine::Tcg => &["-M", "pc", "-accel", "tcg", "-cpu", "max"],
            QemuMachine::Pc => &["-M", "pc", "-accel", "kvm", "-cpu", "host"],
            QemuMachine::Microvm => &["-M", "microvm", "-accel", "kvm", "-cpu", "host"],
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
            .with([Path::new("-kernel"), &self.kernel])
            .with([Path::new("-initrd"), &self.initramfs])
            .with(["-append", &line]))
    }
}

fn invalid(why: &str) -> Failure {
    Failure::setup(
        "plan",
        io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()),
    )
}

/// What the kernel is told: to say little on its console, and where the payload speaks.
fn parameters() -> Vec<&'static str> {
    let mut parameters = Savings::NONE.parameters();
    parameters.extend(["quiet", SERIAL_ENVIRONMENT]);
    parameters
}

/// The initramfs as a file, the same for all machines of a run.
fn write_initramfs(image: &Image, workspace: &Workspace) -> io::Result<PathBuf> {
    let path = workspace.folder("qemu")?.join("initramfs");
    let [_, initramfs] = image.pieces();
    let file = File::from(initramfs.file.try_clone_to_owned()?);
    let mut bytes = vec![0; usize::try_from(initramfs.len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    fs::write(&path, bytes)?;
    Ok(path)
}

impl Engine for Qemu {
    fn facts(&self) -> EngineFacts {
        let machine = match self.machine {
            QemuMachine::Tcg => "a PC with firmware, every instruction emulated, no KVM",
            QemuMachine::Microvm => "a machine without firmware and PCI, on KVM",
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
        Some(self.guest.clone())
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let memory = self.memory(order.launch)?;
        let command = self.command(order.launch, memory)?;
        let memory = Bytes(i64::try_from(memory).unwrap_or(i64::MAX));
        let machine = Machine::start(&command.marked(order.name), order, memory, log)?;
        Ok(Box::new(machine))
    }
}

#[cfg(test)]
mod tests;
