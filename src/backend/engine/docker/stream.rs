//! What a container writes, as dockerd passes it on: parts with a header of eight bytes each (the Engine
//! API's "stream format").

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// `1`: standard output.
const STDOUT: u8 = 1;

/// An attached connection.
#[derive(Debug)]
pub struct Attached {
    stream: Option<UnixStream>,
    /// Not yet handed on.
    received: Vec<u8>,
}

impl Attached {
    /// From a connection that was upgraded.
    #[must_use]
    pub const fn new(stream: UnixStream, received: Vec<u8>) -> Self {
        Self {
            stream: Some(stream),
            received,
        }
    }

    /// Readable while there is more; `None` behind the end.
    #[must_use]
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// What the container wrote to its standard output, now that something has come; 0 is the end. All
    /// that has come is handed on, as far as there is room: what stays behind makes nothing readable.
    ///
    /// # Errors
    /// The connection breaks off, or brings no such parts. [`io::ErrorKind::WouldBlock`]: half a part, or
    /// one of standard error.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.hand_on(buffer)?;
        let Some(stream) = self.stream.as_mut().filter(|_| n == 0) else {
            return Ok(n);
        };
        let mut more = [0; 4096];
        let n = stream.read(&mut more)?;
        if n == 0 {
            self.stream = None;
            return Ok(0);
        }
        self.received.extend_from_slice(&more[..n]);
        match self.hand_on(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Whole parts that have come.
    fn hand_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some((start, end)) = part(&self.received)? {
            let room = &mut buffer[filled..];
            let is_output = self.received[0] == STDOUT;
            let n = if is_output {
                (end - start).min(room.len())
            } else {
                0
            };
            room[..n].copy_from_slice(&self.received[start..start + n]);
            filled += n;
            if is_output && n < end - start {
                // The rest keeps a header.
                let rest = u32::try_from(end - start - n).unwrap_or(0);
                self.received.drain(start..start + n);
                self.received[4..start].copy_from_slice(&rest.to_be_bytes());
                break;
            }
            self.received.drain(..end);
        }
        Ok(filled)
    }

    /// The end of the container's input.
    ///
    /// # Errors
    /// The daemon has gone.
    pub fn close_input(&self) -> io::Result<()> {
        match &self.stream {
            Some(stream) => stream.shutdown(Shutdown::Write),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Where the first part's bytes begin and end; `None` while they have not all come.
fn part(received: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(header) = received.first_chunk::<8>() else {
        return Ok(None);
    };
    let [kind, zeros @ .., a, b, c, d] = *header;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    // No payload says more than 64 KiB.
    if kind > 3 || zeros != [0; 3] || length > 1 << 20 {
        return Err(io::Error::other(format!(
            "no header of a part: {}",
            header.escape_ascii()
        )));
    }
    let end = 8 + length;
    Ok((received.len() >= end).then_some((8, end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn parts_are_put_together_and_errors_left_out() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut attached = Attached::new(ours, b"\x01\0\0\0\0\0".to_vec());
        theirs
            .write_all(b"\0\x05hello\x02\0\0\0\0\0\0\x03err")
            .unwrap();
        theirs.write_all(b"\x01\0\0\0\0\0\0\x01!").unwrap();
        drop(theirs);
        let mut said = Vec::new();
        let mut buffer = [0; 2];
        loop {
            match attached.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => said.extend_from_slice(&buffer[..n]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(said, b"hello!");
        assert!(attached.output().is_none());
    }

    /// Two messages that come at once are heard at once: nothing more may ever make the connection
    /// readable.
    #[test]
    fn nothing_that_has_come_stays_behind() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut attached = Attached::new(ours, Vec::new());
        theirs
            .write_all(b"\x01\0\0\0\0\0\0\x05ready\x01\0\0\0\0\0\0\x05waits")
            .unwrap();
        let mut buffer = [0; 64];
        assert_eq!(attached.read(&mut buffer).unwrap(), 10);
        assert_eq!(&buffer[..10], b"readywaits");
    }

    /// Whoever writes half a part, or to standard error alone, is not waited for here: the trial's deadline
    /// holds.
    #[test]
    fn what_is_no_output_yet_is_not_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut attached = Attached::new(ours, Vec::new());
        for part in [&b"\x02\0\0\0\0\0\0\x03err"[..], b"\x01\0\0\0\0\0\0\x05he"] {
            theirs.write_all(part).unwrap();
            let error = attached.read(&mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        theirs.write_all(b"llo").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(attached.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
    }

    #[test]
    fn what_has_no_header_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"just some text").unwrap();
        let mut attached = Attached::new(ours, Vec::new());
        assert!(attached.read(&mut [0; 64]).is_err());
    }
}
