//! The bridge that all containers of a harness are plugged into: made once, removed at the end.
//!
//! ```text
//!   host's network namespace                 a container's
//!   bridge ib… 198.18.n.1/22
//!     ├─ isob0 ───────────────────────────── eth0 198.18.n.2/22
//!     └─ isob1 ───────────────────────────── eth0 198.18.n.3/22 (another one's)
//! ```
//!
//! Nothing that exists is touched: the bridge's name says whose it is ([`Owner`]), so that the guardian
//! and the next harness know it, and a part of the range is only taken if no
//! address and no route of the host lies in it. Packets are not forwarded beyond the bridge unless
//! the host was told to before (`net.ipv4.ip_forward`).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use isobench_guardian::Owner;

use super::message;
use super::netlink::Route;
use super::subnet::Subnet;

/// Hardware address of every bridge: locally administered, `isob` and 1. Without one of its own a
/// bridge takes that of a port, and another one whenever ports come and go.
const HARDWARE: [u8; 6] = [0x02, b'i', b's', b'o', b'b', 1];
/// Names that may be taken already.
const NAMES: u32 = 16;
/// How long the last containers' namespaces may take to go, and their interfaces with them.
const GONE: Duration = Duration::from_secs(2);

/// The bridge.
#[derive(Debug)]
pub struct Bridge {
    index: u32,
    name: String,
    subnet: Subnet,
    route: Mutex<Route>,
    leased: Mutex<Leased>,
}

/// Which addresses are in use; the next one to look at.
#[derive(Debug)]
struct Leased {
    taken: Vec<bool>,
    next: usize,
}

/// An address of one container, returned when dropped.
#[derive(Debug)]
pub struct Lease {
    bridge: Arc<Bridge>,
    number: u32,
}

impl Lease {
    /// The address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.bridge.subnet.container(self.number)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leased = lock(&self.bridge.leased);
        if let Some(slot) = leased.taken.get_mut(self.number as usize) {
            *slot = false;
        }
    }
}

