//! `microvm:pool`: one VM for each task, given back its snapshot's state at the start of each trial.
//!
//! Prepared once for each task, outside every trial: the snapshot, a copy of it, and one life of that
//! copy, so that every reset that is measured is of a VM that was used. Paid by every trial: the
//! reset, between t0 and t1, and not the VM, which stays: it is left out of t5. A VM whose trial
//! came to no end is closed and replaced.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::notes::{Notes, counters};
use super::shelf::Shelf;
use super::snapshot::hold_copy;
use super::{MicroVm, exit_budget, status};
use crate::backend::{Backend, Instance, Limitation, Unavailable};
use crate::exits::Crossings;
use crate::sys::clock::now;
use crate::sys::pagemap::Pagemap;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::vmm::layout;
use crate::vmm::machine::Machine;
use crate::vmm::memory::GuestRam;
use crate::vmm::session::Session;
use crate::vmm::snapshot::Snapshot;
use crate::vmm::template::Template;

/// The backend.
#[derive(Debug)]
pub struct Pool {
    vm: MicroVm,
    /// Which pages are whose, or why this kernel does not say it.
    pages: io::Result<Pagemap>,
    shelf: Shelf<Kept>,
}

/// A snapshot and, between trials that went well, the VM that is given back its state.
#[derive(Debug)]
struct Kept {
    snapshot: Arc<Snapshot>,
    machine: Option<Machine>,
}

impl Kept {
    /// Most memory it can take.
    fn bytes(&self) -> usize {
        let written = self.machine.as_ref().map_or(0, Machine::memory);
        self.snapshot.stored().saturating_add(written)
    }
}

impl Pool {
    /// Finds out whether VMs can be made here, and prepares what all of them share.
    ///
    /// # Errors
    /// As [`MicroVm::new`].
    pub fn new() -> Result<Self, Unavailable> {
        Ok(Self::of(MicroVm::new()?))
    }

    /// A pool of this backend's VMs.
    #[must_use]
    pub fn of(vm: MicroVm) -> Self {
        Self {
            pages: page_map(&vm.template),
            vm,
            shelf: Shelf::default(),
        }
    }

    fn kept(&mut self, launch: &Launch) -> Result<Kept, Failure> {
        match self.shelf.take(&launch.task) {
            Some(kept) => Ok(kept),
            None => Ok(Kept {
                snapshot: Arc::new(self.vm.snapshot(launch)?),
                machine: None,
            }),
        }
    }

    fn keep(&mut self, launch: &Launch, kept: Kept) {
        self.shelf.put(launch.task, kept.bytes(), kept);
    }

    /// A copy that has lived once.
    fn used(&self, snapshot: &Arc<Snapshot>, launch: &Launch) -> Result<Machine, Failure> {
        let began = Instant::now();
        let mut log = PhaseLog::new();
        let machine =
            Machine::restore(snapshot, &self.vm.cpu, exit_budget(&launch.task), &mut log)?;
        let session = Session::after(snapshot.said(), launch.deadline);
        let running = self.vm.go_on(machine, session, log, (began, launch))?;
        running.session.finish(status(running.pause)?)?;
        Ok(running.machine)
    }

    /// One trial on a VM that was used before; its exits are noted where somebody wants them.
    fn again(
        &self,
        snapshot: &Snapshot,
        mut machine: Machine,
        launch: &Launch,
        (answers, notes): (&mut Vec<Answer>, Option<&mut Notes>),
    ) -> Result<(Observation, Option<Machine>), Failure> {
        let before = notes.is_some().then(|| counters(&machine));
        let began = Instant::now();
        let t0 = now();
        let mut log = PhaseLog::new();
        let (budget, pages) = (exit_budget(&launch.task), self.pages.as_ref().ok());
        machine.reset(pages, &self.vm.cpu, budget, &mut log)?;
        if notes.is_some() {
            machine.note_exits();
        }
        let session = Session::after(snapshot.said(), launch.deadline);
        let running = self.vm.go_on(machine, session, log, (began, launch))?;
        self.vm.see_out(running, t0, answers, true, |machine, log| {
            if let Some(notes) = notes {
                *notes = Notes::of(machine, log).since(&before.unwrap_or_default());
            }
        })
    }

    /// A trial, from the VM's reset to its payload's end.
    fn live(
        &mut self,
        launch: &Launch,
        wanted: (&mut Vec<Answer>, Option<&mut Notes>),
    ) -> Result<Observation, Failure> {
        let mut kept = self.kept(launch)?;
        let machine = match kept.machine.take() {
            Some(machine) => Ok(machine),
            None => self.used(&kept.snapshot, launch),
        };
        let outcome = machine.and_then(|m| self.again(&kept.snapshot, m, launch, wanted));
        let seen = outcome.map(|(seen, machine)| {
            kept.machine = machine;
            seen
        });
        self.keep(launch, kept);
        seen
    }
}

/// The page map, once it has told a page that was written from one that is a file's still.
fn page_map(template: &Template) -> io::Result<Pagemap> {
    let pages = Pagemap::open()?;
    let ram = GuestRam::map(template, 0)?;
    let _: [u8; 1] = ram.read(layout::IMAGE_PHYS).map_err(io::Error::other)?;
    ram.write(layout::STACK_PHYS, &[1])
        .map_err(io::Error::other)?;
    let own = pages.own(ram.host_address(), ram.len())?;
    if own == [(layout::STACK_PHYS / layout::PAGE) as usize] {
        return Ok(pages);
    }
    Err(io::Error::other(format!(
        "it takes the pages {own:?} for written, of which only one was"
    )))
}

impl Backend for Pool {
    fn limitations(&self) -> Vec<Limitation> {
        let refused = self.pages.as_ref().err();
        let limitation = refused.map(|error| Limitation {
            mechanism: "pagemap",
            reason: format!("a reset drops all of the VM's memory: /proc/self/pagemap: {error}"),
            remedy: "mount a procfs of a kernel with CONFIG_PROC_PAGE_MONITOR".to_owned(),
        });
        limitation.into_iter().collect()
    }

    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        self.live(launch, (answers, None))
    }

    /// Of one life, reset included.
    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let mut notes = Notes::default();
        let seen = self.live(launch, (&mut Vec::new(), Some(&mut notes)))?;
        Ok(Some(notes.beside(seen)))
    }

    /// An instance of its own: a copy, as `microvm:snapshot` has it.
    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let kept = self.kept(launch)?;
        let held = hold_copy(&self.vm, &kept.snapshot, launch);
        self.keep(launch, kept);
        held
    }
}
