//! Backends that are somebody else's: OCI runtimes, daemons and their clients, other VMMs, a user's own
//! commands. One implementation of [`Backend`] for all of them, [`Engined`]; what differs is behind two
//! traits.
//!
//! ```text
//!   Engine::start ──► Running ── sources(): the payload's bytes, the engine's own noise, ends
//!     t0 … phases       │  read(), listen(), ended()     until the payload has ended: t4
//!                       │  exit()                        how it ended
//!                       └─ remove()                      nothing is left: t5
//! ```
//!
//! What [`Engined`] sees to, so that no engine has to:
//! * a deadline for every trial, and the user's request to stop;
//! * the payload's messages come through the engine and are checked as those of any other backend;
//! * what is no message, an end without one, a command that fails or hangs: [`Failure::Engine`] with the
//!   end of what the engine printed;
//! * after a trial, whatever way it went, [`Running::remove`] and then a look for processes that carry the
//!   instance's name ([`leftover`]);
//! * after a trial that came to its end, a daemon's own account of it ([`chronicle`]).
//!
//! What an engine has to do: start everything on behalf of the instance with its name as a mark
//! ([`command::Invocation::marked`]); make files only in the run's [`workspace::Workspace`], below a name
//! from it, and control groups only at places that the guardian was told of. Then the guardian can remove
//! all of it if the harness is killed. Something that stays for the whole run is a service
//! ([`crate::backend::services`]).

mod bwrap;
#[cfg(feature = "engines")]
mod caller;
pub mod chronicle;
mod cloud_hypervisor;
pub mod command;
#[cfg(feature = "engines")]
mod containerd;
mod conversation;
#[cfg(feature = "engines")]
mod cri;
pub mod detect;
mod docker;
mod endpoint;
mod engined;
#[cfg(test)]
mod false_vmm;
mod firecracker;
mod front;
pub(in crate::backend) mod groups;
#[cfg(feature = "engines")]
mod grpc;
mod guest;
mod http;
mod image;
pub mod kind;
pub mod leftover;
mod machine;
mod nspawn;
mod oci;
pub mod own;
mod patience;
mod pids;
mod podman;
mod prelude;
mod qemu;
mod started;
pub mod tail;
pub mod workspace;

pub use engined::Engined;
pub use kind::EngineKind;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::child::Deadline;
use super::group::GroupAccounts;
use super::services::Services;
use super::{GuestKernel, Limitation, Provided, Unavailable};
use crate::metric::Bytes;
use crate::sys::pidfd::Exit;
use crate::trial::{ClockMap, EngineEnd, EngineFailure, Failure, Launch, PhaseLog};

/// How long removing an instance may take.
pub const CLEAN_UP: Duration = Duration::from_secs(30);

/// One instance that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its name: unique, and says whose it is ([`isobench_guardian::Owner`]).
    pub name: &'a str,
    /// The task.
    pub launch: &'a Launch,
    /// Whether its input stays open until [`Running::wake`]; otherwise it is at its end from the
    /// beginning.
    pub hold: bool,
    /// Of the trial.
    pub deadline: Deadline,
}

/// An engine that was found usable.
pub trait Engine {
    /// What it is, for the result.
    fn facts(&self) -> EngineFacts;

    /// What it does without on this host.
    fn limitations(&self) -> Vec<Limitation> {
        Vec::new()
    }

    /// The kernel below the payload, where it is not the host's.
    fn guest_kernel(&self) -> Option<GuestKernel> {
        None
    }

    /// The daemons in front of which it stands, with what they take.
    fn daemons(&self) -> Vec<DaemonFacts> {
        Vec::new()
    }

    /// The daemon that can say itself when it did what.
    fn chronicle(&self) -> Option<&dyn chronicle::Chronicle> {
        None
    }

    /// The longest that a trial may take, the first launch among them, where that is known of the engine.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// After a first launch that failed: goes without what may have failed it, and says so as a
    /// limitation. Whether another try is worth it.
    fn compromise(&mut self, _failure: &Failure) -> bool {
        false
    }

    /// From now on with or without its seccomp filter; whether that could be done.
    fn set_filter(&mut self, _on: bool) -> bool {
        false
    }

    /// Whether it was asked for a seccomp filter and may have been built without: its first launches look.
    fn may_lack_filter(&self) -> bool {
        false
    }

    /// It was seen to have none.
    fn lacks_filter(&mut self) {}

    /// Starts an instance: asks the engine for it, naming what it does as phases. The last phase may be
    /// left open: it ends with the payload's first instruction.
    ///
    /// # Errors
    /// The engine refuses, fails or is too slow. Then nothing of the instance is left.
    fn start(&mut self, order: &Order<'_>, log: &mut PhaseLog)
    -> Result<Box<dyn Running>, Failure>;
}

/// An instance that was started, until nothing of it is left. [`Running::remove`] is always called;
/// dropping it must end what still runs.
pub trait Running {
    /// What is to be waited for. Asked anew before each wait.
    fn sources(&self) -> Sources<'_>;

    /// Reads bytes that the payload wrote, now that something can be read; 0 is their end, after which
    /// [`Sources::output`] must be `None`. Never waits.
    ///
    /// # Errors
    /// The stream cannot be read. [`io::ErrorKind::WouldBlock`]: what has come is none of the payload's
    /// bytes, or half of what the engine wraps them in.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes in what the engine itself has printed.
    fn listen(&mut self) {}

