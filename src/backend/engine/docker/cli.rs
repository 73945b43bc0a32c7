//! `docker run` in front of the same daemon.

use std::rc::Rc;

use isobench_guardian::MARK;

use super::super::chronicle::Chronicle;
use super::super::command::{Invocation, Patience};
use super::super::detect::Found;
use super::super::front::{Front, Remover};
use super::super::kind::EngineNetwork;
use super::super::workspace::Workspace;
use super::super::{CLEAN_UP, DaemonFacts, Engine, EngineFacts, Order, Running, pids};
use super::api::{Docker, TASKS, mode};
use crate::backend::container::{PAYLOAD_ID, memory_limit};
use crate::backend::services::Services;
use crate::backend::{Provided, Unavailable};
use crate::trial::{Failure, PhaseLog};

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

    fn chronicle(&self) -> Option<&dyn Chronicle> {
        Some(self.docker.as_ref())
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let remover = Remove {
            command: self
                .command(order.name)
                .with(["rm", "--force", "--volumes", order.name]),
        };
        let front = Front::start(&self.run(order), order, log, Box::new(remover))?;
        Ok(Box::new(front))
    }
}

/// `docker rm`.
struct Remove {
    command: Invocation,
}

impl Remover for Remove {
    fn remove(&mut self, _: bool, teardown: &mut PhaseLog) -> Result<(), Failure> {
        let patience = Patience::to_clean_up(CLEAN_UP);
        match teardown.time("rm", || self.command.run(patience)) {
            Ok(_) => Ok(()),
            // Never made. (With --force newer clients say so with status 0.)
            Err(Failure::Engine(failure)) if failure.tail.contains("No such container") => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The shim, which has its daemon's mark.
    fn beside(&self, marked: &[u32]) -> Vec<u32> {
        marked.iter().filter_map(|pid| pids::shim(*pid)).collect()
    }
}
