//! The conversation with a running payload: what it may say, in which order, and how much of it.
//!
//! ```text
//!   Ready ─► (Log | Fact | Waiting ─► Wait ─► Awake | Answer)* ─► Result ─► exit 0
//!                                          or, anywhere after Ready:  Fault
//! ```
//!
//! The guest is hostile until proven otherwise. Frames are bounded in number and order
//! ([`Transcript`]); empty doorbells (`crossing` rings millions) are bounded by the deadline alone.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use isobench_abi::{FRAME_BYTES, Mark, Message, Op};

use super::clock::Brackets;
use super::exit::Exit;
use super::machine::Machine;
use crate::exits::Stage;
use crate::metric::Ticks;
use crate::sys::clock::now;
use crate::sys::watchdog::{Armed, Verdict};
use crate::transcript::{Answer, Said, Transcript};
use crate::trial::Failure;

mod outcome;

pub use outcome::Outcome;
use outcome::in_order;

/// Doorbells between two looks at the clock: some tens of milliseconds of the cheapest ones even
/// where one takes 100 µs.
const LOOK_EVERY: u64 = 256;

/// A machine whose payload speaks by doorbell.
pub trait Speaker {
    /// Runs the vCPU until it has something to say, or a signal arrives.
    ///
    /// # Errors
    /// Every [`Failure`] by which a guest or KVM ends.
    fn run(&mut self) -> Result<Exit, Failure>;

    /// The frame that the last doorbell announced.
    ///
    /// # Errors
    /// It cannot be read.
    fn frame(&self) -> Result<[u8; FRAME_BYTES], Failure>;

    /// In a machine of which copies are made: the guest's counter at the first instruction behind the
    /// doorbell before this one.
    ///
    /// # Errors
    /// It cannot be read.
    fn went_on(&self) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// How often the vCPU came back.
    fn total_exits(&self) -> u64;

    /// The part of the trial that exits belong to from now on.
    fn enter(&mut self, stage: Stage);
}

impl Speaker for Machine {
    fn run(&mut self) -> Result<Exit, Failure> {
        self.run()
    }

    fn frame(&self) -> Result<[u8; FRAME_BYTES], Failure> {
        self.frame()
    }

    fn went_on(&self) -> Result<Option<u64>, Failure> {
        self.went_on().map(Some)
    }

    fn total_exits(&self) -> u64 {
        self.exits().total()
    }

    fn enter(&mut self, stage: Stage) {
        self.enter(stage);
    }
}

/// Why the payload stopped for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It waits for a request.
    Waiting,
    /// It is done, with this status.
    Exited(u8),
}

/// With which instruction the machine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Began {
    /// The payload's first.
    Cold,
    /// A copy's, behind its snapshot, at a reading that it has not told yet.
    Copy,
    /// The same, told.
    CopyAt(u64),
}

/// What has been said so far.
#[derive(Debug)]
pub struct Session {
    limit: Duration,
    started: Ticks,
    resumed: Ticks,
    /// When a payload that waited got its request: it works from then on, over several messages.
    asked: Option<Ticks>,
    transcript: Transcript,
    /// The guest's counter when it sent "ready", and when it sent its result.
    said_ready: u64,
    said_result: u64,
    waited: bool,
    began: Began,
    brackets: Brackets,
    /// Where every message goes, unjudged, before it is judged here.
    forward: Option<File>,
}

