//! Backend `container`: the payload as PID 1 of its own namespaces, launched without an engine.
//!
//! ```text
//!   harness                                     container
//!   ───────                                     ─────────
//!   cgroup_create, pipe, clone3 ──────────────► user*, pid, net, ipc, mnt, uts namespaces
//!                                               cgroup, then its namespace
//!                                               root: /payload /proc /dev, read-only; old root gone
//!                                               lo up, no capabilities, uid 65532, seccomp
//!   poll pipe and pidfd ◄────── frames ──────── execve /payload
//!   wait, cgroup_remove
//! ```
//! (* only where the harness is not root)
//!
//! The kernel tears a network namespace down on a worker thread, after the last process is reaped
//! and unseen by user space (`cleanup_net` in `net/core/net_namespace.c`): `t5` does not wait for
//! it. Mounts, in contrast, go in the exit of the payload itself, before `t4`.

pub(super) mod availability;
pub(super) mod cgroup;
pub(super) mod confine;
pub mod mechanism;
pub(super) mod network;
pub mod options;
pub(super) mod parts;
pub(super) mod prepared;
pub(super) mod rootfs;
pub(super) mod setup;

use crate::backend::child::{Child, Deadline};
use crate::backend::group::Throttling;
use crate::backend::guardian;
use crate::backend::launcher::{self, Launcher, probe};
use crate::backend::{Backend, Footprint, Instance, Limitation, Unavailable, trace};
use crate::exits::Crossings;
use crate::metric::Bytes;
use crate::sys::clock;
use crate::sys::program::{Arguments, Grants};
use crate::sys::spawn::Place;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::workload::{Task, Workload, payload};

pub use parts::is_privileged;
pub use setup::PAYLOAD_ID;

use cgroup::{Controller, Groups, Leaf, Limits};
use mechanism::{Mechanism, Mechanisms};
use network::bridge::Lease;
use options::Options;
use parts::Parts;
use setup::Setup;

/// Memory a container may take beyond what its task works on.
const MEMORY_RESERVE: u64 = 64 << 20;

/// The payload in a container. To be used from the thread that made it or one that lives as long
/// as its instances: they die with the thread that launched them (PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Container {
    launcher: Launcher,
    parts: Parts,
    groups: Option<Groups>,
    limitations: Vec<Limitation>,
}

