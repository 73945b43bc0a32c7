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

mod availability;
mod cgroup;
mod confine;
pub mod mechanism;
pub mod options;
mod setup;

use std::sync::Arc;

use crate::backend::child::{Child, Deadline};
use crate::backend::guardian;
use crate::backend::launcher::{self, Launcher, probe};
use crate::backend::{Backend, Footprint, Instance, Limitation, Unavailable, trace};
use crate::exits::Crossings;
use crate::metric::Bytes;
use crate::sys::clock;
use crate::sys::program::Arguments;
use crate::sys::spawn::Place;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::workload::{Task, Workload, payload};

pub use setup::PAYLOAD_ID;

use cgroup::{Groups, Leaf};
use mechanism::{Mechanism, Mechanisms};
use options::Options;
use setup::{Devices, Identity, Setup};

/// Memory a container may take beyond what its task works on.
const MEMORY_RESERVE: u64 = 64 << 20;

/// The payload in a container. To be used from the thread that made it or one that lives as long
/// as its instances: they die with the thread that launched them (PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Container {
    launcher: Launcher,
    setup: Setup,
    groups: Option<Groups>,
    limitations: Vec<Limitation>,
}

impl Container {
    /// Prepares the embedded payload, launches it once and checks that it came out as confined as it
    /// was asked to be.
    ///
    /// The default container runs without its control group where none can be had, and says so
    /// ([`Backend::limitations`]); any other is what was asked for or is refused.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn new(options: Options) -> Result<Self, Unavailable> {
        let mut container = Self::with_payload(options, payload::BYTES)?;
        let mut first = container.first_launch();
        if let Err(failure @ Failure::Setup { phase, .. }) = &first
            && container.groups.is_some()
            && options == Options::default()
            && matches!(*phase, "cgroup_create" | "clone3" | "cgroup_join")
        {
            let limitation = availability::no_cgroup(failure.to_string());
            container.give_up_cgroup(limitation)?;
            first = container.first_launch();
        }
        match first {
            Ok(()) => Ok(container),
            Err(failure) => Err(availability::explain(&failure, container.setup.identity)),
        }
    }

    /// Prepares another ELF file, not launched.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_payload(options: Options, bytes: &[u8]) -> Result<Self, Unavailable> {
        let setup = setup_of(options.mechanisms, bytes);
        let mut limitations = Vec::new();
        let mut missing = None;
        let mut groups = None;
        if setup.mechanisms.has(Mechanism::Cgroup) {
            match find_groups(&mut limitations) {
                Ok(found) => groups = Some(found),
                Err(reason) => missing = Some(availability::no_cgroup(reason)),
            }
        }
        let mut container = Self {
            launcher: launcher(&setup)?,
            setup,
            groups,
            limitations,
        };
        match missing {
            Some(limitation) if options == Options::default() => {
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
        let (leaf, mut child) = self.start(&launch, &arguments, true, &mut PhaseLog::new())?;
        child.until_waiting(deadline, launch.task.heap_bytes())?;
        confine::verify(child.pid(), self.setup.mechanisms)
            .map_err(|why| Failure::setup("verify", std::io::Error::other(why)))?;
        child.finish_held(launch.deadline)?;
        leaf.map_or(Ok(()), Leaf::remove)
            .map_err(|e| Failure::Leftover(e.to_string()))
    }

    fn give_up_cgroup(&mut self, limitation: Limitation) -> Result<(), Unavailable> {
        self.setup.mechanisms = self.setup.mechanisms.without(Mechanism::Cgroup);
        self.launcher = launcher(&self.setup)?;
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
    ) -> Result<(Option<Leaf>, Child), Failure> {
        let leaf = match &self.groups {
            None => None,
            Some(groups) => {
                let limit = memory_limit(&launch.task);
                let made = log.time("cgroup_create", || groups.create(limit));
                Some(made.map_err(|e| Failure::setup("cgroup_create", e))?)
            }
        };
        let place = Place {
            namespaces: setup::namespaces(self.setup.mechanisms),
            cgroup: leaf.as_ref().and_then(Leaf::birthplace),
            small_table: hold,
        };
        let tasks = leaf.as_ref().map_or([None; 2], Leaf::tasks);
        let child = self.launcher.start(arguments, place, tasks, hold, log)?;
        Ok((leaf, child))
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
        let (leaf, mut child) = self.start(launch, &arguments, false, &mut log)?;
        let t4 = child.until_exit(deadline)?;
        let exit = teardown.time("wait", || child.reap())?;
        let removed = teardown.time("cgroup_remove", || leaf.map_or(Ok(()), Leaf::remove));
        teardown.time("close", || child.close());
        let t5 = clock::now();
        answers.append(&mut child.take_answers());
        child.verdict(exit)?;
        removed.map_err(|e| Failure::Leftover(e.to_string()))?;
        child.observation(t0, t4, t5, log, &teardown)
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        self.launcher.trace(true);
        let started = self.start(launch, &arguments, false, &mut PhaseLog::new());
        self.launcher.trace(false);
        let (leaf, mut child) = started?;
        let counted = trace::calls(&mut child, launch);
        drop(child);
        let removed = leaf.map_or(Ok(()), Leaf::remove);
        removed.map_err(|e| Failure::Leftover(e.to_string()))?;
        counted.map(Some)
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        let deadline = Deadline::after(launch.deadline);
        let (mut leaf, mut child) = self.start(launch, &arguments, true, &mut PhaseLog::new())?;
        child.until_waiting(deadline, launch.task.heap_bytes())?;
        child.set_apart();
        if let Some(leaf) = &mut leaf {
            leaf.entered();
        }
        Ok(Box::new(Held {
            child,
            leaf,
            launch: launch.clone(),
        }))
    }
}

