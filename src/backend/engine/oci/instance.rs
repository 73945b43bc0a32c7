//! A container of an OCI runtime, from its first command to its last.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::super::command::{Invocation, Patience, Started, as_shell};
use super::super::front::read_until_end;
use super::super::groups::EngineGroups;
use super::super::{CLEAN_UP, Running, Sources, leftover};
use crate::backend::group::GroupAccounts;
use crate::sys::fd;
use crate::sys::pidfd::{self, Exit};
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

/// How long something may be seen after the runtime has removed it.
const BUSY: Duration = Duration::from_secs(1);

/// The container. Dropping it removes it.
pub struct Instance {
    name: String,
    bundle: PathBuf,
    /// The runtime, without a subcommand.
    runtime: Invocation,
    /// What the runtime knows of this container.
    state: PathBuf,
    groups: Option<EngineGroups>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    payload: Option<Payload>,
    /// `create` has ended, what it was given for errors is the payload's now. `run` is here, too.
    first: Option<Started>,
    /// `start`, until its end was looked at.
    start: Option<Started>,
    removed: bool,
}

struct Payload {
    pid: u32,
    /// Until it is reaped.
    pidfd: Option<OwnedFd>,
}

impl Instance {
    pub fn new(
        name: &str,
        bundle: PathBuf,
        runtime: Invocation,
        state: PathBuf,
        groups: Option<EngineGroups>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            bundle,
            runtime,
            state,
            groups,
            stdin: None,
            stdout: None,
            payload: None,
            first: None,
            start: None,
            removed: false,
        }
    }

    /// The payload's ends of its input and output; the other ends are kept.
    pub fn pipes(&mut self, hold: bool) -> Result<(Stdio, Stdio), Failure> {
        let (stdin, kept) = super::super::command::input(hold)?;
        self.stdin = kept;
        let (read, write) = fd::pipe().map_err(|error| Failure::setup("pipe", error))?;
        self.stdout = Some(read);
        Ok((stdin, write.into()))
    }

    /// Runs `create` to its end.
    pub fn create(
        &mut self,
        command: &Invocation,
        stdin: Stdio,
        stdout: Stdio,
        patience: Patience,
    ) -> Result<(), Failure> {
        let create = self.first.insert(command.start(stdin, stdout)?);
        create.succeed(patience)
    }

    /// Takes over the payload's process.
    pub fn adopt(&mut self, pid: u32, pidfd: OwnedFd) {
        self.payload = Some(Payload {
            pid,
            pidfd: Some(pidfd),
        });
    }

    pub fn start(&mut self, start: Started) {
        self.start = Some(start);
    }

    pub fn run(&mut self, run: Started) {
        self.first = Some(run);
    }

    /// After a start that failed: there may be a container, a part of one, or none.
    pub fn give_up(&mut self) {
        self.removed = true;
        if let Err(failure) = self.end_by_force() {
            tracing::error!(name = self.name, %failure, "payload left behind");
        }
        if self.left().is_some()
            && let Err(failure) = self.delete(true)
        {
            tracing::debug!(name = self.name, %failure, "its runtime does not remove it");
        }
        self.sweep();
        if let Err(error) = fs::remove_dir_all(&self.bundle)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %self.bundle.display(), %error, "bundle left behind");
        }
    }

    fn is_run(&self) -> bool {
        self.payload.is_none()
    }

    fn payload_end(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        let pidfd = self.payload.as_ref()?.pidfd.as_ref();
        pidfd.map(AsFd::as_fd)
    }

    /// Ends what still runs, by force.
    fn end_by_force(&mut self) -> Result<(), Failure> {
        if let Some(mut start) = self.start.take() {
            start.kill()?;
        }
        if let Some(first) = &mut self.first {
            first.kill()?;
        }
        let Some(Payload { pid, pidfd }) = &mut self.payload else {
            return Ok(());
        };
        let Some(process) = pidfd.take() else {
            return Ok(());
        };
        let ended = pidfd::kill(process.as_fd()).and_then(|()| pidfd::reap(process.as_fd()));
        ended
            .map(drop)
            .map_err(|error| Failure::Leftover(format!("payload {pid}: {error}")))
    }

    fn delete(&self, force: bool) -> Result<(), Failure> {
        let command = self.runtime.clone().with(["delete"]);
        let command = if force {
            command.with(["--force"])
        } else {
            command
        };
        let patience = Patience::to_clean_up(CLEAN_UP);
        command.with([&self.name]).run(patience).map(drop)
    }

    /// What the runtime has not removed.
    fn left(&self) -> Option<PathBuf> {
        let state = Some(&self.state).filter(|path| path.exists()).cloned();
        state.or_else(|| self.groups.as_ref()?.left(&self.name))
    }

    /// Removes what a runtime leaves that was killed or failed.
    fn sweep(&self) {
        leftover::end(&self.name);
        if let Some(groups) = &self.groups
            && groups.left(&self.name).is_some()
        {
            groups.sweep(&self.name);
        }
        let removed = fs::remove_dir_all(&self.state);
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %self.state.display(), %error, "state left behind");
        }
    }
}

