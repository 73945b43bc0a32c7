//! The vocabulary: ready, mark, result, log, fact, exit, fault, each in one 64-byte frame.
//! (*exit* is not a frame: it is `exit_group` on Linux and `Op::Exit` on the doorbell.)

use crate::fact::Fact;

/// Size of a frame in bytes. A pipe write of at most `PIPE_BUF` (4096) bytes is atomic (pipe(7)).
pub const FRAME_BYTES: usize = 64;

/// First word of every frame: "ISOB", little-endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ISOB");

/// Bytes of text that one log frame carries.
pub const LOG_BYTES: usize = 48;

/// One message on the wire.
///
/// ```text
///  0      4      6     8            16                                  64
///  │ magic │ kind │ seq │ sent (tsc) │ words[0] … words[5]               │
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// [`MAGIC`].
    pub magic: u32,
    /// Which message: see [`Kind`].
    pub kind: u16,
    /// Position in this trial's sequence of frames, from 0.
    pub seq: u16,
    /// The guest's time-stamp counter just before the frame was handed over.
    pub sent: u64,
    /// The message itself.
    pub words: [u64; 6],
}

const _: () = {
    assert!(core::mem::size_of::<Frame>() == FRAME_BYTES);
    assert!(core::mem::offset_of!(Frame, kind) == 4);
    assert!(core::mem::offset_of!(Frame, seq) == 6);
    assert!(core::mem::offset_of!(Frame, sent) == 8);
    assert!(core::mem::offset_of!(Frame, words) == 16);
};

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// First message.
    Ready = 1,
    /// A point in time.
    Mark = 2,
    /// The work is done.
    Result = 3,
    /// Text.
    Log = 4,
    /// What `probe` found out.
    Fact = 5,
    /// The payload refuses or gives up.
    Fault = 6,
}

/// The payload runs; sent once, first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `t1`: the counter at the first instruction of `_start`.
    pub first_instruction: u64,
    /// [`crate::ABI_VERSION`] of the payload.
    pub abi: u64,
}

/// A named point in time (the frame's `sent` is the reading).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `idle` answered the host's request.
    Awake,
    /// `idle` or `warm` has this many bytes of memory in place and will now wait: from here on its
    /// memory stands still.
    Waiting(u64),
    /// `warm` answered the host's request: the digest of its answer, which its result repeats.
    Answer(u64),
}

/// What a workload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Counter at the start of the timed section.
    pub start: u64,
    /// Counter at its end: `t3`.
    pub end: u64,
    /// Units of work done in between (the workload's unit: bytes, operations, steps, pages).
    pub units: u64,
    /// Digest of what was computed ([`crate::Fold64`]).
    pub digest: u64,
    /// [`crate::image_fold`] of the payload as it found itself in memory.
    pub image: u64,
    /// Instruction set used: 0 = baseline SSE2, 1 = AVX2 with FMA.
    pub isa: u64,
}

/// Why the payload gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum GuestFault {
    /// No such workload, or an argument that is not a number in its range.
    BadArgument = 1,
    /// The heap is too small, or `mmap` refused.
    NoMemory = 2,
    /// A Rust panic.
    Panic = 3,
    /// A system call or doorbell did not behave as promised.
    Transport = 4,
}

/// A decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Ready`].
    Ready(Ready),
    /// See [`Mark`].
    Mark(Mark),
    /// See [`Report`].
    Result(Report),
    /// Up to [`LOG_BYTES`] bytes of text, NUL padded, not necessarily UTF-8.
    Log([u8; LOG_BYTES]),
    /// See [`Fact`].
    Fact(Fact),
    /// See [`GuestFault`]; with one word of detail.
    Fault(GuestFault, u64),
}

