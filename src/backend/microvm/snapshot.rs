//! `microvm:snapshot`: each trial is a copy, copy-on-write, of a VM that was taken when its payload
//! was ready.
//!
//! Prepared once for each task, outside every trial: one cold start up to the point where the payload
//! has said that it is ready (or waits, where it does), and the snapshot of it. Paid by every trial:
//! everything a VM needs, with the snapshot's memory in place of the payload's image and its vCPU's
//! state in place of the first one. A copy is no boot: its first instruction is one that the
//! original had come to.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::notes::Notes;
use super::shelf::Shelf;
use super::{MicroVm, Running, exit_budget, held};
use crate::backend::{Backend, Instance, Unavailable};
use crate::exits::Crossings;
use crate::sys::clock::now;
use crate::sys::watchdog;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::vmm::machine::Machine;
use crate::vmm::session::{Pause, Session};
use crate::vmm::snapshot::{Snapshot, SnapshotError, identity};

/// The backend.
#[derive(Debug)]
pub struct Copies {
    vm: MicroVm,
    snapshots: Shelf<Arc<Snapshot>>,
}

impl Copies {
    /// Finds out whether VMs can be made here, and prepares what all of them share.
    ///
    /// # Errors
    /// As [`MicroVm::new`].
    pub fn new() -> Result<Self, Unavailable> {
        Ok(Self::of(MicroVm::new()?))
    }

    /// Copies of this backend's VMs.
    #[must_use]
    pub fn of(vm: MicroVm) -> Self {
        Self {
            vm,
            snapshots: Shelf::default(),
        }
    }

    /// The snapshot for a task: the one there is, or a new one.
    fn snapshot(&mut self, launch: &Launch) -> Result<(&MicroVm, &Arc<Snapshot>), Failure> {
        let snapshot = match self.snapshots.take(&launch.task) {
            Some(snapshot) => snapshot,
            None => Arc::new(self.vm.snapshot(launch)?),
        };
        let bytes = snapshot.stored();
        Ok((&self.vm, self.snapshots.put(launch.task, bytes, snapshot)))
    }
}

impl MicroVm {
    /// Starts a VM, takes it when its payload is ready, and closes it.
    ///
    /// # Errors
    /// As a trial; and whatever keeps a snapshot from being taken.
    pub fn snapshot(&self, launch: &Launch) -> Result<Snapshot, Failure> {
        let start = self.plan(launch)?;
        let began = Instant::now();
        let mut machine = Machine::start(&self.template, &self.cpu, &start, &mut PhaseLog::new())?;
        let watchdog = watchdog::arm(began, launch.deadline)
            .map_err(|cause| Failure::setup("arm_watchdog", cause))?;
        let mut session = Session::new(launch.deadline);
        if launch.task.workload.waits() {
            match session.run(&mut machine, &watchdog)? {
                Pause::Waiting => {}
                Pause::Exited(_) => {
                    return Err(Failure::Protocol("the payload ended instead of waiting"));
                }
            }
        } else {
            session.until_ready(&mut machine, &watchdog)?;
        }
        drop(watchdog);
        let identity = identity(self.payload, &launch.task.argv());
        session
            .said()
            .ok_or(SnapshotError::NotReady)
            .and_then(|said| Snapshot::take(&mut machine, &self.cpu, said, &identity))
            .map_err(|error| Failure::setup("snapshot", io::Error::other(error)))
    }

    /// Lets a VM that has a snapshot's state run to its end.
    pub(super) fn go_on(
        &self,
        mut machine: Machine,
        mut session: Session,
        mut log: PhaseLog,
        (began, launch): (Instant, &Launch),
    ) -> Result<Running, Failure> {
        let watchdog = log.step("arm_watchdog", || watchdog::arm(began, launch.deadline))?;
        log.open("run");
        let pause = session.run(&mut machine, &watchdog)?;
        Ok(Running {
            machine,
            session,
            pause,
            log,
            watchdog,
        })
    }
}

impl Copies {
    /// A whole life of a copy; its exits are noted where somebody wants them.
    fn live(
        &mut self,
        launch: &Launch,
        answers: &mut Vec<Answer>,
        notes: Option<&mut Notes>,
    ) -> Result<Observation, Failure> {
        let (vm, snapshot) = self.snapshot(launch)?;
        let began = Instant::now();
        let t0 = now();
        let mut log = PhaseLog::new();
        let mut machine = Machine::restore(snapshot, &vm.cpu, exit_budget(&launch.task), &mut log)?;
        if notes.is_some() {
            machine.note_exits();
        }
        let session = Session::after(snapshot.said(), launch.deadline);
        let running = vm.go_on(machine, session, log, (began, launch))?;
        let (seen, _) = vm.see_out(running, t0, answers, false, |machine, log| {
            if let Some(notes) = notes {
                *notes = Notes::of(machine, log);
            }
        })?;
        Ok(seen)
    }
}

impl Backend for Copies {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        self.live(launch, answers, None)
    }

    /// Of a copy, which has the exits behind the snapshot alone.
    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let mut notes = Notes::default();
        let seen = self.live(launch, &mut Vec::new(), Some(&mut notes))?;
        Ok(Some(notes.beside(seen)))
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let (vm, snapshot) = self.snapshot(launch)?;
        hold_copy(vm, snapshot, launch)
    }
}

/// A copy that has not run yet: its snapshot was taken when the payload had its memory in place and
/// waited.
pub(super) fn hold_copy(
    vm: &MicroVm,
    snapshot: &Arc<Snapshot>,
    launch: &Launch,
) -> Result<Box<dyn Instance>, Failure> {
    let machine = Machine::restore(
        snapshot,
        &vm.cpu,
        exit_budget(&launch.task),
        &mut PhaseLog::new(),
    )?;
    let session = Session::after(snapshot.said(), launch.deadline);
    held::hold(machine, session, Pause::Waiting, launch)
}
