//! A foreign command that was started, until it is reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::patience::{Impatience, Patience};
use super::tail::Tail;
use crate::sys::fd;
use crate::sys::pidfd::{self, Exit};
use crate::trial::{EngineEnd, EngineFailure, Failure};

/// Most bytes of an answer that is read to its end.
const MAX_ANSWER: usize = 1 << 20;
/// How long a killed command may take to go.
const KILL_GRACE: Duration = Duration::from_secs(10);

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
    /// A child that was started just now.
    pub(super) const fn new(command: String, pid: u32, tail: Tail) -> Self {
        Self {
            command,
            pid,
            pidfd: None,
            tail,
            exit: None,
        }
    }

    /// By this descriptor of it.
    pub(super) fn watch(&mut self, pidfd: OwnedFd) {
        self.pidfd = Some(pidfd);
    }

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
            // Also of one that never stops printing.
            if left.is_zero() {
                return;
            }
            if let Ok([true]) = fd::any_readable([Some(noise)], left) {
                self.listen();
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
    pub(super) fn answer(
        &mut self,
        stdout: &OwnedFd,
        patience: Patience,
    ) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let mut has_ended = false;
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
            } else if has_ended {
                return Ok(answer);
            }
            // poll(2) looks at one descriptor after the other: what was written in between is there now.
            has_ended = ended;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end_quietly();
    }
}
