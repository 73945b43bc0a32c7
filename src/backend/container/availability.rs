//! Why a container cannot run here, or cannot have all of its mechanisms, and what would help.

use std::path::Path;

use crate::backend::container::setup::Identity;
use crate::backend::launcher::shortage;
use crate::backend::{Limitation, Unavailable};
use crate::sys::fd;
use crate::trial::Failure;

/// The cgroup cannot be had.
pub(in crate::backend) fn no_cgroup(reason: String) -> Limitation {
    Limitation {
        mechanism: "cgroup",
        reason,
        remedy: if nix::unistd::geteuid().is_root() {
            "mount a hierarchy with the memory and pids controllers that this process may write \
             to: mount -t cgroup2 none /sys/fs/cgroup"
        } else {
            "run as root, or, on cgroup v2, below a delegated group: \
             systemd-run --user --scope isobench …"
        }
        .to_owned(),
    }
}

/// Switches that forbid user namespaces: file, forbidding value, remedy.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "user/max_user_namespaces",
        "0",
        "sysctl -w user.max_user_namespaces=10000",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run as root",
    ),
];

/// Turns a failed first launch into a reason and a remedy.
pub(in crate::backend) fn explain(failure: &Failure, identity: Identity) -> Unavailable {
    let (phase, errno) = match failure {
        Failure::Setup { phase, .. } => (*phase, failure.errno()),
        _ => ("", None),
    };
    let switched = if !matches!(identity, Identity::Mapped { .. }) {
        None
    } else {
        SWITCHES.into_iter().find(|(file, forbids, _)| {
            fd::text(&Path::new("/proc/sys").join(file)).is_ok_and(|text| text.trim() == *forbids)
        })
    };
    if let (Some((file, forbids, remedy)), Some(_)) = (switched, errno) {
        return Unavailable {
            reason: format!(
                "{failure}: user namespaces are restricted ({} = {forbids})",
                file.replace('/', ".")
            ),
            remedy: remedy.to_owned(),
        };
    }
    if let Some(remedy) = errno.and_then(shortage) {
        return Unavailable {
            reason: format!("a first launch failed: {failure}"),
            remedy: remedy.to_owned(),
        };
    }
    let remedy = match (phase, errno) {
        // mount_setattr(2) of a bind; everything else is older.
        ("mount_root", Some(libc::ENOSYS)) => "Linux 5.12 or newer is needed for rootfs=bind",
        (_, Some(libc::ENOSYS)) => {
            "Linux 5.11 or newer, without a seccomp profile that forbids the call, is needed"
        }
        ("clone3", Some(libc::ENOSPC | libc::EUSERS)) => {
            "raise the limits in /proc/sys/user/max_*_namespaces"
        }
        ("clone3", Some(libc::EINVAL)) => {
            "the kernel lacks a namespace (CONFIG_NAMESPACES, CONFIG_USER_NS, CONFIG_NET_NS)"
        }
        ("uid_map" | "gid_map" | "setgroups", _) => {
            "the isobench binary must be readable by its user, and /proc must be mounted"
        }
        ("mount_proc", Some(libc::EPERM)) => {
            "/proc is partly masked here, as in a container: run outside of it, or with \
             --security-opt systempaths=unconfined"
        }
        ("pivot_root", Some(libc::EINVAL)) => {
            "the root file system is the initramfs, which cannot be left: boot from a disk"
        }
        // Before "fs/exec: switch timens when a task gets a new mm", a child that shares its parent's
        // memory enters the namespace at birth, and its offsets are fixed by that.
        ("time_offsets", Some(libc::EACCES)) => "Linux 6.2 or newer is needed",
        ("execve", Some(libc::EACCES)) => {
            "a security module forbids execution from a new tmpfs, or from a prepared root: then \
             set TMPDIR to another place"
        }
        ("mount_root", Some(libc::ENODEV)) => {
            "modprobe overlay; the kernel needs CONFIG_OVERLAY_FS"
        }
        ("veth_create", Some(libc::EOPNOTSUPP)) => "modprobe veth; the kernel needs CONFIG_VETH",
        (_, Some(libc::EPERM | libc::EACCES)) => {
            "run as root, or where no container or security module forbids mounts"
        }
        _ => "see the error",
    };
    Unavailable {
        reason: format!("a first launch failed: {failure}"),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_phase_its_errno_and_a_remedy() {
        let failure = Failure::setup(
            "pivot_root",
            std::io::Error::from_raw_os_error(libc::EINVAL),
        );
        let why = explain(&failure, Identity::Dropped);
        assert!(why.reason.contains("pivot_root") && why.reason.contains("Invalid argument"));
        assert!(why.remedy.contains("initramfs"));
    }
}
