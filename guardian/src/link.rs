//! Network interfaces that nobody needs any more.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use crate::kernel;

/// Names of the interfaces in this network namespace (proc_net_dev: two lines of heading, then
/// `name: numbers`).
pub(crate) fn names() -> io::Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    Ok(text.lines().skip(2).filter_map(name).collect())
}

const NLMSG_ERROR: u16 = 2;
const RTM_DELLINK: u16 = 17;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFLA_IFNAME: u16 = 3;
/// `struct nlmsghdr` and `struct ifinfomsg` (netlink(7), rtnetlink(7)).
const HEADER: usize = 16;
const INFO: usize = 16;

/// Deletes an interface; of a veth pair both ends go.
///
/// # Errors
/// Gone already (ENODEV), or no CAP_NET_ADMIN (EPERM).
pub(crate) fn delete(name: &str) -> io::Result<()> {
    let mut socket = File::from(kernel::route_socket()?);
    socket.write_all(&request(name))?;
    let mut answer = [0; 512];
    let len = socket.read(&mut answer)?;
    verdict(&answer[..len])
}

/// RTM_DELLINK by name, to be acknowledged.
fn request(name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let total = HEADER + INFO + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(total);
    message.extend(u32::try_from(total).unwrap_or(0).to_ne_bytes());
    message.extend(RTM_DELLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.resize(HEADER + INFO, 0);
    message.extend(u16::try_from(attribute).unwrap_or(0).to_ne_bytes());
    message.extend(IFLA_IFNAME.to_ne_bytes());
    message.extend(name.as_bytes());
    message.resize(total, 0);
    message
}

/// NLMSG_ERROR with 0 is the acknowledgement, anything else a negative errno.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok());
    let code = answer.get(HEADER..HEADER + 4);
    let code = code.and_then(|b| b.try_into().ok());
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        _ => Err(io::Error::other("an answer that is no acknowledgement")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_laid_out_as_the_kernel_reads_it() {
        let message = request("ib0");
        assert_eq!(message.len(), 40);
        assert_eq!(message[..8], [40, 0, 0, 0, 17, 0, 5, 0]);
        assert_eq!(message[32..], [8, 0, 3, 0, b'i', b'b', b'0', 0]);
    }

    #[test]
    fn there_is_a_loopback_interface_and_what_is_not_there_is_not_deleted() {
        assert!(names().unwrap().contains(&"lo".to_owned()));
        let errno = delete("isobench-none").unwrap_err().raw_os_error();
        // EPERM where the name is never looked at; otherwise ENODEV.
        assert!(matches!(errno, Some(1 | 19)), "{errno:?}");
    }
}
