//! What a payload says in one trial, as a pipe or a doorbell brings it ([`Transcript`]).

use isobench_abi::fact::MAX_TEXT;
use isobench_abi::frame::MAGIC;
use isobench_abi::{ABI_VERSION, FRAME_BYTES, Mark, Message};

use crate::metric::Ticks;
use crate::transcript::{Found, MAX_OUTPUT, Transcript};

/// When everything is heard: the protocol does not ask for the time.
const AT: Ticks = Ticks(1);

/// The input: bytes that one read of a pipe brings; whether the frames shall be numbered as they should
/// be (bit 0), so that what is behind the numbers is reached; frames.
///
/// However a pipe cuts what is said, it is heard alike. What is accepted keeps the protocol, restated
/// in [`Model`]; a copy of the payload goes on exactly as the payload itself.
pub fn transcript(bytes: &[u8]) -> bool {
    let [cut, number, said @ ..] = bytes else {
        return false;
    };
    let mut said = said.to_vec();
    if number & 1 != 0 {
        number_frames(&mut said);
    }
    let whole = by_pipe(&said, said.len().max(1));
    assert_eq!(by_pipe(&said, usize::from(*cut).max(1)), whole);
    let (frames, rest) = said.as_chunks::<FRAME_BYTES>();
    let by_frame = by_frame(frames);
    if rest.is_empty() {
        assert_eq!(by_frame, whole);
    }
    whole.is_ok()
}

/// Gives frames the magic and the numbers that they should have.
pub(crate) fn number_frames(said: &mut [u8]) {
    for (seq, frame) in said.as_chunks_mut::<FRAME_BYTES>().0.iter_mut().enumerate() {
        frame[..4].copy_from_slice(&MAGIC.to_le_bytes());
        frame[6..8].copy_from_slice(&(seq as u16).to_le_bytes());
    }
}

/// How it ends, in words: the report and the answers, or why not.
fn by_pipe(said: &[u8], cut: usize) -> Result<String, String> {
    let mut transcript = Transcript::default();
    for part in said.chunks(cut) {
        transcript
            .bytes(part, AT)
            .map_err(|failure| failure.to_string())?;
    }
    end(transcript)
}

fn end(mut transcript: Transcript) -> Result<String, String> {
    let finished = transcript.finish().map_err(|failure| failure.to_string())?;
    Ok(format!("{finished:?} {:?}", transcript.take_answers()))
}

