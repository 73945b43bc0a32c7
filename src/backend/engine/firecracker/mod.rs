//! `firecracker`: the kernel and the initramfs of `linux-vm` in Firecracker, asked for by its API.
//!
//! ```text
//!   harness                                       Firecracker                   guest
//!   ───────                                       ───────────                   ─────
//!   workspace: initramfs, vmlinux* (once)
//!   firecracker --api-sock ─────────────────────► listens
//!   PUT /machine-config, /boot-source ──────────► configured
//!   PUT /actions InstanceStart ─────────────────► memory, kernel, vCPU, runs ─► kernel
//!   tail ◄─────────── standard error ──────────── its log
//!   tail ◄──────────┐                                                         ┌ the kernel's console
//!   messages ◄──────┴ standard output ─────────── the one serial port ◄───────┴ /init: the payload, t1
//!   a byte ─────────► standard input ───────────► the one serial port ────────► goes on
//!   end of Firecracker: t4 ◄───────────────────────────────────────────────────  resets by the keyboard's
//! ```
//! (* only for a Firecracker that takes no bzImage)
//!
//! The port is shared: what comes before the payload's first message is the kernel's
//! ([`super::prelude`]), and the payload has the kernel keep silent behind it. What comes behind the last is the
//! kernel's again: that it restarts.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::command::Patience;
use super::detect::Found;
use super::guest::{Guest, Port};
use super::http::Connection;
use super::machine::Machine;
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Order, Running};
use crate::backend::linux_vm::kernel_can_run;
use crate::backend::services::Services;
use crate::backend::{GuestKernel, Limitation, Provided, Unavailable};
use crate::trial::{Failure, PhaseLog};

/// More than a kernel needs on a CPU that is emulated itself.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The first version that takes a bzImage as it is (its CHANGELOG).
const TAKES_BZIMAGE: (u32, u32) = (1, 17);

/// Firecracker, found, with a kernel.
pub struct Firecracker {
    found: Found,
    workspace: Rc<Workspace>,
    guest: Guest,
    /// The kernel was unpacked for it.
    unpacked: bool,
    /// Folder of the sockets, by a short name.
    sockets: PathBuf,
}

impl Firecracker {
    /// Looks for Firecracker, for a KVM that runs a kernel, and for a kernel.
    ///
    /// # Errors
    /// What is missing, and what would help.
    pub fn open(provided: &Provided, services: &mut Services) -> Result<Self, Unavailable> {
        let found = Found::engine(&EngineKind::Firecracker)?;
        kernel_can_run().map_err(|why| found.but(why))?;
        let workspace = services.get(Workspace::new)?;
        let guest = Guest::find(provided, &workspace, Port::Console);
        let guest = guest.map_err(|why| found.but(why))?;
        Self::with(found, workspace, guest)
    }

    fn with(found: Found, workspace: Rc<Workspace>, guest: Guest) -> Result<Self, Unavailable> {
        // It takes a write to the keyboard controller for the machine's end, and a triple fault for a defect.
        let guest = guest.restarting("reboot=k");
        let unpacked = !takes_bzimage(&found.version);
        let guest = if unpacked {
            let unpacked = guest.unpacked(&workspace);
            unpacked.map_err(|why| found.but(why))?
        } else {
            guest
        };
        let sockets = workspace.socket_folder("firecracker").map_err(|error| {
            found.unusable(&format!("no folder for its socket: {error}"), "set TMPDIR")
        })?;
        Ok(Self {
            found,
            workspace,
            guest,
            unpacked,
            sockets,
        })
    }

    /// Asks it for the machine, in the order of its documentation.
    fn configure(
        &self,
        machine: &mut Machine,
        api: &mut Connection,
        order: &Order<'_>,
        memory: u64,
    ) -> Result<(), Failure> {
        let patience = Patience::until(order.deadline);
        let config = json!({"vcpu_count": 1, "mem_size_mib": memory >> 20});
        machine.put(api, "/machine-config", &config.to_string(), patience)?;
        let source = json!({
            "kernel_image_path": self.guest.kernel().display().to_string(),
            "initrd_path": self.guest.initramfs().display().to_string(),
            "boot_args": self.guest.command_line(order.launch)?,
        });
        machine.put(api, "/boot-source", &source.to_string(), patience)
    }
}

/// Whether a version, as `--version` says it (`Firecracker v1.16.1`), takes a bzImage. Of one that cannot be
/// read it is not believed: all take a vmlinux.
fn takes_bzimage(version: &str) -> bool {
    let number = version
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'));
    let mut parts = number.unwrap_or_default().split('.');
    let mut next = || parts.next()?.parse::<u32>().ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= TAKES_BZIMAGE)
}

impl Engine for Firecracker {
    fn facts(&self) -> EngineFacts {
        let mut differences = vec![
            "a Linux kernel of its own below the payload, which is its process 1: that of linux-vm",
            "messages come over its one emulated serial port, on which the kernel prints before; its end is \
             Firecracker's: the payload resets the machine",
            "Firecracker runs as who runs isobench, with the seccomp filters that it was built with, without \
             its jailer",
        ];
        if self.unpacked {
            differences.push(
                "this version takes no bzImage: it gets the ELF file that is packed in linux-vm's, so that \
                 its guest unpacks no kernel",
            );
        }
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
        let patience = Patience::until(order.deadline);
        let socket = self.sockets.join(order.name);
        // Its log is kept apart from the port, which has its standard output.
        let command = self
            .found
            .command()
            .with([Path::new("--api-sock"), &socket])
            .with(["--id", order.name, "--log-path", "/proc/self/fd/2"])
            .marked(order.name);
        let mut machine = log.time("spawn", || {
            Machine::on_pipes(&command, order, memory, Port::Console)
        })?;
        machine.leaves(&socket);
        let mut api = log.time("api_socket", || {
            machine.reach(|| Connection::open(&socket), patience)
        })?;
        log.time("configure", || {
            self.configure(&mut machine, &mut api, order, memory)
        })?;
        let start = json!({"action_type": "InstanceStart"}).to_string();
        log.time("instance_start", || {
            machine.put(&mut api, "/actions", &start, patience)
        })?;
        // Ends with the payload's first instruction; the kernel was entered before the answer came, or soon
        // after.
        log.open("boot");
        Ok(Box::new(machine))
    }
}

#[cfg(test)]
mod tests;
