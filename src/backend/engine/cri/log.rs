//! The log of a Kubernetes container: lines `TIME STREAM TAG CONTENT` (the interface's "log format").
//! Whoever writes it waits until a line is whole: the payload is asked to end each frame with a line end
//! ([`isobench_abi::LINES_ENVIRONMENT`]), which is taken off again here.

use std::collections::VecDeque;
use std::io;

use isobench_abi::FRAME_BYTES;

/// Longest line that is put together.
const LONGEST: usize = 1 << 16;

/// A log that is read while it is written.
#[derive(Debug, Default)]
pub struct Log {
    /// A line whose end has not come.
    line: Vec<u8>,
    /// Bytes of a frame, and the line end behind it, that are not handed on yet. A frame may itself
    /// hold line ends: then it comes in several lines.
    frame: Vec<u8>,
    frames: VecDeque<u8>,
}

impl Log {
    /// Takes in what was read.
    ///
    /// # Errors
    /// It is not of this format.
    pub fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LONGEST {
                    return Err(io::Error::other("a line of the log has no end"));
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.whole(&line)?;
        }
        Ok(())
    }

    fn whole(&mut self, line: &[u8]) -> io::Result<()> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (_, stream, tag, content) = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(stream), Some(tag), Some(content)) = (stream, tag, content) else {
            let shown = line[..line.len().min(80)].escape_ascii();
            return Err(io::Error::other(format!("no line of a log: {shown}")));
        };
        if stream != b"stdout" {
            return Ok(());
        }
        self.frame.extend_from_slice(content);
        // A partial line has no end of its own.
        if tag.first() == Some(&b'F') {
            self.frame.push(b'\n');
        }
        while self.frame.len() > FRAME_BYTES {
            let frame: Vec<u8> = self.frame.drain(..=FRAME_BYTES).collect();
            if frame[FRAME_BYTES] != b'\n' {
                // Not what the payload was asked for: all of it is handed on and judged as it is.
                self.frames.extend(frame);
                continue;
            }
            self.frames.extend(&frame[..FRAME_BYTES]);
        }
        Ok(())
    }

    /// Hands on what has come, as the payload wrote it.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let n = buffer.len().min(self.frames.len());
        for (slot, byte) in buffer.iter_mut().zip(self.frames.drain(..n)) {
            *slot = byte;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As containerd writes it: what a payload writes, cut at its line ends.
    fn written(output: &[u8]) -> Vec<u8> {
        let mut log = Vec::new();
        for line in output.split_inclusive(|byte| *byte == b'\n') {
            let (content, tag) = match line.split_last() {
                Some((b'\n', content)) => (content, "F"),
                _ => (line, "P"),
            };
            log.extend(format!("2026-11-29T01:02:03.000000004Z stdout {tag} ").bytes());
            log.extend(content);
            log.push(b'\n');
        }
        log
    }

    #[test]
    fn frames_come_out_as_they_went_in_whatever_bytes_they_hold() {
        let frames = [
            [b'a'; FRAME_BYTES],
            [b'\n'; FRAME_BYTES],
            [b' '; FRAME_BYTES],
        ];
        let output: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.iter().copied().chain([b'\n']))
            .collect();
        let mut log = Log::default();
        let text = written(&output);
        log.take_in(b"2026-11-29T01:02:03Z stderr F noise\n")
            .unwrap();
        // In pieces that have nothing to do with lines.
        text.chunks(7).for_each(|piece| log.take_in(piece).unwrap());
        let mut found = vec![0; 1024];
        let n = log.read(&mut found);
        assert_eq!(&found[..n], frames.concat());
        assert_eq!(log.read(&mut found), 0);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        assert!(Log::default().take_in(b"garbage\n").is_err());
        assert!(Log::default().take_in(&vec![b'x'; LONGEST + 1]).is_err());
    }
}
