//! A pair of interfaces into a bridge, with an address and a default route: the two messages that it
//! cannot be had without (rtnetlink(7)), written down once and sent by raw calls.
//!
//! The bridge is made once for all floors of a process and has no address: whether anybody is at the
//! other end of the route makes no difference to the pair, and so nothing of the host's is in the way.
//! For the same reason all containers have the same address.
//!
//! A child in a user namespace has no say in the host's network, and whoever launched it is suspended
//! meanwhile: a second thread sends its first message.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use isobench_guardian::Owner;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::steps::check;

/// Stands in a prepared message for what is known only later.
const LATER: u32 = 0x7e57_1dea;
/// Longest message.
const ROOM: usize = 512;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PREFIX: u8 = 22;

/// What a child needs to make its pair.
pub struct Pair {
    host: OwnedFd,
    agent: Option<Agent>,
    create: Prepared,
    up: Prepared,
    _bridge: Arc<Bridge>,
}

impl Pair {
    /// `mapped`: whether the child will be in a user namespace.
    pub fn new(mapped: bool) -> io::Result<Self> {
        let bridge = Bridge::shared()?;
        let create = Prepared::new(create(bridge.index))?;
        let agent = mapped.then(|| Agent::new(create.clone())).transpose()?;
        Ok(Self {
            host: socket()?,
            agent,
            create,
            up: Prepared::new(up())?,
            _bridge: bridge,
        })
    }

    /// Makes the pair. For the child: allocates nothing. `pid` is its process id on the host.
    pub fn make(&self, pid: i32) -> io::Result<()> {
        match &self.agent {
            Some(agent) => agent.ask(pid)?,
            None => {
                // SAFETY: takes nothing. The id in the child's own pid namespace, where the kernel
                // looks it up.
                let own = unsafe { libc::syscall(libc::SYS_getpid) };
                self.create.send(self.host.as_raw_fd(), own as u32)?;
            }
        }
        // SAFETY: an ifreq with a NUL-terminated name, which SIOCGIFINDEX reads and fills; a
        // descriptor opened and closed here.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            let own = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE);
            check(own)?;
            let mut request: libc::ifreq = std::mem::zeroed();
            for (slot, byte) in request.ifr_name.iter_mut().zip(b"eth0") {
                *slot = byte.cast_signed();
            }
            check(libc::ioctl(own, libc::SIOCGIFINDEX, &raw mut request))?;
            let index = request.ifr_ifru.ifru_ifindex.cast_unsigned();
            self.up.send(own, index)?;
            check(libc::close(own)).map(drop)
        }
    }
}

/// A message, and where the word that is known only later stands.
#[derive(Clone)]
struct Prepared {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Prepared {
    fn new(bytes: Vec<u8>) -> io::Result<Self> {
        let words = bytes.windows(4).enumerate();
        let places: Vec<usize> = words
            .filter(|(_, word)| *word == LATER.to_ne_bytes())
            .map(|(at, _)| at)
            .collect();
        if bytes.len() > ROOM || places.is_empty() {
            return Err(io::Error::other("a netlink message of the floor is wrong"));
        }
        Ok(Self { bytes, places })
    }

    /// Sends it and reads the answer, which is there when the kernel has carried the request out.
    fn send(&self, socket: i32, word: u32) -> io::Result<()> {
        let mut request = [0u8; ROOM];
        let request = &mut request[..self.bytes.len()];
        request.copy_from_slice(&self.bytes);
        for at in &self.places {
            request[*at..*at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        tell(socket, request)
    }
}

fn tell(socket: i32, request: &[u8]) -> io::Result<()> {
    let mut answer = [0u8; 2 * ROOM];
    // SAFETY: both buffers are as long as told.
    let len = unsafe {
        check(libc::send(
            socket,
            request.as_ptr().cast(),
            request.len(),
            0,
        ))?;
        let (to, room) = (answer.as_mut_ptr().cast(), answer.len());
        check(libc::recv(socket, to, room, libc::MSG_DONTWAIT))?
    };
    // NLMSG_ERROR: a header of 16 bytes, then 0 or a negative errno.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        _ if len < 20 => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers; what it opens is owned from here on.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The thread that sends for children in a user namespace.
struct Agent {
    door: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn new(create: Prepared) -> io::Result<Self> {
        let mut ends = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: room for two descriptors, which are owned from here on.
        let [door, own] = unsafe {
            check(libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()))?;
            ends.map(|fd| OwnedFd::from_raw_fd(fd))
        };
        let host = socket()?;
        let thread = std::thread::spawn(move || {
            while let Ok(Some(pid)) = word(own.as_raw_fd()) {
                let made = create.send(host.as_raw_fd(), pid.cast_unsigned());
                let errno = made.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
                if say(own.as_raw_fd(), errno).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            door: Some(door),
            thread: Some(thread),
        })
    }

    fn ask(&self, pid: i32) -> io::Result<()> {
        let door = self.door.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        say(door, pid)?;
        match word(door)? {
            Some(0) => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EPIPE))),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.door.take());
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            eprintln!("the floor's second thread has panicked");
        }
    }
}

