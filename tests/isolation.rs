//! What each configuration hides, through the binary; and for each fact the control that it can come
//! out the other way: the bare process, or a container that lacks exactly the mechanism.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod asked;
mod support;

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use asked::ask;
use isobench::store::document::{Status, Verdict};
use isobench::workload::facts;
use support::skipped;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program is on the path.
fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}

/// What no ordinary process is kept from. Everything else depends on who runs it, or is tested with
/// what it takes to have it.
const ANYBODYS: [&str; 29] = [
    "host name",
    "domain name",
    "kernel release",
    "kernel version",
    "machine",
    "boot id",
    "uptime",
    "process id",
    "parent",
    "signal to parent",
    "processes in /proc",
    "root folder",
    "mounts",
    "devices",
    "POSIX shared memory",
    "SysV segments",
    "SysV queues",
    "SysV semaphores",
    "interfaces",
    "abstract socket",
    "user id",
    "group id",
    "uid map",
    "seccomp",
    "gain by exec",
    "cgroup path",
    "memory",
    "CPUs",
    "calls answered",
];

#[test]
fn a_process_has_what_the_harness_has() {
    let (_, facts) = ask(&[], "process");
    for name in ANYBODYS {
        let fact = facts.get("process", name);
        assert_eq!(fact.verdict, Verdict::Shared, "{fact:?}");
    }
    for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let fact = facts.get("process", &format!("{namespace} namespace"));
        assert_eq!(fact.verdict, Verdict::Shared, "{fact:?}");
    }
    assert_eq!(facts.verdict("process", "descriptors"), Verdict::Own);
    // Both sides read the same values, by different code.
    let write = facts.verdict("process", "write to root");
    let may_write = nix::unistd::eaccess("/", nix::unistd::AccessFlags::W_OK).is_ok();
    assert_eq!(write == Verdict::Shared, may_write);
    let capabilities = facts.verdict("process", "effective caps");
    let none = caps::read(None, caps::CapSet::Effective)
        .unwrap()
        .is_empty();
    assert_eq!(capabilities == Verdict::Absent, none);
    let kvm = facts.verdict("process", "/dev/kvm");
    let opened = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    assert_eq!(kvm == Verdict::Shared, opened.is_ok());
}

/// The container as it is: nothing but reading, writing and leaving gets through its filter.
#[test]
fn a_container_answers_from_behind_its_filter() {
    let (run, facts) = ask(&[], "process,container");
    if run
        .backends
        .iter()
        .any(|b| b.id == "container" && b.status == Status::Skipped)
    {
        skipped(
            "a_container_answers_from_behind_its_filter",
            "no container here",
        );
        return;
    }
    let seccomp = facts.get("container", "seccomp");
    assert_eq!((seccomp.verdict, seccomp.guarded), (Verdict::Own, false));
    assert_eq!(facts.verdict("process", "seccomp"), Verdict::Shared);
    let answered = facts.get("container", "calls answered");
    let names: BTreeSet<&str> = answered
        .evidence
        .split(", ")
        .filter_map(|call| call.split(' ').next())
        // No filter is asked about these two (`seccomp_uprobe_exception` in kernel/seccomp.c).
        .filter(|name| !matches!(*name, "uretprobe" | "uprobe"))
        .collect();
    let allowed = ["read", "write", "mmap", "getppid", "exit_group", "execveat"];
    assert_eq!(names, BTreeSet::from(allowed), "{answered:?}");
    let count = |backend, fact| -> u32 { facts.get(backend, fact).value.parse().unwrap() };
    assert_eq!(count("process", "calls that kill"), 0);
    assert!(count("process", "calls answered") > 300);
    assert!(count("container", "calls that kill") > 400);
    assert_eq!(facts.verdict("container", "i386 entry"), Verdict::Denied);
    assert_eq!(facts.verdict("container", "x32 entry"), Verdict::Denied);
    assert_ne!(facts.verdict("process", "x32 entry"), Verdict::Denied);
    // getppid is let through, so this one is known without the filter off.
    let parent = facts.get("container", "parent");
    assert_eq!((parent.verdict, parent.guarded), (Verdict::Hidden, false));
    for (name, verdict) in [
        ("host name", Verdict::Own),
        ("process id", Verdict::Own),
        ("root folder", Verdict::Own),
        ("interfaces", Verdict::Own),
        ("SysV segments", Verdict::Hidden),
        ("abstract socket", Verdict::Hidden),
        ("processes in /proc", Verdict::Hidden),
        ("effective caps", Verdict::Absent),
        ("gain by exec", Verdict::Denied),
        ("kernel release", Verdict::Shared),
    ] {
        let fact = facts.get("container", name);
        assert_eq!((fact.verdict, fact.guarded), (verdict, true), "{fact:?}");
        assert!(fact.evidence.contains("SIGSYS"), "{fact:?}");
    }
}

