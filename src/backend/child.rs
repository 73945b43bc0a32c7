//! A child process with a frame pipe: what `process` and `container` have in common once the
//! payload runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use isobench_abi::{Ready, Report};

use crate::backend::Footprint;
use crate::host::accounts::kibibytes;
use crate::metric::{Bytes, Ticks};
use crate::sys::clock;
use crate::sys::fd;
use crate::sys::interrupt;
use crate::sys::pidfd::{self, Exit};
use crate::sys::spawn::Spawned;
use crate::transcript::{Answer, Transcript};
use crate::trial::{ClockMap, Failure, Instants, Observation, PhaseLog};

/// Longest wait without a look at the user's request to stop.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// How long a killed child may take to go; only one stuck inside the kernel takes longer.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Start of a trial, and its end by force.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        let now = Instant::now();
        Self {
            // Beyond what the clock can hold: as far as makes no difference.
            at: now
                .checked_add(allowed)
                .or_else(|| now.checked_add(Duration::from_secs(1 << 31)))
                .unwrap_or(now),
            allowed,
        }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// What was allowed at its start.
    #[must_use]
    pub const fn allowed(&self) -> Duration {
        self.allowed
    }
}

/// A running payload: its process, its pipes, and what it has said. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Child {
    process: Spawned,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    transcript: Transcript,
    reaped: bool,
    hung_up: Option<Ticks>,
}

impl Child {
    /// Takes over a process that has executed the payload: `stdin` is the write end of what it
    /// reads, `stdout` the read end of what it writes.
    #[must_use]
    pub fn new(process: Spawned, stdin: Option<OwnedFd>, stdout: OwnedFd) -> Self {
        Self {
            process,
            stdin,
            stdout: Some(stdout),
            transcript: Transcript::default(),
            reaped: false,
            hung_up: None,
        }
    }

    /// Its process id in the harness's namespace.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Its descriptor.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Writes to its standard input; never waits, for what a pipe has room for.
    ///
    /// # Errors
    /// It has no such pipe, or has ended.
    pub fn tell(&self, bytes: &[u8]) -> Result<(), Failure> {
        let stdin = self.stdin.as_ref().ok_or_else(closed);
        stdin
            .and_then(|stdin| nix::unistd::write(stdin, bytes).map_err(io::Error::from))
            .and_then(|written| {
                let whole = written == bytes.len();
                whole.then_some(()).ok_or_else(closed)
            })
            .map_err(|cause| Failure::setup("tell", cause))
    }

    /// When it had closed its standard output, if it did so before its end was seen.
    #[must_use]
    pub const fn hung_up(&self) -> Option<Ticks> {
        self.hung_up
    }

