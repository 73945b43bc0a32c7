//! The system calls between `clone3` and `execve`, in order, and why in this order.

use std::ffi::CString;
use std::sync::Arc;

use crate::backend::Unavailable;
use crate::backend::container::confine;
use crate::sys::program::{Mount, Op, Program};
use crate::sys::spawn::ignored_signals;

/// Uid and gid of the payload, as it sees them: "nonroot" of the distroless images. Not 0, and not
/// 65534, which also stands for "not mapped".
pub const PAYLOAD_ID: u32 = 65532;

/// Who sets the container up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Root of the host with CAP_SYS_ADMIN: no user namespace. The payload becomes [`PAYLOAD_ID`] by a change
    /// of ids, so it owns nothing on the host either.
    Root,
    /// Anybody else, in a user namespace with exactly one uid and one gid mapped: the caller's own
    /// to [`PAYLOAD_ID`]. Supplementary groups stay, unmapped (user_namespaces(7)).
    User {
        /// Effective uid of the harness.
        uid: u32,
        /// Effective gid of the harness.
        gid: u32,
    },
}

/// How `/dev` is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// mknod(2), allowed to root outside user namespaces.
    Made,
    /// The host's nodes, bound one by one and checked.
    Bound,
}

/// The five nodes of `/dev`: name, minor number; all of major 1 (`Documentation/admin-guide/devices.txt`).
const NODES: [(&str, u32); 5] = [
    ("null", 3),
    ("zero", 5),
    ("full", 7),
    ("random", 8),
    ("urandom", 9),
];

/// Namespaces that the child is born into. The cgroup namespace is not among them: its root is the
/// group that its *creator* is in (cgroup_namespaces(7)), for `clone3` the harness's group even
/// with CLONE_INTO_CGROUP, so the child makes it itself once it is in its own group.
#[must_use]
pub fn namespaces(identity: Identity) -> u64 {
    let mut flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS;
    if identity != Identity::Root {
        flags |= libc::CLONE_NEWUSER;
    }
    flags as u64
}

/// Writes the program down.
///
/// # Errors
/// The seccomp filter does not compile for this machine.
pub fn compose(
    identity: Identity,
    devices: Devices,
    grouped: bool,
    payload: &Arc<[u8]>,
) -> Result<Program, Unavailable> {
    let mut p = Program::new();
    // Before anything that takes time, so that a harness killed now leaves nothing.
    p.push("parent_death", Op::DieWithParent);
    p.push("signals", Op::Signals(ignored_signals()));
    if let Identity::User { uid, gid } = identity {
        // setgroups is denied before the gid map is written, or the map is refused (CVE-2014-8989).
        let deny = b"deny".to_vec();
        p.push("setgroups", Op::Write(c"/proc/self/setgroups".into(), deny));
        let map = |id| format!("{PAYLOAD_ID} {id} 1").into_bytes();
        p.push("uid_map", Op::Write(c"/proc/self/uid_map".into(), map(uid)));
        p.push("gid_map", Op::Write(c"/proc/self/gid_map".into(), map(gid)));
    }
    if grouped {
        // Into the group before its namespace is made, and before anything is allocated that the
        // group shall be charged for. A no-op on v2, where the child was born there.
        p.push("cgroup_join", Op::JoinCgroups);
    }
    // Without a group of its own it still hides where in the host's tree the harness is.
    p.push("cgroup_namespace", Op::Unshare(libc::CLONE_NEWCGROUP));
    p.push("stdio", Op::Stdio);
    // No controlling terminal to push input into (TIOCSTI).
    p.push("setsid", Op::NewSession);
    root_file_system(&mut p, devices, payload);
    p.push("sethostname", Op::HostName(b"isobench".to_vec()));
    p.push("loopback", Op::LoopbackUp);
    p.push("limits", Op::Umask(0o077));
    p.push("limits", Op::NoCoreDump);
    // The bounding set first: emptying it needs CAP_SETPCAP. Then the ids, which need CAP_SETUID.
    let last = confine::last_capability();
    p.push("capabilities", Op::EmptyBoundingSet(last));
    if identity == Identity::Root {
        p.push("capabilities", Op::SetIds(PAYLOAD_ID));
        p.push("capabilities", Op::KeepDumpable);
    }
    p.push("capabilities", Op::EmptyCapabilities);
    // Again, since the change of ids has cleared it; and only now is it known to have been in time.
    p.push("parent_check", Op::DieWithParent);
    p.push("parent_check", Op::ParentLives);
    p.push("no_new_privs", Op::NoNewPrivileges);
    p.push("close_range", Op::CloseOnExec);
    // Last: it allows nothing of the above.
    p.push("seccomp", Op::Seccomp(confine::filter()?));
    p.push("execve", Op::Exec(c"/payload".into()));
    Ok(p)
}