/// The strong configuration: everything but the filter, so that each question is answered.
const OPEN: &str = "container:without=seccomp";

/// Fact, its verdict in [`OPEN`], what is left out besides the filter, its verdict then.
const CONTROLS: [(&str, Verdict, &str, Verdict); 34] = {
    use Verdict::{Absent, Denied, Hidden, Own, Shared};
    [
        ("cgroup namespace", Own, "cgroupns", Shared),
        ("ipc namespace", Own, "ipc", Shared),
        ("mnt namespace", Own, "mnt", Shared),
        ("net namespace", Own, "net", Shared),
        ("pid namespace", Own, "pid", Shared),
        ("uts namespace", Own, "uts", Shared),
        ("host name", Own, "uts", Shared),
        ("domain name", Own, "uts", Shared),
        ("boot id", Hidden, "rootfs", Shared),
        ("process id", Own, "pid", Shared),
        ("parent", Hidden, "pid", Shared),
        ("signal to parent", Hidden, "pid+capabilities", Shared),
        // Not permitted is another answer than nobody there.
        ("signal to parent", Hidden, "pid", Denied),
        // The host's /proc shows the host's processes, whatever the pid namespace.
        ("processes in /proc", Hidden, "rootfs", Shared),
        ("root folder", Own, "rootfs", Shared),
        ("write to root", Denied, "rootfs+capabilities", Shared),
        ("mounts", Own, "mnt", Shared),
        ("devices", Own, "rootfs", Shared),
        ("/dev/kvm", Hidden, "rootfs+capabilities", Shared),
        ("POSIX shared memory", Hidden, "rootfs", Shared),
        ("SysV segments", Hidden, "ipc", Shared),
        ("SysV queues", Hidden, "ipc", Shared),
        ("SysV semaphores", Hidden, "ipc", Shared),
        ("POSIX queue", Hidden, "ipc", Shared),
        ("interfaces", Own, "net", Shared),
        ("abstract socket", Hidden, "net", Shared),
        ("user id", Own, "capabilities", Shared),
        ("group id", Own, "capabilities", Shared),
        ("permitted caps", Absent, "capabilities", Shared),
        ("effective caps", Absent, "capabilities", Shared),
        ("bounding caps", Absent, "capabilities", Shared),
        ("gain by exec", Denied, "capabilities", Shared),
        ("calls refused", Verdict::Limited, "capabilities", Shared),
        ("cgroup path", Own, "cgroupns", Shared),
    ]
};

#[test]
fn each_fact_comes_out_the_other_way_without_its_mechanism() {
    let test = "each_fact_comes_out_the_other_way_without_its_mechanism";
    if !is_root() {
        // Who is not root has a user namespace wherever something needs it.
        skipped(test, "only root can leave out one mechanism alone");
        return;
    }
    let weak: BTreeSet<&str> = CONTROLS.iter().map(|(_, _, without, _)| *without).collect();
    let spelled = |without: &str| -> String {
        let parsed: isobench::backend::Configuration = format!("{OPEN}+{without}").parse().unwrap();
        parsed.id()
    };
    let list: Vec<String> = weak.iter().map(|without| spelled(without)).collect();
    let (run, facts) = ask(&[], &format!("process,{OPEN},{}", list.join(",")));
    if let Some(refused) = run.backends.iter().find(|b| b.status != Status::Measured) {
        skipped(test, &format!("{}: {:?}", refused.id, refused.reason));
        return;
    }
    for (name, strong, without, weak) in CONTROLS {
        let bare = facts.verdict("process", name);
        if weak == Verdict::Shared && bare != Verdict::Shared {
            // A host with a read-only root, or without KVM or message queues.
            skipped(test, &format!("{name}: the host itself has none to reach"));
            continue;
        }
        let fact = facts.get(OPEN, name);
        assert_eq!((fact.verdict, fact.guarded), (strong, false), "{fact:?}");
        let fact = facts.get(&spelled(without), name);
        assert_eq!(fact.verdict, weak, "without {without}: {fact:?}");
    }
}

/// What the default container does not have is own only where it is asked for.
#[test]
fn time_and_user_namespaces_are_seen_where_they_are() {
    let test = "time_and_user_namespaces_are_seen_where_they_are";
    let time = "container:with=time:without=seccomp+cgroup";
    let user = "container:with=user:without=seccomp+cgroup";
    let neither = "container:without=seccomp+cgroup";
    let configurations = [time, user, neither].map(|name| {
        let parsed: isobench::backend::Configuration = name.parse().unwrap();
        parsed.id()
    });
    let (run, facts) = ask(&[], &format!("process,{}", configurations.join(",")));
    let [time, user, neither] = &configurations;
    if !run.backends.iter().all(|b| b.status == Status::Measured) {
        skipped(test, "a container with one of them cannot be made here");
        return;
    }
    assert_eq!(facts.verdict(time, "time namespace"), Verdict::Own);
    assert_eq!(facts.verdict(time, "uptime"), Verdict::Own);
    for name in ["time namespace", "uptime"] {
        assert_eq!(facts.verdict(neither, name), Verdict::Shared, "{name}");
    }
    for name in ["user namespace", "uid map"] {
        assert_eq!(facts.verdict(user, name), Verdict::Own, "{name}");
        let without = if is_root() {
            Verdict::Shared
        } else {
            Verdict::Own
        };
        assert_eq!(facts.verdict(neither, name), without, "{name}");
    }
}