    /// Whether it is gone and reaped.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.reaped
    }

    /// Ends it by force.
    pub fn end(&mut self) {
        // One that does not go is reported when this is dropped.
        let _ = self.kill();
    }

    /// Its first message, the instant at which the harness had it, and its report.
    ///
    /// # Errors
    /// It has not said all that it must.
    pub fn heard(&self) -> Result<(Ready, Ticks, Report), Failure> {
        self.transcript.finish()
    }

    /// What the payload said it did.
    ///
    /// # Errors
    /// It has not said all that it must.
    pub fn report(&self) -> Result<Report, Failure> {
        self.transcript.finish().map(|(_, _, report)| report)
    }

    /// Waits until an idle payload says that it has touched its memory, `bytes` of it, and waits.
    ///
    /// # Errors
    /// The payload ends, misbehaves or is too slow. Then it has been killed and reaped.
    pub fn until_waiting(&mut self, deadline: Deadline, bytes: u64) -> Result<(), Failure> {
        let ended = self.converse(deadline, Transcript::is_waiting)?;
        match ended {
            None => self
                .transcript
                .waits_with(bytes)
                .map_err(|failure| self.abort(failure)),
            Some(_) => {
                let exit = self.reap()?;
                self.verdict(exit)?;
                Err(Failure::Protocol("the payload ended before its time"))
            }
        }
    }

    /// Moves its descriptors out of the way of the next launch ([`fd::set_apart`]).
    pub fn set_apart(&mut self) {
        fd::set_apart(&mut self.process.pidfd);
        let pipes = [&mut self.stdin, &mut self.stdout];
        pipes.into_iter().flatten().for_each(fd::set_apart);
    }

    /// Wakes an idle payload: the end of its input is the request.
    pub fn wake(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end: `t4`, the instant at which the harness observes the exit. The process is
    /// still to be reaped.
    ///
    /// # Errors
    /// The payload misbehaves or is too slow. Then it has been killed and reaped.
    pub fn until_exit(&mut self, deadline: Deadline) -> Result<Ticks, Failure> {
        match self.converse(deadline, |_| false)? {
            Some(at) => Ok(at),
            None => Err(self.abort(Failure::Protocol("the payload has no end"))),
        }
    }

    /// Reaps the process, which has ended.
    ///
    /// # Errors
    /// The kernel does not know the child any more.
    pub fn reap(&mut self) -> Result<Exit, Failure> {
        let exit = pidfd::reap(self.process.pidfd.as_fd());
        self.reaped = true;
        exit.map_err(|error| Failure::Leftover(format!("child {}: {error}", self.process.pid)))
    }

    /// Judges how it ended.
    ///
    /// # Errors
    /// Any end but status 0 after a result.
    pub fn verdict(&self, exit: Exit) -> Result<(), Failure> {
        match (exit, self.transcript.fault()) {
            (Exit::Signal(_), _) if interrupt::requested().is_some() => Err(Failure::Interrupted),
            (Exit::Signal(signal), _) => Err(Failure::Signal(signal)),
            (Exit::Status(_), Some((fault, detail))) => Err(Failure::Payload(fault, detail)),
            (Exit::Status(0), None) => self.transcript.finish().map(drop),
            (Exit::Status(status), None) => Err(Failure::Status(status)),
        }
    }

    /// Wakes an idle payload and sees it to its end: answer, result, status 0.
    ///
    /// # Errors
    /// Any other end. Either way it is gone and reaped.
    pub fn finish_held(&mut self, allowed: Duration) -> Result<(), Failure> {
        self.wake();
        self.until_exit(Deadline::after(allowed))?;
        let exit = self.reap()?;
        self.close();
        self.verdict(exit)?;
        match self.transcript.replied() {
            Some(_) => Ok(()),
            None => Err(Failure::Protocol("the payload did not answer the request")),
        }
    }

    /// When the harness had the reply to its request, if there was one.
    pub fn replied(&self) -> Option<Ticks> {
        self.transcript.replied()
    }

    /// Hands over what it has answered (`probe`).
    pub fn take_answers(&mut self) -> Vec<Answer> {
        self.transcript.take_answers()
    }

    /// Closes what is left of the pipes.
    pub fn close(&mut self) {
        self.stdin = None;
        self.stdout = None;
    }

    /// Reads messages until `enough`, or until the process has ended and everything it said is
    /// read: then the instant of the end.
    fn converse(
        &mut self,
        deadline: Deadline,
        enough: impl Fn(&Transcript) -> bool,
    ) -> Result<Option<Ticks>, Failure> {
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Err(self.abort(Failure::Timeout(deadline.allowed)));
            }
            if interrupt::requested().is_some() {
                return Err(self.abort(Failure::Interrupted));
            }
            let stdout = self.stdout.as_ref().map(AsFd::as_fd);
            let ready = match fd::readable(stdout, self.process.pidfd.as_fd(), left.min(SLICE)) {
                Ok(ready) => ready,
                Err(error) => return Err(self.abort(Failure::setup("poll", error))),
            };
            // What was said before the end is heard before the end is noted; also what was said
            // after poll had looked at the pipe and before it looked at the process.
            if ready.first || ready.second {
                self.hear(ready.second)
                    .map_err(|failure| self.abort(failure))?;
            }
            if ready.second {
                return Ok(Some(clock::now()));
            }
            if enough(&self.transcript) {
                return Ok(None);
            }
        }
    }

    /// Reads what is there: one read, or, once the process has ended, all of it. Never waits.
    fn hear(&mut self, to_the_end: bool) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        while let Some(stdout) = &self.stdout {
            if to_the_end {
                let more = fd::readable(Some(stdout.as_fd()), stdout.as_fd(), Duration::ZERO)
                    .map_err(|e| Failure::setup("poll", e))?;
                if !more.first {
                    break;
                }
            }
            let n = fd::read(stdout.as_fd(), &mut buffer).map_err(|e| Failure::setup("read", e))?;
            let at = clock::now();
            if n == 0 {
                // End of file: polled again, it would be "readable" for ever.
                self.stdout = None;
                self.hung_up = Some(at);
                break;
            }
            self.transcript.bytes(&buffer[..n], at)?;
            if !to_the_end {
                break;
            }
        }
        Ok(())
    }

    /// Kills and reaps; hands back why, or that it did not go.
    fn abort(&mut self, failure: Failure) -> Failure {
        match self.kill() {
            Ok(()) => failure,
            Err(error) => Failure::Leftover(format!(
                "child {} after \"{failure}\": {error}",
                self.process.pid
            )),
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        if self.reaped {
            return Ok(());
        }
        let pidfd = self.process.pidfd.as_fd();
        pidfd::kill(pidfd)?;
        let end = Instant::now() + KILL_GRACE;
        while !fd::readable(None, pidfd, end.saturating_duration_since(Instant::now()))?.second {
            if Instant::now() >= end {
                return Err(io::Error::other("still there 10 s after SIGKILL"));
            }
        }
        pidfd::reap(pidfd)?;
        self.reaped = true;
        Ok(())
    }

    /// Puts the trial together.
    ///
    /// # Errors
    /// The payload has not said all that it must. Whether the instants are in order is checked with
    /// the clock's bound, for every backend alike (`measure::check`).
    pub fn observation(
        &self,
        t0: Ticks,
        t4: Ticks,
        t5: Ticks,
        mut start: PhaseLog,
        teardown: &PhaseLog,
    ) -> Result<Observation, Failure> {
        let (ready, t2, report) = self.transcript.finish()?;
        let clock = ClockMap::SAME;
        let instants = Instants {
            t0,
            t1: clock.host(ready.first_instruction),
            t2,
            t3: clock.host(report.end),
            t4,
            t5,
        };
        start.close_at(instants.t1);
        Ok(Observation {
            instants,
            reply: self.replied(),
            phases: start.phases().to_vec(),
            teardown: teardown.phases().to_vec(),
            report,
            clock,
            exits: None,
            throttled: None,
            told: None,
        })
    }

    /// Its user-space memory.
    ///
    /// # Errors
    /// As [`footprint`].
    pub fn footprint(&self) -> Result<Footprint, Failure> {
        footprint(self.process.pid.cast_unsigned())
    }
}

/// User-space memory of a process (`/proc/PID/smaps_rollup`, proc_pid_smaps(5)).
///
/// # Errors
/// The file cannot be read.
pub fn footprint(pid: u32) -> Result<Footprint, Failure> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fd::text(path.as_ref()).map_err(|e| Failure::setup("smaps_rollup", e))?;
    let field = |name: &str| kibibytes(&text, name);
    match (field("Pss"), field("Private_Clean"), field("Private_Dirty")) {
        (Some(pss), Some(clean), Some(dirty)) => Ok(Footprint {
            pss: Bytes(pss),
            private: Bytes(clean + dirty),
            ..Footprint::default()
        }),
        _ => Err(Failure::setup(
            "smaps_rollup",
            io::Error::other("a field is missing"),
        )),
    }
}

fn closed() -> io::Error {
    io::Error::from(io::ErrorKind::BrokenPipe)
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::error!(pid = self.process.pid, %error, "child left behind");
        }
    }
}