/// A frame that is not part of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter or longer than [`FRAME_BYTES`].
    Length(usize),
    /// The magic is wrong: not a frame.
    Magic(u32),
    /// No such kind.
    Kind(u16),
    /// The kind's field has a value outside its range.
    Field(u64),
    /// A word that must be zero is not.
    Reserved,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length(n) => write!(f, "a frame has {FRAME_BYTES} bytes, not {n}"),
            Self::Magic(m) => write!(f, "frame magic is {MAGIC:#010x}, not {m:#010x}"),
            Self::Kind(k) => write!(f, "no message has kind {k}"),
            Self::Field(v) => write!(f, "field value {v:#x} is outside its range"),
            Self::Reserved => write!(f, "a reserved word is not zero"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Message {
    /// Puts the message on the wire.
    #[must_use]
    pub fn encode(&self, seq: u16, sent: u64) -> Frame {
        let (kind, words) = match *self {
            Self::Ready(r) => (Kind::Ready, [r.first_instruction, r.abi, 0, 0, 0, 0]),
            Self::Mark(Mark::Awake) => (Kind::Mark, [1, 0, 0, 0, 0, 0]),
            Self::Mark(Mark::Waiting(bytes)) => (Kind::Mark, [2, bytes, 0, 0, 0, 0]),
            Self::Mark(Mark::Answer(digest)) => (Kind::Mark, [3, digest, 0, 0, 0, 0]),
            Self::Result(r) => (
                Kind::Result,
                [r.start, r.end, r.units, r.digest, r.image, r.isa],
            ),
            Self::Log(text) => {
                let mut words = [0u64; 6];
                for (word, bytes) in words.iter_mut().zip(text.chunks_exact(8)) {
                    let mut raw = [0u8; 8];
                    raw.copy_from_slice(bytes);
                    *word = u64::from_le_bytes(raw);
                }
                (Kind::Log, words)
            }
            Self::Fact(fact) => (Kind::Fact, fact.to_words()),
            Self::Fault(fault, detail) => (Kind::Fault, [fault as u64, detail, 0, 0, 0, 0]),
        };
        Frame {
            magic: MAGIC,
            kind: kind as u16,
            seq,
            sent,
            words,
        }
    }
}

impl Frame {
    /// The frame as bytes, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FRAME_BYTES] {
        let mut out = [0u8; FRAME_BYTES];
        out[0..4].copy_from_slice(&self.magic.to_le_bytes());
        out[4..6].copy_from_slice(&self.kind.to_le_bytes());
        out[6..8].copy_from_slice(&self.seq.to_le_bytes());
        out[8..16].copy_from_slice(&self.sent.to_le_bytes());
        for (slot, word) in out[16..].chunks_exact_mut(8).zip(self.words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads a frame out of bytes nobody vouches for.
    ///
    /// # Errors
    /// Anything that [`Message::encode`] cannot have produced.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Message), DecodeError> {
        let raw: &[u8; FRAME_BYTES] = bytes
            .try_into()
            .map_err(|_| DecodeError::Length(bytes.len()))?;
        let word = |at: usize| {
            let mut w = [0u8; 8];
            w.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let frame = Self {
            magic: word(0) as u32,
            kind: (word(0) >> 32) as u16,
            seq: (word(0) >> 48) as u16,
            sent: word(8),
            words: core::array::from_fn(|i| word(16 + 8 * i)),
        };
        let message = frame.message()?;
        Ok((frame, message))
    }

    fn message(&self) -> Result<Message, DecodeError> {
        if self.magic != MAGIC {
            return Err(DecodeError::Magic(self.magic));
        }
        let w = &self.words;
        let zero = |from: usize| {
            if w[from..].iter().all(|&x| x == 0) {
                Ok(())
            } else {
                Err(DecodeError::Reserved)
            }
        };
        match self.kind {
            k if k == Kind::Ready as u16 => {
                zero(2)?;
                Ok(Message::Ready(Ready {
                    first_instruction: w[0],
                    abi: w[1],
                }))
            }
            k if k == Kind::Mark as u16 => {
                zero(2)?;
                match w[0] {
                    1 if w[1] == 0 => Ok(Message::Mark(Mark::Awake)),
                    1 => Err(DecodeError::Reserved),
                    2 => Ok(Message::Mark(Mark::Waiting(w[1]))),
                    3 => Ok(Message::Mark(Mark::Answer(w[1]))),
                    other => Err(DecodeError::Field(other)),
                }
            }
            k if k == Kind::Result as u16 => {
                if w[5] > 1 {
                    return Err(DecodeError::Field(w[5]));
                }
                Ok(Message::Result(Report {
                    start: w[0],
                    end: w[1],
                    units: w[2],
                    digest: w[3],
                    image: w[4],
                    isa: w[5],
                }))
            }
            k if k == Kind::Log as u16 => {
                let mut text = [0u8; LOG_BYTES];
                for (slot, word) in text.chunks_exact_mut(8).zip(w) {
                    slot.copy_from_slice(&word.to_le_bytes());
                }
                Ok(Message::Log(text))
            }
            k if k == Kind::Fact as u16 => Ok(Message::Fact(Fact::from_words(w)?)),
            k if k == Kind::Fault as u16 => {
                zero(2)?;
                let fault = match w[0] {
                    1 => GuestFault::BadArgument,
                    2 => GuestFault::NoMemory,
                    3 => GuestFault::Panic,
                    4 => GuestFault::Transport,
                    other => return Err(DecodeError::Field(other)),
                };
                Ok(Message::Fault(fault, w[1]))
            }
            other => Err(DecodeError::Kind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        let report = Report {
            start: 1,
            end: 2,
            units: 3,
            digest: 4,
            image: 5,
            isa: 1,
        };
        let messages = [
            Message::Ready(Ready {
                first_instruction: 7,
                abi: 1,
            }),
            Message::Mark(Mark::Awake),
            Message::Mark(Mark::Waiting(0)),
            Message::Mark(Mark::Waiting(u64::MAX)),
            Message::Mark(Mark::Answer(u64::MAX)),
            Message::Result(report),
            Message::Log([b'x'; LOG_BYTES]),
            Message::Fact(Fact {
                ask: crate::Ask::X32,
                value: crate::Value::Pair(1, 2),
            }),
            Message::Fault(GuestFault::NoMemory, 9),
        ];
        for (seq, message) in messages.into_iter().enumerate() {
            let frame = message.encode(seq as u16, 42);
            assert_eq!(Frame::decode(&frame.to_bytes()), Ok((frame, message)));
        }
    }

    #[test]
    fn hostile_frames_are_refused_by_field() {
        let good = Message::Ready(Ready {
            first_instruction: 7,
            abi: 1,
        })
        .encode(0, 0);
        let bytes = good.to_bytes();
        assert_eq!(Frame::decode(&bytes[..63]), Err(DecodeError::Length(63)));
        assert_eq!(Frame::decode(&[0; 64]), Err(DecodeError::Magic(0)));
        let with = |edit: fn(&mut Frame)| {
            let mut frame = good;
            edit(&mut frame);
            Frame::decode(&frame.to_bytes()).map(|(_, m)| m)
        };
        assert_eq!(with(|f| f.kind = 7), Err(DecodeError::Kind(7)));
        assert_eq!(with(|f| f.words[5] = 1), Err(DecodeError::Reserved));
        let mark = |words| {
            let mut frame = good;
            (frame.kind, frame.words) = (Kind::Mark as u16, words);
            Frame::decode(&frame.to_bytes()).map(|(_, m)| m)
        };
        assert_eq!(mark([1, 1, 0, 0, 0, 0]), Err(DecodeError::Reserved));
        assert_eq!(mark([2, 1, 1, 0, 0, 0]), Err(DecodeError::Reserved));
        assert_eq!(mark([4, 0, 0, 0, 0, 0]), Err(DecodeError::Field(4)));
        assert_eq!(
            with(|f| {
                f.kind = Kind::Fault as u16;
                f.words = [77, 0, 0, 0, 0, 0];
            }),
            Err(DecodeError::Field(77))
        );
    }
}
