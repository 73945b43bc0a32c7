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
pub fn delete(name: &str) -> io::Result<()> {
    let mut socket = File::from(kernel::route_socket()?);
    ask(&mut socket, &request(name))
}

fn ask(socket: &mut File, request: &[u8]) -> io::Result<()> {
    socket.write_all(request)?;
    let mut answer = [0; 512];
    let len = socket.read(&mut answer)?;
    verdict(&answer[..len])
}

/// RTM_DELLINK by name, to be acknowledged.
fn request(name: &str) -> Vec<u8> {
    message(
        RTM_DELLINK,
        NLM_F_REQUEST_ACK,
        &attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()),
    )
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let total = HEADER + INFO + attributes.len();
    let mut message = u32::try_from(total).unwrap_or(0).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.resize(HEADER + INFO, 0);
    message.extend(attributes);
    message
}

/// `struct rtattr`: length and type, then the value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut attribute = u16::try_from(len).unwrap_or(0).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(len.next_multiple_of(4), 0);
    attribute
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

    const INNER: &str = "ISOBENCH_TEST_INNER";

    /// In a network namespace of its own: a bridge of an owner goes, one of nobody stays.
    #[test]
    fn only_an_owners_interfaces_go() {
        if std::env::var_os(INNER).is_none() {
            let test = "link::tests::only_an_owners_interfaces_go";
            let inner = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--net"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(INNER, "1")
                .output();
            match inner {
                Ok(output) if output.status.success() => {}
                Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare:") => {
                    println!("skipped: {test}: no network namespace can be made here");
                }
                other => panic!("{other:?}"),
            }
            return;
        }
        const RTM_NEWLINK: u16 = 16;
        const NLM_F_CREATE_EXCL: u16 = 0x400 | 0x200;
        const IFLA_LINKINFO: u16 = 18;
        const IFLA_INFO_KIND: u16 = 1;
        let own = crate::Owner::current().unwrap();
        let mine = own.new_link_name();
        let mut socket = File::from(kernel::route_socket().unwrap());
        for name in [&mine[..], "ibridge"] {
            let attributes = [
                attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()),
                attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"bridge\0")),
            ];
            let flags = NLM_F_REQUEST_ACK | NLM_F_CREATE_EXCL;
            let request = message(RTM_NEWLINK, flags, &attributes.concat());
            if let Err(why) = ask(&mut socket, &request) {
                println!(
                    "skipped: only_an_owners_interfaces_go: no bridge can be made here: {why}"
                );
                return;
            }
        }
        let swept = crate::Place::Links.sweep(|owner| owner == own);
        assert_eq!(swept.removed, [format!("link {mine}")]);
        let left = names().unwrap();
        assert!(
            left.contains(&"ibridge".to_owned()) && !left.contains(&mine),
            "{left:?}"
        );
    }

    #[test]
    fn there_is_a_loopback_interface_and_what_is_not_there_is_not_deleted() {
        assert!(names().unwrap().contains(&"lo".to_owned()));
        let errno = delete("isobench-none").unwrap_err().raw_os_error();
        // EPERM where the name is never looked at; otherwise ENODEV.
        assert!(matches!(errno, Some(1 | 19)), "{errno:?}");
    }
}
