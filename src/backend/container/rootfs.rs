//! The fresh root: `/payload`, `/proc` and `/dev`, and nothing of the host.
//!
//! | kind | below | payload | what each instance adds |
//! |---|---|---|---|
//! | tmpfs | an empty tmpfs | a copy of its own | the tmpfs, the copy, directories, nodes |
//! | bind | the prepared directory, read-only | shared, in the page cache | one mount |
//! | overlay | overlayfs on the prepared directory | shared, in the page cache | a tmpfs for the upper layer, overlayfs |
//!
//! In each `/proc` is a procfs of the container's own, without `/proc/sys` and the like: there is
//! nothing to mask. In the end each is read-only and pivot_root(2) has made it the only one.

use std::ffi::CString;
use std::sync::Arc;

use super::mechanism::Mechanism;
use super::setup::{Identity, Setup};
use crate::sys::program::{Known, Mount, Op, Program};

/// What the root is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Empty,
    /// Nothing, and nothing is put into it: for a VMM, which is loaded before it goes there.
    Bare,
    /// A prepared directory itself.
    Bind(Known),
    /// A prepared directory as the lower layer.
    Overlay(Known),
}

/// How `/dev` is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// mknod(2), allowed to root outside user namespaces; in a prepared directory done already.
    Made,
    /// The host's nodes, bound one by one and checked.
    Bound,
}

/// The five nodes of `/dev`: name, minor number; all of major 1 (`Documentation/admin-guide/devices.txt`).
pub const NODES: [(&str, u32); 5] = [
    ("null", 3),
    ("zero", 5),
    ("full", 7),
    ("random", 8),
    ("urandom", 9),
];

/// `linux/mount.h`: attributes of mount_setattr(2).
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;

/// Writes the steps down.
pub fn compose(p: &mut Program, setup: &Setup) {
    // First of all mounts: nothing done below may travel back to the host's mount namespace.
    let private = Mount {
        target: c"/".into(),
        flags: libc::MS_REC | libc::MS_PRIVATE,
        ..Mount::default()
    };
    p.push("mount_private", Op::Mount(Box::new(private)));
    p.push("umask", Op::Umask(0));
    // Device nodes made here must work, hence no MS_NODEV then.
    let nodev = match setup.devices {
        Devices::Made => 0,
        Devices::Bound => libc::MS_NODEV,
    };
    let noexec = match setup.base {
        Base::Bare => libc::MS_NOEXEC,
        _ => 0,
    };
    let flags = libc::MS_NOSUID | nodev | noexec;
    // On top of /proc, which every host has; the host's stays visible to the kernel's check that a
    // user namespace may mount its own.
    match &setup.base {
        Base::Empty => empty(p, flags, &setup.payload),
        Base::Bare => {
            tmpfs(
                p,
                "mount_root",
                flags,
                c"mode=555,nr_inodes=2,size=4k".into(),
            );
            p.push("mount_root", Op::Chdir(c"/proc".into()));
        }
        Base::Bind(directory) => {
            let nodev = if nodev == 0 { 0 } else { MOUNT_ATTR_NODEV };
            let bind = Op::BindDirectory {
                source: Box::new(directory.clone()),
                target: c"/proc".into(),
                attributes: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | nodev,
            };
            p.push("mount_root", bind);
        }
        Base::Overlay(lower) => overlay(p, flags, lower, setup.identity),
    }
    if setup.base != Base::Bare {
        proc(p, setup);
        dev(p, setup);
    }
    p.push("pivot_root", Op::PivotRoot);
    p.push("umount_old", Op::UnmountOldRoot);
    p.push("umount_old", Op::Chdir(c"/".into()));
    if !matches!(setup.base, Base::Bind(_)) {
        let read_only = Mount {
            target: c"/".into(),
            flags: libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | flags,
            ..Mount::default()
        };
        p.push("read_only", Op::Mount(Box::new(read_only)));
    }
}

