//! A serial port that is the kernel's console until the payload speaks on it: what the kernel prints is
//! told from the payload's first message, and everything behind that is the payload's, up to its last.

use isobench_abi::{FRAME_BYTES, Frame, MAGIC};

/// Until the first message.
#[derive(Debug, Default)]
pub struct Prelude {
    /// What may be the beginning of it.
    candidate: Vec<u8>,
}

/// What some bytes were.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parted {
    /// The kernel's.
    pub printed: Vec<u8>,
    /// The payload's, from its first message on; then the prelude is over.
    pub messages: Option<Vec<u8>>,
}

impl Prelude {
    /// Takes in what has come. The first bytes that decode as a message are one: a kernel prints text, and a
    /// message has bytes that no text has.
    pub fn part(&mut self, bytes: &[u8]) -> Parted {
        self.candidate.extend_from_slice(bytes);
        let magic = MAGIC.to_le_bytes();
        let mut at = 0;
        loop {
            let rest = &self.candidate[at..];
            // Where the magic begins, of which only a part may have come.
            let start = (0..rest.len()).find(|i| {
                let there = &rest[*i..rest.len().min(i + magic.len())];
                magic.starts_with(there)
            });
            at += start.unwrap_or(rest.len());
            match self.candidate.get(at..at + FRAME_BYTES) {
                Some(frame) if Frame::decode(frame).is_ok() => {
                    let messages = self.candidate.split_off(at);
                    return Parted {
                        printed: std::mem::take(&mut self.candidate),
                        messages: Some(messages),
                    };
                }
                Some(_) => at += 1,
                None => break,
            }
        }
        let candidate = self.candidate.split_off(at);
        Parted {
            printed: std::mem::replace(&mut self.candidate, candidate),
            messages: None,
        }
    }

    /// What will be no message any more, now that nothing comes.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.candidate)
    }
}

#[cfg(test)]
mod tests {
    use isobench_abi::{ABI_VERSION, Message, Ready};
    use proptest::prelude::*;

    use super::*;

    fn message() -> Vec<u8> {
        let ready = Message::Ready(Ready {
            first_instruction: 7,
            abi: ABI_VERSION,
        });
        ready.encode(0, 9).to_bytes().to_vec()
    }

    /// Fed so many bytes at once: what was printed, and what came as messages.
    fn parted(bytes: &[u8], at_once: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut printed, mut messages) = (Vec::new(), Vec::new());
        let mut prelude = Some(Prelude::default());
        for part in bytes.chunks(at_once) {
            match &mut prelude {
                Some(waits) => {
                    let mut parted = waits.part(part);
                    printed.append(&mut parted.printed);
                    if let Some(mut first) = parted.messages {
                        messages.append(&mut first);
                        prelude = None;
                    }
                }
                None => messages.extend_from_slice(part),
            }
        }
        if let Some(mut waits) = prelude {
            printed.append(&mut waits.rest());
        }
        (printed, messages)
    }

    #[test]
    fn what_only_looks_like_a_message_is_the_kernels() {
        let text =
            b"ISO ISOB ISOBENCH_SERIAL=ttyS0 IISOB, which is as long as a message would be\r\n";
        let spoken = [message(), b"ISOB and whatever follows".to_vec()].concat();
        for at_once in [1, 3, 64, 4096] {
            let (printed, messages) = parted(&[&text[..], &spoken].concat(), at_once);
            assert_eq!(printed, text, "{at_once}");
            assert_eq!(messages, spoken, "{at_once}");
            let (printed, messages) = parted(text, at_once);
            assert_eq!((printed.as_slice(), messages.len()), (&text[..], 0));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_made_up(
            text in prop::collection::vec(prop_oneof![Just(b'I'), Just(b'S'), Just(b'O'), Just(b'B'), any::<u8>()], 0..200),
            at_once in 1..100usize,
        ) {
            let all = [text.clone(), message()].concat();
            let (printed, messages) = parted(&all, at_once);
            prop_assert_eq!([printed, messages.clone()].concat(), all);
            prop_assert!(messages.ends_with(&message()));
        }
    }
}
