//! Network interfaces, and the abstract Unix sockets of the network namespace.

use isobench_abi::question::CANARY_NAME;

use super::files::{close, until_nul};
use crate::sys::{Errno, Kernel, nr};

const AF_UNIX: u16 = 1;
const AF_NETLINK: usize = 16;
const SOCK_DGRAM: usize = 2;
const SOCK_RAW: usize = 3;
const SOCK_CLOEXEC: usize = 0o2_000_000;

fn socket(kernel: Kernel, family: usize, kind: usize) -> Result<usize, Errno> {
    // SAFETY: takes integers.
    unsafe { kernel.call(nr::SOCKET, family, kind | SOCK_CLOEXEC, 0) }
}

/// Connects to the canary, a datagram socket, and hangs up (unix(7), abstract sockets).
pub fn reach_canary(kernel: Kernel) -> Result<(), Errno> {
    let name = CANARY_NAME.to_bytes();
    // struct sockaddr_un: the family, a NUL byte, the name.
    let mut address = [0u8; 110];
    address[..2].copy_from_slice(&AF_UNIX.to_le_bytes());
    address[3..3 + name.len()].copy_from_slice(name);
    let length = 3 + name.len();
    let fd = socket(kernel, AF_UNIX.into(), SOCK_DGRAM)?;
    // SAFETY: `address` is readable for `length` bytes.
    let reached = unsafe { kernel.call(nr::CONNECT, fd, address.as_ptr() as usize, length) };
    close(kernel, fd);
    reached.map(drop)
}

/// struct nlmsghdr: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// struct ifinfomsg, behind the header.
const IFINFO: usize = 16;
/// `linux/netlink.h`, `linux/rtnetlink.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;

/// Names of the interfaces, blanks between them (rtnetlink(7)): works in an empty root, and names
/// interfaces that have no address.
#[inline(never)]
pub fn interfaces<'a>(
    kernel: Kernel,
    names: &'a mut [u8],
    buffer: &mut [u8],
) -> Result<&'a [u8], Errno> {
    let fd = socket(kernel, AF_NETLINK, SOCK_RAW)?;
    let dumped = dump(kernel, fd, names, buffer);
    close(kernel, fd);
    let length = dumped?;
    Ok(names[..length].trim_ascii_end())
}

/// Asks for all links and writes down their names, each followed by a blank; hands back how many
/// bytes that are.
fn dump(kernel: Kernel, fd: usize, names: &mut [u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    // nlmsghdr (RTM_GETLINK; NLM_F_REQUEST | NLM_F_DUMP) and an empty ifinfomsg.
    let mut request = [0u8; HEADER + IFINFO];
    request[0] = (HEADER + IFINFO) as u8;
    request[4] = 18;
    request[6..8].copy_from_slice(&0x301u16.to_le_bytes());
    let arguments = [fd, request.as_ptr() as usize, request.len(), 0, 0, 0];
    // SAFETY: `request` is readable for its length; without an address it goes to the kernel.
    unsafe { kernel.call6(nr::SENDTO, arguments) }?;
    let mut length = 0;
    loop {
        let (at, size) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: `buffer` is writable for its length.
        let n = unsafe { kernel.call(nr::READ, fd, at, size) }?;
        for (kind, message) in records(&buffer[..n], HEADER, 4) {
            match kind {
                NLMSG_DONE => return Ok(length),
                NLMSG_ERROR => {
                    let code = message.get(HEADER..HEADER + 4).unwrap_or(&[0; 4]);
                    let code = i32::from_le_bytes([code[0], code[1], code[2], code[3]]);
                    return Err(code.unsigned_abs() as u16);
                }
                RTM_NEWLINK => {
                    let attributes = message.get(HEADER + IFINFO..).unwrap_or(&[]);
                    let name = records(attributes, 4, 2).find(|(kind, _)| *kind == IFLA_IFNAME);
                    let name = name.map_or(&[][..], |(_, attribute)| &attribute[4..]);
                    let name = until_nul(name);
                    if let Some(slot) = names.get_mut(length..length + name.len() + 1) {
                        slot[..name.len()].copy_from_slice(name);
                        slot[name.len()] = b' ';
                        length += slot.len();
                    }
                }
                _ => {}
            }
        }
        if n == 0 {
            return Ok(length);
        }
    }
}

/// Records with a header each, aligned to four bytes: netlink(7) messages (header of 16 bytes, type at
/// 4) or rtnetlink(7) attributes (4 bytes, type at 2). The length is at 0; the buffer holds none of
/// 64 KiB, so two bytes of it are enough.
fn records(mut rest: &[u8], header: usize, kind_at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let head = rest.get(..header)?;
        let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let kind = u16::from_le_bytes([head[kind_at], head[kind_at + 1]]);
        if length < header {
            return None;
        }
        let record = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, record))
    })
}
