//! The system calls between `clone3` and `execve`, in order, and why in this order.

use std::ffi::CString;
use std::sync::Arc;

use crate::backend::Unavailable;
use crate::backend::container::confine;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::launcher::refusal;
use crate::sys::program::{Mount, Op, Program};
use crate::sys::spawn::ignored_signals;

/// Uid and gid of the payload, as it sees them: "nonroot" of the distroless images. Not 0, and not
/// 65534, which also stands for "not mapped".
pub const PAYLOAD_ID: u32 = 65532;

/// Whose ids the payload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The harness's own: no mechanism changes them.
    Kept,
    /// Root of the host becomes [`PAYLOAD_ID`] by a change of ids, so that the payload owns nothing
    /// on the host either.
    Dropped,
    /// In a user namespace with exactly one uid and one gid mapped: the caller's own to
    /// [`PAYLOAD_ID`]. Supplementary groups stay, unmapped (user_namespaces(7)).
    Mapped {
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

/// What is prepared once for all launches of a container.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the container is made of.
    pub mechanisms: Mechanisms,
    /// Whose ids the payload has.
    pub identity: Identity,
    /// How `/dev` is filled.
    pub devices: Devices,
    /// The ELF file.
    pub payload: Arc<[u8]>,
}

/// Namespaces that the child is born into. The cgroup namespace is not among them: its root is the
/// group that its *creator* is in (cgroup_namespaces(7)), for `clone3` the harness's group even
/// with CLONE_INTO_CGROUP, so the child makes it itself once it is in its own group.
#[must_use]
pub fn namespaces(mechanisms: Mechanisms) -> u64 {
    mechanisms
        .without(Mechanism::CgroupNs)
        .iter()
        .filter_map(Mechanism::namespace)
        .fold(0, |flags, flag| flags | flag)
}

/// Writes the program down.
///
/// # Errors
/// The seccomp filter does not compile for this machine; the clocks cannot be read.
pub fn compose(setup: &Setup) -> Result<Program, Unavailable> {
    let has = |mechanism| setup.mechanisms.has(mechanism);
    let mut p = Program::new();
    // Before anything that takes time, so that a harness killed now leaves nothing.
    p.push("parent_death", Op::DieWithParent);
    p.push("signals", Op::Signals(ignored_signals()));
    if let Identity::Mapped { uid, gid } = setup.identity {
        // setgroups is denied before the gid map is written, or the map is refused (CVE-2014-8989).
        let deny = b"deny".to_vec();
        p.push("setgroups", Op::Write(c"/proc/self/setgroups".into(), deny));
        let map = |id| format!("{PAYLOAD_ID} {id} 1").into_bytes();
        p.push("uid_map", Op::Write(c"/proc/self/uid_map".into(), map(uid)));
        p.push("gid_map", Op::Write(c"/proc/self/gid_map".into(), map(gid)));
    }
    if has(Mechanism::Time) {
        // The child is in the new namespace from its exec on (time_namespaces(7)).
        let offsets = Op::Write(c"/proc/self/timens_offsets".into(), clocks_at_zero()?);
        p.push("time_offsets", offsets);
    }
    if has(Mechanism::Cgroup) {
        // Into the group before its namespace is made, and before anything is allocated that the
        // group shall be charged for. A no-op on v2, where the child was born there.
        p.push("cgroup_join", Op::JoinCgroups);
    }
    if has(Mechanism::CgroupNs) {
        // Without a group of its own it still hides where in the host's tree the harness is.
        p.push("cgroup_namespace", Op::Unshare(libc::CLONE_NEWCGROUP));
    }
    p.push("stdio", Op::Stdio);
    // No controlling terminal to push input into (TIOCSTI).
    p.push("setsid", Op::NewSession);
    if has(Mechanism::Rootfs) {
        root_file_system(&mut p, setup);
    }
    if has(Mechanism::Uts) {
        p.push("sethostname", Op::HostName(b"isobench".to_vec()));
    }
    if has(Mechanism::Loopback) {
        p.push("loopback", Op::LoopbackUp);
    }
    p.push("limits", Op::Umask(0o077));
    p.push("limits", Op::NoCoreDump);
    if has(Mechanism::Capabilities) {
        // The bounding set first: emptying it needs CAP_SETPCAP. Then the ids, which need CAP_SETUID.
        let last = confine::last_capability();
        p.push("capabilities", Op::EmptyBoundingSet(last));
        if setup.identity == Identity::Dropped {
            p.push("capabilities", Op::SetIds(PAYLOAD_ID));
            p.push("capabilities", Op::KeepDumpable);
        }
        p.push("capabilities", Op::EmptyCapabilities);
    }
    // Again, since a change of ids has cleared it; and only now is it known to have been in time.
    p.push("parent_check", Op::DieWithParent);
    p.push("parent_check", Op::ParentLives);
    if has(Mechanism::Capabilities) || has(Mechanism::Seccomp) {
        p.push("no_new_privs", Op::NoNewPrivileges);
    }
    if has(Mechanism::Rootfs) {
        // Only here is it known what all of the above has made of it.
        p.push("working_directory", Op::AtRoot);
    }
    p.push("close_range", Op::CloseOnExec);
    if has(Mechanism::Seccomp) {
        // Last: it allows nothing of the above.
        p.push("seccomp", Op::Seccomp(confine::filter()?));
    }
    p.push(
        "execve",
        if has(Mechanism::Rootfs) {
            Op::Exec(c"/payload".into())
        } else {
            Op::ExecImage
        },
    );
    Ok(p)
}

