//! From options to what this harness can do about them: which identity, which base, and what is
//! prepared on the host once for all instances.

use std::sync::Arc;

use super::confine::last_capability;
use super::mechanism::{Mechanism, Mechanisms};
use super::network::Network;
use super::options::{Options, Root};
use super::prepared::Prepared;
use super::rootfs::{Base, Devices};
use super::setup::{Identity, Setup};
use crate::backend::{Limitation, Unavailable};
use crate::sys::program::Program;

/// The set-up, and what it refers to on the host, which is removed when this is dropped.
#[derive(Debug)]
pub struct Parts {
    /// What the child does.
    pub setup: Setup,
    /// Bridge and addresses ([`Mechanism::Veth`]).
    pub network: Option<Network>,
    _prepared: Option<Prepared>,
}

impl Parts {
    /// What such a container takes. That no guardian watches over it is a limitation.
    ///
    /// # Errors
    /// No place for a prepared root, no right to add interfaces.
    pub fn of(
        options: Options,
        payload: &[u8],
        limitations: &mut Vec<Limitation>,
    ) -> Result<Self, Unavailable> {
        let wanted = options.mechanisms();
        let privileged = is_privileged();
        if wanted.has(Mechanism::Veth) && !privileged {
            return Err(Unavailable {
                reason: "veth: only root may add an interface to the host's network".to_owned(),
                remedy: "run as root".to_owned(),
            });
        }
        let (mechanisms, identity) = admitted(wanted, privileged);
        let mapped = matches!(identity, Identity::Mapped { .. });
        // Device nodes do not work in what a user namespace mounts, nor can they be made there.
        let prepared = match options.root() {
            Root::Tmpfs => None,
            Root::Bind | Root::Overlay => Some(Prepared::new(payload, !mapped, limitations)?),
        };
        let (base, devices) = match &prepared {
            None if mapped => (Base::Empty, Devices::Bound),
            None => (Base::Empty, Devices::Made),
            Some(prepared) => {
                let root = prepared.root().clone();
                let base = match options.root() {
                    Root::Overlay => Base::Overlay(root),
                    Root::Tmpfs | Root::Bind => Base::Bind(root),
                };
                (base, prepared.devices())
            }
        };
        let network = mechanisms
            .has(Mechanism::Veth)
            .then(|| Network::new(mapped, limitations))
            .transpose()?;
        let interfaces = network
            .as_ref()
            .map_or_else(|| Ok(Program::new()), Network::steps)?;
        Ok(Self {
            setup: Setup {
                mechanisms,
                identity,
                base,
                devices,
                interfaces,
                payload: Arc::from(payload),
                last_capability: last_capability(),
            },
            network,
            _prepared: prepared,
        })
    }
}

/// What confines a VMM ([`compose_vmm`](super::setup::compose_vmm)).
#[must_use]
pub fn of_vmm(wanted: Mechanisms) -> Setup {
    let (mechanisms, identity) = admitted(wanted, is_privileged());
    vmm(mechanisms, identity, last_capability())
}

/// The same, from what was found before.
#[must_use]
pub fn vmm(mechanisms: Mechanisms, identity: Identity, last_capability: u32) -> Setup {
    Setup {
        mechanisms,
        identity,
        base: Base::Bare,
        devices: Devices::Bound,
        interfaces: Program::new(),
        payload: Arc::from(&[][..]),
        last_capability,
    }
}

/// What the harness may do, and whose ids the child gets by it.
fn admitted(wanted: Mechanisms, privileged: bool) -> (Mechanisms, Identity) {
    let mechanisms = with_user_if_needed(wanted, privileged);
    (mechanisms, identity(mechanisms))
}

/// Whatever changes more than the process itself needs capabilities, and a user namespace is where
/// everybody has them. Joining a control group and filtering calls need none.
fn with_user_if_needed(wanted: Mechanisms, privileged: bool) -> Mechanisms {
    let plain = Mechanisms::of([Mechanism::Cpu, Mechanism::Seccomp]);
    if !privileged && wanted.iter().any(|m| !plain.has(m)) {
        wanted.with(Mechanism::User)
    } else {
        wanted
    }
}

fn identity(mechanisms: Mechanisms) -> Identity {
    if mechanisms.has(Mechanism::User) {
        Identity::Mapped {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        }
    } else if mechanisms.has(Mechanism::Capabilities) {
        Identity::Dropped
    } else {
        Identity::Kept
    }
}

/// Root without CAP_SYS_ADMIN, or in a user namespace with few ids, is an ordinary user here.
#[must_use]
pub fn is_privileged() -> bool {
    let admin = caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_ADMIN,
    );
    let whole = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    nix::unistd::geteuid().is_root() && whole && admin.unwrap_or(false)
}
