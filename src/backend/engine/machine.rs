//! A VMM of somebody else's under way, with the payload behind a serial port of its machine. For each VMM
//! the same: its first message is answered, so that its counter can be bracketed from both sides.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isobench_abi::{FRAME_BYTES, Frame, Message};

use super::command::{Impatience, Invocation, Patience, Started};
use super::front::read_until_end;
use super::guest::Port;
use super::http::{Answer, Body, Connection, NoAnswer};
use super::prelude::{Parted, Prelude};
use super::{Order, Running, Sources};
use crate::metric::{Bytes, Ticks};
use crate::sys::clock::now;
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{ClockMap, EngineEnd, EngineFailure, Failure, PhaseLog};
use crate::vmm::clock::Brackets;

/// How often a socket that is not there yet is asked for.
const ASK_AGAIN: Duration = Duration::from_micros(200);
/// How long the end of a VMM that has closed its connection is waited for.
const END: Duration = Duration::from_secs(1);

/// The machine. Dropping it ends the VMM.
pub struct Machine {
    command: Started,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    memory: Bytes,
    hold: bool,
    /// Until the payload's first message, where that shares its port with the kernel.
    prelude: Option<Prelude>,
    /// The kernel prints where the payload speaks: at its end, too.
    shared: bool,
    /// The payload has said its last message there.
    over: bool,
    /// The payload has said its first message and was told to go on.
    told: bool,
    /// The host's counter before anything that the guest has read since.
    since: Ticks,
    /// Of a message that has not come whole yet.
    part: Vec<u8>,
    brackets: Brackets,
    clock: ClockMap,
    /// Sockets that the VMM makes, and leaves.
    sockets: Vec<PathBuf>,
    removed: bool,
}

impl Machine {
    /// Starts a VMM whose standard input and output are the payload's port.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn on_pipes(
        command: &Invocation,
        order: &Order<'_>,
        memory: u64,
        port: Port,
    ) -> Result<Self, Failure> {
        let since = now();
        let pipe = || fd::pipe().map_err(|error| Failure::setup("pipe", error));
        let (child_stdin, stdin) = pipe()?;
        let (stdout, child_stdout) = pipe()?;
        let started = command.start(child_stdin.into(), child_stdout.into())?;
        let mut machine = Self::of(started, order, memory, port, since);
        (machine.input, machine.output) = (Some(stdin), Some(stdout));
        Ok(machine)
    }

    /// Starts a VMM whose port is to be reached by a socket ([`Self::speak_by`]).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn apart(
        command: &Invocation,
        order: &Order<'_>,
        memory: u64,
        port: Port,
    ) -> Result<Self, Failure> {
        let since = now();
        let started = command.start_apart(Stdio::null())?;
        Ok(Self::of(started, order, memory, port, since))
    }

    fn of(command: Started, order: &Order<'_>, memory: u64, port: Port, since: Ticks) -> Self {
        Self {
            command,
            input: None,
            output: None,
            memory: Bytes(i64::try_from(memory).unwrap_or(i64::MAX)),
            hold: order.hold,
            prelude: (port == Port::Console).then(Prelude::default),
            shared: port == Port::Console,
            over: false,
            told: false,
            since,
            part: Vec::with_capacity(FRAME_BYTES),
            brackets: Brackets::default(),
            clock: ClockMap::SAME,
            sockets: Vec::new(),
            removed: false,
        }
    }

    /// A socket that the VMM makes is removed with it.
    pub fn leaves(&mut self, socket: &Path) {
        self.sockets.push(socket.to_path_buf());
    }

    /// The payload's port is behind this socket.
    ///
    /// # Errors
    /// Too many open files.
    pub fn speak_by(&mut self, stream: UnixStream) -> Result<(), Failure> {
        let output = OwnedFd::from(stream);
        let input = output.try_clone();
        self.input = Some(input.map_err(|error| Failure::setup("dup", error))?);
        self.output = Some(output);
        Ok(())
    }

    /// Connects to a socket of the VMM's as soon as that listens.
    ///
    /// # Errors
    /// The VMM ends, or the time does.
    pub fn reach<T>(
        &mut self,
        connect: impl Fn() -> io::Result<T>,
        patience: Patience,
    ) -> Result<T, Failure> {
        loop {
            match connect() {
                Ok(connection) => return Ok(connection),
                Err(error) if is_not_yet(&error) => {}
                Err(error) => return Err(self.failure(error.into()).into()),
            }
            let slice = patience.slice().map_err(|why| self.impatient(why))?;
            let time = slice.min(ASK_AGAIN);
            let ready = fd::any_readable([self.command.end(), self.command.noise()], time)
                .map_err(|error| Failure::setup("poll", error))?;
            if ready[1] {
                self.command.listen();
            }
            if ready[0] {
                let exit = self.command.reap()?;
                return Err(self.failure(exit.into()).into());
            }
        }
    }

    /// Has a request carried out.
    ///
    /// # Errors
    /// The VMM refuses, answers something else, or ends; the request, with what it printed last.
    pub fn put(
        &mut self,
        api: &mut Connection,
        path: &str,
        body: &str,
        patience: Patience,
    ) -> Result<(), Failure> {
        let answer = api.ask("PUT", path, Body::Json(body), patience);
        let how = match answer.and_then(Answer::success) {
            Ok(_) => return Ok(()),
            Err(NoAnswer::Interrupted) => return Err(Failure::Interrupted),
            Err(NoAnswer::Engine(how)) => how,
        };
        // One that has gone says more by how it ended.
        let gone = matches!(how, EngineEnd::Unreachable(_))
            && fd::any_readable([self.command.end()], END).is_ok_and(|[ended]| ended);
        let how = if gone {
            self.command.reap()?.into()
        } else {
            how
        };
        let mut failure = self.failure(how);
        failure.command = format!("PUT {path}, of {}", failure.command);
        Err(failure.into())
    }

    fn impatient(&mut self, why: Impatience) -> Failure {
        match why {
            Impatience::Interrupted => Failure::Interrupted,
            Impatience::Timeout(allowed) => self.failure(EngineEnd::Timeout(allowed)).into(),
        }
    }

    /// What of this is the payload's: those bytes, moved to the front, and how many. There must be room for
    /// one message more.
    fn without_prelude(&mut self, buffer: &mut [u8], n: usize) -> usize {
        let Some(prelude) = &mut self.prelude else {
            return n;
        };
        let Parted { printed, messages } = prelude.part(&buffer[..n]);
        self.command.note(&printed);
        let Some(messages) = messages else {
            return 0;
        };
        self.prelude = None;
        let n = messages.len().min(buffer.len());
        buffer[..n].copy_from_slice(&messages[..n]);
        n
    }

    /// Takes note of each message's reading of the guest's counter; what is no message is judged
    /// elsewhere. How many bytes there are up to the payload's last.
    fn witness(&mut self, all: &[u8], at: Ticks) -> io::Result<usize> {
        let mut bytes = all;
        while !bytes.is_empty() && !self.over {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME_BYTES - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() < FRAME_BYTES {
                break;
            }
            let decoded = Frame::decode(&self.part);
            self.part.clear();
            let Ok((frame, message)) = decoded else {
                continue;
            };
            let mut witness = |guest| self.brackets.witness(self.since, guest, at);
            witness(frame.sent);
            match message {
                Message::Ready(ready) => witness(ready.first_instruction),
                Message::Result(report) => {
                    witness(report.start);
                    witness(report.end);
                }
                Message::Mark(_) | Message::Log(_) | Message::Fact(_) | Message::Fault(..) => {}
            }
            let last = matches!(message, Message::Result(_) | Message::Fault(..));
            self.over = last && self.shared;
            if !self.told {
                self.told = true;
                self.go_on()?;
            }
        }
        Ok(all.len() - bytes.len())
    }

    /// Lets the payload go on behind its first message. One that shall not be held finds a second byte
    /// when it waits.
    fn go_on(&mut self) -> io::Result<()> {
        self.since = now();
        let bytes: &[u8] = if self.hold { b"\n" } else { b"\n\n" };
        self.type_in(bytes)
    }

    /// A pipe takes so few bytes at once, or nobody reads it any more.
    fn type_in(&self, bytes: &[u8]) -> io::Result<()> {
        let input = self.input.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        nix::unistd::write(input, bytes)?;
        Ok(())
    }
}

