//! What is said to the kernel about a container's pair of interfaces.

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::bytes;
use super::subnet::Subnet;

/// The names of the other ends, in the bridge: the kernel puts a number that is free. They need not
/// say whose they are: they go with the containers' namespaces, and are found by their bridge.
pub const PORT: &str = "isob%d";
/// The container's end of the pair.
pub const INTERFACE: &CStr = c"eth0";

/// A new pair in one request: one end in the bridge and up, the other in the network namespace that
/// an attribute names, by process ([`LinkAttribute::NetNsPid`]) or descriptor
/// ([`LinkAttribute::NetNsFd`]). (The kernel refuses to bring the other end up in the same breath: its peer is not yet
/// known to it then, `veth_newlink` in `drivers/net/veth.c`.)
#[must_use]
pub fn pair(bridge: u32, network: LinkAttribute) -> RouteNetlinkMessage {
    let mut inside = LinkMessage::default();
    inside.attributes = vec![
        LinkAttribute::IfName(INTERFACE.to_string_lossy().into_owned()),
        network,
    ];
    let mut port = LinkMessage::default();
    port.header.flags = LinkFlags::Up;
    port.header.change_mask = LinkFlags::Up;
    port.attributes = vec![
        LinkAttribute::IfName(PORT.to_owned()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ];
    RouteNetlinkMessage::NewLink(port)
}

/// The same as bytes, for the sender's own network: whoever sends its own process id lives.
#[must_use]
pub fn create(bridge: u32, pid: u32) -> Vec<u8> {
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    bytes(pair(bridge, LinkAttribute::NetNsPid(pid)), flags, 1)
}

/// Three requests for the container's own end, to be sent together: up, the address, and the bridge
/// as the way to everywhere else. Only the last one asks for an answer.
#[must_use]
pub fn configure(index: u32, address: Ipv4Addr, gateway: Ipv4Addr) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway))];
    let make = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
    let up = bytes(RouteNetlinkMessage::NewLink(link), NLM_F_REQUEST, 1);
    let own = bytes(self::address(index, address), make, 2);
    let way = bytes(RouteNetlinkMessage::NewRoute(route), make | NLM_F_ACK, 3);
    [up, own, way].concat()
}

/// An address for an interface, in a net of the size of a [`Subnet`].
#[must_use]
pub fn address(index: u32, address: Ipv4Addr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = Subnet::PREFIX;
    message.header.index = index;
    let address = IpAddr::V4(address);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

/// Where the four bytes of a value stand: everywhere where the messages made with none and with all
/// of their bits differ.
#[must_use]
pub fn places(none: &[u8], all: &[u8]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for (at, (one, other)) in none.iter().zip(all).enumerate() {
        if one != other && found.last().is_none_or(|last| last + 4 <= at) {
            found.push(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::program::Message;

    #[test]
    fn what_is_filled_in_makes_the_same_message() {
        let (none, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let gateway = Ipv4Addr::new(198, 18, 0, 1);
        let wanted = configure(7, Ipv4Addr::new(198, 18, 0, 9), gateway);
        let mut made = configure(0, none, gateway);
        for at in places(&made, &configure(u32::MAX, none, gateway)) {
            made[at..at + 4].copy_from_slice(&7u32.to_ne_bytes());
        }
        for at in places(&configure(0, none, gateway), &configure(0, all, gateway)) {
            made[at..at + 4].copy_from_slice(&[198, 18, 0, 9]);
        }
        assert_eq!(made, wanted);

        let mut made = create(3, 0);
        let pids = places(&made, &create(3, u32::MAX));
        assert_eq!(pids.len(), 1);
        made[pids[0]..pids[0] + 4].copy_from_slice(&5u32.to_ne_bytes());
        assert_eq!(made, create(3, 5));
        assert!(wanted.len().max(made.len()) <= Message::MAX);
    }
}
