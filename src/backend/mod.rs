//! The ways to run the payload.

pub mod child;
pub mod configuration;
pub mod container;
pub mod daemons;
pub mod engine;
pub mod group;
mod guardian;
pub mod jailed;
#[cfg(test)]
mod kill_tests;
pub mod launcher;
pub mod linux_vm;
pub mod microvm;
pub mod process;
pub mod services;
mod trace;
pub mod wrapper;

pub use configuration::{Configuration, MicroVmKind};
pub(crate) use launcher::shortage;

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::engine::own::OwnBackend;
use crate::backend::engine::{DaemonFacts, EngineFacts};
use crate::backend::group::GroupAccounts;
use crate::backend::services::Services;
use crate::exits::Crossings;
use crate::metric::Bytes;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation};
use crate::workload::Workload;

/// One way to run the payload, ready to be used for many trials.
///
/// What is prepared once (the payload's file, the KVM file descriptor's capabilities, a compiled
/// seccomp program) belongs to the constructor and to no trial.
pub trait Backend {
    /// One whole life: start, work, exit, clean-up.
    ///
    /// # Errors
    /// A typed [`Failure`]; whatever was set up is rolled back first.
    fn trial(&mut self, launch: &Launch) -> Result<Observation, Failure> {
        let mut answers = Vec::new();
        let seen = self.hear(launch, &mut answers)?;
        if answers.is_empty() || launch.task.workload == Workload::Probe {
            Ok(seen)
        } else {
            Err(Failure::Protocol("answers of a payload that was not asked"))
        }
    }

    /// As [`Self::trial`]. `answers` takes in what a `probe` finds out, also where it does not come
    /// to its end: the isolation itself may end a payload that asks.
    ///
    /// # Errors
    /// As [`Self::trial`].
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure>;

    /// Starts an instance and leaves it waiting (workload `idle`). Once this returns, the instance
    /// has touched all the memory it was asked to touch, and said so.
    ///
    /// # Errors
    /// As [`Self::trial`].
    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure>;

    /// As [`Self::trial`], and everything that crosses the payload's boundary is counted; `None`
    /// where this backend cannot tell.
    ///
    /// # Errors
    /// As [`Self::trial`]; the kernel refuses to count.
    fn count(&mut self, _launch: &Launch) -> Result<Option<Crossings>, Failure> {
        Ok(None)
    }

    /// The kernel below the payload, where it is not the host's.
    fn guest_kernel(&self) -> Option<GuestKernel> {
        None
    }

    /// Mechanisms that this backend does without on this host.
    fn limitations(&self) -> Vec<Limitation> {
        Vec::new()
    }

    /// Daemons that it needs beside its instances.
    fn daemons(&self) -> Vec<DaemonFacts> {
        Vec::new()
    }

    /// From now on with or without its seccomp filter, which may end a payload that asks; whether that
    /// could be done.
    fn set_filter(&mut self, _on: bool) -> bool {
        false
    }

    /// Which engine this is, where it is somebody else's.
    fn engine(&self) -> Option<EngineFacts> {
        None
    }
}

/// What the user provides for backends to run with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provided {
    /// The kernel of `linux-vm`; `None` is the newest in `/boot`.
    pub kernel: Option<PathBuf>,
    /// Socket of a containerd of the user's; `None`: one of this run's own.
    pub containerd_socket: Option<PathBuf>,
    /// Socket of a dockerd of the user's; `None`: one of this run's own.
    pub docker_socket: Option<PathBuf>,
    /// The program of an OCI runtime (`crun`, `runc`, `youki`); `None`: the one on the search path.
    pub runtime: Option<PathBuf>,
    /// Backends of the user's own (`[[backend]]` in `isobench.toml`).
    pub own: Vec<OwnBackend>,
}

/// Makes a configuration ready to run, with what this host has.
///
/// # Errors
/// Why this host cannot run it, and what would change that.
pub fn open(configuration: &Configuration) -> Result<Box<dyn Backend>, Unavailable> {
    open_with(configuration, &Provided::default())
}

/// As [`open`], with what the user provides.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    configuration: &Configuration,
    provided: &Provided,
) -> Result<Box<dyn Backend>, Unavailable> {
    open_in(configuration, provided, &mut Services::default())
}

/// As [`open_with`], with services that all backends of a run share.
///
/// # Errors
/// As [`open`].
pub fn open_in(
    configuration: &Configuration,
    provided: &Provided,
    services: &mut Services,
) -> Result<Box<dyn Backend>, Unavailable> {
    Ok(match configuration {
        Configuration::Process => Box::new(process::Process::new()?),
        Configuration::Container(options) => Box::new(container::Container::new(*options)?),
        Configuration::MicroVm(kind) => {
            let vm = microvm::MicroVm::new()?;
            match kind {
                MicroVmKind::Cold => Box::new(vm),
                MicroVmKind::Jailed => Box::new(jailed::Jailed::of(vm)?),
                MicroVmKind::Snapshot => Box::new(microvm::snapshot::Copies::of(vm)),
                MicroVmKind::Pool => Box::new(microvm::pool::Pool::of(vm)),
            }
        }
        Configuration::LinuxVm(savings) => Box::new(linux_vm::LinuxVm::new(
            *savings,
            provided.kernel.as_deref(),
        )?),
        Configuration::Engine(kind) => Box::new(engine::open(kind, provided, services)?),
    })
}

/// An idle instance.
pub trait Instance {
    /// What it takes of user-space memory.
    ///
    /// # Errors
    /// The kernel's accounts cannot be read.
    fn footprint(&self) -> Result<Footprint, Failure>;

    /// The guest's own view: bytes of memory that the VMM gave it; `None` where there is no guest.
    fn guest_memory(&self) -> Option<Bytes> {
        None
    }

    /// Wakes it, waits for its end and cleans up.
    ///
    /// # Errors
    /// As [`Backend::trial`].
    fn release(self: Box<Self>) -> Result<(), Failure>;
}

/// User-space memory of one instance (proc_pid_smaps(5)), and what its group is charged with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Proportional set size.
    pub pss: Bytes,
    /// Private_Clean + Private_Dirty.
    pub private: Bytes,
    /// GroupAccounts of the instance's own control group, where it has one.
    pub group: Option<GroupAccounts>,
}

/// The kernel that a guest runs, in `run.json` beside the backend's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestKernel {
    /// SHA-256 of its file.
    pub sha256: String,
    /// bzImage or vmlinux.
    pub format: String,
    /// What a bzImage says about itself (`uname -r`, builder, date).
    pub version: Option<String>,
    /// Its command line, without the payload's part.
    pub command_line: String,
}

/// A mechanism that a backend does without on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limitation {
    /// Which one: `cgroup`.
    pub mechanism: &'static str,
    /// Why.
    pub reason: String,
    /// What would give it back.
    pub remedy: String,
}

/// Why a backend cannot be used on this host, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// One sentence.
    pub reason: String,
    /// The command or setting that would fix it.
    pub remedy: String,
}

impl From<Limitation> for Unavailable {
    /// Where the mechanism was asked for by name.
    fn from(limitation: Limitation) -> Self {
        Self {
            reason: format!("{}: {}", limitation.mechanism, limitation.reason),
            remedy: limitation.remedy,
        }
    }
}

impl fmt::Display for Limitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (to have it: {})",
            self.mechanism, self.reason, self.remedy
        )
    }
}
