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

    /// Processes of the instance that do not carry its name, told those that do.
    fn beside(&self, _marked: &[u32]) -> Vec<u32> {
        Vec::new()
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
    removal: Removal,
}

/// How far the removal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Untried,
    /// Something stayed: once more, by force.
    Failed,
    Done,
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
    /// As there; what was made for it before has been removed.
    pub fn start_as(
        (phase, output): (&'static str, Output),
        command: &Invocation,
        order: &Order<'_>,
        log: &mut PhaseLog,
        mut remover: Box<dyn Remover>,
    ) -> Result<Self, Failure> {
        log.open(phase);
        match launch(output, command, order) {
            Ok(Launched {
                command,
                stdin,
                stdout,
            }) => Ok(Self {
                name: order.name.to_owned(),
                command,
                stdin,
                stdout: Some(stdout),
                remover,
                removal: Removal::Untried,
            }),
            Err(failure) => Err(match remover.remove(true, &mut PhaseLog::new()) {
                Ok(()) => failure,
                Err(left) => Failure::Leftover(format!("{left}, after \"{failure}\"")),
            }),
        }
    }
}

struct Launched {
    command: Started,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
}

fn launch(output: Output, command: &Invocation, order: &Order<'_>) -> Result<Launched, Failure> {
    let (stdin, kept) = input(order.hold)?;
    let command = command.clone().marked(order.name);
    let (command, stdout) = match output {
        Output::Stdout => {
            let (read, write) = fd::pipe().map_err(|error| Failure::setup("pipe", error))?;
            (command.start(stdin, write.into())?, read)
        }
        Output::Other(output) => (command.start_apart(stdin)?, output),
    };
    Ok(Launched {
        command,
        stdin: kept,
        stdout,
    })
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
        if self.removal == Removal::Done {
            return Ok(());
        }
        let by_force = self.command.end().is_some() || self.removal == Removal::Failed;
        let ended = self.command.kill();
        (self.stdin, self.stdout) = (None, None);
        if self.remover.goes_silently() {
            teardown.time("processes_end", || self.command.wait_for_silence());
        }
        let removed = ended.and(self.remover.remove(by_force, teardown));
        self.removal = match removed {
            Ok(()) => Removal::Done,
            Err(_) => Removal::Failed,
        };
        removed
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        let mut all = isobench_guardian::marked(|mark| mark == self.name);
        all.extend(self.remover.beside(&all));
        Ok(all)
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
        // What could not be removed has been reported.
        if self.removal == Removal::Untried
            && let Err(failure) = self.remove(&mut PhaseLog::new())
        {
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::backend::child::Deadline;
    use crate::backend::launcher;

    /// Fails as often as it is told to, and remembers how it was called.
    struct Stubborn {
        fails: usize,
        calls: Rc<RefCell<Vec<bool>>>,
    }

    impl Remover for Stubborn {
        fn remove(&mut self, by_force: bool, _: &mut PhaseLog) -> Result<(), Failure> {
            self.calls.borrow_mut().push(by_force);
            match self.calls.borrow().len() <= self.fails {
                true => Err(Failure::Leftover("it".to_owned())),
                false => Ok(()),
            }
        }
    }

    fn front(program: &str, fails: usize) -> (Result<Front, Failure>, Rc<RefCell<Vec<bool>>>) {
        let calls = Rc::new(RefCell::new(Vec::new()));
        let remover = Stubborn {
            fails,
            calls: Rc::clone(&calls),
        };
        let order = Order {
            name: "isobench-test-front",
            launch: &launcher::probe(),
            hold: false,
            deadline: Deadline::after(Duration::from_secs(30)),
        };
        let command = Invocation::of(Path::new(program));
        let mut log = PhaseLog::new();
        let front = Front::start(&command, &order, &mut log, Box::new(remover));
        (front, calls)
    }

    fn ended(front: &mut Front) {
        while !matches!(
            fd::any_readable([front.command.end()], Duration::from_secs(30)),
            Ok([true])
        ) {}
        front.exit(&mut PhaseLog::new()).unwrap();
    }

    /// An engine makes a control group, a FIFO, before its command is started.
    #[test]
    fn what_was_made_for_a_command_that_cannot_be_started_is_removed() {
        let (front, calls) = front("/nonexistent/engine", 0);
        assert!(matches!(front, Err(Failure::Engine(_))));
        assert_eq!(*calls.borrow(), [true]);
    }

    /// As whoever aborts a trial does.
    #[test]
    fn what_stays_is_removed_by_force_the_second_time_and_not_a_third() {
        let (front, calls) = front("/bin/true", 1);
        let mut front = front.unwrap();
        ended(&mut front);
        assert!(front.remove(&mut PhaseLog::new()).is_err());
        front.remove(&mut PhaseLog::new()).unwrap();
        front.remove(&mut PhaseLog::new()).unwrap();
        drop(front);
        assert_eq!(*calls.borrow(), [false, true]);
    }

    #[test]
    fn a_drop_removes_what_nobody_has_tried_to_remove() {
        for (tries, expected) in [(0, 1), (1, 1)] {
            let (front, calls) = front("/bin/true", 9);
            let mut front = front.unwrap();
            ended(&mut front);
            for _ in 0..tries {
                assert!(front.remove(&mut PhaseLog::new()).is_err());
            }
            drop(front);
            assert_eq!(calls.borrow().len(), expected);
        }
    }
}
