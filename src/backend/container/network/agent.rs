//! Adds interfaces to the host's network for a child that may not.
//!
//! The kernel asks twice who sends a request: who has opened the socket and who sends (`netlink(7)`,
//! `__netlink_ns_capable`). A child in a user namespace has no rights outside it, and the thread that
//! launched it is suspended until it has executed. So another thread of the harness sends.
//!
//! ```text
//!   child                             agent
//!   its address, its network ───────► RTM_NEWLINK with that network namespace
//!     ┆ waits
//!   the address, errno ◄───────────── the kernel's answer
//! ```
//!
//! The network goes by descriptor (SCM_RIGHTS, unix(7)) and not by process id: a child that is killed
//! and reaped while its request waits has an id that another process may have by then.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::LinkAttribute;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, shutdown, socketpair};

use super::message;
use super::netlink::Route;
use crate::sys::fd;

/// The thread and the way to it. It ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    door: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts it, for the bridge with this index.
    ///
    /// # Errors
    /// Too many open files or threads.
    pub fn new(bridge: u32) -> io::Result<Self> {
        let (door, own) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut route = Route::new()?;
        let thread = std::thread::Builder::new()
            .name("veth".to_owned())
            .spawn(move || {
                loop {
                    let (address, network) = match request(&own) {
                        Ok(Some(request)) => request,
                        Ok(None) => break,
                        // The door closes behind it: whoever asks then is refused (EPIPE).
                        Err(error) => {
                            tracing::error!(%error, "no more interfaces are made for containers");
                            break;
                        }
                    };
                    let made = make(&mut route, bridge, network);
                    let errno = made.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
                    let [a, b, c, d] = address;
                    let [e, f, g, h] = errno.to_ne_bytes();
                    let answer = [a, b, c, d, e, f, g, h];
                    // A child that is gone does not wait for it.
                    let _ = send(own.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL);
                }
            })?;
        Ok(Self {
            door,
            thread: Some(thread),
        })
    }

    /// Where a child asks.
    #[must_use]
    pub fn door(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = shutdown(self.door.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            tracing::error!("the thread that makes interfaces has panicked");
        }
    }
}

/// Without a child that still lives, the pair goes with the last descriptor of its network.
fn make(route: &mut Route, bridge: u32, network: Option<OwnedFd>) -> io::Result<()> {
    let network = network.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    let inside = LinkAttribute::NetNsFd(network.as_raw_fd());
    route.change(message::pair(bridge, inside), NLM_F_CREATE | NLM_F_EXCL)
}

/// The next request: an address, and the network of whoever asks; `None` at the end.
fn request(own: &OwnedFd) -> io::Result<Option<([u8; 4], Option<OwnedFd>)>> {
    let mut address = [0; 4];
    let (bytes, network) = fd::receive(own.as_fd(), &mut address)?;
    Ok((bytes > 0).then_some((address, network)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use nix::sched::{CloneFlags, setns};
    use nix::sys::socket::{ControlMessage, recv, sendmsg};

    use super::super::Network;
    use super::*;

    fn ask(agent: &Agent, network: Option<&File>) -> i32 {
        let door = agent.door().as_raw_fd();
        let fds: Vec<_> = network.iter().map(|file| file.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights };
        let parts = [io::IoSlice::new(&[1, 2, 3, 4])];
        sendmsg::<()>(door, &parts, rights, MsgFlags::empty(), None).unwrap();
        let mut answer = [0; 8];
        assert_eq!(recv(door, &mut answer, MsgFlags::empty()), Ok(8));
        assert_eq!(answer[..4], [1, 2, 3, 4]);
        i32::from_ne_bytes(answer[4..].try_into().unwrap())
    }

    /// The names of the interfaces in a network namespace.
    fn interfaces(network: &File) -> Vec<String> {
        std::thread::scope(|scope| {
            let looked = scope.spawn(|| {
                setns(network, CloneFlags::CLONE_NEWNET).unwrap();
                fs::read_to_string("/proc/thread-self/net/dev").unwrap()
            });
            let text = looked.join().unwrap();
            let names = text.lines().filter_map(|line| line.split_once(':'));
            names.map(|(name, _)| name.trim().to_owned()).collect()
        })
    }

    /// The request of a process that has been killed and reaped: its id is anybody's, its network is not.
    #[test]
    fn the_pair_of_a_dead_child_goes_nowhere_else() {
        if !crate::backend::container::is_privileged() {
            println!("skipped: the_pair_of_a_dead_child_goes_nowhere_else: not root");
            return;
        }
        let network = match Network::new(true, &mut Vec::new()) {
            Ok(network) => network,
            Err(why) => {
                println!("skipped: the_pair_of_a_dead_child_goes_nowhere_else: {why}");
                return;
            }
        };
        let agent = network.agent.as_ref().unwrap();
        let mut sleeper = Command::new("unshare")
            .args(["--net", "sleep", "60"])
            .spawn()
            .unwrap();
        let path = format!("/proc/{}/ns/net", sleeper.id());
        let here = fs::metadata("/proc/self/ns/net").unwrap().ino();
        while fs::metadata(&path).unwrap().ino() == here {
            std::thread::yield_now();
        }
        let there = File::open(&path).unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let outside = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let count = |text: &str| text.lines().filter(|l| l.contains("eth0:")).count();
        let before = count(&outside());
        assert_eq!(ask(agent, Some(&there)), 0);
        assert_eq!(interfaces(&there), ["lo", "eth0"]);
        assert_eq!(count(&outside()), before);

        // Nobody's network is not the harness's own; and the agent goes on.
        assert_eq!(ask(agent, None), libc::EBADF);
        let file = File::open("/dev/null").unwrap();
        assert_eq!(ask(agent, Some(&file)), libc::EINVAL);
        assert_eq!(ask(agent, Some(&there)), libc::EEXIST);
    }
}
