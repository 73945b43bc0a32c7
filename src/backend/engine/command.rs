//! Running a foreign command: in a process group of its own, always with a deadline, what it prints
//! taken in while it runs, ended and reaped if it does not end.
//!
//! A process that a command detaches from itself is found again by its mark
//! ([`isobench_guardian::MARK`]), by the guardian and by [`super::leftover`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use isobench_guardian::MARK;

use super::tail::{Tail, one_line};
use crate::sys::fd;
use crate::sys::pidfd::{self, Exit};
use crate::trial::{EngineEnd, EngineFailure, Failure};

pub use super::patience::{Answering, Impatience, Patience};
pub use super::started::Started;

/// A command with its arguments, to be started any number of times.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Invocation {
    /// Of a program, by its path.
    #[must_use]
    pub fn of(program: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn with<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// On behalf of an instance, or of anything else with a name of this harness's: the guardian ends
    /// what is still there of it when the harness has been killed.
    #[must_use]
    pub fn marked(self, name: &str) -> Self {
        self.env(MARK, name)
    }

    /// The program and its arguments, for a command that runs this one.
    pub fn words(&self) -> impl Iterator<Item = &OsString> {
        std::iter::once(&self.program).chain(&self.arguments)
    }

    /// Starts it. What it prints to standard error is taken in by [`Started::listen`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, stdin: Stdio, stdout: Stdio) -> Result<Started, Failure> {
        self.spawn(stdin, Some(stdout))
            .map_err(|error| self.failure(EngineEnd::Unreachable(error), String::new()))
    }

    /// As [`Self::start`], with its standard output taken in, too.
    ///
    /// # Errors
    /// As there.
    pub fn start_apart(&self, stdin: Stdio) -> Result<Started, Failure> {
        self.spawn(stdin, None)
            .map_err(|error| self.failure(EngineEnd::Unreachable(error), String::new()))
    }

    fn spawn(&self, stdin: Stdio, stdout: Option<Stdio>) -> io::Result<Started> {
        let (read, write) = fd::pipe()?;
        let stdout = match stdout {
            Some(stdout) => stdout,
            None => write.try_clone()?.into(),
        };
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(stdout)
            .stderr(write)
            .process_group(0)
            .spawn()?;
        let mut started = Started::new(self.to_string(), child.id(), Tail::of(read));
        // Not reaped yet: the id is still the child's.
        started.watch(pidfd::open(child.id())?);
        Ok(started)
    }

    /// Runs it to its end, which must be status 0; what it wrote to standard output, up to 1 MiB.
    ///
    /// # Errors
    /// [`Failure::Engine`] with what it printed last; [`Failure::Interrupted`].
    pub fn run(&self, patience: Patience) -> Result<Vec<u8>, Failure> {
        let pipe = fd::pipe();
        let (read, write) =
            pipe.map_err(|error| self.failure(EngineEnd::Unreachable(error), String::new()))?;
        let mut started = self.start(Stdio::null(), write.into())?;
        let answer = started.answer(&read, patience)?;
        match started.wait(patience)? {
            Exit::Status(0) => Ok(answer),
            exit => {
                let mut failure = started.failure(exit.into());
                if failure.tail.is_empty() {
                    failure.tail = one_line(&answer[answer.len().saturating_sub(1024)..]);
                }
                Err(failure.into())
            }
        }
    }

    /// Runs it to its end, which must be status 0, with these for its input and output.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with(&self, stdin: Stdio, stdout: Stdio, patience: Patience) -> Result<(), Failure> {
        let mut started = self.start(stdin, stdout)?;
        started.succeed(patience)
    }

    /// A failure of this command.
    #[must_use]
    pub fn failure(&self, how: EngineEnd, tail: String) -> Failure {
        EngineFailure {
            command: self.to_string(),
            how,
            tail,
        }
        .into()
    }
}

impl fmt::Display for Invocation {
    /// As it would be typed, and not longer than a line should be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let words: Vec<_> = self.words().map(|word| word.to_string_lossy()).collect();
        let mut line = one_line(words.join(" ").as_bytes());
        if let Some((end, _)) = line.char_indices().nth(LONGEST) {
            line.truncate(end);
            line.push('…');
        }
        f.write_str(&line)
    }
}

/// The exit of a command that stands for another process's: above 128, as a shell has it, is a signal.
/// The payload itself has no such status.
#[must_use]
pub fn as_shell(exit: Exit) -> Exit {
    match exit {
        Exit::Status(status @ 129..=192) => Exit::Signal((status - 128).cast_signed()),
        other => other,
    }
}

/// What a payload reads: a pipe whose other end is kept if it shall wait for its end, else nothing.
///
/// # Errors
/// Too many open files; no `/dev/null`.
pub fn input(hold: bool) -> Result<(Stdio, Option<OwnedFd>), Failure> {
    if hold {
        let (read, write) = fd::pipe().map_err(|error| Failure::setup("pipe", error))?;
        Ok((read.into(), Some(write)))
    } else {
        Ok((Stdio::null(), None))
    }
}

impl From<Exit> for EngineEnd {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Status(status) => Self::Status(status),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl From<EngineFailure> for Failure {
    fn from(failure: EngineFailure) -> Self {
        Self::Engine(Box::new(failure))
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
