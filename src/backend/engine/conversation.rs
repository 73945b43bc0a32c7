//! Listening to a payload through its engine, from its first message to the end of both.

use std::io;
use std::time::{Duration, Instant};

use super::command::{Impatience, Patience};
use super::tail::one_line;
use super::{Running, leftover};
use crate::backend::child::Deadline;
use crate::backend::group::GroupAccounts;
use crate::metric::{Bytes, Ticks};
use crate::sys::pidfd::Exit;
use crate::sys::{clock, fd, interrupt};
use crate::transcript::Transcript;
use crate::trial::{ClockMap, EngineEnd, Failure, PhaseLog};

/// How long the last messages may take to come through an engine that has reported the end.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of what is no message that are shown.
const SHOWN: usize = 200;

/// A running instance and what its payload has said. Dropping it removes it.
pub struct Conversation {
    running: Box<dyn Running>,
    name: String,
    /// What the payload has said.
    pub transcript: Transcript,
    removed: bool,
}

impl Conversation {
    pub fn new(running: Box<dyn Running>, name: String) -> Self {
        Self {
            running,
            name,
            transcript: Transcript::default(),
            removed: false,
        }
    }

    /// The instance's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the end: `t4`.
    ///
    /// # Errors
    /// The payload or the engine misbehaves or is too slow. Then the instance has been removed.
    pub fn until_exit(&mut self, deadline: Deadline) -> Result<Ticks, Failure> {
        let ended = self.converse(deadline, |_| false);
        let ended = ended.and_then(|at| at.ok_or(Failure::Protocol("the payload has no end")));
        ended.map_err(|failure| self.abort(failure))
    }

    /// Waits until an idle payload says that it has touched its memory, `bytes` of it, and waits.
    ///
    /// # Errors
    /// As [`Self::until_exit`].
    pub fn until_waiting(&mut self, deadline: Deadline, bytes: u64) -> Result<(), Failure> {
        let waiting = match self.converse(deadline, Transcript::is_waiting) {
            Ok(None) => self.transcript.waits_with(bytes),
            Ok(Some(_)) => {
                let exit = self.running.exit(&mut PhaseLog::new());
                exit.and_then(|exit| self.verdict(exit))
                    .and(Err(Failure::Protocol("the payload ended before its time")))
            }
            Err(failure) => Err(failure),
        };
        waiting.map_err(|failure| self.abort(failure))
    }

    /// Wakes an idle payload.
    ///
    /// # Errors
    /// As [`Self::until_exit`].
    pub fn wake(&mut self) -> Result<(), Failure> {
        let woken = self.running.wake();
        woken.map_err(|failure| self.abort(failure))
    }