impl Container {
    /// Prepares the embedded payload, launches it once and checks that it came out as confined as it
    /// was asked to be.
    ///
    /// A container of the default mechanisms runs without its control group where none can be had,
    /// and says so ([`Backend::limitations`]); any other is what was asked for or is refused.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn new(options: Options) -> Result<Self, Unavailable> {
        let mut container = Self::with_payload(options, payload::BYTES)?;
        let mut first = container.first_launch();
        if let Err(failure @ Failure::Setup { phase, .. }) = &first
            && container.groups.is_some()
            && options.mechanisms() == Mechanisms::DEFAULT
            && matches!(*phase, "cgroup_create" | "clone3" | "cgroup_join")
        {
            let limitation = availability::no_cgroup(failure.to_string());
            container.give_up_cgroup(limitation)?;
            first = container.first_launch();
        }
        match first {
            Ok(()) => Ok(container),
            Err(failure) => Err(availability::explain(
                &failure,
                container.parts.setup.identity,
            )),
        }
    }

    /// Prepares another ELF file, not launched.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_payload(options: Options, bytes: &[u8]) -> Result<Self, Unavailable> {
        let mut limitations = Vec::new();
        let parts = Parts::of(options, bytes, &mut limitations)?;
        let mut missing = None;
        let mut groups = None;
        if parts.setup.mechanisms.has(Mechanism::Cgroup) {
            match find_groups(parts.setup.mechanisms, &mut limitations) {
                Ok(found) => groups = Some(found),
                Err(reason) => missing = Some(availability::no_cgroup(reason)),
            }
        }
        let mut container = Self {
            launcher: launcher(&parts.setup)?,
            parts,
            groups,
            limitations,
        };
        match missing {
            Some(limitation) if options.mechanisms() == Mechanisms::DEFAULT => {
                container.give_up_cgroup(limitation)?;
            }
            Some(limitation) => return Err(limitation.into()),
            None => {}
        }
        Ok(container)
    }

    fn first_launch(&mut self) -> Result<(), Failure> {
        let mut launch = probe();
        launch.task.workload = Workload::Idle;
        let arguments = Arguments::new(&launch.task.argv());
        let deadline = Deadline::after(launch.deadline);
        let (mut belongings, mut child) =
            self.start(&launch, &arguments, true, &mut PhaseLog::new())?;
        child.until_waiting(deadline, launch.task.heap_bytes())?;
        confine::verify(child.pid(), self.parts.setup.mechanisms)
            .map_err(|why| Failure::setup("verify", std::io::Error::other(why)))?;
        child.finish_held(launch.deadline)?;
        belongings
            .remove()
            .map_err(|e| Failure::Leftover(e.to_string()))
    }

    fn give_up_cgroup(&mut self, limitation: Limitation) -> Result<(), Unavailable> {
        let setup = &mut self.parts.setup;
        setup.mechanisms = setup.mechanisms.without(Mechanism::Cgroup);
        self.launcher = launcher(setup)?;
        self.groups = None;
        self.limitations.push(limitation);
        Ok(())
    }

    fn start(
        &mut self,
        launch: &Launch,
        arguments: &Arguments,
        hold: bool,
        log: &mut PhaseLog,
    ) -> Result<(Belongings, Child), Failure> {
        let mut belongings = Belongings::default();
        if let Some(groups) = &self.groups {
            let limits = Limits::with_memory(memory_limit(&launch.task));
            let made = log.time("cgroup_create", || groups.create(limits));
            belongings.leaf = Some(made.map_err(|e| Failure::setup("cgroup_create", e))?);
        }
        if let Some(network) = &self.parts.network {
            let lease = network.lease();
            belongings.lease = Some(lease.map_err(|e| Failure::setup("veth_create", e))?);
        }
        let place = Place {
            namespaces: setup::namespaces(self.parts.setup.mechanisms),
            cgroup: belongings.leaf.as_ref().and_then(Leaf::birthplace),
            small_table: hold,
        };
        let lease = self.parts.network.as_ref().zip(belongings.lease.as_ref());
        let grants = Grants {
            cgroups: belongings.leaf.as_ref().map_or([None; 3], Leaf::tasks),
            network: lease.map(|(network, lease)| network.of(lease)),
            ..Grants::default()
        };
        let started = self.launcher.start(arguments, place, grants, hold, log);
        if let (Err(_), Some(network)) = (&started, &mut self.parts.network) {
            network.forget_answers();
        }
        started.map(|child| (belongings, child))
    }
}

/// What an instance has on the host beside its process.
#[derive(Debug, Default)]
struct Belongings {
    leaf: Option<Leaf>,
    lease: Option<Lease>,
}

impl Belongings {
    /// What the limit on processor time has done.
    fn throttling(&self) -> Option<Throttling> {
        self.leaf.as_ref().and_then(Leaf::throttling)
    }

    /// Removes the group; its process has been reaped.
    fn remove(&mut self) -> std::io::Result<()> {
        self.lease = None;
        self.leaf.take().map_or(Ok(()), Leaf::remove)
    }
}