/// An empty tmpfs and what belongs into it.
fn empty(p: &mut Program, flags: u64, payload: &Arc<[u8]>) {
    let size = (payload.len().next_multiple_of(4096)) + (64 << 10);
    let options = text(format!("mode=755,nr_inodes=16,size={size}"));
    tmpfs(p, "mount_root", flags, options);
    p.push("mount_root", Op::Chdir(c"/proc".into()));
    // A copy of its own: nothing outside the container can change it, and nothing inside can reach
    // the harness's copy (CVE-2019-5736). The copy counts as the container's own memory.
    let bytes = Arc::clone(payload);
    p.push("write_payload", Op::Create(c"payload".into(), 0o555, bytes));
}

/// overlayfs (`Documentation/filesystems/overlayfs.rst`). Its upper layer lies on a tmpfs, which any
/// kernel takes for one, also where the host's own files lie on overlayfs. The lower layer is named
/// by the working directory, so that it is the directory that was looked at and no other.
fn overlay(p: &mut Program, flags: u64, lower: &Known, identity: Identity) {
    let upper = c"mode=755,nr_inodes=16,size=64k".into();
    tmpfs(p, "mount_upper", flags, upper);
    for path in [c"/proc/upper", c"/proc/work", c"/proc/root"] {
        p.push("mount_upper", Op::Mkdir(path.into(), 0o755));
    }
    // Attributes that only root of the host may set are not even tried then (Linux 5.11).
    let userxattr = match identity {
        Identity::Mapped { .. } => ",userxattr",
        Identity::Kept | Identity::Dropped => "",
    };
    let layers = format!("lowerdir=.,upperdir=/proc/upper,workdir=/proc/work{userxattr}");
    let root = Mount {
        source: c"overlay".into(),
        target: c"/proc/root".into(),
        kind: c"overlay".into(),
        flags,
        data: text(layers),
    };
    p.push("mount_root", Op::Enter(Box::new(lower.clone())));
    p.push("mount_root", Op::Mount(Box::new(root)));
    p.push("mount_root", Op::Chdir(c"/proc/root".into()));
}

fn tmpfs(p: &mut Program, phase: &'static str, flags: u64, options: CString) {
    let mount = Mount {
        source: c"isobench".into(),
        target: c"/proc".into(),
        kind: c"tmpfs".into(),
        flags,
        data: options,
    };
    p.push(phase, Op::Mount(Box::new(mount)));
}

/// `/proc`, except where it would be that of a pid namespace that a user namespace does not own:
/// the kernel refuses that.
fn proc(p: &mut Program, setup: &Setup) {
    let mapped = matches!(setup.identity, Identity::Mapped { .. });
    if mapped && !setup.mechanisms.has(Mechanism::Pid) {
        return;
    }
    // Only process folders, only one's own, read-only: no /proc/sys, /proc/kcore, sysrq-trigger.
    let mount = Box::new(Mount {
        source: c"proc".into(),
        target: c"proc".into(),
        kind: c"proc".into(),
        flags: libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY,
        data: c"subset=pid,hidepid=2".into(),
    });
    match setup.base {
        // Nobody but this child has ever been in there.
        Base::Empty | Base::Bare => {
            p.push("mount_proc", Op::Mkdir(c"proc".into(), 0o555));
            p.push("mount_proc", Op::Mount(mount));
        }
        Base::Bind(_) | Base::Overlay(_) => p.push("mount_proc", Op::MountWithin(mount)),
    }
}

fn dev(p: &mut Program, setup: &Setup) {
    let prepared = setup.base != Base::Empty;
    if !prepared {
        p.push("dev", Op::Mkdir(c"dev".into(), 0o755));
    }
    for (name, minor) in NODES {
        let device = libc::makedev(1, minor);
        let target = text(format!("dev/{name}"));
        match setup.devices {
            Devices::Made if prepared => {}
            Devices::Made => p.push("dev", Op::Mknod(target, libc::S_IFCHR | 0o666, device)),
            Devices::Bound => {
                if !prepared {
                    p.push("dev", Op::Mknod(target.clone(), libc::S_IFREG | 0o444, 0));
                }
                let source = text(format!("/dev/{name}"));
                let bind = Op::BindDevice {
                    source,
                    target,
                    device,
                };
                p.push("dev", bind);
            }
        }
    }
}

/// Text without NUL bytes, as all text here is.
fn text(text: String) -> CString {
    CString::new(text).unwrap_or_default()
}
