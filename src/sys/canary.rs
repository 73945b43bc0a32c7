//! Objects of the host that a `probe` finds only if its isolation lets it: an abstract Unix socket
//! (network namespace), a System V segment and a POSIX message queue (IPC namespace). None of them
//! holds anything.
//!
//! The segment and the socket vanish with the harness, however it ends. A message queue does not:
//! it belongs to whoever holds the socket, so the next harness to get the socket removes one that a
//! killed harness left. A harness that finds the socket taken uses the holder's objects.
#![allow(unsafe_code)]

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::ptr;

use isobench_abi::question::{CANARY_BYTES, CANARY_NAME};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::stat::{Mode, fchmod, fstat};

/// The objects, as long as they are needed.
#[derive(Debug)]
pub struct Canary {
    /// Declared before the socket: removed while the name is still held.
    _queue: Option<Queue>,
    _socket: Option<UnixDatagram>,
    segment: io::Result<Segment>,
}

impl Canary {
    /// Makes what is not there already. What cannot be made shows in [`Self::socket`] and its kin.
    #[must_use]
    pub fn raise() -> Self {
        let socket = address()
            .and_then(|address| UnixDatagram::bind_addr(&address))
            .ok();
        let queue = socket.as_ref().and_then(|_| Queue::make().ok());
        Self {
            _queue: queue,
            _socket: socket,
            segment: Segment::make(),
        }
    }

    /// Whether the socket can be reached from here.
    ///
    /// # Errors
    /// Why not.
    pub fn socket(&self) -> io::Result<()> {
        // A datagram socket has no queue of connections that could fill up.
        UnixDatagram::unbound()?.connect_addr(&address()?)
    }

    /// Inode of the queue, if it can be reached from here: another one belongs to another harness.
    ///
    /// # Errors
    /// Why not.
    pub fn queue(&self) -> io::Result<u64> {
        let queue = mq_open(
            queue_name().as_str(),
            MQ_OFlag::O_RDONLY,
            Mode::empty(),
            None,
        )?;
        let facts = fstat(&queue);
        mq_close(queue)?;
        Ok(facts?.st_ino)
    }

    /// Whether there is a segment.
    ///
    /// # Errors
    /// Why not.
    pub fn segment(&self) -> io::Result<()> {
        match &self.segment {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
}

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(CANARY_NAME.to_bytes())
}

/// mq_open(3) wants a slash before the name that the system call has none before.
fn queue_name() -> String {
    format!("/{}", CANARY_NAME.to_string_lossy())
}

/// A queue that is removed when it goes.
#[derive(Debug)]
struct Queue;

impl Queue {
    /// In place of one that a killed harness left, if its owner lets us.
    fn make() -> nix::Result<Self> {
        let name = queue_name();
        match mq_unlink(name.as_str()) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = MQ_OFlag::O_RDONLY | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL;
        let smallest = MqAttr::new(0, 1, 1, 0);
        let queue = mq_open(name.as_str(), flags, Mode::S_IRUSR, Some(&smallest))?;
        let made = Self;
        // Whatever the umask is: it is the namespace that hides it, not its mode.
        let everybody = Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH;
        let changed = fchmod(&queue, everybody);
        mq_close(queue)?;
        changed.map(|()| made)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Err(errno) = mq_unlink(queue_name().as_str()) {
            tracing::error!(%errno, "message queue left behind");
        }
    }
}

/// A segment of [`CANARY_BYTES`], marked for removal while it is attached: the kernel shows it until
/// its last user is gone (shmctl(2), IPC_RMID).
#[derive(Debug)]
struct Segment(ptr::NonNull<libc::c_void>);

// SAFETY: the attachment belongs to the process; nothing reads or writes it.
unsafe impl Send for Segment {}
// SAFETY: as above; there is nothing to share but its existence.
unsafe impl Sync for Segment {}

impl Segment {
    fn make() -> io::Result<Self> {
        // CANARY_BYTES is 0x1505: fits.
        let size = CANARY_BYTES as usize;
        // SAFETY: takes integers.
        let id = Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, size, 0o600) })?;
        // SAFETY: the kernel chooses the address of a new mapping, which nothing else refers to.
        let at = unsafe { libc::shmat(id, ptr::null(), libc::SHM_RDONLY) };
        let attached = if at.addr() == usize::MAX {
            Err(io::Error::last_os_error())
        } else {
            Ok(at)
        };
        // SAFETY: IPC_RMID reads no buffer; the id was made above.
        Errno::result(unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) })?;
        let at = ptr::NonNull::new(attached?).ok_or_else(|| io::Error::other("at address 0"))?;
        Ok(Self(at))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: attached once, by `make`; detached once, here.
        unsafe { libc::shmdt(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two at once share one socket and one queue.
    #[test]
    fn canaries_are_there_as_long_as_their_owner() {
        // Another process may be the owner now; it will not stay.
        let owner = (0..1000).find_map(|_| {
            let canary = Canary::raise();
            if canary._socket.is_some() {
                return Some(canary);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            None
        });
        let owner = owner.unwrap();
        owner.socket().unwrap();
        owner.segment().unwrap();
        let second = Canary::raise();
        assert!(second._socket.is_none() && second._queue.is_none());
        assert!(second.socket().is_ok() && second.segment().is_ok());
        // A kernel without POSIX message queues has none to hide.
        assert_eq!(second.queue().ok(), owner.queue().ok());
        drop(second);
        owner.socket().unwrap();
        assert_eq!(owner.queue().is_ok(), owner._queue.is_some());
    }
}