impl Session {
    /// A session about to begin, with the limit that a timeout reports.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let start = now();
        Self {
            limit,
            started: start,
            resumed: start,
            asked: None,
            transcript: Transcript::default(),
            said_ready: 0,
            said_result: 0,
            waited: false,
            began: Began::Cold,
            brackets: Brackets::default(),
            forward: None,
        }
    }

    /// The session of a copy: it goes on where the snapshot was taken. What the payload read off its
    /// counter before that was another vCPU's, at another time, and is no witness here.
    #[must_use]
    pub fn after(said: Said, limit: Duration) -> Self {
        Self {
            transcript: Transcript::after(said),
            waited: said.waiting.is_some(),
            began: Began::Copy,
            ..Self::new(limit)
        }
    }

    /// As [`Self::new`], for a VMM that is not the harness: messages are passed on as they come.
    #[must_use]
    pub fn forwarding(limit: Duration, to: File) -> Self {
        Self {
            forward: Some(to),
            ..Self::new(limit)
        }
    }

    /// Where a snapshot would find the conversation, if one can be taken now.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        self.transcript
            .said()
            .filter(|said| said.waiting.is_some() == self.waited)
    }

    /// Passes nothing on any more, and lets whoever listens know.
    pub fn hang_up(&mut self) {
        self.forward = None;
    }

    /// Lets the payload run until it waits or exits.
    ///
    /// # Errors
    /// Every [`Failure`] that a payload, a hostile guest, KVM, the clock or the user can cause.
    pub fn run(&mut self, machine: &mut impl Speaker, watchdog: &Armed) -> Result<Pause, Failure> {
        loop {
            if let Some(pause) = self.converse(machine, watchdog, false)? {
                return Ok(pause);
            }
        }
    }

    /// Lets the payload run until the harness has its first message.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn until_ready(
        &mut self,
        machine: &mut impl Speaker,
        watchdog: &Armed,
    ) -> Result<(), Failure> {
        match self.converse(machine, watchdog, true)? {
            None => Ok(()),
            Some(_) => Err(Failure::Protocol("the payload ended without a message")),
        }
    }

    /// Until the payload waits or exits, or, if asked to, until the next message (`None`).
    fn converse(
        &mut self,
        machine: &mut impl Speaker,
        watchdog: &Armed,
        one: bool,
    ) -> Result<Option<Pause>, Failure> {
        self.resumed = now();
        if self.waited {
            self.asked = Some(self.resumed);
        }
        loop {
            let (op, argument) = match machine.run()? {
                Exit::Doorbell(op, argument) => (op, argument),
                Exit::Interrupted => {
                    self.look(watchdog)?;
                    continue;
                }
            };
            match op {
                Op::Null => {
                    // A signal that lands outside KVM_RUN is lost; a ringing guest gives many
                    // occasions to notice.
                    if machine.total_exits().is_multiple_of(LOOK_EVERY) {
                        self.look(watchdog)?;
                    }
                }
                Op::Frame => {
                    let came_back = now();
                    let bytes = machine.frame()?;
                    if let Some(to) = &mut self.forward {
                        to.write_all(&bytes)
                            .map_err(|cause| Failure::setup("forward", cause))?;
                    }
                    let went_on = match self.began {
                        Began::Copy => machine.went_on()?,
                        Began::Cold | Began::CopyAt(_) => None,
                    };
                    self.frame(&bytes, came_back, went_on)?;
                    machine.enter(self.transcript.stage());
                    if one {
                        return Ok(None);
                    }
                    self.resumed = now();
                }
                Op::Wait => {
                    if !self.transcript.is_waiting() || self.waited {
                        return Err(Failure::Protocol("a wait out of order"));
                    }
                    self.waited = true;
                    return Ok(Some(Pause::Waiting));
                }
                Op::Exit => {
                    let status = u8::try_from(argument)
                        .map_err(|_| Failure::Protocol("an exit status beyond 255"))?;
                    return Ok(Some(Pause::Exited(status)));
                }
                // `Machine::run` has turned it into a failure.
                Op::Trap => return Err(Failure::Protocol("a trap out of order")),
            }
        }
    }

    /// As [`Transcript::waits_with`].
    ///
    /// # Errors
    /// As there.
    pub fn waits_with(&self, bytes: u64) -> Result<(), Failure> {
        self.transcript.waits_with(bytes)
    }

    /// After an interruption: is it time to stop?
    fn look(&self, watchdog: &Armed) -> Result<(), Failure> {
        match watchdog.verdict() {
            Ok(Verdict::Continue) => Ok(()),
            Ok(Verdict::Expired) => Err(Failure::Timeout(self.limit)),
            Ok(Verdict::Requested) => Err(Failure::Interrupted),
            Err(cause) => Err(Failure::setup("timer_settime", cause)),
        }
    }

    /// One message: within the protocol, and with readings that were taken while the guest ran. With the
    /// first one of a copy comes the reading at which it went on.
    fn frame(
        &mut self,
        bytes: &[u8],
        came_back: Ticks,
        went_on: Option<u64>,
    ) -> Result<(), Failure> {
        let (frame, message) = self.transcript.frame(bytes, now())?;
        let since_request = self.asked.unwrap_or(self.resumed);
        let mut witness = |since, guest| self.brackets.witness(since, guest, came_back);
        witness(self.resumed, frame.sent);
        if self.began == Began::Copy {
            let first = went_on.ok_or(Failure::Protocol(
                "a copy that does not say when it went on",
            ))?;
            witness(self.resumed, first);
            in_order(&[first, frame.sent])?;
            self.began = Began::CopyAt(first);
        }
        match message {
            Message::Ready(ready) => {
                witness(self.resumed, ready.first_instruction);
                self.said_ready = frame.sent;
            }
            Message::Mark(Mark::Awake | Mark::Answer(_)) if !self.waited => {
                return Err(Failure::Protocol("awake without having waited"));
            }
            Message::Mark(_) | Message::Log(_) | Message::Fact(_) => {}
            Message::Fault(fault, detail) => return Err(Failure::Payload(fault, detail)),
            Message::Result(report) => {
                witness(since_request, report.start);
                witness(since_request, report.end);
                self.said_result = frame.sent;
            }
        }
        Ok(())
    }

    /// Whether the payload has spoken.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.transcript.is_ready()
    }

    /// Hands over what the payload has answered (`probe`).
    pub fn take_answers(&mut self) -> Vec<Answer> {
        self.transcript.take_answers()
    }

    /// Ends the session with the payload's exit status.
    ///
    /// # Errors
    /// The status is not 0, or the payload left without a result; its readings run backwards.
    pub fn finish(self, status: u8) -> Result<Outcome, Failure> {
        if status != 0 {
            return Err(Failure::Status(u32::from(status)));
        }
        let (ready, t2, report) = self.transcript.finish()?;
        let reply = self.transcript.replied();
        if self.waited && reply.is_none() {
            return Err(Failure::Protocol("the payload did not answer the request"));
        }
        let work = [report.start, report.end, self.said_result];
        let t1 = match self.began {
            Began::Cold => {
                in_order(&[ready.first_instruction, self.said_ready, report.start])?;
                ready.first_instruction
            }
            Began::Copy => return Err(Failure::Protocol("a copy that has said nothing")),
            Began::CopyAt(first) => {
                in_order(&[first, report.start])?;
                first
            }
        };
        in_order(&work)?;
        Ok(Outcome {
            report,
            started: self.started,
            t1,
            t2,
            reply,
            copy: self.began != Began::Cold,
            brackets: self.brackets,
        })
    }
}

#[cfg(any(test, fuzzing))]
#[path = "session_fuzz.rs"]
pub mod fuzz;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
