//! Namespaces, and the parts of the kernel that a payload has no use for.

use libc::{
    AT_FDCWD, CLONE_NEWUSER, O_NONBLOCK, O_RDONLY, SYS_bpf, SYS_delete_module, SYS_init_module,
    SYS_io_uring_setup, SYS_kexec_load, SYS_keyctl, SYS_openat, SYS_perf_event_open, SYS_reboot,
    SYS_setgroups, SYS_setns, SYS_unshare, SYS_userfaultfd,
};

use super::*;

const WEAK: Control = Control::Without(&[Seccomp, Capabilities]);

fn setting(name: &str) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}

fn try_all(attacks: &[Attack], test: &str) {
    let _alone = alone();
    if let Some(target) = Target::find(test) {
        for attack in attacks {
            target.attempt(attack);
        }
    }
}

#[test]
fn namespaces_are_closed() {
    let own = |name: &str| format!("/proc/self/ns/{name}");
    let open = |path: &str| sys!(SYS_openat, AT_FDCWD, path, O_RDONLY);
    let harness = format!("/proc/{}/ns/net", std::process::id());
    let attacks = [
        Attack {
            name: "a new user namespace",
            prepare: vec![],
            calls: vec![sys!(SYS_unshare, CLONE_NEWUSER)],
            refused: libc::EPERM,
            root: Control::OnlySeccomp,
            user: Control::OnlySeccomp,
        },
        Attack {
            name: "setns into the own namespace",
            prepare: vec![open(&own("uts"))],
            calls: vec![sys!(SYS_setns, Arg::Earlier(1), 0)],
            refused: libc::EPERM,
            root: WEAK,
            user: NO_CAPABILITY,
        },
        Attack {
            name: "setns into the harness's namespace",
            prepare: vec![],
            calls: vec![open(&harness), sys!(SYS_setns, Arg::Earlier(1), 0)],
            refused: libc::ENOENT,
            root: Control::Without(&[Seccomp, Capabilities, Rootfs]),
            user: NO_CAPABILITY,
        },
        Attack {
            name: "setgroups",
            prepare: vec![],
            calls: vec![sys!(SYS_setgroups, 0, 0)],
            refused: libc::EPERM,
            root: WEAK,
            user: Control::Impossible("denied in the user namespace for good"),
        },
    ];
    let forbidden = |name, value| setting(name) == Some(value);
    let switched_off = forbidden("user/max_user_namespaces", 0)
        || forbidden("kernel/unprivileged_userns_clone", 0)
        || forbidden("kernel/apparmor_restrict_unprivileged_userns", 1);
    if switched_off {
        println!("skipped: {}: switched off on this host", attacks[0].name);
    }
    try_all(&attacks[usize::from(switched_off)..], "namespaces");
}

#[test]
fn interfaces_without_use_are_closed() {
    // union bpf_attr of BPF_MAP_CREATE: a queue (22), which no setting gives to ordinary users.
    let queue = [22u32, 0, 4, 1].map(u32::to_ne_bytes).concat();
    let queue = [queue, vec![0; 112]].concat();
    // struct perf_event_attr: a software clock of CPU 0.
    let clock = [1u32, 64].map(u32::to_ne_bytes).concat();
    let clock = [clock, vec![0; 56]].concat();
    let settings = |name, open: &[i64], otherwise: Control| match setting(name) {
        Some(value) if open.contains(&value) => Control::OnlySeccomp,
        _ => otherwise,
    };
    let perf = "kernel/perf_event_paranoid";
    let uffd = "vm/unprivileged_userfaultfd";
    // Switched on where there is no switch (before Linux 6.6).
    let ring = match setting("kernel/io_uring_disabled") {
        None | Some(0) => Control::OnlySeccomp,
        Some(_) => Control::Impossible("switched off by io_uring_disabled"),
    };
    let root_only = |name, call, refused| Attack {
        name,
        prepare: vec![],
        calls: vec![call],
        refused,
        root: WEAK,
        user: NO_CAPABILITY,
    };
    let past = |errno| Control::Past(&[Seccomp, Capabilities], errno);
    let attacks = [
        root_only("bpf", sys!(SYS_bpf, 0, queue, 128), libc::EPERM),
        Attack {
            root: settings(perf, &[-1, 0], WEAK),
            user: settings(perf, &[-1, 0], NO_CAPABILITY),
            ..root_only(
                "perf_event_open",
                sys!(SYS_perf_event_open, clock, -1, 0, -1, 0),
                libc::EACCES,
            )
        },
        Attack {
            root: ring.clone(),
            user: ring,
            ..root_only(
                "io_uring",
                sys!(SYS_io_uring_setup, 1, vec![0u8; 120]),
                libc::EPERM,
            )
        },
        Attack {
            root: settings(uffd, &[1], WEAK),
            user: settings(uffd, &[1], NO_CAPABILITY),
            ..root_only("userfaultfd", sys!(SYS_userfaultfd, 0), libc::EPERM)
        },
        Attack {
            root: Control::OnlySeccomp,
            user: Control::OnlySeccomp,
            ..root_only(
                "keyctl",
                // KEYCTL_GET_KEYRING_ID of the session's keyring.
                sys!(SYS_keyctl, 0, -3, 0),
                libc::EPERM,
            )
        },
        Attack {
            // More segments than KEXEC_SEGMENT_MAX.
            root: past(libc::EINVAL),
            ..root_only("kexec", sys!(SYS_kexec_load, 0, 17, 0, 0), libc::EPERM)
        },
        Attack {
            // No module is empty.
            root: past(libc::ENOEXEC),
            ..root_only("init_module", sys!(SYS_init_module, "", 0, ""), libc::EPERM)
        },
        Attack {
            root: past(libc::ENOENT),
            ..root_only(
                "delete_module",
                sys!(SYS_delete_module, "isobench_canary", O_NONBLOCK),
                libc::EPERM,
            )
        },
        Attack {
            // Not the magic numbers.
            root: past(libc::EINVAL),
            ..root_only("reboot", sys!(SYS_reboot, 0, 0, 0, 0), libc::EPERM)
        },
    ];
    try_all(&attacks, "interfaces");
}

/// The filter knows the other two ways into the kernel: i386's, and x32's numbers.
#[test]
fn other_architectures_are_closed() {
    const X32: i64 = 0x4000_0000;
    let only_seccomp = |name, call| Attack {
        name,
        prepare: vec![],
        calls: vec![call],
        refused: libc::ENOSYS,
        root: Control::OnlySeccomp,
        user: Control::OnlySeccomp,
    };
    // getppid, which the filter allows by its own number.
    let attacks = [
        only_seccomp("i386 system calls", sys!(64).i386()),
        only_seccomp("x32 system calls", sys!(X32 | libc::SYS_getppid)),
    ];
    try_all(&attacks, "architectures");
}