impl Backend for Container {
    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        let mut log = PhaseLog::new();
        let mut teardown = PhaseLog::new();
        let deadline = Deadline::after(launch.deadline);
        let t0 = clock::now();
        let (mut belongings, mut child) = self.start(launch, &arguments, false, &mut log)?;
        let t4 = child.until_exit(deadline)?;
        let exit = teardown.time("wait", || child.reap())?;
        // Only now, and only where there is a limit to be reached: a reading costs a trial its time.
        let throttling = self
            .parts
            .setup
            .mechanisms
            .has(Mechanism::Cpu)
            .then(|| teardown.time("cgroup_read", || belongings.throttling()))
            .flatten();
        let removed = teardown.time("cgroup_remove", || belongings.remove());
        teardown.time("close", || child.close());
        let t5 = clock::now();
        answers.append(&mut child.take_answers());
        child.verdict(exit)?;
        removed.map_err(|e| Failure::Leftover(e.to_string()))?;
        Ok(Observation {
            throttled: throttling.map(|t| t.time),
            ..child.observation(t0, t4, t5, log, &teardown)?
        })
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        self.launcher.trace(true);
        let started = self.start(launch, &arguments, false, &mut PhaseLog::new());
        self.launcher.trace(false);
        let (mut belongings, mut child) = started?;
        let counted = trace::calls(&mut child, launch);
        drop(child);
        let removed = belongings.remove();
        removed.map_err(|e| Failure::Leftover(e.to_string()))?;
        counted.map(Some)
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        let deadline = Deadline::after(launch.deadline);
        let (mut belongings, mut child) =
            self.start(launch, &arguments, true, &mut PhaseLog::new())?;
        child.until_waiting(deadline, launch.task.heap_bytes())?;
        child.set_apart();
        if let Some(leaf) = &mut belongings.leaf {
            leaf.entered();
        }
        Ok(Box::new(Held {
            child,
            belongings,
            launch: launch.clone(),
        }))
    }
}

/// Fields are dropped in this order: a group can only be removed once its process is reaped.
struct Held {
    child: Child,
    belongings: Belongings,
    launch: Launch,
}

impl Instance for Held {
    fn footprint(&self) -> Result<Footprint, Failure> {
        let mut footprint = self.child.footprint()?;
        footprint.group = self.belongings.leaf.as_ref().map(Leaf::accounts);
        Ok(footprint)
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = self.child.finish_held(self.launch.deadline);
        let removed = self.belongings.remove();
        ended.and(removed.map_err(|e| Failure::Leftover(e.to_string())))
    }
}

fn launcher(setup: &Setup) -> Result<Launcher, Unavailable> {
    // With a root of its own the container has a copy of the payload there.
    let image = (!setup.mechanisms.has(Mechanism::Rootfs))
        .then(|| launcher::image(&setup.payload))
        .transpose()?;
    Launcher::new(setup::compose(setup)?, image)
}

/// A place for control groups. The guardian knows it before anything is made there; that there is
/// none is a limitation.
pub(super) fn find_groups(
    mechanisms: Mechanisms,
    limitations: &mut Vec<Limitation>,
) -> Result<Groups, String> {
    let mut controllers = vec![Controller::Memory, Controller::Pids];
    if mechanisms.has(Mechanism::Cpu) {
        controllers.push(Controller::Cpu);
    }
    let groups = Groups::find(&controllers)?;
    for place in groups.places() {
        guard(&place, limitations);
    }
    groups.probe()?;
    Ok(groups)
}

/// To be called before anything is made at a place: the guardian shall know it. That there is none is
/// said once.
fn guard(place: &isobench_guardian::Place, limitations: &mut Vec<Limitation>) {
    if let Err(limitation) = guardian::watch(place)
        && !limitations.contains(&limitation)
    {
        limitations.push(limitation);
    }
}

/// What the task works on and the reserve.
pub(super) fn memory_limit(task: &Task) -> Bytes {
    // A size out of range is refused by the payload before it asks for memory.
    let heap = if task.workload.limits().allow_size(task.size) {
        task.workload.heap_bytes(task.size)
    } else {
        0
    };
    let limit = heap.saturating_add(MEMORY_RESERVE);
    Bytes(i64::try_from(limit).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
