//! Backend `microvm:jailed`: the VMM as it would be deployed, alone in a process of its own that can
//! reach nothing but the VM.
//!
//! ```text
//!   harness                                     VMM
//!   ───────                                     ───
//!   cgroup_create, open /dev/kvm, pipes, clone3► user*, pid, net, ipc, mnt, uts namespaces
//!                                               its control group, then that namespace
//!                                               execve of this very program, which becomes a VMM
//!   order (stdin) ────────────────────────────► empty root, old root gone, no capabilities, uid 65532
//!                                               the VM, made as `microvm` makes it
//!                                               seccomp: KVM_RUN and little else
//!   poll pipe and pidfd ◄─ messages (stdout) ── KVM_RUN …
//!   t4: end of stdout ◄──────────────────────── the payload has ended
//!   reap, report (stderr) ◄──────────────────── the VM taken down, exit
//!   cgroup_remove
//! ```
//! (* only where the harness is not root)
//!
//! It confines itself behind its exec and not before: the root it ends up in is empty, so it must have
//! been loaded before, with its libraries. Until then it is this program's own code, and nothing of a
//! guest exists. A VM belongs to the memory it was made from (`kvm->mm`), so every ioctl comes behind
//! the exec; `/dev/kvm` alone is handed over open. The harness judges every message of the payload
//! itself, as of any other backend, and of the VMM's report nothing but times, counts and failures.
//!
//! Its control group limits memory and tasks as a container's does: all that the VMM and KVM allocate
//! for the guest is charged to it. Where no group can be had it runs without, and says so.

mod filter;
mod inside;
mod order;
mod report;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seccompiler::BpfProgram;

use super::child::{Child, Deadline};
use super::container::cgroup::{Groups, Leaf, Limits};
use super::container::mechanism::{Mechanism, Mechanisms};
use super::container::setup::{Setup, compose_vmm, namespaces};
use super::container::{availability, confine, find_groups, memory_limit, parts};
use super::launcher::{Launcher, probe, refusal};
use super::microvm::MicroVm;
use super::{Backend, Footprint, Instance, Limitation, Unavailable};
use crate::exits::Crossings;
use crate::metric::Bytes;
use crate::sys::clock;
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::sys::program::Arguments;
use crate::sys::spawn::Place;
use crate::transcript::Answer;
use crate::trial::{Failure, Instants, Launch, Observation, Phase, PhaseLog};
use crate::vmm::machine::Start;
use crate::workload::Workload;

use order::Order;
use report::Report;

/// `argv[0]` of a VMM process.
const NAME: &str = "isobench-vmm";
/// What a VMM is confined by; for an ordinary user also by the user namespace that this takes.
const MECHANISMS: [Mechanism; 10] = [
    Mechanism::Pid,
    Mechanism::Net,
    Mechanism::Ipc,
    Mechanism::Mnt,
    Mechanism::Uts,
    Mechanism::Cgroup,
    Mechanism::CgroupNs,
    Mechanism::Rootfs,
    Mechanism::Capabilities,
    Mechanism::Seccomp,
];
/// The VMM ends a payload at its deadline; this much later the harness ends the VMM.
const GRACE: Duration = Duration::from_millis(250);

/// Whether this program hands over to [`entry`] when it is started as a VMM.
static HAS_ENTRY: AtomicBool = AtomicBool::new(false);

/// To be called first in `main` of a program that uses this backend: a process that was started as a
/// VMM becomes one here and never returns.
pub fn entry() {
    HAS_ENTRY.store(true, Ordering::Relaxed);
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        inside::serve();
    }
}

/// The backend. To be used from the thread that made it or one that lives as long as its instances.
#[derive(Debug)]
pub struct Jailed {
    vm: MicroVm,
    setup: Setup,
    launcher: Launcher,
    /// The VMM's executable, once more, in case the launcher must be another.
    image: OwnedFd,
    groups: Option<Groups>,
    limitations: Vec<Limitation>,
    /// For a trial, and for a launch that counts.
    filters: [BpfProgram; 2],
}

