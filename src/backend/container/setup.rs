//! The system calls between `clone3` and `execve`, in order, and why in this order.

use std::sync::Arc;

use crate::backend::Unavailable;
use crate::backend::container::confine;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::container::rootfs::{self, Base, Devices};
use crate::backend::launcher::refusal;
use crate::sys::program::{Op, Program};
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

/// What is prepared once for all launches of a container.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the container is made of.
    pub mechanisms: Mechanisms,
    /// Whose ids the payload has.
    pub identity: Identity,
    /// What the root is made from, and how its `/dev` is filled.
    pub base: Base,
    /// As it says.
    pub devices: Devices,
    /// The steps that give it a pair of interfaces; none without [`Mechanism::Veth`].
    pub interfaces: Program,
    /// The ELF file.
    pub payload: Arc<[u8]>,
    /// Number of the last capability this kernel knows.
    pub last_capability: u32,
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
    let mut p = born(setup)?;
    if has(Mechanism::Rootfs) {
        rootfs::compose(&mut p, setup);
    }
    confined(&mut p, setup);
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

/// The same for a VMM, in two programs: up to its exec, and what it does to itself behind it. Its root
/// is empty, so that it must have been loaded, with its libraries, before it goes there. Its filter is
/// its own affair, since it still makes the VM.
///
/// # Errors
/// As [`compose`].
pub fn compose_vmm(setup: &Setup) -> Result<[Program; 2], Unavailable> {
    let mut outer = born(setup)?;
    outer.push("close_range", Op::CloseOnExec);
    outer.push("pass_descriptors", Op::Pass);
    outer.push("execve", Op::ExecImage);
    let mut inner = Program::new();
    rootfs::compose(&mut inner, setup);
    confined(&mut inner, setup);
    Ok([outer, inner])
}

/// From the clone to a session of its own.
fn born(setup: &Setup) -> Result<Program, Unavailable> {
    let has = |mechanism| setup.mechanisms.has(mechanism);
    let mut p = Program::new();
    // Before anything that takes time, so that a harness killed now leaves nothing.
    p.push("parent_death", Op::DieWithParent);
    p.push("signals", Op::Signals(ignored_signals()));
    if let Identity::Mapped { uid, gid } = setup.identity {
        // setgroups is denied before the gid map is written, or the map is refused (CVE-2014-8989).
        let deny = b"deny".to_vec();
        p.push("setgroups", Op::Write(c"/proc/self/setgroups".into(), deny));
        // An exec by any id but 0 gives up what a VMM still needs: the capabilities in its namespace.
        let inside = match setup.base {
            Base::Bare => 0,
            _ => PAYLOAD_ID,
        };
        let map = |id| format!("{inside} {id} 1").into_bytes();
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
    Ok(p)
}

/// Everything else that needs capabilities, and then they are gone.
fn confined(p: &mut Program, setup: &Setup) {
    let has = |mechanism| setup.mechanisms.has(mechanism);
    if has(Mechanism::Uts) {
        p.push("sethostname", Op::HostName(b"isobench".to_vec()));
    }
    if has(Mechanism::Loopback) {
        p.push("loopback", Op::LoopbackUp);
    }
    p.append(&setup.interfaces);
    p.push("limits", Op::Umask(0o077));
    p.push("limits", Op::NoCoreDump);
    if has(Mechanism::Capabilities) {
        // The bounding set first: emptying it needs CAP_SETPCAP. Then the ids, which need CAP_SETUID.
        let last = setup.last_capability;
        p.push("capabilities", Op::EmptyBoundingSet(last));
        if setup.identity == Identity::Dropped {
            p.push("capabilities", Op::SetIds(PAYLOAD_ID));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(mechanisms: Mechanisms, identity: Identity) -> Vec<&'static str> {
        let setup = Setup {
            mechanisms,
            identity,
            base: Base::Empty,
            devices: Devices::Bound,
            interfaces: Program::new(),
            payload: Arc::from(&b"x"[..]),
            last_capability: 40,
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