/// Offsets that set the monotonic clocks of a time namespace back to about 0
/// (time_namespaces(7), `/proc/PID/timens_offsets`).
fn clocks_at_zero() -> Result<Vec<u8>, Unavailable> {
    use nix::time::{ClockId, clock_gettime};
    let line = |name: &str, clock| -> Result<String, Unavailable> {
        let now = clock_gettime(clock).map_err(|errno| refusal(name, &errno.into()))?;
        Ok(format!("{name} -{} 0\n", now.tv_sec()))
    };
    let monotonic = line("monotonic", ClockId::CLOCK_MONOTONIC)?;
    let boottime = line("boottime", ClockId::CLOCK_BOOTTIME)?;
    Ok((monotonic + &boottime).into_bytes())
}

/// A fresh root with `/payload`, `/proc` and `/dev`, and nothing of the host.
fn root_file_system(p: &mut Program, setup: &Setup) {
    let Setup {
        devices, payload, ..
    } = setup;
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
    // Whose pid namespace it does not own, a user namespace may not mount a /proc of.
    let mapped = matches!(setup.identity, Identity::Mapped { .. });
    if setup.mechanisms.has(Mechanism::Pid) || !mapped {
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
    }
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
    p.push("umount_old", Op::Chdir(c"/".into()));
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

    fn phases(mechanisms: Mechanisms, identity: Identity) -> Vec<&'static str> {
        let setup = Setup {
            mechanisms,
            identity,
            devices: Devices::Bound,
            payload: Arc::from(&b"x"[..]),
        };
        let program = compose(&setup).unwrap();
        let mut names: Vec<_> = program.steps().iter().map(|s| s.phase).collect();
        names.dedup();
        names
    }

    const MAPPED: Identity = Identity::Mapped { uid: 1, gid: 2 };

    #[test]
    fn order_is_what_the_kernel_and_the_attacks_demand() {
        let names = phases(Mechanisms::of(Mechanism::ALL), MAPPED);
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
        let mut names = phases(Mechanisms::of(Mechanism::ALL), MAPPED);
        let count = names.len();
        assert!(count + 3 <= crate::trial::PhaseLog::CAPACITY);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(!phases(Mechanisms::DEFAULT, Identity::Dropped).contains(&"uid_map"));
    }

    /// What no mechanism asks for is not done.
    #[test]
    fn none_is_the_launcher_alone() {
        assert_eq!(
            phases(Mechanisms::NONE, Identity::Kept),
            [
                "parent_death",
                "signals",
                "stdio",
                "setsid",
                "limits",
                "parent_check",
                "close_range",
                "execve"
            ]
        );
        assert_eq!(namespaces(Mechanisms::NONE), 0);
    }
}
