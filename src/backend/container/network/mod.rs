//! A container's way out: a pair of virtual interfaces into a bridge of the harness ([`Mechanism::Veth`]).
//!
//! Two messages make it, both written down before any trial and sent by the child itself:
//! `veth_create` adds the pair, one end in the bridge and up, the other, `eth0`, in the child's network
//! namespace; `veth_up` brings `eth0` up and gives it its address and its route. Where the child has
//! a user namespace of its own, the first is sent by the [`agent`].
//!
//! A pair is not removed with its container: it goes with the network namespace, which the kernel
//! takes down on a worker thread after `t5`, as it does without a pair. Removing it in the trial waits
//! for several RCU grace periods under the lock of all network configuration: measured on Linux 6.18,
//! 27 ms (12 to 68), against 0.7 ms for making it; left to the kernel, 60 pairs were gone 4 to 30 ms
//! after the last container. Dropping the bridge waits for all of them.
//!
//! [`Mechanism::Veth`]: super::mechanism::Mechanism::Veth

pub mod agent;
pub mod bridge;
mod message;
mod netlink;
mod subnet;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;

use isobench_guardian::Place;

use agent::Agent;
use bridge::{Bridge, Lease};
use netlink::Route;

use crate::backend::container::guard;
use crate::backend::{Limitation, Unavailable};
use crate::sys::program::{self, Fill, Message, Op, Program};

/// What a container with a pair of interfaces needs of its harness.
#[derive(Debug)]
pub struct Network {
    bridge: Arc<Bridge>,
    host: Route,
    agent: Option<Agent>,
}

impl Network {
    /// Makes the bridge, if this harness has none yet. `mapped`: whether the child will be in a user
    /// namespace.
    ///
    /// # Errors
    /// Why this host cannot, and what would help.
    pub fn new(mapped: bool, limitations: &mut Vec<Limitation>) -> Result<Self, Unavailable> {
        guard(&Place::Links, limitations);
        let made = || {
            let bridge = Bridge::shared()?;
            let agent = mapped.then(|| Agent::new(bridge.index())).transpose()?;
            Ok(Self {
                host: Route::new()?,
                bridge,
                agent,
            })
        };
        made().map_err(|error: io::Error| Unavailable {
            reason: format!("veth: no bridge can be made: {error}"),
            remedy: match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => "run as root",
                Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => {
                    "modprobe bridge veth; the kernel needs CONFIG_BRIDGE and CONFIG_VETH"
                }
                _ => "see the error",
            }
            .to_owned(),
        })
    }

    /// The steps of a child.
    ///
    /// # Errors
    /// A message does not fit, which no input of a user can cause.
    pub fn steps(&self) -> Result<Program, Unavailable> {
        let create = if self.agent.is_some() {
            Op::AskAgent
        } else {
            Op::HostNetwork(self.create()?)
        };
        let up = Op::OwnNetwork {
            message: self.configure()?,
            interface: message::INTERFACE.into(),
        };
        let mut steps = Program::new();
        steps.push("veth_create", create);
        steps.push("veth_up", up);
        Ok(steps)
    }

    fn create(&self) -> Result<Message, Unavailable> {
        let with = |pid| message::create(self.bridge.index(), pid);
        let pid = message::places(&with(0), &with(u32::MAX));
        prepared(with(0), pid.into_iter().map(|at| (at, Fill::OwnPid)))
    }

    fn configure(&self) -> Result<Message, Unavailable> {
        let with = |index, address| message::configure(index, address, self.bridge.address());
        let (none, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let empty = with(0, none);
        let indices = message::places(&empty, &with(u32::MAX, none));
        let addresses = message::places(&empty, &with(0, all));
        let indices = indices.into_iter().map(|at| (at, Fill::Interface));
        let addresses = addresses.into_iter().map(|at| (at, Fill::Address));
        prepared(empty, indices.chain(addresses))
    }

    /// An address for a container.
    ///
    /// # Errors
    /// All are in use.
    pub fn lease(&self) -> io::Result<Lease> {
        self.bridge.lease()
    }

    /// What the child is given.
    #[must_use]
    pub fn of(&self, lease: &Lease) -> program::Network<'_> {
        program::Network {
            host: self.host.socket().as_fd(),
            agent: self.agent.as_ref().map(Agent::door),
            address: lease.address().octets(),
        }
    }

    /// Throws away answers that a child did not live to read.
    pub fn forget_answers(&mut self) {
        match Route::new() {
            Ok(fresh) => self.host = fresh,
            Err(error) => tracing::warn!(%error, "no new netlink socket"),
        }
    }
}

/// Text this long is no user's doing.
fn prepared(
    bytes: Vec<u8>,
    fills: impl Iterator<Item = (usize, Fill)>,
) -> Result<Message, Unavailable> {
    Message::new(bytes, fills.collect()).ok_or_else(|| Unavailable {
        reason: "veth: a netlink message is too long".to_owned(),
        remedy: "report this as a bug".to_owned(),
    })
}