    /// One of [`Sources::ends`] is readable: whether that was the end of the payload.
    ///
    /// # Errors
    /// It was the end of something else that should not have ended so.
    fn ended(&mut self) -> Result<bool, Failure>;

    /// The request to a payload that was started with [`Order::hold`]: the end of its input.
    ///
    /// # Errors
    /// The engine cannot be told.
    fn wake(&mut self) -> Result<(), Failure>;

    /// How the payload ended, now that it has.
    ///
    /// # Errors
    /// The engine does not say.
    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure>;

    /// Removes the instance; a payload or engine that still runs is ended by force. Called again after
    /// a failure, it tries again what failed. Heeds no interrupt.
    ///
    /// # Errors
    /// What is left, or what the engine says.
    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure>;

    /// The processes of the instance: the payload, where the host has it as a process, and what the
    /// engine keeps running beside it (a shim, a monitor, a VMM). Their memory is the instance's.
    ///
    /// # Errors
    /// The engine does not say.
    fn processes(&self) -> Result<Vec<u32>, Failure>;

    /// What its own control group is charged with.
    fn group(&self) -> Option<GroupAccounts> {
        None
    }

    /// Bytes of memory that a guest was given.
    fn guest_memory(&self) -> Option<Bytes> {
        None
    }

    /// How the payload's counter is mapped to the host's.
    fn clock(&self) -> ClockMap {
        ClockMap::SAME
    }

    /// A failure of the engine, with what it printed last.
    fn failure(&mut self, how: EngineEnd) -> EngineFailure;

    /// Moves descriptors out of the way of the next launch: the instance waits from now on.
    fn set_apart(&mut self) {}
}

/// What a running instance is waited for by. Each is readable when something has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// Bytes of the payload.
    pub output: Option<BorrowedFd<'a>>,
    /// What the engine prints.
    pub noise: Option<BorrowedFd<'a>>,
    /// Ends: of the payload, of a command in front of it.
    pub ends: [Option<BorrowedFd<'a>>; 2],
}

/// What an engine is, beside the numbers in `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineFacts {
    /// Its program.
    pub program: String,
    /// What it says its version is, in one line.
    pub version: String,
    /// In what an instance differs from one of `container`.
    pub differences: Vec<String>,
}

/// A daemon that runs whether or not there is an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DaemonFacts {
    /// `containerd` or `dockerd`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Proportional set size of its process, when the run ended (proc_pid_smaps(5)), in bytes; absent
    /// where its process is not known.
    pub memory: Option<Bytes>,
}

/// Makes an engine ready.
///
/// # Errors
/// It is not there, or cannot run here; what would change that.
pub fn open(
    kind: &EngineKind,
    provided: &Provided,
    services: &mut Services,
) -> Result<Engined, Unavailable> {
    let engine: Box<dyn Engine> = match kind {
        EngineKind::Oci(runtime, lifecycle) => {
            Box::new(oci::Oci::open(*runtime, *lifecycle, provided, services)?)
        }
        #[cfg(feature = "engines")]
        EngineKind::Containerd => Box::new(containerd::Containerd::open(provided, services)?),
        #[cfg(feature = "engines")]
        EngineKind::Cri => Box::new(cri::Cri::open(provided, services)?),
        #[cfg(not(feature = "engines"))]
        EngineKind::Containerd | EngineKind::Cri => {
            return Err(Unavailable {
                reason: format!("this isobench was built without {kind}"),
                remedy: "cargo build --release --features engines".to_owned(),
            });
        }
        EngineKind::Dockerd(network) => Box::new(docker::Api::open(*network, provided, services)?),
        EngineKind::Docker(network) => {
            Box::new(docker::Client::open(*network, provided, services)?)
        }
        EngineKind::Bwrap => Box::new(bwrap::Bwrap::open(services)?),
        EngineKind::Podman => Box::new(podman::Podman::open(services)?),
        EngineKind::Nspawn => Box::new(nspawn::Nspawn::open(services)?),
        EngineKind::Qemu(machine) => Box::new(qemu::Qemu::open(*machine, provided, services)?),
        EngineKind::Own(name) => Box::new(own::Own::open(name, &provided.own, services)?),
        EngineKind::Firecracker => Box::new(firecracker::Firecracker::open(provided, services)?),
        EngineKind::CloudHypervisor => {
            Box::new(cloud_hypervisor::CloudHypervisor::open(provided, services)?)
        }
    };
    Engined::new(engine, services)
}

/// What helps against a failure that is known.
fn remedy(failure: &Failure) -> Option<&'static str> {
    let said = failure.to_string();
    let known = [
        (
            // crun wants every controller of such a host in version 1, also the one nobody mounted.
            "hybrid mode",
            // A folder of that name without the hierarchy would be worse than none.
            "mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb cgroup \
             /sys/fs/cgroup/hugetlb || rmdir /sys/fs/cgroup/hugetlb",
        ),
        (
            "newuidmap",
            "apt install uidmap, and a line for this user in /etc/subuid and /etc/subgid",
        ),
        (
            "cannot find UID/GID",
            "a line for this user in /etc/subuid and /etc/subgid",
        ),
        (
            "setting up uid map",
            "sysctl -w kernel.unprivileged_userns_clone=1, or run as root",
        ),
        ("cannot resolve", "set HOME to a directory that exists"),
        ("Operation not permitted", "run as root"),
        ("permission denied", "run as root"),
    ];
    let found = known.into_iter().find(|(words, _)| said.contains(words));
    found.map(|(_, remedy)| remedy)
}
