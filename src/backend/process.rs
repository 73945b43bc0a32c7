//! Backend `process`: the payload as an ordinary child. The reference for every ratio.
//!
//! What is measured is what `posix_spawn(3)` costs: glibc, too, clones with shared memory
//! (CLONE_VM | CLONE_VFORK) and executes. A classic fork(2), which copies page tables that the exec
//! throws away, would make the reference slower and every ratio smaller.

use std::os::fd::{AsFd, OwnedFd};

use sha2::{Digest, Sha256};

use crate::backend::child::{Child, Deadline};
use crate::backend::launcher::{Launcher, image, probe, refusal, shortage};
use crate::backend::{Backend, Footprint, Instance, Unavailable, trace};
use crate::exits::Crossings;
use crate::sys::program::{Arguments, Grants, Op, Program};
use crate::sys::spawn::{Place, ignored_signals};
use crate::sys::{clock, fd};
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::workload::payload;

/// The payload as a bare process. To be used from the thread that made it or one that lives as
/// long as its instances: they die with the thread that launched them (PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Process {
    launcher: Launcher,
}

impl Process {
    /// Prepares the embedded payload, checks that what will be executed is byte for byte what was
    /// built, and launches it once.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn new() -> Result<Self, Unavailable> {
        let image = image(payload::BYTES)?;
        let bytes = fd::contents(image.as_fd())
            .map_err(|e| refusal("the payload's memory file cannot be read", &e))?;
        let found: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != payload::SHA256 {
            return Err(Unavailable {
                reason: format!("the payload is not the one that was built: SHA-256 {found}"),
                remedy: "rebuild isobench".to_owned(),
            });
        }
        let mut process = Self::with_image(image)?;
        process.trial(&probe()).map_err(|failure| {
            let remedy = failure.errno().and_then(shortage).unwrap_or(
                "Linux 5.11 or newer, without a seccomp profile that forbids clone3, is needed",
            );
            Unavailable {
                reason: format!("a first launch failed: {failure}"),
                remedy: remedy.to_owned(),
            }
        })?;
        Ok(process)
    }

    /// Prepares another ELF file, unchecked and not launched.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_payload(bytes: &[u8]) -> Result<Self, Unavailable> {
        Self::with_image(image(bytes)?)
    }

    fn with_image(image: OwnedFd) -> Result<Self, Unavailable> {
        let mut program = Program::new();
        program.push("signals", Op::Signals(ignored_signals()));
        program.push("parent_death", Op::DieWithParent);
        program.push("parent_death", Op::ParentLives);
        program.push("stdio", Op::Stdio);
        program.push("close_range", Op::CloseOnExec);
        program.push("execve", Op::ExecImage);
        Ok(Self {
            launcher: Launcher::new(program, Some(image))?,
        })
    }

    fn start(
        &mut self,
        arguments: &Arguments,
        hold: bool,
        log: &mut PhaseLog,
    ) -> Result<Child, Failure> {
        let place = Place {
            small_table: hold,
            ..Place::default()
        };
        self.launcher
            .start(arguments, place, Grants::default(), hold, log)
    }
}

impl Backend for Process {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        let mut log = PhaseLog::new();
        let mut teardown = PhaseLog::new();
        let deadline = Deadline::after(launch.deadline);
        let t0 = clock::now();
        let mut child = self.start(&arguments, false, &mut log)?;
        let t4 = child.until_exit(deadline)?;
        let exit = teardown.time("wait", || child.reap())?;
        teardown.time("close", || child.close());
        let t5 = clock::now();
        answers.append(&mut child.take_answers());
        child.verdict(exit)?;
        child.observation(t0, t4, t5, log, &teardown)
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        self.launcher.trace(true);
        let child = self.start(&arguments, false, &mut PhaseLog::new());
        self.launcher.trace(false);
        trace::calls(&mut child?, launch).map(Some)
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let arguments = Arguments::new(&launch.task.argv());
        let deadline = Deadline::after(launch.deadline);
        let mut child = self.start(&arguments, true, &mut PhaseLog::new())?;
        child.until_waiting(deadline, launch.task.heap_bytes())?;
        child.set_apart();
        Ok(Box::new(Held {
            child,
            launch: launch.clone(),
        }))
    }
}

struct Held {
    child: Child,
    launch: Launch,
}

impl Instance for Held {
    fn footprint(&self) -> Result<Footprint, Failure> {
        self.child.footprint()
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        self.child.finish_held(self.launch.deadline)
    }
}
