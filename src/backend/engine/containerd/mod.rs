//! `containerd`: a container of containerd, its shim and runc, by containerd's own services.
//!
//! ```text
//!   snapshot_prepare    Snapshots.Prepare     overlayfs on the image's one layer
//!   container_create    Containers.Create     a record with the specification
//!   task_create         Tasks.Create          the shim is started, it calls `runc create`
//!   task_start          Tasks.Start           ends with t1
//!   t4                  Tasks.Wait            is answered
//!   task_delete, container_delete, snapshot_remove
//! ```
//! Input and output go through FIFOs that the shim opens. The specification is the one that `runc` gets
//! as a bundle.

mod image;
mod instance;
pub mod messages;

use std::rc::Rc;

pub use image::Image;
use instance::Instance;

use super::caller::Caller;
use super::command::Patience;
use super::endpoint::Endpoints;
use super::groups::EngineGroups;
use super::workspace::Workspace;
use super::{CLEAN_UP, DaemonFacts, Engine, EngineFacts, Order, Running, leftover};
use crate::backend::child::Deadline;
use crate::backend::services::Services;
use crate::backend::{Limitation, Provided, Unavailable};
use crate::trial::{Failure, PhaseLog};

/// containerd's word for who asks: nobody else's containers are in there.
const NAMESPACE: &str = "isobench";
/// The snapshotter.
const SNAPSHOTTER: &str = "overlayfs";

/// containerd with the payload's image.
pub struct Containerd {
    shared: Rc<Shared>,
    limitations: Vec<Limitation>,
    /// Whether system calls are filtered.
    seccomp: bool,
}

/// What instances need.
pub struct Shared {
    caller: Caller,
    version: String,
    image: Image,
    workspace: Rc<Workspace>,
    /// Where containers' control groups are, if not below the daemon's own.
    groups: Option<EngineGroups>,
    /// The daemon lives as long as this.
    _endpoints: Rc<Endpoints>,
}

impl Containerd {
    /// Finds or starts the daemon and gives it the image.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn open(provided: &Provided, services: &mut Services) -> Result<Self, Unavailable> {
        let endpoints = Endpoints::of(provided, services)?;
        let workspace = services.get(Workspace::new)?;
        let caller = Caller::new("containerd", endpoints.containerd()?, Some(NAMESPACE))?;
        let version = version(&caller)?;
        let image = Image::own(&caller.endpoint, NAMESPACE, &workspace)?;
        let mut limitations = workspace.limitations();
        let groups = EngineGroups::find(&mut limitations).ok();
        Ok(Self {
            limitations,
            seccomp: true,
            shared: Rc::new(Shared {
                caller,
                version,
                image,
                workspace,
                groups,
                _endpoints: endpoints,
            }),
        })
    }
}

/// What it says its version is.
fn version(caller: &Caller) -> Result<String, Unavailable> {
    let patience = Patience::until(Deadline::after(CLEAN_UP));
    let method = "/containerd.services.version.v1.Version/Version";
    let answer = caller
        .grpc
        .ask::<_, messages::Version>(method, messages::Empty {}, patience);
    let answer = answer.map_err(|why| Unavailable {
        reason: caller.failed(why).to_string(),
        remedy: "--containerd-socket names another one".to_owned(),
    })?;
    Ok(answer.version)
}

impl Engine for Containerd {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            program: format!("unix://{}", self.shared.caller.endpoint.socket.display()),
            version: self.shared.version.clone(),
            differences: [
                "its root is overlayfs on the image's layer, made anew for each instance",
                "its output goes through FIFOs that the shim copies to",
                "all of /proc is there (of its own pid namespace), and the devices that runc adds itself",
                "its control group is in every hierarchy that is mounted, with a list of devices",
                "its seccomp filter lets through what runc itself calls behind it, too",
                "t4 is when the engine says that the payload has ended: what it takes to notice lies \
                 before it",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    fn set_filter(&mut self, on: bool) -> bool {
        self.seccomp = on;
        true
    }

    fn daemons(&self) -> Vec<DaemonFacts> {
        self.shared.caller.endpoint.daemon().into_iter().collect()
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let mut instance = Instance::new(&self.shared, order.name);
        match instance.start(order, self.seccomp, log) {
            Ok(()) => Ok(Box::new(instance)),
            Err(failure) => {
                leftover::give_up(&mut instance, order.name);
                Err(failure)
            }
        }
    }
}
