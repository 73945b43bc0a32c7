//! File descriptors: pipes, sealed memory files, and the few facts asked about them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::time::Duration;

use nix::errno::Errno;

/// Takes ownership of a descriptor a system call has just returned, moved above 2: a set-up puts
/// its own pipes at 0–2, so a source there would be overwritten before it is used.
fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the callers pass a descriptor that the kernel has just opened for this process and
    // that nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory (fcntl(2)).
    let moved = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: just opened by fcntl, owned by nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// The same descriptor above 2.
///
/// # Errors
/// Too many open files.
pub fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    own(fd.into_raw_fd())
}

/// Takes ownership of descriptors that whoever started this process handed over by number, and keeps
/// them from any program it might start.
///
/// # Errors
/// One of them is not open.
pub fn adopt<const N: usize>(fds: [RawFd; N]) -> io::Result<[OwnedFd; N]> {
    for fd in fds {
        // SAFETY: F_SETFD takes an integer and touches no memory (fcntl(2)).
        Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    // SAFETY: open, above the standard descriptors by the caller's decoding, and of a process that has
    // just begun: nothing else owns them.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// One message of a socket that keeps messages apart, and the first descriptor that came with it
/// (SCM_RIGHTS, unix(7)). 0 bytes: the other end is closed.
///
/// # Errors
/// recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut parts = [io::IoSliceMut::new(bytes)];
    let mut control = nix::cmsg_space!(RawFd);
    let received = loop {
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<()>(socket, &mut parts, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut passed = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: recvmsg has just opened them for this process, and nothing else owns them.
            passed.extend(
                fds.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok((received.bytes, passed.into_iter().next()))
}

/// Standard output as a descriptor that is closed when dropped: for a process that prints nothing, so
/// that its reader learns of the end.
#[must_use]
pub fn take_stdout() -> OwnedFd {
    // SAFETY: descriptor 1 is open in every process that Rust's runtime has started (it opens /dev/null
    // where there is none); `std::io::stdout` would fail after the close, and is not used.
    unsafe { OwnedFd::from_raw_fd(1) }
}

/// Where descriptors go that are kept for long: beyond the 64 that a table has without a page of its
/// own (NR_OPEN_DEFAULT in `linux/fdtable.h`), so that those stay for what is needed now.
const APART: RawFd = 64;

/// Moves a descriptor to 64 or above. It stays where it is if there is no room.
pub fn set_apart(fd: &mut OwnedFd) {
    if fd.as_raw_fd() >= APART {
        return;
    }
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory (fcntl(2)).
    let moved = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, APART) };
    if moved >= 0 {
        // SAFETY: just opened by fcntl, owned by nothing else.
        *fd = unsafe { OwnedFd::from_raw_fd(moved) };
    }
}

/// A pipe, close-on-exec, both ends above 2: (read end, write end) (pipe(2)).
///
/// # Errors
/// Too many open files.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe2 writes.
    Errno::result(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let read = own(ends[0]);
    let write = own(ends[1]);
    Ok((read?, write?))
}

/// What [`readable`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The first descriptor has data, or its writers are gone.
    pub first: bool,
    /// The second one likewise.
    pub second: bool,
}

/// Waits until one of two descriptors is readable or hung up, or until the time is over (poll(2)).
/// A `None` is not waited for. An interrupting signal ends the wait early.
///
/// # Errors
/// Not enough kernel memory.
pub fn readable(
    first: Option<BorrowedFd<'_>>,
    second: BorrowedFd<'_>,
    time: Duration,
) -> io::Result<Readiness> {
    let [first, second] = any_readable([first, Some(second)], time)?;
    Ok(Readiness { first, second })
}

/// Waits until one of several descriptors is readable or hung up, or until the time is over (poll(2));
/// which of them are. A `None` is not waited for. An interrupting signal ends the wait early.
///
/// # Errors
/// Not enough kernel memory.
pub fn any_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    time: Duration,
) -> io::Result<[bool; N]> {
    // poll(2) ignores negative descriptors.
    let mut set = fds.map(|fd| libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let time = libc::timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // SAFETY: `set` is an array of N initialised entries, `time` outlives the call, and a null signal
    // mask leaves the mask alone (ppoll(2)).
    let answer = unsafe {
        libc::ppoll(
            set.as_mut_ptr(),
            N as libc::nfds_t,
            &raw const time,
            std::ptr::null(),
        )
    };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EINTR) => Ok(set.map(|entry| entry.revents != 0)),
        Err(errno) => Err(errno.into()),
    }
}

