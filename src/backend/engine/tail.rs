//! The end of what an engine prints: all of it is taken in, so that nobody waits for a full pipe, and
//! little is kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::fd;

/// Bytes that are kept.
const KEPT: usize = 2048;

/// A pipe that is read to its end, and the last that came out of it.
#[derive(Debug, Default)]
pub struct Tail {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Tail {
    /// Of this pipe's read end.
    #[must_use]
    pub fn of(pipe: OwnedFd) -> Self {
        Self {
            pipe: Some(pipe),
            bytes: Vec::new(),
        }
    }

    /// The pipe, until its writers are gone.
    #[must_use]
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what is there, without waiting: so much at most that whoever floods it is soon left
    /// alone with a full pipe and the deadline.
    pub fn take_in(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            let Some(pipe) = self.pipe.as_ref().map(AsFd::as_fd) else {
                return;
            };
            match fd::any_readable([Some(pipe)], Duration::ZERO) {
                Ok([true]) => {}
                _ => return,
            }
            match fd::read(pipe, &mut buffer) {
                // The end, or a pipe that cannot be read: nothing more will come.
                Ok(0) | Err(_) => self.pipe = None,
                Ok(n) => self.note(&buffer[..n]),
            }
        }
    }

    /// Keeps the end of it.
    pub fn note(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..surplus);
    }

    /// What came last, in one line without control characters: whoever printed it is not trusted.
    #[must_use]
    pub fn text(&self) -> String {
        one_line(&self.bytes)
    }

    /// Moves the pipe out of the way of the next launch ([`fd::set_apart`]).
    pub fn set_apart(&mut self) {
        self.pipe.iter_mut().for_each(fd::set_apart);
    }
}

/// Printed text in one line: line ends become ` | `, what cannot be shown is escaped.
#[must_use]
pub fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let shown = lines.map(|line| {
        let escape = |c: char| -> String {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                c.to_string()
            }
        };
        line.chars().map(escape).collect::<String>()
    });
    shown.collect::<Vec<_>>().join(" | ")
}

/// Somebody's words, in one line and no more than an error message holds: a record of a trial stays as long as
/// a reader of `trials.jsonl` takes it.
#[must_use]
pub fn brief(words: &str) -> String {
    /// Characters that are kept.
    const KEPT: usize = 200;
    // Escaping makes it longer only, so what is behind is not looked at.
    let first: String = words.chars().take(KEPT).collect();
    one_line(first.as_bytes()).chars().take(KEPT).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn words_are_brief_and_printable() {
        assert_eq!(brief("no such image\n"), "no such image");
        let flood = brief(&"\u{1b}".repeat(1 << 20));
        assert!(flood.len() == 200 && !flood.contains('\u{1b}'), "{flood}");
    }

    #[test]
    fn all_is_taken_in_and_the_end_is_kept() {
        let (read, write) = fd::pipe().unwrap();
        let mut tail = Tail::of(read);
        tail.take_in();
        assert_eq!(tail.text(), "");
        let mut write = std::fs::File::from(write);
        for _ in 0..10 {
            write.write_all(&[b'x'; 4000]).unwrap();
            tail.take_in();
        }
        write.write_all(b"\nfirst\r\n\n \x1b[31mlast\n").unwrap();
        drop(write);
        tail.take_in();
        assert!(tail.pipe().is_none());
        let text = tail.text();
        assert!(text.ends_with(" | first | \\u{1b}[31mlast"), "{text}");
        assert!(text.starts_with("xxx") && text.len() < 2 * KEPT);
    }
}