/// The next word, or the end.
fn word(fd: i32) -> io::Result<Option<i32>> {
    let mut bytes = [0u8; 4];
    // SAFETY: the buffer is as long as told.
    let len = check(unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), 4) })?;
    Ok((len == 4).then_some(i32::from_ne_bytes(bytes)))
}

fn say(fd: i32, word: i32) -> io::Result<()> {
    let bytes = word.to_ne_bytes();
    // SAFETY: the buffer is as long as told.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), 4, libc::MSG_NOSIGNAL) }).map(drop)
}

/// One for all floors. By its name the guardian of this process knows it ([`Owner`]), which is there
/// because the container beside the floor has a bridge, too.
struct Bridge {
    index: u32,
}

impl Bridge {
    fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Bridge>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bridge) = shared.upgrade() {
            return Ok(bridge);
        }
        let name = Owner::current()?.new_link_name();
        let mut link = LinkMessage::default();
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        // As the backend's: an address that does not change with the ports, no timers.
        link.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Address(vec![0x02, b'i', b's', b'o', b'b', 2]),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        let made = bytes(RouteNetlinkMessage::NewLink(link), MAKE | NLM_F_ACK);
        tell(socket()?.as_raw_fd(), &made)?;
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        let bridge = Arc::new(Self { index });
        *shared = Arc::downgrade(&bridge);
        Ok(bridge)
    }
}

impl Drop for Bridge {
    /// What is still plugged in goes with its network namespace.
    fn drop(&mut self) {
        let mut link = LinkMessage::default();
        link.header.index = self.index;
        let gone = bytes(
            RouteNetlinkMessage::DelLink(link),
            NLM_F_REQUEST | NLM_F_ACK,
        );
        if let Err(error) = socket().and_then(|socket| tell(socket.as_raw_fd(), &gone)) {
            eprintln!("the floor's bridge stays: {error}");
        }
    }
}

/// Names of the bridges of this process.
pub fn bridges() -> io::Result<Vec<String>> {
    let own = Owner::current()?;
    let text = std::fs::read_to_string("/proc/self/net/dev")?;
    let names = text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let names = names.filter(|name| Owner::of_link(name) == Some(own));
    Ok(names.map(str::to_owned).collect())
}

const MAKE: u16 = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;

/// The first message: the pair, one end in the bridge and up, the other in the child's namespace.
fn create(bridge: u32) -> Vec<u8> {
    let mut inside = LinkMessage::default();
    inside.attributes = vec![
        LinkAttribute::IfName("eth0".to_owned()),
        LinkAttribute::NetNsPid(LATER),
    ];
    let mut port = LinkMessage::default();
    port.header.flags = LinkFlags::Up;
    port.header.change_mask = LinkFlags::Up;
    port.attributes = vec![
        LinkAttribute::IfName("isob%d".to_owned()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ];
    bytes(RouteNetlinkMessage::NewLink(port), MAKE | NLM_F_ACK)
}

/// The second: up, an address, a default route.
fn up() -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = LATER;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = PREFIX;
    address.header.index = LATER;
    address.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(ADDRESS)),
        AddressAttribute::Address(IpAddr::V4(ADDRESS)),
    ];
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(GATEWAY))];
    [
        bytes(RouteNetlinkMessage::NewLink(link), NLM_F_REQUEST),
        bytes(RouteNetlinkMessage::NewAddress(address), MAKE),
        bytes(RouteNetlinkMessage::NewRoute(route), MAKE | NLM_F_ACK),
    ]
    .concat()
}

fn bytes(request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
