//! A QEMU under way, with the payload behind its second serial port.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use isobench_abi::{FRAME_BYTES, Frame, Message};

use super::super::command::{Invocation, Started};
use super::super::front::read_until_end;
use super::super::{Order, Running, Sources};
use crate::metric::{Bytes, Ticks};
use crate::sys::clock::now;
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{ClockMap, EngineEnd, EngineFailure, Failure, PhaseLog};
use crate::vmm::clock::Brackets;

/// The machine. Dropping it ends QEMU.
pub struct Machine {
    command: Started,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    memory: Bytes,
    hold: bool,
    /// The payload has said its first message and was told to go on.
    told: bool,
    /// The host's counter before anything that the guest has read since.
    since: Ticks,
    /// Of a message that has not come whole yet.
    part: Vec<u8>,
    brackets: Brackets,
    clock: ClockMap,
    removed: bool,
}

impl Machine {
    /// Starts QEMU; the phase `run` ends with the payload's first instruction.
    pub fn start(
        command: &Invocation,
        order: &Order<'_>,
        memory: Bytes,
        log: &mut PhaseLog,
    ) -> Result<Self, Failure> {
        log.open("run");
        let since = now();
        let pipe = || fd::pipe().map_err(|error| Failure::setup("pipe", error));
        let (child_stdin, stdin) = pipe()?;
        let (stdout, child_stdout) = pipe()?;
        Ok(Self {
            command: command.start(child_stdin.into(), child_stdout.into())?,
            stdin: Some(stdin),
            stdout: Some(stdout),
            memory,
            hold: order.hold,
            told: false,
            since,
            part: Vec::with_capacity(FRAME_BYTES),
            brackets: Brackets::default(),
            clock: ClockMap::SAME,
            removed: false,
        })
    }

    /// Takes note of each message's reading of the guest's counter; what is no message is judged
    /// elsewhere.
    fn witness(&mut self, mut bytes: &[u8], at: Ticks) -> io::Result<()> {
        while !bytes.is_empty() {
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
            if !self.told {
                self.told = true;
                self.go_on()?;
            }
        }
        Ok(())
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
        let stdin = self.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        nix::unistd::write(stdin, bytes)?;
        Ok(())
    }
}

impl Running for Machine {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.stdout.as_ref().map(AsFd::as_fd),
            noise: self.command.noise(),
            ends: [self.command.end(), None],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = read_until_end(&mut self.stdout, buffer)?;
        self.witness(&buffer[..n], now())?;
        Ok(n)
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

    fn remove(&mut self, _: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        self.removed = true;
        let ended = self.command.kill();
        (self.stdin, self.stdout) = (None, None);
        ended
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
        self.command.failure(how)
    }

    fn set_apart(&mut self) {
        let pipes = [&mut self.stdin, &mut self.stdout];
        pipes.into_iter().flatten().for_each(fd::set_apart);
        self.command.set_apart();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(failure) = self.remove(&mut PhaseLog::new()) {
            tracing::error!(%failure, "QEMU left behind");
        }
    }
}
