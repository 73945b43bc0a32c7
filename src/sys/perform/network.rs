//! The network: one call by the old interface, messages by the new one (netlink(7), rtnetlink(7)).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use super::{Done, close, done};
use crate::sys::program::{Fill, Message, Network};

pub(super) fn loopback_up() -> Done {
    // SAFETY: takes integers.
    let socket = Errno::result(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?;
    let mut request = request(b"lo");
    // IFF_UP | IFF_RUNNING is 0x41: fits.
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is an ifreq with a NUL-terminated name, as SIOCSIFFLAGS reads.
    let up = done(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    close(socket);
    up
}

/// A request of the kind whose fields are all known, or filled in here.
pub(super) fn tell_host(message: &Message, network: Option<&Network<'_>>) -> Done {
    let network = network.ok_or(Errno::ENOTCONN)?;
    talk(network.host.as_raw_fd(), message, network.address, 0)
}

pub(super) fn tell_own(message: &Message, interface: &CStr, network: Option<&Network<'_>>) -> Done {
    let address = network.ok_or(Errno::ENOTCONN)?.address;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers.
    let socket =
        Errno::result(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    let told = index(socket, interface).and_then(|index| talk(socket, message, address, index));
    close(socket);
    told
}

/// Index of an interface. Every socket answers this, whatever its family (netdevice(7)).
fn index(socket: RawFd, interface: &CStr) -> Result<u32, Errno> {
    let mut request = request(interface.to_bytes());
    // SAFETY: `request` is an ifreq with a NUL-terminated name, which SIOCGIFINDEX reads and fills.
    done(unsafe { libc::ioctl(socket, libc::SIOCGIFINDEX, &raw mut request) })?;
    // SAFETY: SIOCGIFINDEX has written this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned())
}

/// The request of netdevice(7) for an interface; a longer name is cut off and will not be found.
fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: all-zero bytes are a valid `ifreq`: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (slot, byte) in request
        .ifr_name
        .iter_mut()
        .zip(&name[..name.len().min(room)])
    {
        *slot = byte.cast_signed();
    }
    request
}

/// The agent's answer to this child; answers to an earlier one, which was killed meanwhile, are
/// passed over.
///
/// # Errors
/// Besides the kernel's answer: ESRCH if the harness ends meanwhile.
pub(super) fn ask_agent(network: Option<&Network<'_>>, harness: RawFd) -> Done {
    let network = network.ok_or(Errno::ENOTCONN)?;
    let agent = network.agent.ok_or(Errno::ENOTCONN)?.as_raw_fd();
    let own = own_network()?;
    let sent = send_with(agent, network.address, own);
    close(own);
    sent?;
    loop {
        until_said(agent, harness)?;
        let mut answer = [0u8; 8];
        // SAFETY: `answer` is writable for its length.
        let read =
            Errno::result(unsafe { libc::read(agent, answer.as_mut_ptr().cast(), answer.len()) })?;
        if read.cast_unsigned() != answer.len() {
            return Err(Errno::EPIPE);
        }
        let [a, b, c, d, errno @ ..] = answer;
        if [a, b, c, d] == network.address {
            return match i32::from_ne_bytes(errno) {
                0 => Ok(()),
                errno => Err(Errno::from_raw(errno)),
            };
        }
    }
}

/// A descriptor of the child's network namespace, which needs no file system: SIOCGSKNS, `sock_ioctl`
/// in `net/socket.c`, close-on-exec. Only who may change the namespace gets it (CAP_NET_ADMIN).
fn own_network() -> Result<RawFd, Errno> {
    // <linux/sockios.h>
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: takes integers.
    let socket = Errno::result(unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: the request takes no argument.
    let network = Errno::result(unsafe { libc::ioctl(socket, SIOCGSKNS) });
    close(socket);
    network
}

/// Sends an address and a descriptor with it (SCM_RIGHTS, unix(7)).
fn send_with(agent: RawFd, mut address: [u8; 4], passed: RawFd) -> Done {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        passed: RawFd,
    }
    // SAFETY: all-zero bytes are valid for both: they are plain data.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
    // SAFETY: takes an integer.
    let length = unsafe { libc::CMSG_LEN(size_of::<RawFd>() as u32) };
    control.header.cmsg_len = length as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    control.passed = passed;
    let mut part = libc::iovec {
        iov_base: address.as_mut_ptr().cast(),
        iov_len: address.len(),
    };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // Without SIGPIPE: that the agent has ended is an answer, too.
    // SAFETY: `message` refers to one part and one control message, both of which outlive the call.
    Errno::result(unsafe { libc::sendmsg(agent, &raw const message, libc::MSG_NOSIGNAL) }).map(drop)
}

/// Waits for the agent. Its end of the socket pair is in the child's own table as well, so that the
/// pair does not close when the harness is killed.
fn until_said(agent: RawFd, harness: RawFd) -> Done {
    let wait = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut set = [wait(agent), wait(harness)];
    // SAFETY: `set` is two initialised entries.
    Errno::result(unsafe { libc::poll(set.as_mut_ptr(), 2, -1) })?;
    if set[0].revents != 0 {
        return Ok(());
    }
    Err(Errno::ESRCH)
}

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// NLMSG_ERROR, also the answer that all is well.
const ERROR: u16 = 2;

/// Fills in what is missing, sends with one call, and reads the answers. The kernel carries a
/// request out inside the call that sends it: the answer is there afterwards.
fn talk(socket: RawFd, message: &Message, address: [u8; 4], index: u32) -> Done {
    let mut copy = [0u8; Message::MAX];
    let request = copy
        .get_mut(..message.bytes().len())
        .ok_or(Errno::EMSGSIZE)?;
    request.copy_from_slice(message.bytes());
    for (at, fill) in message.fills() {
        let word = match fill {
            Fill::OwnPid => {
                // SAFETY: takes nothing. The raw call: a libc may remember the parent's answer.
                let pid = unsafe { libc::syscall(libc::SYS_getpid) };
                i32::try_from(pid).unwrap_or(0).to_ne_bytes()
            }
            Fill::Interface => index.to_ne_bytes(),
            Fill::Address => address,
        };
        let slot = request.get_mut(*at..at + 4).ok_or(Errno::EMSGSIZE)?;
        slot.copy_from_slice(&word);
    }
    // SAFETY: `request` is readable for its length; without a destination it goes to the kernel.
    let sent =
        Errno::result(unsafe { libc::send(socket, request.as_ptr().cast(), request.len(), 0) })?;
    if sent.cast_unsigned() != request.len() {
        return Err(Errno::EMSGSIZE);
    }
    loop {
        let mut answer = [0u8; 2 * Message::MAX];
        // SAFETY: `answer` is writable for its length.
        let read = Errno::result(unsafe {
            libc::recv(
                socket,
                answer.as_mut_ptr().cast(),
                answer.len(),
                libc::MSG_DONTWAIT,
            )
        })?;
        if verdict(&answer[..read.cast_unsigned()])? {
            return Ok(());
        }
    }
}

/// Reads one datagram of answers: whether all is well, or not yet known.
///
/// # Errors
/// What the kernel refused a request with.
fn verdict(mut answers: &[u8]) -> Result<bool, Errno> {
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4)?;
        four.try_into().ok().map(i32::from_ne_bytes)
    };
    while let Some(length) = word(answers, 0) {
        let length = usize::try_from(length).unwrap_or(0);
        if length < HEADER || length > answers.len() {
            return Err(Errno::EBADMSG);
        }
        if answers[4..6] == ERROR.to_ne_bytes() {
            return match word(&answers[..length], HEADER) {
                Some(0) => Ok(true),
                Some(errno) => Err(Errno::from_raw(errno.wrapping_neg())),
                None => Err(Errno::EBADMSG),
            };
        }
        answers = &answers[length.next_multiple_of(4).min(answers.len())..];
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, errno: i32) -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(errno.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_answer_says_whether_all_is_well() {
        assert_eq!(verdict(&answer(ERROR, 0)), Ok(true));
        assert_eq!(verdict(&answer(ERROR, -libc::EEXIST)), Err(Errno::EEXIST));
        assert_eq!(verdict(&answer(16, 0)), Ok(false));
        let both = [answer(16, 0), answer(ERROR, -libc::EPERM)].concat();
        assert_eq!(verdict(&both), Err(Errno::EPERM));
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        let whole = answer(ERROR, 0);
        assert_eq!(verdict(&whole[..18]), Err(Errno::EBADMSG));
        assert_eq!(verdict(&[]), Ok(false));
        let mut endless = whole;
        endless[0] = 0;
        assert_eq!(verdict(&endless), Err(Errno::EBADMSG));
    }
}
