//! Mounts. Whatever a path leads to is held by a descriptor, looked at, and only then used: between
//! a look at a path and its use somebody else can change where it leads.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::{Done, close, done, done64, open};
use crate::sys::program::{Known, Mount};

/// `linux/mount.h`: a copy of the mount instead of a descriptor of it.
const OPEN_TREE_CLONE: u32 = 1;
/// `linux/mount.h`: the descriptor itself is what is moved.
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
/// `linux/mount.h`: the descriptor itself is where it goes.
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// A descriptor that is closed when it is done with; nothing here unwinds.
struct Held(RawFd);

impl Drop for Held {
    fn drop(&mut self) {
        close(self.0);
    }
}

pub(super) fn mount(mount: &Mount) -> Done {
    mount_at(mount, &mount.target)
}

fn mount_at(mount: &Mount, target: &CStr) -> Done {
    // SAFETY: all strings are NUL-terminated; the kernel copies at most a page of `data`.
    done(unsafe {
        libc::mount(
            mount.source.as_ptr(),
            target.as_ptr(),
            mount.kind.as_ptr(),
            mount.flags,
            mount.data.as_ptr().cast(),
        )
    })
}

/// mount(2) takes paths only: the directory is made the working directory meanwhile. As safe as
/// `fsopen` with `move_mount`, and cheaper (measured for procfs: 21 µs against 24, and 15 for
/// mount(2) of a path).
pub(super) fn mount_within(mount: &Mount) -> Done {
    let here = Held(open(c".", libc::O_PATH | libc::O_DIRECTORY, 0)?);
    let target = within(&mount.target, libc::O_DIRECTORY)?;
    change_to(target.0)?;
    mount_at(mount, c".")?;
    change_to(here.0)
}

pub(super) fn bind_directory(source: &Known, target: &CStr, attributes: u64) -> Done {
    let tree = copy_of(&source.path)?;
    identify(tree.0, source)?;
    // struct mount_attr: set, clear, propagation, user namespace.
    let attributes = [attributes, 0, 0, 0];
    // SAFETY: the path is empty, so the descriptor itself is meant; `attributes` has the layout and
    // the size that the kernel reads.
    done64(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.0,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })?;
    // SAFETY: both paths are NUL-terminated.
    done64(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.0,
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    change_to(tree.0)
}

pub(super) fn enter(directory: &Known) -> Done {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let found = Held(open(&directory.path, flags, 0)?);
    identify(found.0, directory)?;
    change_to(found.0)
}

pub(super) fn bind_device(source: &CStr, target: &CStr, device: u64) -> Done {
    let node = copy_of(source)?;
    let facts = facts(node.0)?;
    if facts.st_mode & libc::S_IFMT != libc::S_IFCHR || facts.st_rdev != device {
        return Err(Errno::ENODEV);
    }
    let target = within(target, 0)?;
    // SAFETY: both paths are empty, so the descriptors themselves are meant.
    done64(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            node.0,
            c"".as_ptr(),
            target.0,
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
}

/// A mount of its own, not yet anywhere, of what is at this path; not of where a symbolic link
/// there leads.
fn copy_of(path: &CStr) -> Result<Held, Errno> {
    let flags = libc::O_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW;
    let flags = OPEN_TREE_CLONE | flags.cast_unsigned();
    // SAFETY: `path` is NUL-terminated; the call only opens a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    descriptor(fd)
}

/// What is at this path below the working directory, which nothing on the way leads out of.
fn within(path: &CStr, flags: i32) -> Result<Held, Errno> {
    // SAFETY: all-zero bytes are a valid `open_how`: it is plain data.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_PATH | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` is NUL-terminated; `how` is as long as told.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of_val(&how),
        )
    };
    descriptor(fd)
}

fn descriptor(answer: i64) -> Result<Held, Errno> {
    let fd = Errno::result(answer)?;
    i32::try_from(fd).map(Held).map_err(|_| Errno::EBADF)
}

fn identify(fd: RawFd, known: &Known) -> Done {
    let facts = facts(fd)?;
    if (facts.st_dev, facts.st_ino) == (known.device, known.inode) {
        Ok(())
    } else {
        Err(Errno::ESTALE)
    }
}

fn facts(fd: RawFd) -> Result<libc::stat, Errno> {
    // SAFETY: all-zero bytes are a valid `stat`: it is plain data.
    let mut facts: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `facts` is writable and outlives the call.
    done(unsafe { libc::fstat(fd, &raw mut facts) })?;
    Ok(facts)
}

fn change_to(directory: RawFd) -> Done {
    // SAFETY: takes an integer.
    done(unsafe { libc::fchdir(directory) })
}