impl Jailed {
    /// Prepares a VMM process of this program's own executable, starts one and checks that it came out
    /// as confined as it was asked to be.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn of(vm: MicroVm) -> Result<Self, Unavailable> {
        if !HAS_ENTRY.load(Ordering::Relaxed) {
            return Err(Unavailable {
                reason: "this program has no entry for a VMM process".to_owned(),
                remedy: "use the isobench command, or call backend::jailed::entry() first in main"
                    .to_owned(),
            });
        }
        Self::with_executable(vm, Path::new("/proc/self/exe"))?.checked()
    }

    /// As [`Self::of`], by an executable that calls [`entry`]; not started.
    ///
    /// # Errors
    /// As there.
    pub fn with_executable(vm: MicroVm, path: &Path) -> Result<Self, Unavailable> {
        let image = File::open(path).map_err(|e| refusal("the VMM's executable", &e))?;
        let setup = parts::of_vmm(Mechanisms::of(MECHANISMS));
        let mut limitations = Vec::new();
        let groups = find_groups(setup.mechanisms, &mut limitations);
        let image = OwnedFd::from(image);
        let mut made = Self {
            vm,
            launcher: launcher(&setup, &image)?,
            image,
            setup,
            groups: None,
            limitations,
            filters: [filter::compile(false)?, filter::compile(true)?],
        };
        match groups {
            Ok(groups) => made.groups = Some(groups),
            Err(reason) => made.give_up_cgroup(availability::no_cgroup(reason))?,
        }
        Ok(made)
    }

    fn give_up_cgroup(&mut self, limitation: Limitation) -> Result<(), Unavailable> {
        self.setup.mechanisms = self.setup.mechanisms.without(Mechanism::Cgroup);
        self.launcher = launcher(&self.setup, &self.image)?;
        self.groups = None;
        self.limitations.push(limitation);
        Ok(())
    }

    /// Starts one, and checks that it is confined.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn checked(mut self) -> Result<Self, Unavailable> {
        let mut first = self.first_launch();
        if let Err(failure @ Failure::Setup { phase, .. }) = &first
            && self.groups.is_some()
            && matches!(*phase, "cgroup_create" | "clone3" | "cgroup_join")
        {
            self.give_up_cgroup(availability::no_cgroup(failure.to_string()))?;
            first = self.first_launch();
        }
        match first {
            Ok(()) => Ok(self),
            Err(failure) => Err(availability::explain(&failure, self.setup.identity)),
        }
    }

    fn first_launch(&mut self) -> Result<(), Failure> {
        let mut launch = probe();
        launch.task.workload = Workload::Idle;
        let start = self.vm.plan(&launch)?;
        let mut running = self.start(&launch, &start, true, &mut PhaseLog::new())?;
        running.until_waiting(&launch)?;
        confine::verify(running.child.pid(), self.setup.mechanisms)
            .map_err(|why| Failure::setup("verify", io::Error::other(why)))?;
        running.finish_held(launch.deadline)
    }

    fn start(
        &mut self,
        launch: &Launch,
        start: &Start,
        hold: bool,
        log: &mut PhaseLog,
    ) -> Result<Running, Failure> {
        let leaf = self.groups.as_ref().map(|groups| {
            let limits = Limits::with_memory(memory_limit(&launch.task));
            log.time("cgroup_create", || groups.create(limits))
        });
        let leaf = leaf.transpose();
        let leaf = leaf.map_err(|cause| Failure::setup("cgroup_create", cause))?;
        let kvm = log.step("open_kvm", open_kvm)?;
        let (report, child_report) = log.step("pipe", fd::pipe)?;
        let order = Order {
            kvm: kvm.as_fd(),
            template: self.vm.template.file(),
            harness: self.launcher.harness(),
            template_len: self.vm.template.len(),
            deadline: launch.deadline,
            identity: self.setup.identity,
            mechanisms: self.setup.mechanisms,
            last_capability: self.setup.last_capability,
            tsc_offset: self.vm.tsc_offset,
            cpu: &self.vm.cpu,
            start,
            filter: &self.filters[usize::from(start.note_exits)],
        }
        .encode();
        let place = Place {
            namespaces: namespaces(self.setup.mechanisms),
            cgroup: leaf.as_ref().and_then(Leaf::birthplace),
            small_table: hold,
        };
        let passed = [Some(kvm.as_fd()), Some(self.vm.template.file())];
        let child = self.launcher.start_service(
            // The harness's id is for whoever reads a list of processes.
            &Arguments::new(&[NAME, &std::process::id().to_string()]),
            place,
            (child_report.as_fd(), passed),
            leaf.as_ref().map_or([None; 3], Leaf::tasks),
            log,
        )?;
        // The VMM's is the only one left: its end is the report's.
        drop(child_report);
        let mut running = Running {
            child,
            report,
            leaf,
        };
        if let Err(failure) = running.child.tell(&order) {
            return Err(running.failed(failure));
        }
        if !hold {
            running.child.wake();
        }
        Ok(running)
    }

    /// A whole life.
    fn live(
        &mut self,
        launch: &Launch,
        start: &Start,
        answers: &mut Vec<Answer>,
    ) -> Result<(Observation, Report), Failure> {
        let mut log = PhaseLog::new();
        let mut teardown = PhaseLog::new();
        let deadline = Deadline::after(launch.deadline.saturating_add(GRACE));
        let t0 = clock::now();
        let mut running = self.start(launch, start, false, &mut log)?;
        let ended = running.until_exit(deadline)?;
        let exit = teardown.time("wait", || running.child.reap())?;
        let report = teardown.time("read_report", || running.read_report());
        let removed = teardown.time("cgroup_remove", || running.remove_group());
        teardown.time("close", || running.child.close());
        let t5 = clock::now();
        answers.append(&mut running.child.take_answers());
        let report = running.judge(exit, report)?;
        removed?;
        // What the payload's end is to the harness: the VMM hangs up.
        let t4 = running.child.hung_up().unwrap_or(ended);
        let (ready, t2, said) = running.child.heard()?;
        let within = [t0, t5];
        let [entered, finished] = report.lifetime(within)?;
        let map = report.clock(within)?;
        let instants = Instants {
            t0,
            t1: map.host(ready.first_instruction),
            t2,
            t3: map.host(said.end),
            t4,
            t5,
        };
        log.close_at(entered);
        let mut phases = log.phases().to_vec();
        phases.extend(report.phases(&self.names()?, instants.t1, within)?);
        let mut closing = report.teardown(within)?;
        closing.push(Phase {
            name: "vmm_exit",
            start: finished,
            end: ended,
        });
        closing.extend(teardown.phases());
        let seen = Observation {
            instants,
            phases,
            teardown: closing,
            report: said,
            clock: map,
            reply: running.child.replied(),
            exits: Some(report.exits()?),
            throttled: None,
            told: None,
        };
        Ok((seen, report))
    }

    /// Names of the phases by which a VMM confines itself.
    fn names(&self) -> Result<Vec<&'static str>, Failure> {
        let [_, inner] = compose_vmm(&self.setup)
            .map_err(|why| Failure::setup("plan", io::Error::other(why.reason)))?;
        Ok(inner.steps().iter().map(|step| step.phase).collect())
    }
}

