//! What a payload says in one trial: its frames, checked against the protocol one by one. The same
//! for a pipe (`backend::child`) and for a doorbell (`vmm::session`): a payload is hostile on either.
//!
//! ```text
//!   Ready  (Log | Waiting | Awake)*  Result        or, anywhere after Ready:  Fault
//! ```

use isobench_abi::{ABI_VERSION, FRAME_BYTES, Frame, GuestFault, Mark, Message, Ready, Report};

use crate::metric::Ticks;
use crate::trial::Failure;

/// All that one payload may say, in bytes.
pub const MAX_OUTPUT: usize = 64 << 10;

/// The messages so far.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    partial: Vec<u8>,
    total: usize,
    next_seq: u16,
    ready: Option<(Ready, Ticks)>,
    waiting: Option<u64>,
    awake: bool,
    report: Option<Report>,
    fault: Option<(GuestFault, u64)>,
}

impl Transcript {
    /// Takes in bytes as they came, with the instant at which the harness had them.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn bytes(&mut self, bytes: &[u8], at: Ticks) -> Result<(), Failure> {
        self.partial.extend_from_slice(bytes);
        let whole = self.partial.len() / FRAME_BYTES * FRAME_BYTES;
        let rest = self.partial.split_off(whole);
        let frames = std::mem::replace(&mut self.partial, rest);
        frames
            .chunks_exact(FRAME_BYTES)
            .try_for_each(|frame| self.frame(frame, at).map(drop))
    }

    /// Takes in one frame, and hands it back decoded. Never allocates: a guest's first message is
    /// under the clock.
    ///
    /// # Errors
    /// Bytes that are no frame, a frame in an order the protocol does not have, or one too many.
    pub fn frame(&mut self, bytes: &[u8], at: Ticks) -> Result<(Frame, Message), Failure> {
        let (frame, message) = Frame::decode(bytes)?;
        self.total = self.total.saturating_add(FRAME_BYTES);
        if self.total > MAX_OUTPUT {
            return Err(Failure::Protocol("more than 64 KiB of output"));
        }
        if frame.seq != self.next_seq {
            return Err(Failure::Protocol("a message is missing or out of order"));
        }
        self.next_seq = self.next_seq.wrapping_add(1);
        if self.report.is_some() || self.fault.is_some() {
            return Err(Failure::Protocol("a message after the last one"));
        }
        match (message, self.ready.is_some()) {
            (Message::Ready(ready), false) if ready.abi == ABI_VERSION => {
                self.ready = Some((ready, at));
            }
            (Message::Ready(_), false) => {
                return Err(Failure::Protocol("the payload speaks another ABI version"));
            }
            (Message::Ready(_), true) => return Err(Failure::Protocol("ready twice")),
            (_, false) => return Err(Failure::Protocol("the first message is not ready")),
            (Message::Mark(Mark::Waiting(_)), true) if self.waiting.is_some() => {
                return Err(Failure::Protocol("waiting twice"));
            }
            (Message::Mark(Mark::Waiting(bytes)), true) => self.waiting = Some(bytes),
            (Message::Mark(Mark::Awake), true) if self.waiting.is_none() => {
                return Err(Failure::Protocol("awake without having waited"));
            }
            (Message::Mark(Mark::Awake), true) if self.awake => {
                return Err(Failure::Protocol("awake twice"));
            }
            (Message::Mark(Mark::Awake), true) => self.awake = true,
            (Message::Result(report), true) => self.report = Some(report),
            (Message::Fault(fault, detail), true) => self.fault = Some((fault, detail)),
            (Message::Log(text), true) => tracing::debug!(payload = %text.escape_ascii()),
        }
        Ok((frame, message))
    }

    /// Whether the payload has said that it has touched its memory and waits (`idle`).
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Checks that a payload that waits has touched `bytes`, as it was asked to.
    ///
    /// # Errors
    /// Another amount, or it has not said that it waits.
    pub fn waits_with(&self, bytes: u64) -> Result<(), Failure> {
        match self.waiting {
            Some(touched) if touched == bytes => Ok(()),
            Some(_) => Err(Failure::Protocol(
                "the payload waits with another amount of memory than it was asked for",
            )),
            None => Err(Failure::Protocol("the payload does not wait")),
        }
    }

    /// Whether it has answered a request (`idle`).
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        self.awake
    }

    /// Why the payload gave up, if it did.
    #[must_use]
    pub const fn fault(&self) -> Option<(GuestFault, u64)> {
        self.fault
    }

    /// Ends the transcript: first message with the instant it arrived, and the report.
    ///
    /// # Errors
    /// It stops inside a frame, or before the result.
    pub fn finish(&self) -> Result<(Ready, Ticks, Report), Failure> {
        if let Some((fault, detail)) = self.fault {
            return Err(Failure::Payload(fault, detail));
        }
        if !self.partial.is_empty() {
            return Err(isobench_abi::DecodeError::Length(self.partial.len()).into());
        }
        let (ready, at) = self
            .ready
            .ok_or(Failure::Protocol("the payload ended without a message"))?;
        let report = self
            .report
            .ok_or(Failure::Protocol("the payload ended without a result"))?;
        Ok((ready, at, report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Message = Message::Ready(Ready {
        first_instruction: 1,
        abi: ABI_VERSION,
    });
    const RESULT: Message = Message::Result(Report {
        start: 2,
        end: 3,
        units: 1,
        digest: 0,
        image: 0,
        isa: 0,
    });

    fn say(messages: &[Message]) -> Result<Transcript, Failure> {
        let mut transcript = Transcript::default();
        for (seq, message) in messages.iter().enumerate() {
            let frame = message.encode(seq as u16, 0).to_bytes();
            // Split where no frame ends: a pipe has no records.
            transcript.bytes(&frame[..7], Ticks(seq as u64))?;
            transcript.bytes(&frame[7..], Ticks(seq as u64))?;
        }
        Ok(transcript)
    }

    #[test]
    fn a_whole_life_is_accepted() {
        let log = Message::Log([b'x'; 48]);
        let waiting = Message::Mark(Mark::Waiting(4096));
        let awake = Message::Mark(Mark::Awake);
        let transcript = say(&[READY, log, waiting, awake, RESULT]).unwrap();
        transcript.waits_with(4096).unwrap();
        assert!(transcript.is_awake());
        let (_, at, report) = transcript.finish().unwrap();
        assert_eq!((at, report.end), (Ticks(0), 3));
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        let waiting = Message::Mark(Mark::Waiting(0));
        let awake = Message::Mark(Mark::Awake);
        let other = Message::Ready(Ready {
            first_instruction: 1,
            abi: ABI_VERSION + 1,
        });
        for wrong in [
            &[RESULT][..],
            &[other],
            &[READY, READY],
            &[READY, awake],
            &[READY, waiting, waiting],
            &[READY, waiting, awake, awake],
            &[waiting],
            &[READY, RESULT, RESULT],
        ] {
            assert!(matches!(say(wrong), Err(Failure::Protocol(_))), "{wrong:?}");
        }
        for unfinished in [&[][..], &[READY]] {
            let transcript = say(unfinished).unwrap();
            assert!(matches!(transcript.finish(), Err(Failure::Protocol(_))));
        }
        for (said, asked) in [(&[READY][..], 0), (&[READY, waiting], 4096)] {
            let waits = say(said).unwrap().waits_with(asked);
            assert!(matches!(waits, Err(Failure::Protocol(_))), "{said:?}");
        }
    }

    #[test]
    fn garbage_gaps_and_floods_are_refused() {
        let mut transcript = Transcript::default();
        assert!(matches!(
            transcript.bytes(&[7; 64], Ticks(0)),
            Err(Failure::Message(_))
        ));
        let mut transcript = Transcript::default();
        let frame = READY.encode(1, 0).to_bytes();
        assert!(matches!(
            transcript.bytes(&frame, Ticks(0)),
            Err(Failure::Protocol(_))
        ));
        let mut transcript = Transcript::default();
        transcript
            .bytes(&READY.encode(0, 0).to_bytes(), Ticks(0))
            .unwrap();
        let flood = (1..).try_for_each(|seq| {
            let frame = Message::Log([0; 48]).encode(seq, 0).to_bytes();
            transcript.bytes(&frame, Ticks(0))
        });
        assert!(matches!(flood, Err(Failure::Protocol(_))));
    }
}