    /// How it ended, now that it has.
    ///
    /// # Errors
    /// As [`Self::until_exit`].
    pub fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        let exit = self.running.exit(teardown);
        exit.map_err(|failure| self.abort(failure))
    }

    /// Removes the instance: `t5` is when this is done.
    ///
    /// # Errors
    /// Something is left.
    pub fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        let removed = self.running.remove(teardown);
        removed.map_err(|failure| self.abort(failure))?;
        self.removed = true;
        Ok(())
    }

    /// Judges how it ended.
    ///
    /// # Errors
    /// Any end but status 0 after a result. Before the payload's first message it is the engine's
    /// failure, behind it the payload's.
    pub fn verdict(&mut self, exit: Exit) -> Result<(), Failure> {
        let ready = self.transcript.is_ready();
        match (exit, self.transcript.fault()) {
            _ if interrupt::requested().is_some() && exit != Exit::Status(0) => {
                Err(Failure::Interrupted)
            }
            (_, Some((fault, detail))) => Err(Failure::Payload(fault, detail)),
            (Exit::Status(0), None) if ready => self.transcript.finish().map(drop),
            (Exit::Status(0), None) => {
                let how = EngineEnd::Garbage("it ended without one".to_owned());
                Err(self.running.failure(how).into())
            }
            (exit, None) if !ready => Err(self.running.failure(exit.into()).into()),
            (Exit::Signal(signal), None) => Err(Failure::Signal(signal)),
            (Exit::Status(status), None) => Err(Failure::Status(status)),
        }
    }

    /// Looks for processes that carry the instance's name although it was removed, and ends them.
    ///
    /// # Errors
    /// There were some.
    pub fn look_for_leftovers(&self) -> Result<(), Failure> {
        leftover::none_of(&self.name)
    }

    pub fn processes(&self) -> Result<Vec<u32>, Failure> {
        self.running.processes()
    }

    pub fn group(&self) -> Option<GroupAccounts> {
        self.running.group()
    }

    pub fn guest_memory(&self) -> Option<Bytes> {
        self.running.guest_memory()
    }

    pub fn clock(&self) -> ClockMap {
        self.running.clock()
    }

    pub fn set_apart(&mut self) {
        self.running.set_apart();
    }

    /// Reads messages until `enough`, or until the payload has ended and everything it said is read:
    /// then the instant at which the end was observed.
    fn converse(
        &mut self,
        deadline: Deadline,
        enough: impl Fn(&Transcript) -> bool,
    ) -> Result<Option<Ticks>, Failure> {
        let patience = Patience::until(deadline);
        loop {
            let time = patience.slice().map_err(|why| self.impatient(why))?;
            let [output, noise, ends @ ..] = self.wait(time)?;
            // What was said before the end is heard before the end is noted.
            if output {
                self.hear()?;
            }
            if noise {
                self.running.listen();
            }
            if ends.contains(&true) && self.running.ended()? {
                let at = clock::now();
                self.hear_the_rest()?;
                return Ok(Some(at));
            }
            if enough(&self.transcript) {
                return Ok(None);
            }
        }
    }

    fn wait(&self, time: Duration) -> Result<[bool; 4], Failure> {
        let sources = self.running.sources();
        let [first, second] = sources.ends;
        fd::any_readable([sources.output, sources.noise, first, second], time)
            .map_err(|error| Failure::setup("poll", error))
    }

    /// One read.
    fn hear(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        let read = self.running.read(&mut buffer);
        let at = clock::now();
        let n = match read {
            Ok(n) => n,
            // Nothing yet: whoever asked waits on, with its deadline.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(self.running.failure(error.into()).into()),
        };
        let bytes = &buffer[..n];
        self.transcript.bytes(bytes, at).map_err(|failure| {
            // What is no message at all, or nothing of a payload that runs, is the engine's own.
            match failure {
                Failure::Message(_) => {}
                Failure::Protocol(_) if !self.transcript.is_ready() => {}
                other => return other,
            }
            let shown = one_line(&bytes[..bytes.len().min(SHOWN)]);
            let how = EngineEnd::Garbage(format!("{failure}: {shown:?}"));
            self.running.failure(how).into()
        })
    }

    /// Everything that is there, and what is still on its way through the engine.
    fn hear_the_rest(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + LINGER;
        loop {
            let said_all = self.transcript.finish().is_ok() || self.transcript.fault().is_some();
            let time = if said_all {
                Duration::ZERO
            } else {
                end.saturating_duration_since(Instant::now())
            };
            if self.running.sources().output.is_none() {
                return Ok(());
            }
            let [output, noise, ..] = {
                let sources = self.running.sources();
                fd::any_readable([sources.output, sources.noise], time)
                    .map_err(|error| Failure::setup("poll", error))?
            };
            if noise {
                self.running.listen();
            }
            if output {
                self.hear()?;
            } else if time.is_zero() {
                return Ok(());
            }
            // Also where somebody else goes on writing.
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    fn impatient(&mut self, why: Impatience) -> Failure {
        match why {
            Impatience::Interrupted => Failure::Interrupted,
            // A payload that has begun is what is too slow; before, it is the engine.
            Impatience::Timeout(allowed) if self.transcript.is_ready() => Failure::Timeout(allowed),
            Impatience::Timeout(allowed) => {
                self.running.failure(EngineEnd::Timeout(allowed)).into()
            }
        }
    }

    /// Removes the instance; hands back why, or that something stays.
    fn abort(&mut self, failure: Failure) -> Failure {
        let removed = self.running.remove(&mut PhaseLog::new());
        leftover::end(&self.name);
        self.removed = true;
        match (failure, removed) {
            (failure @ Failure::Leftover(_), _) | (failure, Ok(())) => failure,
            (failure, Err(left)) => Failure::Leftover(format!("{left}, after \"{failure}\"")),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if !self.removed {
            leftover::give_up(self.running.as_mut(), &self.name);
        }
    }
}