impl Bridge {
    /// The one bridge of this harness.
    ///
    /// # Errors
    /// It cannot be made: no right to, no such kind of interface, no part of the range free.
    pub fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Bridge>> = Mutex::new(Weak::new());
        let mut shared = lock(&SHARED);
        if let Some(bridge) = shared.upgrade() {
            return Ok(bridge);
        }
        let bridge = Arc::new(Self::of(Owner::current()?)?);
        *shared = Arc::downgrade(&bridge);
        Ok(bridge)
    }

    /// A bridge of this harness that nobody else plugs anything into.
    ///
    /// # Errors
    /// As [`Self::shared`].
    pub fn of(owner: Owner) -> io::Result<Self> {
        Self::new((0..NAMES).map(|_| owner.new_link_name()))
    }

    /// A bridge of this name.
    ///
    /// # Errors
    /// As [`Self::shared`]; the name is taken (EEXIST).
    pub fn named(name: &str) -> io::Result<Self> {
        Self::new(std::iter::once(name.to_owned()))
    }

    /// With the first of these names that is free.
    fn new(mut names: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut route = Route::new()?;
        let name = names
            .find_map(|name| {
                let made = route.change(new_bridge(&name), NLM_F_CREATE | NLM_F_EXCL);
                match made {
                    // Our own of 64 names ago, or of somebody whom nobody can tell from us.
                    Err(error) if error.raw_os_error() == Some(libc::EEXIST) => None,
                    other => Some(other.map(|()| name)),
                }
            })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EEXIST))??;
        let found = links(&mut route)?;
        let found = found.iter().find(|link| link.name == name);
        let index = found.ok_or_else(|| io::Error::other("the bridge is gone again"))?;
        // From here on it is removed again, whatever happens.
        let mut bridge = Self {
            index: index.index,
            name,
            subnet: Subnet::new(0),
            route: Mutex::new(route),
            leased: Mutex::new(Leased {
                taken: vec![false; Subnet::CONTAINERS as usize],
                next: 0,
            }),
        };
        bridge.subnet = bridge.settle(std::process::id())?;
        Ok(bridge)
    }

    /// Takes a part of the range that nobody else has. Two harnesses that choose the same one at the
    /// same time: the later one sees the earlier one's address, and goes on.
    fn settle(&self, first: u32) -> io::Result<Subnet> {
        let mut route = lock(&self.route);
        for number in 0..Subnet::COUNT {
            let subnet = Subnet::new(first.wrapping_add(number));
            if occupied(&mut route, subnet, self.index)? {
                continue;
            }
            let address = message::address(self.index, subnet.bridge());
            route.change(address.clone(), NLM_F_CREATE | NLM_F_EXCL)?;
            if !occupied(&mut route, subnet, self.index)? {
                return Ok(subnet);
            }
            if let RouteNetlinkMessage::NewAddress(address) = address {
                route.change(RouteNetlinkMessage::DelAddress(address), 0)?;
            }
        }
        Err(io::Error::other(
            "every part of 198.18.0.0/15 is used on this host",
        ))
    }

    /// Its index on the host.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its name on the host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own address, the containers' way out.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.subnet.bridge()
    }

    /// An address for a container, not one that was used just now.
    ///
    /// # Errors
    /// All are in use.
    pub fn lease(self: &Arc<Self>) -> io::Result<Lease> {
        let mut leased = lock(&self.leased);
        let count = leased.taken.len();
        let from = leased.next;
        let free = (from..from + count)
            .map(|at| at % count)
            .find(|&at| !leased.taken[at]);
        let number = free.ok_or_else(|| io::Error::other("no address is free in the bridge"))?;
        leased.taken[number] = true;
        leased.next = number + 1;
        Ok(Lease {
            bridge: Arc::clone(self),
            number: u32::try_from(number).unwrap_or(0),
        })
    }

    /// A pair goes with its container's network namespace, which the kernel does later, on a worker.
    fn take_down(&self) -> io::Result<()> {
        let mut route = lock(&self.route);
        let end = Instant::now() + GONE;
        loop {
            let links = links(&mut route)?;
            let ports = links.iter().filter(|link| link.master == Some(self.index));
            let ports: Vec<u32> = ports.filter(|p| p.is_pair()).map(|p| p.index).collect();
            if ports.is_empty() {
                break;
            }
            if Instant::now() >= end {
                for port in ports {
                    remove(&mut route, port)?;
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        remove(&mut route, self.index)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            tracing::error!(index = self.index, %error, "bridge left behind");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Multicast snooping is switched off: it keeps timers, which would run during trials.
fn new_bridge(name: &str) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(HARDWARE.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
        ]),
    ];
    RouteNetlinkMessage::NewLink(link)
}

/// What is known of an interface of the host.
#[derive(Debug)]
struct Link {
    index: u32,
    name: String,
    master: Option<u32>,
    kind: Option<InfoKind>,
}

impl Link {
    /// Whoever else's end of a pair of interfaces is in a bridge of ours was put there for one of ours.
    fn is_pair(&self) -> bool {
        self.kind == Some(InfoKind::Veth)
    }
}

fn links(route: &mut Route) -> io::Result<Vec<Link>> {
    let all = route.list(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(all.into_iter().filter_map(link).collect())
}

fn link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        master: None,
        kind: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::LinkInfo(all) => {
                link.kind = all.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

/// Removes an interface. One that is gone already is as good.
fn remove(route: &mut Route, index: u32) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    match route.change(RouteNetlinkMessage::DelLink(link), 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Whether an address or a route of the host, except those of one interface, has anything in common
/// with it. A route to everywhere does not count.
fn occupied(route: &mut Route, subnet: Subnet, own: u32) -> io::Result<bool> {
    let mut addresses = AddressMessage::default();
    addresses.header.family = AddressFamily::Inet;
    let mut routes = RouteMessage::default();
    routes.header.address_family = AddressFamily::Inet;
    let mut all = route.list(RouteNetlinkMessage::GetAddress(addresses))?;
    all.extend(route.list(RouteNetlinkMessage::GetRoute(routes))?);
    Ok(all
        .iter()
        .filter_map(|message| net(message, own))
        .any(|(address, prefix)| prefix > 0 && subnet.overlaps(address, prefix)))
}

/// The net that an address or a route is about, unless it is of this interface.
fn net(message: &RouteNetlinkMessage, own: u32) -> Option<(Ipv4Addr, u8)> {
    match message {
        RouteNetlinkMessage::NewAddress(message) if message.header.index != own => {
            let address = message.attributes.iter().find_map(|one| match one {
                AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            Some((address?, message.header.prefix_len))
        }
        RouteNetlinkMessage::NewRoute(message) => {
            let mut address = None;
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Oif(index) if *index == own => return None,
                    RouteAttribute::Destination(RouteAddress::Inet(to)) => address = Some(*to),
                    _ => {}
                }
            }
            Some((address?, message.header.destination_prefix_length))
        }
        _ => None,
    }
}
