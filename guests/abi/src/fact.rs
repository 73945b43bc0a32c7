//! Facts on the wire: one answer to one question of `probe`, in one frame; a text in up to
//! [`MAX_PARTS`].

use crate::frame::DecodeError;
use crate::question::Ask;

/// Bytes of value in one frame.
pub const VALUE_BYTES: usize = 40;
/// Most frames of one text.
pub const MAX_PARTS: u8 = 6;
/// Longest text in bytes; what is longer is cut off there.
pub const MAX_TEXT: usize = VALUE_BYTES * MAX_PARTS as usize;

/// A fact as it lies in a frame's words.
///
/// ```text
///   0          2      3      4        5          8                    48
///   │ question │ form │ part │ length │ reserved │ value              │
/// ```
#[repr(C)]
struct Layout {
    question: u16,
    form: u8,
    part: u8,
    length: u8,
    reserved: [u8; 3],
    value: [u8; VALUE_BYTES],
}

const _: () = {
    assert!(size_of::<Layout>() == size_of::<[u64; 6]>());
    assert!(core::mem::offset_of!(Layout, question) == 0);
    assert!(core::mem::offset_of!(Layout, form) == 2);
    assert!(core::mem::offset_of!(Layout, part) == 3);
    assert!(core::mem::offset_of!(Layout, length) == 4);
    assert!(core::mem::offset_of!(Layout, reserved) == 5);
    assert!(core::mem::offset_of!(Layout, value) == 8);
};

/// One answer, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What was asked.
    pub ask: Ask,
    /// What was found.
    pub value: Value,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number; for a system call what it returned.
    Number(u64),
    /// Two numbers.
    Pair(u64, u64),
    /// Bytes, not necessarily UTF-8.
    Text(Part),
    /// The kernel said no, with this errno.
    Refused(u16),
    /// There is no kernel to ask.
    NoKernel,
    /// A system call that is never made ([`crate::question::Manner::Skipped`]).
    Skipped,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place, from 0.
    pub number: u8,
    /// Whether another one follows; then this one is full.
    pub more: bool,
    /// How many of `bytes` are text; the rest is zero.
    pub length: u8,
    /// The bytes.
    pub bytes: [u8; VALUE_BYTES],
}

impl Part {
    /// The text of this part.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(VALUE_BYTES)]
    }

    /// A part of a text, which is cut off at [`MAX_TEXT`]. An empty text has one part, and behind the
    /// last one lie empty ones.
    #[must_use]
    #[inline(never)]
    pub fn of(text: &[u8], number: u8) -> Self {
        let start = usize::from(number) * VALUE_BYTES;
        let rest = text.get(start..).unwrap_or(&[]);
        let length = rest.len().min(VALUE_BYTES);
        let mut bytes = [0; VALUE_BYTES];
        bytes[..length].copy_from_slice(&rest[..length]);
        Self {
            number,
            more: rest.len() > length && number + 1 < MAX_PARTS,
            length: length as u8,
            bytes,
        }
    }
}

mod form {
    pub const NUMBER: u8 = 1;
    pub const PAIR: u8 = 2;
    pub const TEXT: u8 = 3;
    pub const TEXT_MORE: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const NO_KERNEL: u8 = 6;
    pub const SKIPPED: u8 = 7;
}

impl Fact {
    /// As the words of a frame.
    #[inline(never)]
    pub(crate) fn to_words(self) -> [u64; 6] {
        let mut value = [0; VALUE_BYTES];
        let mut number = |at: usize, n: u64| value[at..at + 8].copy_from_slice(&n.to_le_bytes());
        let (mut part, mut length) = (0, 0);
        let form = match self.value {
            Value::Number(n) => {
                number(0, n);
                form::NUMBER
            }
            Value::Pair(a, b) => {
                number(0, a);
                number(8, b);
                form::PAIR
            }
            Value::Text(text) => {
                value = text.bytes;
                (part, length) = (text.number, text.length);
                if text.more {
                    form::TEXT_MORE
                } else {
                    form::TEXT
                }
            }
            Value::Refused(errno) => {
                number(0, u64::from(errno));
                form::REFUSED
            }
            Value::NoKernel => form::NO_KERNEL,
            Value::Skipped => form::SKIPPED,
        };
        let question = self.ask.number().to_le_bytes();
        let mut words = [0; 6];
        words[0] = u64::from_le_bytes([question[0], question[1], form, part, length, 0, 0, 0]);
        for (word, bytes) in words[1..].iter_mut().zip(value.chunks_exact(8)) {
            *word = word_of(bytes);
        }
        words
    }