impl Running for Instance {
    fn sources(&self) -> Sources<'_> {
        let first = self.first.as_ref();
        let noise = self.start.as_ref().and_then(Started::noise);
        Sources {
            output: self.stdout.as_ref().map(AsFd::as_fd),
            noise: noise.or_else(|| first.and_then(Started::noise)),
            ends: [
                self.payload_end().or_else(|| first.and_then(Started::end)),
                self.start.as_ref().and_then(Started::end),
            ],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_until_end(&mut self.stdout, buffer)
    }

    fn listen(&mut self) {
        for command in [&mut self.first, &mut self.start].into_iter().flatten() {
            command.listen();
        }
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        let first = self.first.as_ref().and_then(Started::end);
        let payload = self.payload_end().or(first);
        let start = self.start.as_ref().and_then(Started::end);
        let ready = fd::any_readable([payload, start], Duration::ZERO);
        let [payload, started] = ready.map_err(|error| Failure::setup("poll", error))?;
        if !payload
            && started
            && let Some(mut start) = self.start.take()
        {
            start.succeed(Patience::to_clean_up(CLEAN_UP))?;
        }
        Ok(payload)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        self.stdin = None;
        Ok(())
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        teardown.time("wait", || {
            if let Some(mut start) = self.start.take() {
                start.succeed(Patience::to_clean_up(CLEAN_UP))?;
            }
            if let (true, Some(run)) = (self.is_run(), &mut self.first) {
                return run.reap().map(as_shell);
            }
            let pidfd = self.payload.as_mut().and_then(|p| p.pidfd.take());
            let pidfd = pidfd.ok_or_else(|| Failure::Leftover("no payload".to_owned()))?;
            pidfd::reap(pidfd.as_fd()).map_err(|error| Failure::setup("wait", error))
        })
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        let is_running = self.sources().ends.iter().any(Option::is_some);
        let ended = self.end_by_force();
        // A `run` that has ended has deleted its container.
        let deleted = if self.is_run() && !is_running && self.left().is_none() {
            Ok(())
        } else {
            teardown.time("delete", || self.delete(is_running))
        };
        (self.stdin, self.stdout) = (None, None);
        let end = Instant::now() + BUSY;
        let mut left = self.left();
        while left.is_some() && deleted.is_ok() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
            left = self.left();
        }
        if left.is_some() {
            self.sweep();
        }
        let bundle = teardown.time("bundle_remove", || fs::remove_dir_all(&self.bundle));
        // What is still there is tried once more when this is dropped.
        self.removed = self.left().is_none();
        ended?;
        // By force, it may never have come to a container: what counts is that there is none.
        if !is_running {
            deleted?;
            if let Some(path) = left {
                return Err(Failure::Leftover(path.display().to_string()));
            }
        }
        if let Some(path) = self.left() {
            return Err(Failure::Leftover(path.display().to_string()));
        }
        bundle.map_err(|error| Failure::Leftover(format!("{}: {error}", self.bundle.display())))
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(match &self.payload {
            Some(payload) => vec![payload.pid],
            // `run` and what it has started.
            None => isobench_guardian::marked(|mark| mark == self.name),
        })
    }

    fn group(&self) -> Option<GroupAccounts> {
        self.groups.as_ref()?.accounts(&self.name)
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        match (&mut self.start, &mut self.first) {
            (Some(command), _) | (None, Some(command)) => command.failure(how),
            (None, None) => EngineFailure {
                command: self.runtime.to_string(),
                how,
                tail: String::new(),
            },
        }
    }

    fn set_apart(&mut self) {
        let pipes = [&mut self.stdin, &mut self.stdout];
        pipes.into_iter().flatten().for_each(fd::set_apart);
        let commands = [&mut self.first, &mut self.start];
        commands.into_iter().flatten().for_each(Started::set_apart);
        let pidfd = self.payload.as_mut().and_then(|p| p.pidfd.as_mut());
        pidfd.into_iter().for_each(fd::set_apart);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.removed {
            self.give_up();
        }
    }
}
