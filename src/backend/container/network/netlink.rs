//! Requests to the network of the harness, and their answers (netlink(7), rtnetlink(7)).

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// Largest datagram: the kernel fills at most 32 KiB at a time (`netlink_dump` in
/// `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 64 << 10;

/// A socket of this network namespace.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
    sequence: u32,
}

impl Route {
    /// Opens it.
    ///
    /// # Errors
    /// Too many open files; a kernel without networking.
    pub fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The socket itself.
    #[must_use]
    pub const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Asks for a change and waits until it is made. `flags` beside NLM_F_REQUEST and NLM_F_ACK.
    ///
    /// # Errors
    /// What the kernel refuses it with.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(request, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map(drop)
    }

    /// Asks for everything of a kind. What the library cannot read is left out.
    ///
    /// # Errors
    /// What the kernel refuses it with.
    pub fn list(&mut self, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.ask(request, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = bytes(request, flags, self.sequence);
        if self.socket.send(&bytes, 0)? != bytes.len() {
            return Err(io::Error::other("a netlink message was cut off"));
        }
        let mut found = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            self.socket.recv(&mut datagram, 0)?;
            if self.read(&datagram, &mut found)? {
                return Ok(found);
            }
        }
    }

    /// Reads one datagram of answers: whether it was the last one. Answers to earlier requests,
    /// whose senders did not wait for them, are passed over.
    fn read(&self, datagram: &[u8], found: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut rest = datagram;
        while let Some(header) = rest.get(..HEADER) {
            let word = |at: usize| {
                let four = header.get(at..at + 4).and_then(|b| b.try_into().ok());
                four.map_or(0, u32::from_ne_bytes)
            };
            let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
            let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else {
                return Err(io::Error::other("a netlink message has no end"));
            };
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if word(8) != self.sequence {
                continue;
            }
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map(|m| m.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(true),
                Ok(NetlinkPayload::Error(answer)) => {
                    return match answer.code {
                        None => Ok(true),
                        Some(code) => Err(io::Error::from_raw_os_error(code.get().wrapping_neg())),
                    };
                }
                Ok(NetlinkPayload::InnerMessage(one)) => found.push(one),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a netlink message is not understood"),
            }
        }
        Ok(false)
    }
}

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;

/// A request as it is sent.
#[must_use]
pub fn bytes(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