/// Fields are dropped in this order: a group can only be removed once its process is reaped.
struct Held {
    child: Child,
    leaf: Option<Leaf>,
    launch: Launch,
}

impl Instance for Held {
    fn footprint(&self) -> Result<Footprint, Failure> {
        let mut footprint = self.child.footprint()?;
        if let Some(group) = self.leaf.as_ref().and_then(Leaf::memory) {
            footprint.cgroup_usage = group.usage();
            footprint.cgroup_kernel = group.kernel().map(|charge| charge.kernel);
        }
        Ok(footprint)
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = self.child.finish_held(self.launch.deadline);
        let removed = self.leaf.take().map_or(Ok(()), Leaf::remove);
        ended.and(removed.map_err(|e| Failure::Leftover(e.to_string())))
    }
}

/// What this harness does to make a container of these mechanisms.
fn setup_of(wanted: Mechanisms, bytes: &[u8]) -> Setup {
    let privileged = is_privileged();
    // Whatever changes more than the process itself needs capabilities, and a user namespace is
    // where everybody has them. Joining a control group and filtering calls need none.
    let plain = Mechanisms::of([Mechanism::Cgroup, Mechanism::Seccomp]);
    let mechanisms = if !privileged && wanted.iter().any(|m| !plain.has(m)) {
        wanted.with(Mechanism::User)
    } else {
        wanted
    };
    let identity = if mechanisms.has(Mechanism::User) {
        Identity::Mapped {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        }
    } else if mechanisms.has(Mechanism::Capabilities) {
        Identity::Dropped
    } else {
        Identity::Kept
    };
    Setup {
        mechanisms,
        identity,
        // mknod(2) of a device is allowed only outside user namespaces.
        devices: match identity {
            Identity::Mapped { .. } => Devices::Bound,
            Identity::Kept | Identity::Dropped => Devices::Made,
        },
        payload: Arc::from(bytes),
    }
}

/// Root without CAP_SYS_ADMIN, or in a user namespace with few ids, is an ordinary user here.
#[must_use]
pub fn is_privileged() -> bool {
    let admin = caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_ADMIN,
    );
    let whole = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    nix::unistd::geteuid().is_root() && whole && admin.unwrap_or(false)
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
fn find_groups(limitations: &mut Vec<Limitation>) -> Result<Groups, String> {
    let groups = Groups::find()?;
    for place in groups.places() {
        if let Err(limitation) = guardian::watch(&place)
            && limitations.is_empty()
        {
            limitations.push(limitation);
        }
    }
    groups.probe()?;
    Ok(groups)
}

