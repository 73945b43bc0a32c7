//! An instance behind one command that stays in the foreground: the command's input and output are the
//! payload's, and its end is the payload's end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::command::{Invocation, Started, as_shell, input};
use super::{EngineEnd, EngineFailure, Failure, Order, PhaseLog, Running, Sources};
use crate::sys::fd;
use crate::sys::pidfd::Exit;

/// What is to be done once the command has ended.
pub trait Remover {
    /// Removes what the engine has kept, `by_force` where the payload may still run.
    ///
    /// # Errors
    /// What is left, or what the engine says.
    fn remove(&mut self, by_force: bool, teardown: &mut PhaseLog) -> Result<(), Failure>;

    /// How the payload ended, told by how the command did and by what it printed last.
    fn payload_exit(&self, exit: Exit, _printed: &str) -> Exit {
        as_shell(exit)
    }

    /// Whether everything that the command has started has its standard error, too, and ends with it or
    /// soon after.
    fn goes_silently(&self) -> bool {
        false
    }
}

/// Nothing: what the command made goes with it.
pub struct Nothing;

impl Remover for Nothing {
    fn remove(&mut self, _: bool, _: &mut PhaseLog) -> Result<(), Failure> {
        Ok(())
    }

    fn goes_silently(&self) -> bool {
        true
    }
}

/// The instance. Dropping it ends the command.
pub struct Front {
    name: String,
    command: Started,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    remover: Box<dyn Remover>,
    removed: bool,
}

/// Where the payload's bytes come from.
pub enum Output {
    /// The command's standard output.
    Stdout,
    /// Something else; the command's standard output is its own.
    Other(OwnedFd),
}

impl Front {
    /// Starts the command; the phase `run` ends with the payload's first instruction.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        command: &Invocation,
        order: &Order<'_>,
        log: &mut PhaseLog,
        remover: Box<dyn Remover>,
    ) -> Result<Self, Failure> {
        Self::start_as(("run", Output::Stdout), command, order, log, remover)
    }

    /// As [`Self::start`], with a name for the phase and another source of the payload's bytes.
    ///
    /// # Errors
    /// As there.
    pub fn start_as(
        (phase, output): (&'static str, Output),
        command: &Invocation,
        order: &Order<'_>,
        log: &mut PhaseLog,
        remover: Box<dyn Remover>,
    ) -> Result<Self, Failure> {
        log.open(phase);
        let (stdin, kept) = input(order.hold)?;
        let command = command.clone().marked(order.name);
        let (command, output) = match output {
            Output::Stdout => {
                let (read, write) = fd::pipe().map_err(|error| Failure::setup("pipe", error))?;
                (command.start(stdin, write.into()), read)
            }
            Output::Other(output) => (command.start_apart(stdin), output),
        };
        Ok(Self {
            name: order.name.to_owned(),
            command: command?,
            stdin: kept,
            stdout: Some(output),
            remover,
            removed: false,
        })
    }
}

impl Running for Front {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.stdout.as_ref().map(AsFd::as_fd),
            noise: self.command.noise(),
            ends: [self.command.end(), None],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_until_end(&mut self.stdout, buffer)
    }

    fn listen(&mut self) {
        self.command.listen();
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        self.stdin = None;
        Ok(())
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        let exit = teardown.time("wait", || self.command.reap())?;
        Ok(self.remover.payload_exit(exit, &self.command.printed()))
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        self.removed = true;
        let by_force = self.command.end().is_some();
        let ended = self.command.kill();
        (self.stdin, self.stdout) = (None, None);
        if self.remover.goes_silently() {
            teardown.time("processes_end", || self.command.wait_for_silence());
        }
        let removed = self.remover.remove(by_force, teardown);
        ended.and(removed)
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(isobench_guardian::marked(|mark| mark == self.name))
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        self.command.failure(how)
    }

    fn set_apart(&mut self) {
        let pipes = [&mut self.stdin, &mut self.stdout];
        pipes.into_iter().flatten().for_each(fd::set_apart);
        self.command.set_apart();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Err(failure) = self.remove(&mut PhaseLog::new()) {
            tracing::error!(name = self.name, %failure, "instance left behind");
        }
    }
}

/// Reads what is there, and closes the descriptor at its end.
///
/// # Errors
/// read(2).
pub fn read_until_end(stream: &mut Option<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = stream else {
        return Ok(0);
    };
    let n = fd::read(open.as_fd(), buffer)?;
    if n == 0 {
        *stream = None;
    }
    Ok(n)
}