/// What starts a VMM process.
fn launcher(setup: &Setup, image: &OwnedFd) -> Result<Launcher, Unavailable> {
    let [outer, _] = compose_vmm(setup)?;
    let image = image.try_clone();
    let image = image.map_err(|error| refusal("the VMM's executable", &error))?;
    Launcher::new(outer, Some(image))
}

/// `/dev/kvm`, above the standard descriptors.
fn open_kvm() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/kvm")?;
    fd::above_standard(file.into())
}

impl Backend for Jailed {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let start = self.vm.plan(launch)?;
        self.live(launch, &start, answers).map(|(seen, _)| seen)
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let start = Start {
            note_exits: true,
            ..self.vm.plan(launch)?
        };
        let (seen, report) = self.live(launch, &start, &mut Vec::new())?;
        let (noted, kvm) = (report.noted()?, report.kvm()?);
        Ok(Some(Crossings::of_vm(seen, noted, kvm)))
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let start = self.vm.plan(launch)?;
        let mut running = self.start(launch, &start, true, &mut PhaseLog::new())?;
        running.until_waiting(launch)?;
        running.child.set_apart();
        if let Some(leaf) = &mut running.leaf {
            leaf.entered();
        }
        fd::set_apart(&mut running.report);
        let memory = self.vm.memory_with(start.heap_len);
        Ok(Box::new(Held {
            running,
            memory,
            limit: launch.deadline,
        }))
    }
}