impl Running for Machine {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.output.as_ref().map(AsFd::as_fd),
            noise: self.command.noise(),
            ends: [self.command.end(), None],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Of the first message nearly all may have come before.
        let room = buffer.len().saturating_sub(FRAME_BYTES);
        let n = read_until_end(&mut self.output, &mut buffer[..room])?;
        let at = now();
        let n = self.without_prelude(buffer, n);
        let said = self.witness(&buffer[..n], at)?;
        // The kernel's own end, which it tells whatever it was told.
        self.command.note(&buffer[said..n]);
        // None of the payload's bytes, and not their end.
        if said == 0 && self.output.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(said)
    }

    fn listen(&mut self) {
        self.command.listen();
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        let told = self.type_in(b"\n");
        told.map_err(|error| self.command.failure(EngineEnd::Unreachable(error)).into())
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        let exit = teardown.time("wait", || self.command.reap())?;
        // Where it said nothing, that is what is wrong.
        if exit == Exit::Status(0) && self.told {
            let decided = self.brackets.decide(None);
            self.clock = decided.map_err(|error| Failure::Clock(error.to_string()))?;
        }
        Ok(exit)
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        self.removed = true;
        let ended = self.command.kill();
        (self.input, self.output) = (None, None);
        if self.sockets.is_empty() {
            return ended;
        }
        let removed = teardown.time("sockets_remove", || self.sockets.iter().try_for_each(gone));
        ended.and(removed)
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(self.command.pid().into_iter().collect())
    }

    fn guest_memory(&self) -> Option<Bytes> {
        Some(self.memory)
    }

    fn clock(&self) -> ClockMap {
        self.clock
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        if let Some(prelude) = &mut self.prelude {
            self.command.note(&prelude.rest());
        }
        self.command.failure(how)
    }

    fn set_apart(&mut self) {
        let pipes = [&mut self.input, &mut self.output];
        pipes.into_iter().flatten().for_each(fd::set_apart);
        self.command.set_apart();
    }
}

/// Nobody listens there, yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn gone(socket: &PathBuf) -> Result<(), Failure> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::Leftover(format!("{}: {error}", socket.display())))
        }
        _ => Ok(()),
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(failure) = self.remove(&mut PhaseLog::new()) {
            tracing::error!(%failure, "VMM left behind");
        }
    }
}
