//! Running a foreign command: in a process group of its own, always with a deadline, what it prints
//! taken in while it runs, ended and reaped if it does not end.
//!
//! A process that a command detaches from itself is found again by its mark
//! ([`isobench_guardian::MARK`]), by the guardian and by [`super::leftover`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isobench_guardian::MARK;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::tail::{Tail, one_line};
use crate::backend::child::{Deadline, SLICE};
use crate::sys::pidfd::{self, Exit};
use crate::sys::{fd, interrupt};
use crate::trial::{EngineEnd, EngineFailure, Failure};

/// Most bytes of an answer that is read to its end.
const MAX_ANSWER: usize = 1 << 20;
/// How long a killed command may take to go.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How long to wait, and whether the user's request to stop ends it: it ends what measures, not what
/// cleans up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until when.
    pub deadline: Deadline,
    /// Whether SIGINT and SIGTERM end it.
    pub heeds_interrupt: bool,
}

impl Patience {
    /// For what is part of a trial.
    #[must_use]
    pub const fn until(deadline: Deadline) -> Self {
        Self {
            deadline,
            heeds_interrupt: true,
        }
    }

    /// For what removes: this long, whatever the user wants.
    #[must_use]
    pub fn to_clean_up(allowed: Duration) -> Self {
        Self {
            deadline: Deadline::after(allowed),
            heeds_interrupt: false,
        }
    }

    /// The next slice of waiting.
    ///
    /// # Errors
    /// The time is up, or the user has asked for an end.
    pub fn slice(&self) -> Result<Duration, Impatience> {
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(Impatience::Timeout(self.deadline.allowed()));
        }
        if self.heeds_interrupt && interrupt::requested().is_some() {
            return Err(Impatience::Interrupted);
        }
        Ok(left.min(SLICE))
    }
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impatience {
    /// After this time.
    Timeout(Duration),
    /// By the user.
    Interrupted,
}

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
        let pid = child.id();
        let mut started = Started {
            command: self.to_string(),
            pid,
            pidfd: None,
            tail: Tail::of(read),
            exit: None,
        };
        // Not reaped yet: the id is still the child's.
        started.pidfd = Some(pidfd::open(pid)?);
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

/// A command that was started. Dropping it ends and reaps it, with its process group.
#[derive(Debug)]
pub struct Started {
    command: String,
    pid: u32,
    pidfd: Option<OwnedFd>,
    tail: Tail,
    exit: Option<Exit>,
}

