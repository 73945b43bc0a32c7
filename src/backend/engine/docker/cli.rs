//! `docker run` in front of the same daemon.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use isobench_guardian::MARK;

use super::super::command::{Invocation, Patience, Started, as_shell, input};
use super::super::detect::Found;
use super::super::kind::EngineNetwork;
use super::super::workspace::Workspace;
use super::super::{CLEAN_UP, DaemonFacts, Engine, EngineFacts, Order, Running, Sources, pids};
use super::api::{Docker, TASKS, mode};
use crate::backend::container::{PAYLOAD_ID, memory_limit};
use crate::backend::services::Services;
use crate::backend::{Provided, Unavailable};
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

/// What to type where there is no client.
const REMEDY: &str = "apt-get install --no-install-recommends docker.io";

/// The client.
pub struct Client {
    docker: Rc<Docker>,
    found: Found,
    network: EngineNetwork,
    /// An empty configuration: a user's own may have proxies, credentials and plugins.
    config: std::path::PathBuf,
}

impl Client {
    /// Looks for the client, and finds or starts the daemon.
    ///
    /// # Errors
    /// One of them is not there, or refuses.
    pub fn open(
        network: EngineNetwork,
        provided: &Provided,
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        let found = Found::program("docker", REMEDY)?;
        let workspace = services.get(Workspace::new)?;
        let config = workspace.folder("docker-config").map_err(|error| {
            found.unusable(
                &format!("no folder for its configuration: {error}"),
                "free space",
            )
        })?;
        Ok(Self {
            docker: services.get(|services| Docker::open(provided, services))?,
            found,
            network,
            config,
        })
    }

    fn command(&self, name: &str) -> Invocation {
        let socket = format!("unix://{}", self.docker.endpoint.socket.display());
        let command = self.found.command().marked(name).with(["--host", &socket]);
        command.env("DOCKER_CONFIG", &self.config)
    }

    fn run(&self, order: &Order<'_>) -> Invocation {
        let task = &order.launch.task;
        let mut command = self
            .command(order.name)
            .with(["run", "--name", order.name])
            .with(["--network", mode(self.network)])
            .with([
                "--cap-drop",
                "ALL",
                "--security-opt",
                "no-new-privileges",
                "--read-only",
            ])
            .with(["--memory", &memory_limit(task).0.to_string()])
            .with(["--pids-limit", &TASKS.to_string()])
            .with(["--cgroupns", "private", "--hostname", "isobench"])
            .with(["--user", &format!("{PAYLOAD_ID}:{PAYLOAD_ID}")])
            .with(["--label", &format!("isobench={}", order.name)])
            .with(["--env", &format!("{MARK}={}", order.name)])
            .with(["--pull", "never"]);
        if let Some(parent) = self.docker.parent() {
            command = command.with(["--cgroup-parent", &parent]);
        }
        if order.hold {
            command = command.with(["--interactive"]);
        }
        command.with([&self.docker.image]).with(task.argv())
    }
}

impl Engine for Client {
    fn facts(&self) -> EngineFacts {
        let mut differences = super::differences(self.network);
        differences.push(
            "without --rm: the client would wait for the removal, and its end would not be the payload's"
                .to_owned(),
        );
        EngineFacts {
            program: self.found.path.display().to_string(),
            version: format!("{}; dockerd {}", self.found.version, self.docker.version),
            differences,
        }
    }

    fn daemons(&self) -> Vec<DaemonFacts> {
        self.docker.daemons()
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let (stdin, kept) = input(order.hold)?;
        let pipe = log.time("pipe", fd::pipe);
        let (stdout, write) = pipe.map_err(|error| Failure::setup("pipe", error))?;
        log.open("run");
        let run = self.run(order).start(stdin, write.into())?;
        Ok(Box::new(Run {
            docker: Rc::clone(&self.docker),
            remove: self
                .command(order.name)
                .with(["rm", "--force", "--volumes", order.name]),
            name: order.name.to_owned(),
            run,
            stdin: kept,
            stdout: Some(stdout),
            removed: false,
            forsaken: false,
        }))
    }
}

/// `docker run` under way.
struct Run {
    docker: Rc<Docker>,
    remove: Invocation,
    name: String,
    run: Started,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    removed: bool,
    forsaken: bool,
}

impl Running for Run {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.stdout.as_ref().map(AsFd::as_fd),
            noise: self.run.noise(),
            ends: [self.run.end(), None],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &self.stdout else {
            return Ok(0);
        };
        let n = fd::read(stdout.as_fd(), buffer)?;
        if n == 0 {
            self.stdout = None;
        }
        Ok(n)
    }

    fn listen(&mut self) {
        self.run.listen();
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        self.stdin = None;
        Ok(())
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        let exit = teardown.time("wait", || self.run.reap())?;
        match as_shell(exit) {
            // The client's own trouble, not the payload's end (docker-run(1), "exit status").
            Exit::Status(125..=127) => Err(self.run.failure(exit.into()).into()),
            other => Ok(other),
        }
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        let ended = self.run.kill();
        (self.stdin, self.stdout) = (None, None);
        if self.forsaken {
            self.removed = true;
            return ended;
        }
        let patience = Patience::to_clean_up(CLEAN_UP);
        let removed = teardown.time("rm", || self.remove.run(patience));
        match removed {
            Ok(_) => {}
            // Never made. (With --force newer clients say so with status 0.)
            Err(Failure::Engine(failure)) if failure.tail.contains("No such container") => {}
            Err(failure) => {
                self.forsaken = true;
                return Err(failure);
            }
        }
        self.removed = true;
        ended
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        let payload = self.docker.process(&self.name)?;
        let mut all = pids::with_shim(payload);
        all.extend(self.run.pid());
        Ok(all)
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        self.run.failure(how)
    }

    fn set_apart(&mut self) {
        let pipes = [&mut self.stdin, &mut self.stdout];
        pipes.into_iter().flatten().for_each(fd::set_apart);
        self.run.set_apart();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(failure) = self.remove(&mut PhaseLog::new()) {
            tracing::error!(name = self.name, %failure, "container left behind");
        }
    }
}