    /// From the words of a frame that nobody vouches for.
    pub(crate) fn from_words(words: &[u64; 6]) -> Result<Self, DecodeError> {
        let [low, high, form, part, length, reserved @ ..] = words[0].to_le_bytes();
        let question = u64::from(u16::from_le_bytes([low, high]));
        let ask = Ask::from_number(question).ok_or(DecodeError::Field(question))?;
        let mut bytes = [0; VALUE_BYTES];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(&words[1..]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        // How many bytes of the value the form uses; the others are zero.
        let used = match form {
            form::NUMBER => 8,
            form::PAIR => 16,
            form::REFUSED => 2,
            form::NO_KERNEL | form::SKIPPED => 0,
            form::TEXT | form::TEXT_MORE => usize::from(length),
            other => return Err(DecodeError::Field(u64::from(other))),
        };
        let is_text = matches!(form, form::TEXT | form::TEXT_MORE);
        let more = form == form::TEXT_MORE;
        if used > VALUE_BYTES || more && used < VALUE_BYTES {
            return Err(DecodeError::Field(u64::from(length)));
        }
        if part >= MAX_PARTS || more && part + 1 == MAX_PARTS {
            return Err(DecodeError::Field(u64::from(part)));
        }
        let unused = !is_text && (part, length) != (0, 0);
        if unused || reserved != [0; 3] || bytes[used..].iter().any(|&b| b != 0) {
            return Err(DecodeError::Reserved);
        }
        let value = match form {
            form::NUMBER => Value::Number(words[1]),
            form::PAIR => Value::Pair(words[1], words[2]),
            form::REFUSED => Value::Refused(words[1] as u16),
            form::NO_KERNEL => Value::NoKernel,
            form::SKIPPED => Value::Skipped,
            _ => Value::Text(Part {
                number: part,
                more,
                length,
                bytes,
            }),
        };
        Ok(Self { ask, value })
    }
}

/// Eight bytes as a word.
fn word_of(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Question;

    const ASK: Ask = Ask::Fact(Question::Hostname);

    #[test]
    fn every_value_survives_the_wire() {
        let text = [0, 1, 2].map(|n| Value::Text(Part::of(&[b'x'; 100], n)));
        let empty = [Value::Text(Part::of(b"", 0))];
        let others = [
            Value::Number(u64::MAX),
            Value::Pair(1, 2),
            Value::Refused(38),
            Value::NoKernel,
            Value::Skipped,
        ];
        for value in others.into_iter().chain(text).chain(empty) {
            for ask in [ASK, Ask::Call(0), Ask::Call(469), Ask::X32, Ask::I386] {
                let fact = Fact { ask, value };
                assert_eq!(Fact::from_words(&fact.to_words()), Ok(fact));
            }
        }
    }

    #[test]
    fn a_text_is_cut_into_full_parts_and_a_last_one() {
        let text = [b'x'; 300];
        let part = |length: usize, number| {
            let part = Part::of(&text[..length], number);
            (part.text().len(), part.more)
        };
        assert_eq!(part(0, 0), (0, false));
        assert_eq!(part(40, 0), (40, false));
        assert_eq!([part(41, 0), part(41, 1)], [(40, true), (1, false)]);
        let last = MAX_PARTS - 1;
        assert_eq!(part(300, last - 1), (40, true));
        assert_eq!(part(300, last), (40, false));
    }

    #[test]
    fn hostile_facts_are_refused_by_field() {
        let good = Fact {
            ask: ASK,
            value: Value::Number(1),
        }
        .to_words();
        let with = |word: usize, bits: u64| {
            let mut words = good;
            words[word] = bits;
            Fact::from_words(&words)
        };
        let head = |question: u16, form: u8, part: u8, length: u8, rest: u8| {
            let [a, b] = question.to_le_bytes();
            u64::from_le_bytes([a, b, form, part, length, 0, 0, rest])
        };
        let known = ASK.number();
        assert_eq!(
            with(0, head(0xff, 1, 0, 0, 0)),
            Err(DecodeError::Field(0xff))
        );
        assert_eq!(
            with(0, head(u16::MAX, 1, 0, 0, 0)),
            Err(DecodeError::Field(0xffff))
        );
        for form in [0, 8, 255] {
            assert_eq!(
                with(0, head(known, form, 0, 0, 0)),
                Err(DecodeError::Field(form.into()))
            );
        }
        assert_eq!(with(0, head(known, 1, 1, 0, 0)), Err(DecodeError::Reserved));
        assert_eq!(with(0, head(known, 1, 0, 8, 0)), Err(DecodeError::Reserved));
        assert_eq!(with(0, head(known, 1, 0, 0, 1)), Err(DecodeError::Reserved));
        assert_eq!(
            with(0, head(known, 3, 0, 41, 0)),
            Err(DecodeError::Field(41))
        );
        assert_eq!(with(0, head(known, 3, 6, 1, 0)), Err(DecodeError::Field(6)));
        // A full text that goes on is full; the last part has no successor; no text hides bytes.
        assert_eq!(
            with(0, head(known, 4, 0, 39, 0)),
            Err(DecodeError::Field(39))
        );
        assert_eq!(
            with(0, head(known, 4, 5, 40, 0)),
            Err(DecodeError::Field(5))
        );
        assert_eq!(with(0, head(known, 3, 0, 0, 0)), Err(DecodeError::Reserved));
        assert_eq!(with(5, 1), Err(DecodeError::Reserved));
        let errno = |n: u64| {
            let mut words = Fact {
                ask: ASK,
                value: Value::Refused(1),
            }
            .to_words();
            words[1] = n;
            Fact::from_words(&words)
        };
        assert_eq!(errno(0x1_0001), Err(DecodeError::Reserved));
    }
}