/// `/dev/null`, opened for reading and writing, close-on-exec, above 2, and checked to be the null
/// device (character device 1:3) and not whatever lies at that path.
///
/// # Errors
/// It is absent, or another file.
pub fn null() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    let facts = file.metadata()?;
    if !facts.file_type().is_char_device() || facts.rdev() != libc::makedev(1, 3) {
        return Err(io::Error::other(
            "/dev/null is not the character device 1:3",
        ));
    }
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory.
    let fd = Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    own(fd)
}

/// A memory file with these bytes, sealed: nobody can change it any more (memfd_create(2),
/// F_SEAL_WRITE), and it can be executed.
///
/// # Errors
/// Not enough memory; `vm.memfd_noexec` is 2 (EACCES).
pub fn sealed_memory(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let create = |flags| {
        // SAFETY: `name` is NUL-terminated; the call only opens a descriptor.
        Errno::result(unsafe { libc::memfd_create(name.as_ptr(), flags) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = match create(flags | libc::MFD_EXEC) {
        // Before Linux 6.3 there is no such flag, and every memory file can be executed.
        Err(Errno::EINVAL) => create(flags)?,
        other => other?,
    };
    let mut file = File::from(own(fd)?);
    file.write_all(bytes)?;
    seal(&file)?;
    Ok(file.into())
}

/// An empty memory file that is never executed (memfd_create(2)).
///
/// # Errors
/// Not enough memory, or descriptors.
pub fn memory(name: &std::ffi::CStr) -> io::Result<File> {
    let create = |flags| {
        // SAFETY: `name` is NUL-terminated; the call only opens a descriptor.
        Errno::result(unsafe { libc::memfd_create(name.as_ptr(), flags) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = match create(flags | libc::MFD_NOEXEC_SEAL) {
        // Before Linux 6.3 there is no such flag.
        Err(Errno::EINVAL) => create(flags)?,
        other => other?,
    };
    Ok(own(fd)?.into())
}

/// All that keeps a memory file as it is.
const SEALS: libc::c_int = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;

/// Seals a memory file: nobody can change it any more, nor take the seals off.
///
/// # Errors
/// It is no memory file, or mapped for writing.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = SEALS | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an integer and touches no memory.
    Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(())
}

/// Whether nobody can change a file any more.
#[must_use]
pub fn is_sealed(file: &File) -> bool {
    // SAFETY: F_GET_SEALS takes no argument; −1 (no memory file) has to be told from a set of seals.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

/// Every byte of a file, whatever its offset.
///
/// # Errors
/// It cannot be read.
pub fn contents(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let file = File::from(fd.try_clone_to_owned()?);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Reads what is there; 0 is the end of the file.
///
/// # Errors
/// Anything read(2) says but EINTR.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: `buffer` is writable for its length.
        let answer =
            unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match Errno::result(answer) {
            Ok(n) => return Ok(n.cast_unsigned()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The whole of a small file of `/proc` or of a cgroup, as text.
///
/// # Errors
/// It is absent, unreadable or not UTF-8.
pub fn text(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// What runs cannot be changed through any descriptor, nor can it be made so again.
    #[test]
    fn a_sealed_memory_file_is_final() {
        let sealed = sealed_memory(c"sealed", b"bytes").unwrap();
        assert_eq!(contents(sealed.as_fd()).unwrap(), b"bytes");
        let file = File::from(sealed);
        assert!(is_sealed(&file) && !is_sealed(&memory(c"open").unwrap()));
        assert!(!is_sealed(&File::open("/dev/null").unwrap()));
        for refused in [
            file.write_all_at(b"x", 0),
            file.write_all_at(b"x", 5),
            file.set_len(0),
        ] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
    }

    #[test]
    fn descriptors_lie_above_the_standard_ones() {
        let (read, write) = pipe().unwrap();
        for fd in [
            read.as_raw_fd(),
            write.as_raw_fd(),
            null().unwrap().as_raw_fd(),
        ] {
            assert!(fd > 2);
        }
    }
}
