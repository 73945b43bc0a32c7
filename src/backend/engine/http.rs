//! Requests to a daemon or a VMM: HTTP/1.1 over its Unix socket, one connection a conversation.
//! Synchronous, so that an answer under way is a descriptor that can be waited for beside the payload's
//! output.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::command::{Answering, Impatience, Patience};
use super::tail::brief;
use crate::sys::fd;
use crate::trial::{EngineEnd, Failure};

/// Most bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;
/// Most headers of an answer.
const HEADERS: usize = 32;
/// How long a daemon may take to take in what it is sent.
const SEND: Duration = Duration::from_secs(30);

/// A connection; requests on it follow each other.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// Decoded.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The user wants no more.
    Interrupted,
    /// The daemon's doing.
    Engine(EngineEnd),
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<Impatience> for NoAnswer {
    fn from(why: Impatience) -> Self {
        match why {
            Impatience::Interrupted => Self::Interrupted,
            Impatience::Timeout(allowed) => Self::Engine(EngineEnd::Timeout(allowed)),
        }
    }
}

impl NoAnswer {
    /// As a failure, told what was asked and what the daemon logged.
    pub fn failure(self, command: String, tail: String) -> Failure {
        match self {
            Self::Interrupted => Failure::Interrupted,
            Self::Engine(how) => crate::trial::EngineFailure { command, how, tail }.into(),
        }
    }
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// Its own words: dockerd's `message`, Firecracker's `fault_message`.
    pub fn success(self) -> Result<Vec<u8>, NoAnswer> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let said: Option<Value> = serde_json::from_slice(&self.body).ok();
        let said = said.and_then(|v| {
            let words = v["message"].as_str().or(v["fault_message"].as_str())?;
            Some(brief(words))
        });
        let said = said.unwrap_or_else(|| format!("status {}", self.status));
        Err(NoAnswer::Engine(EngineEnd::Refused(said)))
    }

    /// The JSON of a success.
    ///
    /// # Errors
    /// As [`Self::success`], or it is no JSON.
    pub fn json(self) -> Result<Value, NoAnswer> {
        let body = self.success()?;
        serde_json::from_slice(&body).map_err(|error| garbage(&error.to_string()))
    }
}

fn garbage(what: &str) -> NoAnswer {
    NoAnswer::Engine(EngineEnd::Garbage(what.to_owned()))
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(SEND))?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Readable when something of an answer has come, or when the daemon has gone.
    #[must_use]
    pub fn answering(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The daemon has gone, or takes nothing in.
    pub fn send(&mut self, method: &str, path: &str, body: Body<'_>) -> io::Result<()> {
        let (kind, bytes): (&str, &[u8]) = match &body {
            Body::None => ("", &[]),
            Body::Json(json) => ("application/json", json.as_bytes()),
            Body::Tar(bytes) => ("application/x-tar", bytes),
            Body::Upgrade => ("", &[]),
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if matches!(body, Body::Upgrade) {
            head.push_str("Connection: Upgrade\r\nUpgrade: tcp\r\n");
        }
        if !kind.is_empty() {
            head.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", bytes.len()));
        self.stream.write_all(&[head.as_bytes(), bytes].concat())
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// None comes, or it is none.
    pub fn answer(&mut self, patience: Patience) -> Result<Answer, NoAnswer> {
        self.answer_as(Answering::begin(patience)?)
    }

    fn answer_as(&mut self, mut answering: Answering) -> Result<Answer, NoAnswer> {
        loop {
            if let Some(answer) = self.whole()? {
                return Ok(answer);
            }
            self.more(&mut answering)?;
        }
    }

    /// Waits for more, a slice of the patience at most.
    fn more(&mut self, answering: &mut Answering) -> Result<(), NoAnswer> {
        let time = answering.slice()?;
        let [ready] = fd::any_readable([Some(self.stream.as_fd())], time)?;
        if ready { self.receive() } else { Ok(()) }
    }

    /// Waits for the head of an answer whose body comes later.
    ///
    /// # Errors
    /// As [`Self::answer`]; it is no success.
    pub fn begun(&mut self, patience: Patience) -> Result<(), NoAnswer> {
        let mut answering = Answering::begin(patience)?;
        while !self.received.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            self.more(&mut answering)?;
        }
        match self.status()? {
            Some(200..300) => Ok(()),
            // What is wrong is in the body, which comes at once.
            _ => self.answer_as(answering)?.success().map(drop),
        }
    }

    /// Takes in what is there, now that there is something; the answer, once it is whole.
    ///
    /// # Errors
    /// The daemon has gone, or what it says is no answer.
    pub fn take_in(&mut self) -> Result<Option<Answer>, NoAnswer> {
        self.receive()?;
        self.whole()
    }

    /// Sends and waits. Where the user wants no more, nothing is sent.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Body<'_>,
        patience: Patience,
    ) -> Result<Answer, NoAnswer> {
        let answering = Answering::begin(patience)?;
        self.send(method, path, body)?;
        self.answer_as(answering)
    }

    /// Gives the connection away, now that the daemon has agreed to speak something else; with what has
    /// come already.
    pub fn upgraded(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.received)
    }

    fn receive(&mut self) -> Result<(), NoAnswer> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer)? {
            0 => Err(NoAnswer::Engine(EngineEnd::Unreachable(
                io::ErrorKind::UnexpectedEof.into(),
            ))),
            _ if self.received.len() > MAX_ANSWER => Err(garbage("more than 4 MiB of an answer")),
            n => {
                self.received.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }

    /// Status of the head that was received, once it is whole.
    fn status(&self) -> Result<Option<u16>, NoAnswer> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.received);
        let parsed = parsed.map_err(|e| garbage(&e.to_string()))?;
        Ok(head.code.filter(|_| parsed.is_complete()))
    }

    /// The answer at the front of what was received, which it leaves.
    fn whole(&mut self) -> Result<Option<Answer>, NoAnswer> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.received);
        let httparse::Status::Complete(start) = parsed.map_err(|e| garbage(&e.to_string()))? else {
            return Ok(None);
        };
        let status = head.code.unwrap_or(0);
        let header = |name: &str| {
            let found = head
                .headers
                .iter()
                .find(|h| h.name.eq_ignore_ascii_case(name));
            found.and_then(|h| std::str::from_utf8(h.value).ok())
        };
        let rest = &self.received[start..];
        let body = if header("Transfer-Encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
        {
            chunks(rest)?
        } else if matches!(status, 101 | 204) {
            Some((Vec::new(), 0))
        } else {
            let length = header("Content-Length").unwrap_or("0").trim();
            let length: usize = length
                .parse()
                .map_err(|_| garbage("a length is no number"))?;
            rest.get(..length).map(|body| (body.to_vec(), length))
        };
        Ok(body.map(|(body, length)| {
            self.received.drain(..start + length);
            Answer { status, body }
        }))
    }
}

