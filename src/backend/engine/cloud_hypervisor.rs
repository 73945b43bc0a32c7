//! `cloud-hypervisor`: the kernel and the initramfs of `linux-vm` in Cloud Hypervisor, started by its command
//! line.
//!
//! ```text
//!   harness                                    Cloud Hypervisor              guest
//!   ───────                                    ────────────────              ─────
//!   workspace: initramfs (once)
//!   cloud-hypervisor --kernel … ─────────────► memory, kernel, vCPU, runs ─► kernel
//!   tail ◄────────── standard error ────────── its log
//!   tail ◄──────────┐                                                      ┌ the kernel's console
//!   messages ◄──────┤ Unix socket ──────────── the one serial port ◄───────┴ /init: the payload, t1
//!   a byte ─────────┘                                            ──────────► goes on
//!   end of Cloud Hypervisor: t4 ◄───────────────────────────────────────────  switches the machine off
//! ```
//!
//! It reads no standard input that is not a terminal, hence the socket; and it takes a restart for a wish to
//! boot again, so the payload switches the machine off. What the guest prints before the harness has connected
//! is kept for it or lost, as the version has it: the kernel's, never the payload's, which waits for an answer
//! to its first message, and comes seconds later than the socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use isobench_abi::POWER_OFF_ENVIRONMENT;

use super::command::{Invocation, Patience};
use super::detect::Found;
use super::guest::{Guest, Port};
use super::machine::Machine;
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Order, Running};
use crate::backend::linux_vm::kernel_can_run;
use crate::backend::services::Services;
use crate::backend::{GuestKernel, Limitation, Provided, Unavailable};
use crate::trial::{Failure, Launch, PhaseLog};

/// More than a kernel needs on a CPU that is emulated itself.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Cloud Hypervisor, found, with a kernel.
pub struct CloudHypervisor {
    found: Found,
    workspace: Rc<Workspace>,
    guest: Guest,
    /// Folder of the sockets, by a short name.
    sockets: PathBuf,
}

impl CloudHypervisor {
    /// Looks for Cloud Hypervisor, for a KVM that runs a kernel, and for a kernel.
    ///
    /// # Errors
    /// What is missing, and what would help.
    pub fn open(provided: &Provided, services: &mut Services) -> Result<Self, Unavailable> {
        let found = Found::engine(&EngineKind::CloudHypervisor)?;
        kernel_can_run().map_err(|why| found.but(why))?;
        let workspace = services.get(Workspace::new)?;
        let guest = Guest::find(provided, &workspace, Port::Console);
        let guest = guest.map_err(|why| found.but(why))?;
        Self::with(found, workspace, guest)
    }

    fn with(found: Found, workspace: Rc<Workspace>, guest: Guest) -> Result<Self, Unavailable> {
        let sockets = workspace.socket_folder("cloud-hypervisor");
        let sockets = sockets.map_err(|error| {
            found.unusable(&format!("no folder for its socket: {error}"), "set TMPDIR")
        })?;
        Ok(Self {
            found,
            workspace,
            guest: guest.with(POWER_OFF_ENVIRONMENT),
            sockets,
        })
    }

    fn command(&self, launch: &Launch, memory: u64, port: &Path) -> Result<Invocation, Failure> {
        Ok(self
            .found
            .command()
            .with([Path::new("--kernel"), self.guest.kernel()])
            .with([Path::new("--initramfs"), self.guest.initramfs()])
            .with(["--cmdline", &self.guest.command_line(launch)?])
            .with(["--cpus", "boot=1"])
            .with(["--memory", &format!("size={}M", memory >> 20)])
            .with(["--console", "off"])
            .with(["--serial", &format!("socket={}", port.display())]))
    }
}

impl Engine for CloudHypervisor {
    fn facts(&self) -> EngineFacts {
        self.found.facts(&[
            "a Linux kernel of its own below the payload, which is its process 1: that of linux-vm",
            "messages come over its one emulated serial port and a Unix socket; the kernel prints there before; \
             its end is Cloud Hypervisor's: the payload switches the machine off",
            "Cloud Hypervisor runs as who runs isobench, with the seccomp filters that it was built with and \
             nothing else around it",
        ])
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
        let port = self.sockets.join(order.name);
        let command = self.command(order.launch, memory, &port)?;
        let command = command.marked(order.name);
        let mut machine = log.time("spawn", || {
            Machine::apart(&command, order, memory, Port::Console)
        })?;
        machine.leaves(&port);
        let patience = Patience::until(order.deadline);
        log.time("serial_socket", || {
            let stream = machine.reach(|| UnixStream::connect(&port), patience)?;
            machine.speak_by(stream)
        })?;
        // Ends with the payload's first instruction.
        log.open("boot");
        Ok(Box::new(machine))
    }
}

#[cfg(test)]
#[path = "cloud_hypervisor_tests.rs"]
mod tests;