/// What the task works on and the reserve.
fn memory_limit(task: &Task) -> Bytes {
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
mod tests {
    use super::*;
    use crate::sys::program::{Op, Program};

    /// Tests that count what is left must not run beside others that make groups.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// Every step of the set-up is made to fail once: the failure names its phase and errno, and
    /// neither the child nor its group stays.
    #[test]
    fn a_failure_at_any_step_is_rolled_back() {
        let _alone = ALONE.lock();
        let mut container = match Container::new(Options::default()) {
            Ok(container) => container,
            Err(why) => {
                println!("a_failure_at_any_step_is_rolled_back: not run: {why}");
                return;
            }
        };
        let whole = setup::compose(&container.setup).unwrap();
        let before = leaves(&container);
        for fails in 0..whole.steps().len() {
            let mut program = Program::new();
            for (at, step) in whole.steps().iter().enumerate() {
                if at == fails {
                    program.push("injected", Op::Chdir(c"/nowhere".into()));
                }
                program.push(step.phase, step.op.clone());
            }
            container.launcher = Launcher::new(program, None).unwrap();
            let failure = container.trial(&probe()).unwrap_err();
            let Failure::Setup { phase, cause } = failure else {
                panic!("{failure}");
            };
            assert_eq!(phase, "injected");
            // Behind the seccomp filter the call is not refused but ends the child.
            let last = fails + 1 == whole.steps().len();
            let errno = (!last).then_some(libc::ENOENT);
            assert_eq!(cause.raw_os_error(), errno, "{cause}");
        }
        assert_eq!(leaves(&container), before);
    }

    /// On version 2 the child is born into its group, and is the only one there.
    #[test]
    fn a_v2_group_is_entered_by_birth() {
        let _alone = ALONE.lock();
        let (Ok(mut container), Some(groups)) = (
            Container::new(Options::default()),
            Groups::v2_without_limits(),
        ) else {
            println!("a_v2_group_is_entered_by_birth: not run: no container or no v2 group here");
            return;
        };
        container.groups = Some(groups);
        container.setup.mechanisms = Mechanisms::DEFAULT;
        container.launcher = launcher(&container.setup).unwrap();
        let mut launch = probe();
        launch.task.workload = Workload::Idle;
        let arguments = Arguments::new(&launch.task.argv());
        let (leaf, mut child) = container
            .start(&launch, &arguments, true, &mut PhaseLog::new())
            .unwrap();
        child
            .until_waiting(Deadline::after(launch.deadline), 0)
            .unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).unwrap();
        let v2 = groups.lines().find(|line| line.starts_with("0::")).unwrap();
        let own = format!("isobench-{}-", std::process::id());
        assert!(v2.contains(&own), "{groups}");
        child.finish_held(launch.deadline).unwrap();
        leaf.unwrap().remove().unwrap();
        assert_eq!(leaves(&container), 0);
    }

    /// A working directory left on the host's root, which nothing can reach any more, ends the
    /// launch (CVE-2024-21626). Without the check nobody would notice.
    #[test]
    fn a_working_directory_outside_the_root_is_refused() {
        let _alone = ALONE.lock();
        let mut container = match Container::new(Options::default()) {
            Ok(container) => container,
            Err(why) => {
                println!("skipped: a_working_directory_outside_the_root_is_refused: {why}");
                return;
            }
        };
        let whole = setup::compose(&container.setup).unwrap();
        let is_return = |op: &Op| matches!(op, Op::Chdir(path) if **path == *c"/");
        let mut astray = |checked: bool| {
            let mut program = Program::new();
            for step in whole.steps() {
                match &step.op {
                    // After pivot_root the old root lies above the new one.
                    Op::UnmountOldRoot => {
                        program.push("astray", Op::Chdir(c"..".into()));
                        program.push(step.phase, step.op.clone());
                    }
                    op if is_return(op) => {}
                    Op::AtRoot if !checked => {}
                    op => program.push(step.phase, op.clone()),
                }
            }
            container.launcher = Launcher::new(program, None).unwrap();
            container.trial(&probe())
        };
        let failure = astray(true).unwrap_err();
        assert_eq!(failure.errno(), Some(libc::ENOTDIR), "{failure}");
        assert!(failure.to_string().starts_with("working_directory: "));
        let unchecked = astray(false);
        unchecked.unwrap();
    }

    fn leaves(container: &Container) -> usize {
        let own = format!("isobench-{}-", std::process::id());
        let names = container.groups.iter().flat_map(Groups::entries);
        names.filter(|name| name.starts_with(&own)).count()
    }
}