/// A fresh root with `/payload`, `/proc` and `/dev`, and nothing of the host.
fn root_file_system(p: &mut Program, devices: Devices, payload: &Arc<[u8]>) {
    // First of all mounts: nothing done below may travel back to the host's mount namespace.
    let private = Mount {
        target: c"/".into(),
        flags: libc::MS_REC | libc::MS_PRIVATE,
        ..Mount::default()
    };
    p.push("mount_private", Op::Mount(Box::new(private)));
    p.push("umask", Op::Umask(0));
    // On top of /proc, which every host has; the host's stays visible to the kernel's check that a
    // user namespace may mount its own. Device nodes made here must work, hence no MS_NODEV then.
    let nodev = match devices {
        Devices::Made => 0,
        Devices::Bound => libc::MS_NODEV,
    };
    let size = (payload.len().next_multiple_of(4096)) + (64 << 10);
    let root = Mount {
        source: c"isobench".into(),
        target: c"/proc".into(),
        kind: c"tmpfs".into(),
        flags: libc::MS_NOSUID | nodev,
        data: text(format!("mode=755,nr_inodes=16,size={size}")),
    };
    p.push("mount_root", Op::Mount(Box::new(root)));
    p.push("mount_root", Op::Chdir(c"/proc".into()));
    // A copy of its own: nothing outside the container can change it, and nothing inside can reach
    // the harness's copy (CVE-2019-5736). A read-only bind of one file for all takes half as long
    // (measured: 10 µs against 20) but the start as a whole does not get shorter, and it needs a
    // file on a file system that may be noexec. The copy counts as the container's own memory.
    let bytes = Arc::clone(payload);
    p.push("write_payload", Op::Create(c"payload".into(), 0o555, bytes));
    // Only process folders, only one's own, read-only: no /proc/sys, /proc/kcore, sysrq-trigger.
    let proc = Mount {
        source: c"proc".into(),
        target: c"proc".into(),
        kind: c"proc".into(),
        flags: libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY,
        data: c"subset=pid,hidepid=2".into(),
    };
    p.push("mount_proc", Op::Mkdir(c"proc".into(), 0o555));
    p.push("mount_proc", Op::Mount(Box::new(proc)));
    p.push("dev", Op::Mkdir(c"dev".into(), 0o755));
    for (name, minor) in NODES {
        let device = libc::makedev(1, minor);
        let target = text(format!("dev/{name}"));
        p.push(
            "dev",
            match devices {
                Devices::Made => Op::Mknod(target, libc::S_IFCHR | 0o666, device),
                Devices::Bound => Op::BindDevice {
                    source: text(format!("/dev/{name}")),
                    target,
                    device,
                },
            },
        );
    }
    p.push("pivot_root", Op::PivotRoot);
    p.push("umount_old", Op::UnmountOldRoot);
    let read_only = Mount {
        target: c"/".into(),
        flags: libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | nodev,
        ..Mount::default()
    };
    p.push("read_only", Op::Mount(Box::new(read_only)));
}

/// Text without NUL bytes, as all text here is.
fn text(text: String) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(identity: Identity) -> Vec<&'static str> {
        let program = compose(identity, Devices::Bound, true, &Arc::from(&b"x"[..])).unwrap();
        let mut names: Vec<_> = program.steps().iter().map(|s| s.phase).collect();
        names.dedup();
        names
    }

    #[test]
    fn order_is_what_the_kernel_and_the_attacks_demand() {
        let names = phases(Identity::User { uid: 1, gid: 2 });
        let at = |name| names.iter().position(|n| *n == name).unwrap();
        assert!(at("setgroups") < at("gid_map"));
        assert!(at("cgroup_join") < at("cgroup_namespace"));
        assert!(at("mount_private") < at("mount_root"));
        assert!(at("pivot_root") < at("umount_old") && at("umount_old") < at("read_only"));
        assert!(at("capabilities") < at("parent_check"));
        assert!(at("no_new_privs") < at("seccomp") && at("close_range") < at("seccomp"));
        assert_eq!(&names[names.len() - 2..], ["seccomp", "execve"]);
    }

    #[test]
    fn every_phase_has_a_name_of_its_own_and_fits_the_log() {
        let mut names = phases(Identity::User { uid: 1, gid: 2 });
        let count = names.len();
        assert!(count + 3 <= crate::trial::PhaseLog::CAPACITY);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(!phases(Identity::Root).contains(&"uid_map"));
    }
}
