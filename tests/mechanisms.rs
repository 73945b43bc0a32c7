//! Each mechanism of a container by itself: had where it is asked for, lacking where it is not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests state expectations, too.

mod stage;

use std::fs;

use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::backend::container::options::Options;
use isobench::backend::{Backend, Configuration, open};
use isobench::workload::Workload;
use stage::{Traces, alone, launch};

fn options(mechanisms: Mechanisms) -> Configuration {
    Configuration::Container(Options::of(mechanisms))
}

/// A container of exactly these, or `None` with the reason on standard output.
fn container(mechanisms: Mechanisms) -> Option<Box<dyn Backend>> {
    let configuration = options(mechanisms);
    match open(&configuration) {
        Ok(backend) => Some(backend),
        Err(why) => {
            println!("skipped: {configuration}: {} ({})", why.reason, why.remedy);
            None
        }
    }
}

fn file(pid: i32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap()
}

fn field(pid: i32, name: &str) -> String {
    let status = file(pid, "status");
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

/// Whether an idle payload has the mechanism, as the host sees it.
fn is_there(pid: i32, mechanism: Mechanism) -> bool {
    let own = |name: &str| {
        let link = |who: &str| fs::read_link(format!("/proc/{who}/ns/{name}")).unwrap();
        link(&pid.to_string()) != link("self")
    };
    match mechanism {
        Mechanism::CgroupNs => own("cgroup"),
        namespace if namespace.namespace().is_some() => own(namespace.name()),
        Mechanism::Loopback => file(pid, "net/fib_trie").contains("127.0.0.1") && own("net"),
        Mechanism::Rootfs => fs::metadata(format!("/proc/{pid}/root/payload")).is_ok(),
        Mechanism::Cgroup => file(pid, "cgroup").contains("/isobench-"),
        Mechanism::Cpu => has_cpu_limit(),
        Mechanism::Capabilities => field(pid, "CapBnd") == "0000000000000000",
        Mechanism::Seccomp => field(pid, "Seccomp") == "2",
        Mechanism::Veth => own("net") && file(pid, "net/dev").contains("eth0:"),
        other => unreachable!("{other:?} is a namespace"),
    }
}

/// Whether a group of this harness has a limit on processor time.
fn has_cpu_limit() -> bool {
    stage::groups(std::process::id()).iter().any(|group| {
        let read = |file| fs::read_to_string(format!("{group}/{file}")).unwrap_or_default();
        let (quota, max) = (read("cpu.cfs_quota_us"), read("cpu.max"));
        quota.trim().parse().is_ok_and(|micros: i64| micros > 0)
            || max
                .split(' ')
                .next()
                .is_some_and(|m| m.parse::<u64>().is_ok())
    })
}

/// Holds an idle instance and compares what it has with what was asked for.
fn check(mechanisms: Mechanisms) {
    let Some(mut backend) = container(mechanisms) else {
        return;
    };
    let held = backend.hold(&launch(Workload::Idle)).unwrap();
    let pid = stage::children()[0];
    for mechanism in Mechanism::ALL {
        let wanted = mechanisms.has(mechanism);
        let has = is_there(pid, mechanism);
        // Who is not root has a user namespace wherever something needs it.
        let implied = mechanism == Mechanism::User && !stage::is_root();
        assert!(
            has == wanted || has && implied,
            "{} has {}: {has}",
            options(mechanisms),
            mechanism.name()
        );
    }
    held.release().unwrap();
}

#[test]
fn each_one_alone_is_there_and_nothing_else() {
    let _alone = alone();
    let before = Traces::look();
    check(Mechanisms::NONE);
    for mechanism in Mechanism::ALL {
        check(Mechanisms::of([mechanism]));
    }
    assert_eq!(Traces::look(), before);
}

#[test]
fn each_one_left_out_is_missing_and_everything_else_there() {
    let _alone = alone();
    let before = Traces::look();
    // Who may make no control group, or no interface, has all the others.
    let alone = |one: &Mechanism| container(Mechanisms::of([*one])).is_some();
    let all = Mechanisms::of(Mechanism::ALL.into_iter().filter(alone));
    check(all);
    for mechanism in all.iter() {
        check(all.without(mechanism));
    }
    assert_eq!(Traces::look(), before);
}

/// The clocks of a time namespace begin at about 0: the namespace is entered by the exec, although
/// the child was made with shared memory.
#[test]
fn a_time_namespace_has_clocks_of_its_own() {
    let _alone = alone();
    let Some(mut backend) = container(Mechanisms::of([Mechanism::Time])) else {
        return;
    };
    let held = backend.hold(&launch(Workload::Idle)).unwrap();
    let pid = stage::children()[0];
    let offsets = file(pid, "timens_offsets");
    let mut seconds = offsets
        .lines()
        .map(|l| l.split_whitespace().nth(1).unwrap());
    assert!(seconds.all(|s| s.starts_with('-')), "{offsets}");
    held.release().unwrap();
}
