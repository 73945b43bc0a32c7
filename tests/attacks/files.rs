//! Files of the host, and mounts.

use isobench::host::cgroup::Hierarchies;
use libc::{
    AT_FDCWD, MNT_DETACH, MS_BIND, MS_REMOUNT, O_DIRECTORY, O_PATH, O_RDONLY, O_WRONLY, SYS_chdir,
    SYS_fchmodat, SYS_fsopen, SYS_mknodat, SYS_mount, SYS_name_to_handle_at, SYS_open_by_handle_at,
    SYS_openat, SYS_pivot_root, SYS_umount2,
};

use super::*;

const SYSRQ: &str = "sysrq-trigger";
const NOT_ROOT: Control = Control::Impossible("an ordinary user may not do it on the host either");

fn open(path: &str, flags: i32) -> Call {
    sys!(SYS_openat, AT_FDCWD, path, flags)
}

fn mount(kind: &str, target: &str, data: &str) -> Call {
    sys!(SYS_mount, "none", target, kind, 0, data)
}

#[test]
fn host_files_are_out_of_reach() {
    let _alone = alone();
    let Some(target) = Target::find("host files") else {
        return;
    };
    let (_folder, canary) = canary();
    let harness = std::process::id();
    let as_root = Control::Without(&[Seccomp, Rootfs, Capabilities]);
    let own_group = Hierarchies::read().unwrap();
    let own_group = [own_group.v1("memory"), own_group.v2()]
        .into_iter()
        .flatten();
    let own_group = own_group
        .filter_map(|h| h.own.clone())
        .next()
        .unwrap_or_default();
    // struct file_handle: room for 128 bytes, which the kernel fills in.
    let handle = [&128u32.to_ne_bytes()[..], &[0; 4 + 128]].concat();
    let attacks = [
        Attack {
            name: "a host file through ..",
            prepare: vec![],
            calls: vec![open(&format!("{}{canary}", "/..".repeat(20)), O_RDONLY)],
            refused: libc::ENOENT,
            root: Control::Without(&[Seccomp, Rootfs]),
            user: Control::Without(&[Seccomp, Rootfs]),
        },
        Attack {
            // Its own process 1; without a root of its own that has the host's.
            name: "a host file through /proc/1/root",
            prepare: vec![mount("proc", "/proc", "")],
            calls: vec![open(&format!("/proc/1/root{canary}"), O_RDONLY)],
            refused: libc::ENOENT,
            root: as_root.clone(),
            user: NO_CAPABILITY,
        },
        Attack {
            name: "a host file through the harness's root",
            prepare: vec![],
            calls: vec![open(&format!("/proc/{harness}/root{canary}"), O_RDONLY)],
            refused: libc::ENOENT,
            root: as_root.clone(),
            user: Control::Impossible("nobody traces out of a user namespace"),
        },
        Attack {
            name: "a host file through /proc/self/fd",
            prepare: vec![open("/", O_DIRECTORY | O_PATH)],
            calls: vec![open(&format!("/proc/self/fd/3{canary}"), O_RDONLY)],
            refused: libc::ENOENT,
            root: Control::Without(&[Seccomp, Rootfs]),
            user: Control::Without(&[Seccomp, Rootfs]),
        },
        Attack {
            name: "open_by_handle_at",
            prepare: vec![sys!(
                SYS_name_to_handle_at,
                AT_FDCWD,
                "/",
                handle.clone(),
                vec![0u8; 8],
                0
            )],
            calls: vec![sys!(SYS_open_by_handle_at, AT_FDCWD, handle, O_DIRECTORY)],
            refused: libc::EPERM,
            root: Control::Without(&[Seccomp, Capabilities]),
            user: NOT_ROOT,
        },
        Attack {
            name: "writing to /proc/self/exe",
            prepare: vec![],
            calls: vec![open("/proc/self/exe", O_WRONLY)],
            refused: libc::EACCES,
            root: Control::Impossible("the kernel lets nobody write to what runs (ETXTBSY)"),
            user: Control::Impossible("the kernel lets nobody write to what runs (ETXTBSY)"),
        },
        Attack {
            name: "the mode of /proc/self/exe",
            prepare: vec![],
            calls: vec![sys!(SYS_fchmodat, AT_FDCWD, "/proc/self/exe", 0o777)],
            refused: libc::EROFS,
            root: Control::Without(&[Seccomp, Rootfs, Capabilities]),
            user: Control::Without(&[Seccomp, Rootfs]),
        },
        Attack {
            name: "core_pattern",
            prepare: vec![],
            calls: vec![open("/proc/sys/kernel/core_pattern", O_WRONLY)],
            refused: libc::ENOENT,
            root: as_root.clone(),
            user: NOT_ROOT,
        },
        Attack {
            name: SYSRQ,
            prepare: vec![],
            calls: vec![open("/proc/sysrq-trigger", O_WRONLY)],
            refused: libc::ENOENT,
            root: as_root.clone(),
            user: NOT_ROOT,
        },
        Attack {
            name: "the harness's control group",
            prepare: vec![],
            calls: vec![open(
                own_group.join("cgroup.procs").to_str().unwrap(),
                O_WRONLY,
            )],
            refused: libc::ENOENT,
            root: as_root,
            user: NOT_ROOT,
        },
    ];
    for attack in attacks {
        if attack.name == SYSRQ && fs::metadata("/proc/sysrq-trigger").is_err() {
            println!("skipped: {SYSRQ}: this kernel has none");
            continue;
        }
        target.attempt(&attack);
    }
}

