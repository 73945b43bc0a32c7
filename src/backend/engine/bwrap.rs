//! `bwrap`: bubblewrap, as much like `container` as its options allow.

use std::rc::Rc;

use isobench_guardian::MARK;

use super::command::Invocation;
use super::detect::Found;
use super::front::{Front, Nothing};
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Failure, Limitation, Order, PhaseLog, Running};
use crate::backend::Unavailable;
use crate::backend::container::PAYLOAD_ID;
use crate::backend::services::Services;

/// bubblewrap, found.
pub struct Bwrap {
    found: Found,
    command: Invocation,
    workspace: Rc<Workspace>,
}

impl Bwrap {
    /// Looks for it.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(services: &mut Services) -> Result<Self, Unavailable> {
        let found = Found::engine(&EngineKind::Bwrap)?;
        let workspace = services.get(Workspace::new)?;
        let id = PAYLOAD_ID.to_string();
        let command = found
            .command()
            .with(["--unshare-all", "--die-with-parent", "--new-session"])
            .with(["--cap-drop", "ALL", "--hostname", "isobench"])
            .with(["--ro-bind"])
            .with([workspace.root()])
            .with(["/", "--proc", "/proc", "--dev", "/dev", "--clearenv"])
            .with(["--uid", &id, "--gid", &id]);
        Ok(Self {
            found,
            command,
            workspace,
        })
    }
}

impl Engine for Bwrap {
    fn facts(&self) -> EngineFacts {
        let differences = [
            "it always has a user namespace",
            "it has no control group, and no limits",
            "it has no seccomp filter",
            "bwrap's own process is PID 1 of its pid namespace, and another waits for it outside",
            "its root is one read-only bind mount that all instances share, not a tmpfs with a copy of \
             the payload; all of /proc is there, and a /dev with terminals",
        ];
        self.found.facts(&differences)
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.workspace.limitations()
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let command = self
            .command
            .clone()
            .with(["--setenv", MARK, order.name])
            .with(order.launch.task.argv());
        let front = Front::start(&command, order, log, Box::new(Nothing))?;
        Ok(Box::new(front))
    }
}
