//! Adds interfaces to the host's network for a child that may not.
//!
//! The kernel asks twice who sends a request: who has opened the socket and who sends (`netlink(7)`,
//! `__netlink_ns_capable`). A child in a user namespace has no rights outside it, and the thread that
//! launched it is suspended until it has executed. So another thread of the harness sends.
//!
//! ```text
//!   child                             agent
//!   its address ────────────────────► who sent it? (SCM_CREDENTIALS, unix(7)): the process id
//!     ┆ waits                         RTM_NEWLINK with that process's network namespace
//!   the address, errno ◄───────────── the kernel's answer
//! ```

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, setsockopt,
    shutdown, socketpair, sockopt,
};

use super::message;
use super::netlink::Route;

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
        setsockopt(&own, sockopt::PassCred, &true)?;
        let mut route = Route::new()?;
        let thread = std::thread::Builder::new()
            .name("veth".to_owned())
            .spawn(move || {
                loop {
                    let (address, pid) = match request(&own) {
                        Ok(Some(request)) => request,
                        Ok(None) => break,
                        // The door closes behind it: whoever asks then is refused (EPIPE).
                        Err(error) => {
                            tracing::error!(%error, "no more interfaces are made for containers");
                            break;
                        }
                    };
                    let made = route.change(message::pair(bridge, pid), NLM_F_CREATE | NLM_F_EXCL);
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

/// The next request and the process that made it; `None` at the end.
fn request(own: &OwnedFd) -> io::Result<Option<([u8; 4], u32)>> {
    let mut address = [0; 4];
    let mut parts = [IoSliceMut::new(&mut address)];
    let mut control = nix::cmsg_space!(libc::ucred);
    let received = loop {
        match recvmsg::<()>(
            own.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let pid = received.cmsgs()?.find_map(|one| match one {
        ControlMessageOwned::ScmCredentials(sender) => u32::try_from(sender.pid()).ok(),
        _ => None,
    });
    let pid = pid.ok_or_else(|| io::Error::other("a request without a sender"))?;
    Ok(Some((address, pid)))
}
