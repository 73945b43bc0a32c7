//! What a payload says in one trial: its frames, checked against the protocol one by one. The same
//! for a pipe (`backend::child`) and for a doorbell (`vmm::session`): a payload is hostile on either.
//!
//! ```text
//!   Ready  (Log | Fact | Waiting | Awake | Answer)*  Result   or, anywhere after Ready:  Fault
//! ```

use isobench_abi::{
    ABI_VERSION, Ask, FRAME_BYTES, Fact, Frame, GuestFault, Mark, Message, Ready, Report, Value,
};

use crate::exits::Stage;
use crate::metric::Ticks;
use crate::trial::Failure;

/// All that one payload may say, in bytes.
pub const MAX_OUTPUT: usize = 64 << 10;

/// One answer of a `probe`, its text whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub ask: Ask,
    /// What was found.
    pub found: Found,
}

/// What a `probe` found ([`isobench_abi::Value`], with texts put together).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A number; for a system call what it returned.
    Number(u64),
    /// Two numbers.
    Pair(u64, u64),
    /// Bytes that nobody vouches for, at most [`isobench_abi::fact::MAX_TEXT`].
    Text(Vec<u8>),
    /// The kernel refused, with this errno.
    Refused(i32),
    /// There is no kernel to ask.
    NoKernel,
    /// A system call that is never made.
    Skipped,
}

/// Where the conversation stood when a copy of the payload was taken: it was ready, and had nothing
/// to say since, but that it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of its first message.
    pub first_instruction: u64,
    /// Messages so far.
    pub messages: u16,
    /// The memory that it waits with, if it waits.
    pub waiting: Option<u64>,
}

/// The messages so far.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    partial: Vec<u8>,
    total: usize,
    next_seq: u16,
    ready: Option<Ready>,
    /// When the harness had the first message.
    first: Option<Ticks>,
    waiting: Option<u64>,
    /// When the harness had its reply to the request, and the digest of `warm`'s answer.
    replied: Option<(Ticks, Option<u64>)>,
    report: Option<Report>,
    fault: Option<(GuestFault, u64)>,
    answers: Vec<Answer>,
    /// A text whose last part has not come.
    text: Option<(Ask, Vec<u8>, u8)>,
}

impl Transcript {
    /// The transcript of a copy, before it has said anything itself.
    #[must_use]
    pub fn after(said: Said) -> Self {
        Self {
            total: usize::from(said.messages) * FRAME_BYTES,
            next_seq: said.messages,
            ready: Some(Ready {
                first_instruction: said.first_instruction,
                abi: ABI_VERSION,
            }),
            waiting: said.waiting,
            ..Self::default()
        }
    }