impl Started {
    /// Its process id, while it is not reaped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.exit.is_none().then_some(self.pid)
    }

    /// Readable once it has ended; `None` once it is reaped.
    #[must_use]
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        let pidfd = self.pidfd.as_ref().map(AsFd::as_fd);
        pidfd.filter(|_| self.exit.is_none())
    }

    /// What it prints to standard error.
    #[must_use]
    pub fn noise(&self) -> Option<BorrowedFd<'_>> {
        self.tail.pipe()
    }

    /// Takes in what it has printed.
    pub fn listen(&mut self) {
        self.tail.take_in();
    }

    /// Takes in what comes from it by another way and is no message, as if it had been printed.
    pub fn note(&mut self, bytes: &[u8]) {
        self.tail.note(bytes);
    }

    /// The end of what it has printed.
    #[must_use]
    pub fn printed(&self) -> String {
        self.tail.text()
    }

    /// Waits until every process that was given its standard error has closed it, which is when the last of
    /// them has ended; not for long, as one of them may be meant to stay.
    pub fn wait_for_silence(&mut self) {
        const LONGEST: Duration = Duration::from_secs(2);
        let end = Instant::now() + LONGEST;
        while let Some(noise) = self.noise() {
            let left = end.saturating_duration_since(Instant::now());
            match fd::any_readable([Some(noise)], left) {
                Ok([true]) => self.listen(),
                _ if left.is_zero() => return,
                _ => {}
            }
        }
    }

    /// A failure of this command, with what it printed last.
    #[must_use]
    pub fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        self.tail.take_in();
        EngineFailure {
            command: self.command.clone(),
            how,
            tail: self.tail.text(),
        }
    }

    /// Moves its descriptors out of the way of the next launch.
    pub fn set_apart(&mut self) {
        self.pidfd.iter_mut().for_each(fd::set_apart);
        self.tail.set_apart();
    }

    /// Waits for its end and reaps it.
    ///
    /// # Errors
    /// It does not end in time, or the user wants no more. Then it has been ended.
    pub fn wait(&mut self, patience: Patience) -> Result<Exit, Failure> {
        loop {
            if let Some(exit) = self.exit {
                return Ok(exit);
            }
            let time = self.slice(patience)?;
            let ready = fd::any_readable([self.end(), self.noise()], time);
            let [ended, noise] = ready.map_err(|error| self.give_up(error.into()))?;
            if noise {
                self.listen();
            }
            if ended {
                return self.reap();
            }
        }
    }

    /// Waits for its end, which must be status 0.
    ///
    /// # Errors
    /// Any other end.
    pub fn succeed(&mut self, patience: Patience) -> Result<(), Failure> {
        match self.wait(patience)? {
            Exit::Status(0) => Ok(()),
            exit => Err(self.failure(exit.into()).into()),
        }
    }

    /// Reaps it; it has ended. Where that was no success, what is left of its process group is ended
    /// with it.
    ///
    /// # Errors
    /// The kernel does not know the child any more.
    pub fn reap(&mut self) -> Result<Exit, Failure> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        self.listen();
        let Some(pidfd) = &self.pidfd else {
            return Err(Failure::Leftover(format!("{}: lost", self.command)));
        };
        // While it is not reaped, nobody else can have its number, nor its group's.
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        let status = waitid(Id::PIDFd(pidfd.as_fd()), peek);
        if !matches!(status, Ok(WaitStatus::Exited(_, 0))) {
            self.kill_group();
        }
        let exit = pidfd::reap(pidfd.as_fd())
            .map_err(|error| Failure::Leftover(format!("{}: {error}", self.command)))?;
        self.exit = Some(exit);
        self.pidfd = None;
        Ok(exit)
    }

    /// Ends it by force, with its process group, and reaps it.
    ///
    /// # Errors
    /// It does not go.
    pub fn kill(&mut self) -> Result<(), Failure> {
        if self.exit.is_some() {
            return Ok(());
        }
        self.kill_group();
        let end = Instant::now() + KILL_GRACE;
        while let Some(pidfd) = &self.pidfd {
            let left = end.saturating_duration_since(Instant::now());
            match fd::any_readable([Some(pidfd.as_fd())], left) {
                Ok([true]) => return self.reap().map(drop),
                _ if left.is_zero() => {
                    let what = format!("{}: still there 10 s after SIGKILL", self.command);
                    return Err(Failure::Leftover(what));
                }
                _ => {}
            }
        }
        // Never got a descriptor: it is still the child that std started, and killed by its group.
        let pid = Pid::from_raw(self.pid.cast_signed());
        let reaped = nix::sys::wait::waitpid(pid, None);
        self.exit = Some(Exit::Signal(libc::SIGKILL));
        reaped
            .map(drop)
            .map_err(|error| Failure::Leftover(format!("{}: {error}", self.command)))
    }

    fn kill_group(&self) {
        // Gone already, or changed its identity to what is not ours to end: its end will tell.
        let _ = killpg(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
    }

    fn slice(&mut self, patience: Patience) -> Result<Duration, Failure> {
        patience.slice().map_err(|why| match why {
            Impatience::Interrupted => {
                self.end_quietly();
                Failure::Interrupted
            }
            Impatience::Timeout(allowed) => self.give_up(EngineEnd::Timeout(allowed)),
        })
    }

    /// Ends it, and says why it was given up; or that it did not go.
    fn give_up(&mut self, how: EngineEnd) -> Failure {
        match self.kill() {
            Ok(()) => self.failure(how).into(),
            Err(left) => left,
        }
    }

    fn end_quietly(&mut self) {
        if let Err(failure) = self.kill() {
            tracing::error!(%failure, "command left behind");
        }
    }

    /// Reads its standard output to the end, or until it has ended, whoever else has that open.
    fn answer(&mut self, stdout: &OwnedFd, patience: Patience) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let time = self.slice(patience)?;
            let ready = fd::any_readable([Some(stdout.as_fd()), self.noise(), self.end()], time);
            let [output, noise, ended] = ready.map_err(|error| self.give_up(error.into()))?;
            if noise {
                self.listen();
            }
            if output {
                match fd::read(stdout.as_fd(), &mut buffer) {
                    Ok(0) => return Ok(answer),
                    Ok(n) => answer.extend_from_slice(&buffer[..n]),
                    Err(error) => return Err(self.give_up(error.into())),
                }
                if answer.len() > MAX_ANSWER {
                    let how = EngineEnd::Garbage("more than 1 MiB".to_owned());
                    return Err(self.give_up(how));
                }
            } else if ended {
                return Ok(answer);
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end_quietly();
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