/// A VMM process. Dropping it kills and reaps it, and the kernel takes its VM down. Fields are dropped
/// in this order: a group can only be removed once its process is reaped.
#[derive(Debug)]
struct Running {
    child: Child,
    report: OwnedFd,
    leaf: Option<Leaf>,
}

impl Running {
    fn until_waiting(&mut self, launch: &Launch) -> Result<(), Failure> {
        let deadline = Deadline::after(launch.deadline.saturating_add(GRACE));
        let waiting = self.child.until_waiting(deadline, launch.task.heap_bytes());
        waiting.map_err(|failure| self.failed(failure))
    }

    fn until_exit(&mut self, deadline: Deadline) -> Result<crate::metric::Ticks, Failure> {
        self.child.until_exit(deadline)
    }

    fn finish_held(&mut self, allowed: Duration) -> Result<(), Failure> {
        let finished = self.child.finish_held(allowed.saturating_add(GRACE));
        let finished = finished.map_err(|failure| self.failed(failure));
        let removed = self.remove_group();
        finished.and(removed)
    }

    /// Its process has been reaped.
    fn remove_group(&mut self) -> Result<(), Failure> {
        let removed = self.leaf.take().map_or(Ok(()), Leaf::remove);
        removed.map_err(|error| Failure::Leftover(error.to_string()))
    }

    /// Everything that is on its standard error, without waiting for more: the VMM has ended.
    fn read_report(&self) -> Vec<u8> {
        let report = self.report.as_fd();
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        while bytes.len() < report::MOST_BYTES
            && fd::readable(Some(report), report, Duration::ZERO).is_ok_and(|ready| ready.first)
        {
            match fd::read(report, &mut part) {
                // What cannot be read is no report.
                Ok(0) | Err(_) => break,
                Ok(n) => bytes.extend_from_slice(&part[..n]),
            }
        }
        bytes
    }

    /// Why it failed: what the VMM says is closer to the cause than what the harness saw, unless it was
    /// the payload that broke the protocol or ran out of time, which the harness judges itself.
    fn failed(&mut self, failure: Failure) -> Failure {
        match failure {
            Failure::Status(_) | Failure::Setup { phase: "tell", .. } => {}
            Failure::Protocol(_) if self.child.has_ended() => {}
            other => return other,
        }
        self.child.end();
        let bytes = self.read_report();
        Report::decode(&bytes)
            .and_then(|report| report.failure().map_or(Ok(()), Err))
            .err()
            .unwrap_or(failure)
    }

    /// What a VMM that has ended amounts to.
    fn judge(&self, exit: Exit, bytes: Vec<u8>) -> Result<Report, Failure> {
        let verdict = self.child.verdict(exit);
        // A payload's own words, and a signal, need no report.
        if let Err(failure @ (Failure::Payload(..) | Failure::Signal(_) | Failure::Interrupted)) =
            verdict
        {
            return Err(failure);
        }
        let report = Report::decode(&bytes)?;
        if let Some(failure) = report.failure() {
            return Err(failure);
        }
        verdict.map(|()| report)
    }
}

/// An idle VM in its process, which waits in read(2).
struct Held {
    running: Running,
    memory: usize,
    limit: Duration,
}

impl Instance for Held {
    /// Of the whole VMM process.
    fn footprint(&self) -> Result<Footprint, Failure> {
        let mut footprint = self.running.child.footprint()?;
        footprint.group = self.running.leaf.as_ref().map(Leaf::accounts);
        Ok(footprint)
    }

    fn guest_memory(&self) -> Option<Bytes> {
        i64::try_from(self.memory).ok().map(Bytes)
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let limit = self.limit;
        self.running.finish_held(limit)
    }
}
