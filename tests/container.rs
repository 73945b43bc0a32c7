//! Backend `container`, through the library: its trials, its failures and what it leaves.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod stage;

use std::process::Command;

use isobench::backend::Backend;
use isobench::backend::container::Container;
use isobench::backend::container::options::Options;
use isobench::metric::Bytes;
use isobench::trial::Failure;
use isobench::workload::Workload;
use stage::{INNER, Traces, alone, container, grouped, launch};

#[test]
fn instants_are_in_order_and_phases_fill_the_start() {
    let _alone = alone();
    let Some(mut container) = container("instants") else {
        return;
    };
    let mut wanted = vec![
        "pipe",
        "clone3",
        "mount_private",
        "mount_root",
        "write_payload",
        "mount_proc",
        "dev",
        "pivot_root",
        "umount_old",
        "sethostname",
        "loopback",
        "capabilities",
        "no_new_privs",
        "seccomp",
        "execve",
    ];
    if grouped(&container) {
        wanted.extend(["cgroup_create", "cgroup_join"]);
    }
    if !stage::is_root() {
        wanted.extend(["setgroups", "uid_map", "gid_map"]);
    }
    for _ in 0..20 {
        let seen = container.trial(&launch(Workload::Noop)).unwrap();
        stage::assert_consistent(&seen, &wanted);
        let teardown: Vec<_> = seen.teardown.iter().map(|p| p.name).collect();
        assert_eq!(teardown, ["wait", "cgroup_remove", "close"]);
    }
}

#[test]
fn an_idle_instance_waits_answers_and_can_be_dropped() {
    let _alone = alone();
    let Some(mut container) = container("idle") else {
        return;
    };
    let before = Traces::look();
    let held = container.hold(&launch(Workload::Idle)).unwrap();
    let footprint = held.footprint().unwrap();
    assert!(footprint.pss > Bytes(0) && footprint.private > Bytes(0));
    held.release().unwrap();
    drop(container.hold(&launch(Workload::Idle)).unwrap());
    assert_eq!(Traces::look(), before);
}

#[test]
fn failures_are_typed_and_leave_nothing() {
    let _alone = alone();
    if container("failures").is_none() {
        return;
    }
    let before = Traces::look();
    stage::assert_failures_are_typed(|elf| {
        Container::with_payload(Options::default(), elf).unwrap()
    });
    assert_eq!(Traces::look(), before);
}

#[test]
fn every_workload_runs_inside() {
    let _alone = alone();
    let Some(mut container) = container("workloads") else {
        return;
    };
    for workload in Workload::ALL {
        let limits = workload.limits();
        let mut launch = launch(workload);
        launch.task.size = limits.min_size;
        if workload == Workload::Probe {
            // The one that asks for more than the filter allows: its first question is the end.
            let failure = container.trial(&launch).unwrap_err();
            assert!(
                matches!(failure, Failure::Signal(libc::SIGSYS)),
                "{failure:?}"
            );
            continue;
        }
        let seen = container.trial(&launch);
        assert!(seen.is_ok(), "{workload:?}: {seen:?}");
    }
}

#[test]
fn fifty_trials_leave_nothing() {
    let _alone = alone();
    let Some(mut container) = container("fifty") else {
        return;
    };
    let before = Traces::look();
    for _ in 0..50 {
        container.trial(&launch(Workload::Noop)).unwrap();
    }
    assert_eq!(Traces::look(), before);
}

/// Not a test of its own: says whether a container can be had.
#[test]
fn inner_says_whether_and_why_not() {
    if std::env::var_os(INNER).is_some_and(|v| v == "why") {
        match Container::new(Options::default()) {
            Ok(_) => println!("\nrunning"),
            Err(why) => println!("\nreason {} remedy {}", why.reason, why.remedy),
        }
    }
}

/// In a user namespace of one id, root there is no root: the container still runs; and where no
/// further user namespace may be made, the refusal names the switch.
#[test]
fn a_refusal_names_the_switch_that_forbids_user_namespaces() {
    let _alone = alone();
    let inner = |prepare: &str| {
        let script =
            format!("{prepare} exec \"$0\" --exact --nocapture inner_says_whether_and_why_not");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(INNER, "why")
            .output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    match inner("") {
        Ok(text) if text.contains("\nrunning") => {}
        other => {
            println!("skipped: switch: no user namespace can be made here: {other:?}");
            return;
        }
    }
    let text = inner("echo 0 > /proc/sys/user/max_user_namespaces;").unwrap();
    assert!(text.contains("reason clone3: "), "{text}");
    assert!(
        text.contains("remedy sysctl -w user.max_user_namespaces="),
        "{text}"
    );
}

/// In a user namespace of one id, where mounts of its own can be made: a device that is not what its
/// name says is refused, the harness's own as well as one that is bound into the container.
#[test]
fn devices_that_are_others_are_refused() {
    let _alone = alone();
    let inner = |mount: &str| {
        let script =
            format!("{mount} && exec \"$0\" --exact --nocapture inner_says_whether_and_why_not");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(INNER, "why")
            .output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    match inner("true") {
        Ok(text) if text.contains("\nrunning") => {}
        other => {
            println!("skipped: devices that are others: no mounts can be made here: {other:?}");
            return;
        }
    }
    let text = inner("mount --bind /dev/zero /dev/null").unwrap();
    assert!(text.contains("not the character device 1:3"), "{text}");
    let text = inner("mount --bind /dev/null /dev/full").unwrap();
    assert!(
        text.contains("reason a first launch failed: dev: "),
        "{text}"
    );
    assert!(text.contains("(os error 19)"), "{text}");
}

#[test]
fn an_ordinary_user_can_do_the_same() {
    let _alone = alone();
    if !stage::is_root() || std::env::var_os(INNER).is_some() {
        println!("skipped: an ordinary user: only root can become another user");
        return;
    }
    let tests = [
        "instants_are_in_order_and_phases_fill_the_start",
        "an_idle_instance_waits_answers_and_can_be_dropped",
        "failures_are_typed_and_leave_nothing",
        "every_workload_runs_inside",
        "fifty_trials_leave_nothing",
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
