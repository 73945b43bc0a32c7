//! `cri`: containerd by the calls that Kubernetes' kubelet makes for a pod with one container.
//!
//! ```text
//!   run_pod_sandbox     RunPodSandbox       a shim, and the pause process that holds the namespaces
//!   create_container    CreateContainer
//!   start_container     StartContainer      ends with t1
//!   t4                  ContainerStatus says exited
//!   remove_container, stop_pod_sandbox, remove_pod_sandbox
//! ```
//! The pod is in the host's network: no CNI plugin is needed, and none of its cost is in there. The pause
//! process is the payload itself, which waits for ever.
//!
//! **Output.** A pod's output goes to its log. Attach could miss what was said before it, so the log is
//! what is read: a FIFO in the place of the file, so that t2 is when containerd has written the line. Lines
//! must be whole, which is what the payload is asked for.
//! **End.** The interface has no call that waits. Once the log is closed, ContainerStatus is
//! asked until it says so.
//! **Input.** For a payload that waits (`idle`), a byte is written into the FIFO that containerd made for
//! the container's input, in its own state folder, and not through Attach, whose streaming protocol is not
//! spoken here.

mod instance;
mod log;
pub mod messages;

use std::rc::Rc;

use instance::Instance;

use super::caller::Caller;
use super::command::Patience;
use super::containerd::Image;
use super::containerd::messages::Empty;
use super::endpoint::Endpoints;
use super::workspace::Workspace;
use super::{CLEAN_UP, DaemonFacts, Engine, EngineFacts, Order, Running, leftover};
use crate::backend::child::Deadline;
use crate::backend::daemons::PAUSE_IMAGE;
use crate::backend::services::Services;
use crate::backend::{Limitation, Provided, Unavailable};
use crate::trial::{Failure, PhaseLog};

/// Where Kubernetes keeps what is its own in containerd.
pub const NAMESPACE: &str = "k8s.io";

/// containerd's side of the interface.
pub struct Cri {
    shared: Rc<Shared>,
    limitations: Vec<Limitation>,
}

/// What instances need.
pub struct Shared {
    caller: Caller,
    version: String,
    image: Image,
    /// `None`: whoever runs that containerd has chosen one.
    _pause: Option<Image>,
    workspace: Rc<Workspace>,
    /// The daemon lives as long as this.
    _endpoints: Rc<Endpoints>,
}

impl Cri {
    /// Finds or starts the daemon and gives it the images.
    ///
    /// # Errors
    /// There is none, it does not speak this interface, or it refuses.
    pub fn open(provided: &Provided, services: &mut Services) -> Result<Self, Unavailable> {
        let endpoints = Endpoints::of(provided, services)?;
        let workspace = services.get(Workspace::new)?;
        let caller = Caller::new("cri", endpoints.containerd()?, None)?;
        let method = "/runtime.v1.RuntimeService/Version";
        let patience = Patience::until(Deadline::after(CLEAN_UP));
        let version = caller
            .grpc
            .ask::<_, messages::VersionAnswer>(method, Empty {}, patience);
        let version = version.map_err(|why| Unavailable {
            reason: caller.failed(why).to_string(),
            remedy: "enable the cri plugin in containerd's configuration (disabled_plugins = [])"
                .to_owned(),
        })?;
        let image = Image::own(&caller.endpoint, NAMESPACE, &workspace)?;
        let pause = caller.endpoint.folder.is_some().then(|| {
            let forever = [isobench_abi::PAUSE_ENVIRONMENT];
            let arguments = ["/payload", "idle", "0", "1"];
            let started = (&arguments[..], &forever[..]);
            Image::import(
                &caller.endpoint,
                NAMESPACE,
                PAUSE_IMAGE,
                started,
                &workspace,
            )
        });
        Ok(Self {
            limitations: workspace.limitations(),
            shared: Rc::new(Shared {
                version: format!("{} {}", version.runtime_name, version.runtime_version),
                image,
                _pause: pause.transpose()?,
                caller,
                workspace,
                _endpoints: endpoints,
            }),
        })
    }
}

impl Engine for Cri {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            program: format!("unix://{}", self.shared.caller.endpoint.socket.display()),
            version: self.shared.version.clone(),
            differences: [
                "a pod: a second process, in the pod's namespaces, and its shim are part of each instance",
                "the host's network, so that no CNI plugin is needed",
                "its root is overlayfs on the image's layer; containerd's own seccomp profile; masked and \
                 read-only paths in /proc and /sys; /dev/shm, /etc/hosts and the like are mounted",
                "its output goes through the shim and containerd into the pod's log, here a FIFO; each \
                 message ends with a line end",
                "no limit of tasks, which is the pod's in Kubernetes",
                "t4 is when ContainerStatus says so, asked from the end of the log on: the interface has no \
                 call that waits",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
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
        match instance.start(order, log) {
            Ok(()) => Ok(Box::new(instance)),
            Err(failure) => {
                leftover::give_up(&mut instance, order.name);
                Err(failure)
            }
        }
    }
}
