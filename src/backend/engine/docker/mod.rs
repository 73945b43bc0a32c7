//! `dockerd` and `docker`: the Engine API, and the command-line client in front of the same daemon.
//!
//! ```text
//!   dockerd                                          docker
//!   ───────                                          ──────
//!   create   POST /containers/create                 run      docker run -a stdout --name …
//!   attach   POST …/attach   (its output, its input)            the client does the same, and stays
//!   wait     POST …/wait     (answers at the end)               until the end
//!   start    POST …/start    ends with t1
//!   t4       the wait is answered                    t4       the client has ended
//!   remove   DELETE …                                rm       docker rm …
//! ```
//! In that order: a client that attaches later would miss what was said before. When all of it is over, the
//! daemon is asked for its events of the container (`GET /events`).

mod api;
mod cli;
mod events;
mod instance;
mod stream;

use std::rc::Rc;

use api::Docker;
use instance::Instance;

use super::chronicle::Chronicle;
use super::kind::EngineNetwork;
use super::{DaemonFacts, Engine, EngineFacts, Order, Running};
use crate::backend::services::Services;
use crate::backend::{Provided, Unavailable};
use crate::trial::{Failure, PhaseLog};

pub use cli::Client;

/// The Engine API.
pub struct Api {
    docker: Rc<Docker>,
    network: EngineNetwork,
}

impl Api {
    /// Finds or starts dockerd.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn open(
        network: EngineNetwork,
        provided: &Provided,
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        Ok(Self {
            docker: services.get(|services| Docker::open(provided, services))?,
            network,
        })
    }
}

impl Engine for Api {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            program: format!("unix://{}", self.docker.endpoint.socket.display()),
            version: self.docker.version.clone(),
            differences: differences(self.network),
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
        let mut instance = Instance::new(&self.docker);
        match instance.start(order, self.network, log) {
            Ok(()) => Ok(Box::new(instance)),
            Err(failure) => {
                instance.give_up();
                Err(failure)
            }
        }
    }
}

/// In what a container of dockerd differs from one of `container`.
fn differences(network: EngineNetwork) -> Vec<String> {
    let mut all = vec![
        "its root is overlayfs on the image's layer and a layer for what docker adds (/etc/hosts, \
         /etc/resolv.conf, /etc/hostname, /dev, /proc, /sys)",
        "docker's own seccomp profile, which lets some 300 system calls through; masked and \
         read-only paths in /proc and /sys",
        "its output goes through the shim and dockerd, which also writes it to a json-file log",
        "a /dev with docker's devices, a /dev/shm and a /dev/mqueue of its own",
        "its control group is in every hierarchy that is mounted, with a list of devices",
        "t4 is when the engine says that the payload has ended: what it takes to notice lies before it",
    ];
    if network == EngineNetwork::Bridge {
        all.push(
            "the pair of interfaces is removed with the container, which container:network=veth leaves \
             to the kernel; a private dockerd makes no iptables rule",
        );
    }
    all.into_iter().map(str::to_owned).collect()
}