/// The same, frame by frame, beside the model and a copy that was taken as late as one could be.
fn by_frame(frames: &[[u8; FRAME_BYTES]]) -> Result<String, String> {
    let mut transcript = Transcript::default();
    let mut model = Model::default();
    let mut copy: Option<Transcript> = None;
    let mut failed = None;
    for frame in frames {
        if failed.is_none() {
            copy = transcript.said().map(Transcript::after).or(copy);
        }
        let heard = transcript
            .frame(frame, AT)
            .map_err(|failure| failure.to_string());
        if let Some(copy) = copy.as_mut().filter(|_| failed.is_none()) {
            let again = copy.frame(frame, AT).map_err(|failure| failure.to_string());
            assert_eq!(again, heard);
        }
        match heard {
            Ok((frame, message)) if failed.is_none() => model.accepted(frame.seq, message),
            // Even a host that goes on after a failure gets no second result.
            Ok((_, Message::Result(_))) => model.results += 1,
            Ok(_) => {}
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    assert!(model.results <= 1);
    if let Some(failure) = failed {
        return Err(failure);
    }
    let finished = transcript.finish().ok();
    assert_eq!(finished.is_some(), model.results == 1 && model.faults == 0);
    assert_eq!(transcript.fault().is_some(), model.faults == 1);
    assert_eq!(transcript.replied().is_some(), model.replied);
    let answers = transcript.clone().take_answers();
    assert!(answers.is_sorted_by(|one, other| one.ask < other.ask));
    for answer in answers {
        assert!(!matches!(answer.found, Found::Text(text) if text.len() > MAX_TEXT));
    }
    end(transcript)
}

/// The protocol, as its grammar says it.
#[derive(Default)]
struct Model {
    frames: usize,
    waiting: bool,
    replied: bool,
    answer: Option<u64>,
    results: usize,
    faults: usize,
}

impl Model {
    /// A frame that the transcript has accepted.
    fn accepted(&mut self, seq: u16, message: Message) {
        assert_eq!(self.results + self.faults, 0, "nothing follows the last");
        assert_eq!(usize::from(seq), self.frames, "none is missing");
        assert_eq!(self.frames == 0, matches!(message, Message::Ready(_)));
        self.frames += 1;
        assert!(self.frames * FRAME_BYTES <= MAX_OUTPUT);
        match message {
            Message::Ready(ready) => assert_eq!(ready.abi, ABI_VERSION),
            Message::Mark(Mark::Waiting(_)) => {
                assert!(!std::mem::replace(&mut self.waiting, true));
            }
            Message::Mark(mark @ (Mark::Awake | Mark::Answer(_))) => {
                assert!(self.waiting && !std::mem::replace(&mut self.replied, true));
                if let Mark::Answer(digest) = mark {
                    self.answer = Some(digest);
                }
            }
            Message::Result(report) => {
                assert!(self.answer.is_none_or(|digest| digest == report.digest));
                self.results += 1;
            }
            Message::Fault(..) => self.faults += 1,
            Message::Log(_) | Message::Fact(_) => {}
        }
    }
}

#[cfg(test)]
pub(super) fn seeds() -> Vec<super::Seed> {
    use isobench_abi::frame::LOG_BYTES;
    use isobench_abi::{Ask, Fact, GuestFault, Part, Question, Ready, Report, Value};

    let say = |number: u8, messages: &[Message]| {
        let mut bytes = vec![7, number];
        for (seq, message) in messages.iter().enumerate() {
            bytes.extend(message.encode(seq as u16, 1_000).to_bytes());
        }
        bytes
    };
    let ready = Message::Ready(Ready {
        first_instruction: 900,
        abi: ABI_VERSION,
    });
    let result = Message::Result(Report {
        start: 1,
        end: 2,
        units: 3,
        digest: 4,
        image: 5,
        isa: 1,
    });
    let log = Message::Log([b'x'; LOG_BYTES]);
    let waiting = Message::Mark(Mark::Waiting(4096));
    let awake = Message::Mark(Mark::Awake);
    let answer = |digest| Message::Mark(Mark::Answer(digest));
    let fault = Message::Fault(GuestFault::NoMemory, 9);
    let fact = |ask, value| Message::Fact(Fact { ask, value });
    let hostname = Ask::Fact(Question::Hostname);
    let [first, last] =
        [0, 1].map(|number| fact(hostname, Value::Text(Part::of(&[b'x'; 50], number))));
    let call = fact(Ask::Call(0), Value::Refused(38));
    let truncated = |bytes: Vec<u8>, less: usize| bytes[..bytes.len() - less].to_vec();
    let swapped = {
        let mut bytes = say(0, &[ready, log, result]);
        bytes[2..].rotate_left(FRAME_BYTES);
        bytes
    };
    vec![
        ("valid-noop", say(0, &[ready, result])),
        ("valid-numbered", say(1, &[ready, log, result])),
        ("valid-idle", say(0, &[ready, waiting, awake, result])),
        ("valid-warm", say(1, &[ready, waiting, answer(4), result])),
        ("valid-probe", say(1, &[ready, first, last, call, result])),
        ("truncated-empty", Vec::new()),
        ("truncated-frame", truncated(say(0, &[ready, result]), 1)),
        ("truncated-life", say(0, &[ready, waiting])),
        ("truncated-text", say(1, &[ready, first])),
        ("hostile-order", swapped),
        ("hostile-two-results", say(1, &[ready, result, result])),
        ("hostile-two-readies", say(1, &[ready, ready, result])),
        ("hostile-not-ready", say(1, &[log, ready, result])),
        ("hostile-awake", say(1, &[ready, awake, result])),
        (
            "hostile-answer",
            say(1, &[ready, waiting, answer(5), result]),
        ),
        ("hostile-text", say(1, &[ready, first, log, last, result])),
        ("hostile-answers", say(1, &[ready, call, call, result])),
        ("hostile-fault", say(1, &[ready, fault, result])),
        ("fault", say(1, &[ready, fault])),
    ]
}