#[test]
fn a_micro_vm_has_no_kernel_to_ask() {
    let (run, facts) = ask(&[], "process,microvm");
    if let Some(vm) = run.backends.iter().find(|b| b.status == Status::Skipped) {
        let why = vm.reason.as_deref().unwrap();
        skipped("a_micro_vm_has_no_kernel_to_ask", why);
        return;
    }
    for (_, fact) in facts::all() {
        let found = facts.get("microvm", fact.name);
        if fact.group == "cpu" {
            assert_ne!(found.verdict, Verdict::Absent, "{found:?}");
        } else {
            assert_eq!(found.verdict, Verdict::Absent, "{found:?}");
            assert!(found.evidence.contains("doorbell"), "{found:?}");
        }
    }
    // The control: a process has nearly all of it.
    let absent = facts.0.values().filter(|f| f.backend == "process");
    assert!(absent.filter(|f| f.verdict == Verdict::Absent).count() < 12);
}

/// What the harness has inherited, its process has, too: capabilities that pass an exec, and groups.
#[test]
fn inherited_capabilities_and_groups_are_seen() {
    let test = "inherited_capabilities_and_groups_are_seen";
    if !is_root() || !is_installed("setpriv") {
        skipped(test, "not root, or no setpriv");
        return;
    }
    let rights = [
        "setpriv",
        "--inh-caps",
        "+chown",
        "--ambient-caps",
        "+chown",
    ];
    let groups = ["--groups", "1,2"];
    let (_, facts) = ask(&[&rights[..], &groups].concat(), "process");
    for name in ["inheritable caps", "ambient caps"] {
        let fact = facts.get("process", name);
        assert_eq!(
            (fact.verdict, fact.value.as_str()),
            (Verdict::Shared, "0x1")
        );
    }
    assert_eq!(facts.verdict("process", "groups"), Verdict::Shared);
    let (_, facts) = ask(&["setpriv", "--clear-groups"], "process");
    for name in ["inheritable caps", "ambient caps", "groups"] {
        assert_eq!(facts.verdict("process", name), Verdict::Absent, "{name}");
    }
}

/// The embedded payload as a file in this folder.
fn payload(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("payload");
    std::fs::write(&path, isobench::workload::payload::BYTES).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// The number that a payload of this command answers to one question.
fn answer(command: &mut Command, question: isobench_abi::Question) -> u64 {
    let output = command
        .args(["probe", &(question as u16).to_string(), "1"])
        .output()
        .unwrap();
    let fact = output
        .stdout
        .chunks(isobench_abi::FRAME_BYTES)
        .nth(1)
        .unwrap();
    match isobench_abi::Frame::decode(fact).unwrap().1 {
        isobench_abi::Message::Fact(isobench_abi::Fact {
            value: isobench_abi::Value::Number(n),
            ..
        }) => n,
        other => panic!("{other:?}"),
    }
}

/// The launchers close every descriptor and have no terminal; started by hand the payload has both.
#[test]
fn leaked_descriptors_and_terminals_are_seen() {
    let test = "leaked_descriptors_and_terminals_are_seen";
    let dir = tempfile::tempdir().unwrap();
    let payload = payload(dir.path());
    let plain = || {
        let mut command = Command::new(&payload);
        command.stdin(Stdio::null());
        command
    };
    // Whatever cargo or CI leaves open is there, too: one more is one more.
    let before = answer(&mut plain(), isobench_abi::Question::Descriptors);
    let leak = std::fs::File::open("/dev/null").unwrap();
    let flags = nix::fcntl::FdFlag::empty();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
    let after = answer(&mut plain(), isobench_abi::Question::Descriptors);
    assert_eq!(after, before + 1, "descriptor {}", leak.as_raw_fd());
    drop(leak);

    if !is_installed("setsid") {
        skipped(test, "no setsid to give a terminal with");
        return;
    }
    let no_terminal = answer(
        Command::new("setsid").arg(&payload).stdin(Stdio::null()),
        isobench_abi::Question::Terminal,
    );
    assert_eq!(no_terminal, 0);
    let ends = nix::pty::openpty(None, None).unwrap();
    let (_master, slave): (OwnedFd, OwnedFd) = (ends.master, ends.slave);
    let terminal = answer(
        Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(&payload)
            .stdin(slave),
        isobench_abi::Question::Terminal,
    );
    assert_ne!(terminal, 0);
}