    /// Where it stands, if a copy can go on from there.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        let more = self.replied.is_some() || self.report.is_some() || self.fault.is_some();
        let answers = !self.answers.is_empty() || self.text.is_some() || !self.partial.is_empty();
        let ready = self.ready.filter(|_| !more && !answers)?;
        Some(Said {
            first_instruction: ready.first_instruction,
            messages: self.next_seq,
            waiting: self.waiting,
        })
    }

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
        if self.text.is_some() && !matches!(message, Message::Fact(_)) {
            return Err(Failure::Protocol("a text is broken off"));
        }
        self.first.get_or_insert(at);
        match (message, self.ready.is_some()) {
            (Message::Ready(ready), false) if ready.abi == ABI_VERSION => self.ready = Some(ready),
            (Message::Ready(_), false) => {
                return Err(Failure::Protocol("the payload speaks another ABI version"));
            }
            (Message::Ready(_), true) => return Err(Failure::Protocol("ready twice")),
            (_, false) => return Err(Failure::Protocol("the first message is not ready")),
            (Message::Mark(Mark::Waiting(_)), true) if self.waiting.is_some() => {
                return Err(Failure::Protocol("waiting twice"));
            }
            (Message::Mark(Mark::Waiting(bytes)), true) => self.waiting = Some(bytes),
            (Message::Mark(Mark::Awake | Mark::Answer(_)), true) if self.waiting.is_none() => {
                return Err(Failure::Protocol("awake without having waited"));
            }
            (Message::Mark(Mark::Awake | Mark::Answer(_)), true) if self.replied.is_some() => {
                return Err(Failure::Protocol("awake twice"));
            }
            (Message::Mark(Mark::Awake), true) => self.replied = Some((at, None)),
            (Message::Mark(Mark::Answer(digest)), true) => self.replied = Some((at, Some(digest))),
            (Message::Result(report), true) => {
                if matches!(self.replied, Some((_, Some(digest))) if digest != report.digest) {
                    return Err(Failure::Protocol("the result is another than the answer"));
                }
                self.report = Some(report);
            }
            (Message::Fault(fault, detail), true) => self.fault = Some((fault, detail)),
            (Message::Fact(fact), true) => self.fact(&fact)?,
            (Message::Log(text), true) => tracing::debug!(payload = %text.escape_ascii()),
        }
        Ok((frame, message))
    }

    /// Takes in an answer; a text is one once its last part has come.
    fn fact(&mut self, fact: &Fact) -> Result<(), Failure> {
        let Fact { ask, value } = *fact;
        let text = self.text.take();
        let found = match (value, text) {
            (Value::Text(part), text) => {
                let (asked, mut bytes, expected) = text.unwrap_or((ask, Vec::new(), 0));
                if asked != ask || part.number != expected {
                    return Err(Failure::Protocol("a part of a text is out of order"));
                }
                bytes.extend_from_slice(part.text());
                if part.more {
                    self.text = Some((ask, bytes, expected + 1));
                    return Ok(());
                }
                Found::Text(bytes)
            }
            (_, Some(_)) => return Err(Failure::Protocol("a text is broken off")),
            (Value::Number(n), None) => Found::Number(n),
            (Value::Pair(a, b), None) => Found::Pair(a, b),
            (Value::Refused(errno), None) => Found::Refused(errno.into()),
            (Value::NoKernel, None) => Found::NoKernel,
            (Value::Skipped, None) => Found::Skipped,
        };
        if self.answers.last().is_some_and(|last| last.ask >= ask) {
            return Err(Failure::Protocol("answers out of order"));
        }
        self.answers.push(Answer { ask, found });
        Ok(())
    }

    /// Whether the payload has said that it runs.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// Hands over the answers so far.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Whether the payload has said that it has touched its memory and waits (`idle`, `warm`).
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

    /// The part of the trial that its messages say it is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match (self.ready.is_some(), self.report.is_some()) {
            (false, _) => Stage::Start,
            (true, false) => Stage::Work,
            (true, true) => Stage::End,
        }
    }

    /// When the harness had its reply to the request (`idle`, `warm`), if there was one.
    #[must_use]
    pub fn replied(&self) -> Option<Ticks> {
        self.replied.map(|(at, _)| at)
    }

    /// Why the payload gave up, if it did.
    #[must_use]
    pub const fn fault(&self) -> Option<(GuestFault, u64)> {
        self.fault
    }

    /// Ends the transcript: what it said when it was ready, the instant at which its first message
    /// arrived (of a copy: the copy's own first), and the report.
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
            .zip(self.first)
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
    use isobench_abi::{Part, Question};

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
        assert_eq!(transcript.replied(), Some(Ticks(3)));
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
        let answer = |digest| Message::Mark(Mark::Answer(digest));
        say(&[READY, waiting, answer(0), RESULT]).unwrap();
        for wrong in [
            &[RESULT][..],
            &[other],
            &[READY, READY],
            &[READY, awake],
            &[READY, waiting, waiting],
            &[READY, waiting, awake, awake],
            &[READY, answer(0)],
            &[READY, waiting, answer(0), awake],
            &[READY, waiting, answer(7), RESULT],
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
    fn a_copy_goes_on_where_it_was_taken() {
        let waiting = Message::Mark(Mark::Waiting(8));
        let awake = Message::Mark(Mark::Awake);
        assert_eq!(say(&[]).unwrap().said(), None);
        for done in [&[READY, RESULT][..], &[READY, waiting, awake]] {
            assert_eq!(say(done).unwrap().said(), None);
        }
        let said = say(&[READY, waiting]).unwrap().said().unwrap();
        assert_eq!((said.messages, said.waiting), (2, Some(8)));
        let mut copy = Transcript::after(said);
        let mut go_on =
            |message: Message, seq, at| copy.frame(&message.encode(seq, 0).to_bytes(), Ticks(at));
        assert!(go_on(awake, 0, 70).is_err(), "the numbers go on, too");
        let mut copy = Transcript::after(said);
        for (message, seq) in [(awake, 2), (RESULT, 3)] {
            copy.frame(
                &message.encode(seq, 0).to_bytes(),
                Ticks(70 + u64::from(seq)),
            )
            .unwrap();
        }
        let (ready, first, _) = copy.finish().unwrap();
        assert_eq!((ready.first_instruction, first), (1, Ticks(72)));
    }

    #[test]
    fn answers_come_in_order_and_texts_whole() {
        let fact = |ask, value| Message::Fact(Fact { ask, value });
        let (host, pid) = (Ask::Fact(Question::Hostname), Ask::Fact(Question::Pid));
        let long = [b'x'; 50];
        let [first, last] = [0, 1].map(|n| fact(host, Value::Text(Part::of(&long, n))));
        let number = fact(pid, Value::Number(7));
        let mut whole = say(&[READY, number, first, last, RESULT]).unwrap();
        let answer = |ask, found| Answer { ask, found };
        assert_eq!(
            whole.take_answers(),
            [
                answer(pid, Found::Number(7)),
                answer(host, Found::Text(long.to_vec()))
            ]
        );
        let other = fact(Ask::X32, Value::Text(Part::of(&long, 1)));
        for wrong in [
            &[number][..],
            &[READY, number, number],
            &[READY, first, last, number],
            &[READY, last],
            &[READY, first, first],
            &[READY, first, other],
            &[READY, first, RESULT],
            &[READY, first, fact(Ask::X32, Value::NoKernel)],
        ] {
            assert!(matches!(say(wrong), Err(Failure::Protocol(_))), "{wrong:?}");
        }
        // A payload that is killed between two parts has not answered.
        assert_eq!(say(&[READY, first]).unwrap().take_answers(), []);
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
