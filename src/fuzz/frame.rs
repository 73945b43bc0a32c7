//! One message of the boundary, as bytes ([`Frame::decode`]).

use isobench_abi::fact::MAX_PARTS;
use isobench_abi::{Frame, Message, Value};

/// What is decoded encodes to the same bytes: nothing is lost, and no two frames say the same.
pub fn frame(bytes: &[u8]) -> bool {
    match Frame::decode(bytes) {
        Ok((frame, message)) => {
            assert_eq!(frame.to_bytes(), bytes);
            assert_eq!(message.encode(frame.seq, frame.sent), frame);
            if let Message::Fact(fact) = message
                && let Value::Text(part) = fact.value
            {
                assert_eq!(part.text().len(), usize::from(part.length));
                assert!(part.number < MAX_PARTS && part.bytes.starts_with(part.text()));
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[cfg(test)]
pub(super) fn seeds() -> Vec<super::Seed> {
    use isobench_abi::frame::LOG_BYTES;
    use isobench_abi::{
        ABI_VERSION, Ask, FRAME_BYTES, Fact, GuestFault, Mark, Part, Question, Ready, Report,
    };

    let fact = |ask, value| Message::Fact(Fact { ask, value });
    let bytes = |message: Message| message.encode(3, 1_000).to_bytes().to_vec();
    let edit = |message: Message, at: usize, byte: u8| {
        let mut bytes = bytes(message);
        bytes[at] = byte;
        bytes
    };
    let ready = Message::Ready(Ready {
        first_instruction: 900,
        abi: ABI_VERSION,
    });
    let waiting = Message::Mark(Mark::Waiting(4096));
    let result = Message::Result(Report {
        start: 1,
        end: 2,
        units: 3,
        digest: 4,
        image: 5,
        isa: 1,
    });
    let fault = Message::Fault(GuestFault::NoMemory, 9);
    let hostname = Ask::Fact(Question::Hostname);
    let text = fact(hostname, Value::Text(Part::of(&[b'x'; 50], 0)));
    vec![
        ("valid-ready", bytes(ready)),
        ("valid-waiting", bytes(waiting)),
        ("valid-awake", bytes(Message::Mark(Mark::Awake))),
        ("valid-answer", bytes(Message::Mark(Mark::Answer(7)))),
        ("valid-result", bytes(result)),
        ("valid-log", bytes(Message::Log([b'x'; LOG_BYTES]))),
        ("valid-text", bytes(text)),
        ("valid-pair", bytes(fact(Ask::X32, Value::Pair(1, 2)))),
        (
            "valid-refused",
            bytes(fact(Ask::Call(0), Value::Refused(38))),
        ),
        ("valid-fault", bytes(fault)),
        ("truncated", bytes(ready)[..FRAME_BYTES - 1].to_vec()),
        ("hostile-long", [bytes(ready), vec![0]].concat()),
        ("hostile-magic", edit(ready, 0, 0)),
        ("hostile-kind", edit(ready, 4, 7)),
        ("hostile-reserved", edit(ready, 63, 1)),
        ("hostile-mark", edit(waiting, 16, 9)),
        ("hostile-isa", edit(result, 56, 2)),
        // Longer than a frame's value; a part beyond the last; a form that is none.
        ("hostile-text-length", edit(text, 20, 41)),
        ("hostile-text-part", edit(text, 19, MAX_PARTS)),
        ("hostile-form", edit(text, 18, 0xff)),
    ]
}
