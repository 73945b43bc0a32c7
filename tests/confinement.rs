//! What a container's payload can see, reach and ask for; each check with a control on the bare
//! process, where it must come out the other way.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use isobench::backend::Backend;
use isobench::backend::container::options::{Options, Root};
use isobench::backend::container::{Container, PAYLOAD_ID};
use isobench::backend::process::Process;
use isobench::metric::Bytes;
use isobench::trial::Failure;
use isobench::workload::{Workload, payload};
use sha2::{Digest, Sha256};
use stage::{INNER, alone, container, container_of, elf, grouped, launch};

/// Facts of one process, read on the host.
struct Facts(i32);

impl Facts {
    fn of_the_only_child() -> Self {
        let children = stage::children();
        assert_eq!(children.len(), 1, "{children:?}");
        Self(children[0])
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0)).unwrap()
    }

    fn status(&self, field: &str) -> String {
        let status = self.file("status");
        let value = status
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{field}:")));
        value
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn shares(&self, namespace: &str) -> bool {
        let link = |who: &str| fs::read_link(format!("/proc/{who}/ns/{namespace}")).unwrap();
        link(&self.0.to_string()) == link("self")
    }

    fn names(&self, folder: &str) -> BTreeSet<String> {
        fs::read_dir(format!("/proc/{}/{folder}", self.0))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
const NONE: &str = "0000000000000000";

#[test]
fn the_payload_is_confined() {
    let _alone = alone();
    for root in Root::ALL {
        let options = Options::default().rooted(root);
        if let Some(container) = container_of("confined", options) {
            is_confined(container);
        }
    }
}

fn is_confined(mut container: Container) {
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let seen = Facts::of_the_only_child();
    for set in SETS {
        assert_eq!(seen.status(set), NONE, "{set}");
    }
    assert_eq!(seen.status("NoNewPrivs"), "1");
    assert_eq!(seen.status("Seccomp"), "2");
    assert_eq!(seen.status("SigIgn"), NONE);
    assert_eq!(seen.status("SigBlk"), NONE);
    assert!(seen.status("NSpid").ends_with(" 1"));
    assert!(seen.status("NSsid").ends_with(" 1"), "its own session");
    assert_eq!(
        seen.names("fd"),
        BTreeSet::from(["0", "1", "2"].map(str::to_owned))
    );
    for namespace in ["pid", "net", "ipc", "mnt", "uts", "cgroup"] {
        assert!(!seen.shares(namespace), "{namespace}");
    }
    if stage::is_root() {
        let ids = [PAYLOAD_ID; 4].map(|id| id.to_string()).join(" ");
        assert_eq!((seen.status("Uid"), seen.status("Gid")), (ids.clone(), ids));
        assert_eq!(seen.status("Groups"), "");
    } else {
        assert!(!seen.shares("user"));
        let map = seen.file("uid_map");
        let own = nix::unistd::geteuid().to_string();
        let words: Vec<_> = map.split_whitespace().collect();
        assert_eq!(words, [&PAYLOAD_ID.to_string(), &own, "1"]);
        assert_eq!(seen.file("setgroups").trim(), "deny");
    }
    let interfaces = seen.file("net/dev");
    let names: Vec<_> = interfaces
        .lines()
        .skip(2)
        .map(|l| l.split(':').next().unwrap().trim())
        .collect();
    assert_eq!(names, ["lo"]);
    assert!(seen.file("net/fib_trie").contains("127.0.0.1"), "lo is up");
    held.release().unwrap();
}

#[test]
fn the_root_holds_the_payload_and_nothing_of_the_host() {
    let _alone = alone();
    for root in Root::ALL {
        let options = Options::default().rooted(root);
        if let Some(container) = container_of("root", options) {
            has_a_bare_root(container);
        }
    }
}

fn has_a_bare_root(mut container: Container) {
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let seen = Facts::of_the_only_child();
    let expected = ["dev", "payload", "proc"].map(str::to_owned);
    assert_eq!(seen.names("root"), BTreeSet::from(expected));
    let nodes = ["full", "null", "random", "urandom", "zero"].map(str::to_owned);
    assert_eq!(seen.names("root/dev"), BTreeSet::from(nodes));
    let inside = seen.names("root/proc");
    assert!(
        !inside.contains("sys") && !inside.contains("kcore"),
        "{inside:?}"
    );
    let bytes = fs::read(format!("/proc/{}/root/payload", seen.0)).unwrap();
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(digest, payload::SHA256);
    // Nobody can write there, whoever it is and through whatever path.
    let inside = format!("/proc/{}/root", seen.0);
    for refused in [
        fs::write(format!("{inside}/new"), "").unwrap_err(),
        fs::remove_file(format!("{inside}/payload")).unwrap_err(),
    ] {
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{refused}");
    }
    for line in seen.file("mountinfo").lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (point, options) = (fields[4], fields[5]);
        assert!(
            point == "/" || point == "/proc" || point.starts_with("/dev/"),
            "{line}"
        );
        if !point.starts_with("/dev/") {
            let has = |option| options.split(',').any(|o| o == option);
            assert!(has("ro") && has("nosuid"), "{line}");
        }
        assert!(
            !line.contains("shared:") && !line.contains("master:") || point.starts_with("/dev/"),
            "{line}"
        );
    }
    held.release().unwrap();
}

/// A descriptor that the harness has left open across an exec does not get in (CVE-2024-21626).
#[test]
fn a_descriptor_of_the_harness_does_not_get_in() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let _alone = alone();
    let Some(mut container) = container("descriptors") else {
        return;
    };
    let leak = fs::File::open("/").unwrap();
    fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let seen = Facts::of_the_only_child();
    let standard = BTreeSet::from(["0", "1", "2"].map(str::to_owned));
    assert_eq!(seen.names("fd"), standard);
    held.release().unwrap();
    // The control: any other child has it.
    let mut sleep = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let others = Facts(i32::try_from(sleep.id()).unwrap()).names("fd");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert!(others.len() > standard.len(), "{others:?}");
}