#[test]
fn mounts_are_refused() {
    let _alone = alone();
    let Some(target) = Target::find("mounts") else {
        return;
    };
    let attack = |name, prepare, call, refused| Attack {
        name,
        prepare,
        calls: vec![call],
        refused,
        root: Control::Without(&[Seccomp, Capabilities]),
        user: NO_CAPABILITY,
    };
    let tmpfs = || mount("tmpfs", "/dev", "");
    let mut attacks = vec![
        attack("mount", vec![], tmpfs(), libc::EPERM),
        attack(
            "umount",
            vec![],
            sys!(SYS_umount2, "/proc", MNT_DETACH),
            libc::EPERM,
        ),
        attack(
            "pivot_root",
            vec![tmpfs(), sys!(SYS_chdir, "/dev")],
            sys!(SYS_pivot_root, ".", "."),
            libc::EPERM,
        ),
        attack("fsopen", vec![], sys!(SYS_fsopen, "tmpfs", 0), libc::EPERM),
        attack(
            "remounting the root writable",
            vec![],
            sys!(SYS_mount, 0, "/", 0, MS_REMOUNT | MS_BIND, 0),
            libc::EPERM,
        ),
        attack(
            "unmasking /proc",
            vec![],
            mount("proc", "/proc", ""),
            libc::EPERM,
        ),
        attack(
            "mounting cgroup2",
            vec![],
            mount("cgroup2", "/dev", ""),
            libc::EPERM,
        ),
        attack(
            "mknod",
            vec![tmpfs()],
            sys!(
                SYS_mknodat,
                AT_FDCWD,
                "/dev/canary",
                libc::S_IFCHR | 0o666,
                libc::makedev(1, 3)
            ),
            libc::EROFS,
        ),
    ];
    // Where no such hierarchy is mounted, the control would make one.
    if Hierarchies::read().unwrap().v1("memory").is_some() {
        attacks.push(Attack {
            name: "v1 release_agent",
            prepare: vec![mount("cgroup", "/dev", "memory")],
            calls: vec![open("/dev/release_agent", O_WRONLY)],
            refused: libc::ENOENT,
            root: Control::Without(&[Seccomp, Capabilities, CgroupNs]),
            user: NO_CAPABILITY,
        });
    } else {
        println!("skipped: v1 release_agent: no memory hierarchy of version 1");
    }
    for attack in attacks {
        target.attempt(&attack);
    }
}