/// The body of chunks, and their length; `None` while the last one has not come.
fn chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, NoAnswer> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest).map_err(|_| garbage("a chunk has no size"))?;
        let httparse::Status::Complete((start, size)) = size else {
            return Ok(None);
        };
        let size = usize::try_from(size).map_err(|_| garbage("a chunk is too large"))?;
        let end = start.saturating_add(size);
        let Some(chunk) = rest.get(start..end.saturating_add(2)) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(Some((body, whole - rest.len())));
        }
    }
}

/// What goes with a request.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// JSON.
    Json(&'a str),
    /// A tar archive.
    Tar(&'a [u8]),
    /// Nothing; the connection shall become something else.
    Upgrade,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &[u8]) -> Connection {
        Connection {
            stream: UnixStream::pair().unwrap().0,
            received: bytes.to_vec(),
        }
    }

    #[test]
    fn answers_are_read_as_they_come() {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 204 No";
        let mut connection = received(plain);
        let answer = connection.whole().unwrap().unwrap();
        assert_eq!((answer.status, &answer.body[..]), (201, &b"{}"[..]));
        assert_eq!(connection.whole().unwrap(), None);
        connection.received.extend(b" Content\r\n\r\n");
        assert_eq!(connection.whole().unwrap().unwrap().status, 204);
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n\n\r\n";
        let mut connection = received(chunked);
        assert_eq!(connection.whole().unwrap(), None);
        connection.received.extend(b"0\r\n\r\n");
        assert_eq!(connection.whole().unwrap().unwrap().body, b"{}\n");
        assert!(connection.received.is_empty());
    }

    /// A wait that is refused is not waited for: all of its answer has come.
    #[test]
    fn an_answer_that_begins_with_a_refusal_is_one() {
        use crate::backend::child::Deadline;
        let patience = Patience::until(Deadline::after(Duration::from_secs(30)));
        let waits = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        received(waits).begun(patience).unwrap();
        let refused = b"HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\n{\"message\":\"x\"}";
        let why = received(refused).begun(patience).unwrap_err();
        assert!(matches!(why, NoAnswer::Engine(EngineEnd::Refused(said)) if said == "x"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(matches!(
                received(bytes).whole(),
                Err(NoAnswer::Engine(EngineEnd::Garbage(_)))
            ));
        }
        let refused = Answer {
            status: 409,
            body: br#"{"message":"in use"}"#.to_vec(),
        };
        assert!(
            matches!(refused.success(), Err(NoAnswer::Engine(EngineEnd::Refused(said))) if said == "in use")
        );
    }
}