#[test]
fn the_host_name_is_not_the_hosts() {
    let _alone = alone();
    if !stage::is_root() {
        println!("skipped: host name: only root can enter the namespace");
        return;
    }
    let Some(mut container) = container("host name") else {
        return;
    };
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let Facts(pid) = Facts::of_the_only_child();
    // In a thread of its own, which ends in that namespace.
    let name = std::thread::spawn(move || {
        let namespace = fs::File::open(format!("/proc/{pid}/ns/uts")).unwrap();
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWUTS).unwrap();
        nix::unistd::gethostname().unwrap()
    });
    assert_eq!(name.join().unwrap(), "isobench");
    held.release().unwrap();
}

#[test]
fn the_cgroup_has_limits_a_namespace_and_an_end() {
    let _alone = alone();
    let Some(mut container) = container("cgroup") else {
        return;
    };
    if !grouped(&container) {
        println!("skipped: cgroup: no cgroup can be made here");
        return;
    }
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let seen = Facts::of_the_only_child();
    let groups = stage::groups(std::process::id());
    let limit = |file: &str| {
        groups
            .iter()
            .find_map(|g| fs::read_to_string(format!("{g}/{file}")).ok())
    };
    let memory = limit("memory.max").or_else(|| limit("memory.limit_in_bytes"));
    assert_eq!(memory.unwrap().trim(), (64 << 20).to_string());
    assert_eq!(limit("pids.max").unwrap().trim(), "16");
    for group in &groups {
        let procs = fs::read_to_string(format!("{group}/cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), seen.0.to_string(), "{group}");
    }
    let accounts = || held.footprint().unwrap().group.unwrap();
    // Counted at the latest when the kernel folds its counters, every two seconds.
    let patience = Instant::now() + Duration::from_secs(20);
    while accounts().kernel.unwrap() == Bytes(0) {
        assert!(Instant::now() < patience, "no kernel memory is charged");
        std::thread::sleep(Duration::from_millis(50));
    }
    let accounts = accounts();
    let (memory, peak) = (accounts.memory.unwrap(), accounts.peak);
    assert!(memory < Bytes(64 << 20));
    // Version 2 has had a peak since Linux 5.19.
    assert!(peak.is_none_or(|peak| peak >= memory), "{accounts:?}");
    assert_eq!(accounts.throttling, None, "no limit on processor time");
    held.release().unwrap();
    assert_eq!(stage::groups(std::process::id()), BTreeSet::new());
    // The limit bites: the greedy one is killed inside its 64 MiB and does not reach its end.
    let mut greedy = Container::with_payload(Options::default(), &elf(&stage::GREEDY)).unwrap();
    let failure = greedy.trial(&launch(Workload::Noop)).unwrap_err();
    assert!(
        matches!(failure, Failure::Signal(libc::SIGKILL)),
        "{failure:?}"
    );
}

/// Each check above fails where it should: the bare process has all of it.
#[test]
fn the_checks_can_fail() {
    let _alone = alone();
    let mut process = Process::new().unwrap();
    let held = process.hold(&launch(Workload::Idle)).unwrap();
    let seen = Facts::of_the_only_child();
    assert_eq!(seen.status("NoNewPrivs"), "0");
    assert_eq!(seen.status("Seccomp"), "0");
    assert_ne!(seen.status("CapBnd"), NONE);
    for namespace in ["pid", "net", "ipc", "mnt", "uts", "cgroup", "user"] {
        assert!(seen.shares(namespace), "{namespace}");
    }
    held.release().unwrap();
    let mut greedy = Process::with_payload(&elf(&stage::GREEDY)).unwrap();
    let failure = greedy.trial(&launch(Workload::Noop)).unwrap_err();
    assert!(
        matches!(failure, Failure::Signal(libc::SIGSEGV)),
        "{failure:?}"
    );
}

#[test]
fn an_ordinary_user_can_do_the_same() {
    let _alone = alone();
    if !stage::is_root() || std::env::var_os(INNER).is_some() {
        println!("skipped: an ordinary user: only root can become another user");
        return;
    }
    let tests = [
        "the_payload_is_confined",
        "a_descriptor_of_the_harness_does_not_get_in",
        "the_root_holds_the_payload_and_nothing_of_the_host",
    ];
    let Some(output) = stage::as_user(65534, &tests) else {
        println!("skipped: an ordinary user: nobody may execute in the temp folder");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
