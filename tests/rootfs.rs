//! The kinds of a container's root: each runs everything, none leaves anything, and a prepared
//! directory that was tampered with is refused.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod stage;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use isobench::backend::Backend;
use isobench::backend::container::Container;
use isobench::backend::container::options::{Options, Root};
use isobench::trial::Failure;
use isobench::workload::Workload;
use stage::{INNER, Traces, alone, container_of, launch};

fn rooted(root: Root) -> Options {
    Options::default().rooted(root)
}

#[test]
fn every_kind_runs_every_workload_and_leaves_nothing() {
    let _alone = alone();
    let before = Traces::look();
    for root in Root::ALL {
        let Some(mut container) = container_of("workloads", rooted(root)) else {
            continue;
        };
        for workload in Workload::ALL {
            let mut launch = launch(workload);
            launch.task.size = workload.limits().min_size;
            let seen = container.trial(&launch);
            // The filter ends the one that asks for more than it allows.
            let expected = match seen {
                Err(Failure::Signal(libc::SIGSYS)) => workload == Workload::Probe,
                Ok(_) => workload != Workload::Probe,
                Err(_) => false,
            };
            assert!(expected, "{root:?} {workload:?}: {seen:?}");
        }
        let during = Traces::look();
        let held = container.hold(&launch(Workload::Idle)).unwrap();
        held.release().unwrap();
        assert_eq!(Traces::look(), during);
    }
    assert_eq!(Traces::look(), before);
}

#[test]
fn each_kind_has_its_phases() {
    let _alone = alone();
    let same = [
        "mount_private",
        "mount_root",
        "mount_proc",
        "pivot_root",
        "umount_old",
    ];
    for (root, own) in [
        (Root::Tmpfs, &["write_payload", "read_only", "dev"][..]),
        (Root::Bind, &[]),
        (Root::Overlay, &["mount_upper", "read_only"]),
    ] {
        let Some(mut container) = container_of("phases", rooted(root)) else {
            continue;
        };
        let seen = container.trial(&launch(Workload::Noop)).unwrap();
        stage::assert_consistent(&seen, &[&same, own].concat());
        let has = |name| seen.phases.iter().any(|p| p.name == name);
        assert_eq!(has("write_payload"), root == Root::Tmpfs);
        assert_eq!(has("mount_upper"), root == Root::Overlay);
    }
}

/// Even if the first launch fails, and whatever fails later.
#[test]
fn failures_leave_nothing() {
    let _alone = alone();
    let before = Traces::look();
    for root in [Root::Bind, Root::Overlay] {
        let Some(container) = container_of("failures", rooted(root)) else {
            continue;
        };
        drop(container);
        stage::assert_failures_are_typed(|elf| Container::with_payload(rooted(root), elf).unwrap());
        assert_eq!(Traces::look(), before);
    }
}

/// Where the one prepared root lies.
fn prepared() -> PathBuf {
    let folders = stage::folders(std::process::id());
    assert_eq!(folders.len(), 1, "{folders:?}");
    PathBuf::from(folders.first().unwrap()).join("root")
}

/// What the next trial fails with, and where.
fn refusal(container: &mut Container) -> (&'static str, Option<i32>) {
    match container.trial(&launch(Workload::Noop)) {
        Err(Failure::Setup { phase, cause }) => (phase, cause.raw_os_error()),
        other => panic!("{other:?}"),
    }
}

/// A directory that has taken the prepared one's place is another directory, and a symbolic link
/// inside it leads nowhere.
#[test]
fn a_root_that_was_tampered_with_is_refused() {
    let _alone = alone();
    for root in [Root::Bind, Root::Overlay] {
        let Some(mut container) = container_of("tampering", rooted(root)) else {
            continue;
        };
        let path = prepared();
        let aside = path.with_file_name("aside");
        fs::rename(&path, &aside).unwrap();
        for other in ["payload", "proc", "dev"] {
            fs::create_dir_all(path.join(other)).unwrap();
        }
        assert_eq!(refusal(&mut container), ("mount_root", Some(libc::ESTALE)));
        fs::remove_dir_all(&path).unwrap();
        symlink("/", &path).unwrap();
        // The link itself is not the directory, and not even one that could be entered.
        let errno = match root {
            Root::Bind => libc::ESTALE,
            _ => libc::ENOTDIR,
        };
        assert_eq!(refusal(&mut container), ("mount_root", Some(errno)));
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(container.trial(&launch(Workload::Noop)).is_ok());

        fs::rename(path.join("proc"), path.join("moved")).unwrap();
        symlink("moved", path.join("proc")).unwrap();
        assert_eq!(refusal(&mut container), ("mount_proc", Some(libc::ELOOP)));
        fs::remove_file(path.join("proc")).unwrap();
        fs::rename(path.join("moved"), path.join("proc")).unwrap();
        assert!(container.trial(&launch(Workload::Noop)).is_ok());

        fs::rename(path.join("payload"), path.join("moved")).unwrap();
        symlink("moved", path.join("payload")).unwrap();
        assert_eq!(refusal(&mut container), ("execve", Some(libc::ELOOP)));
    }
    assert!(stage::folders(std::process::id()).is_empty());
}

#[test]
fn an_ordinary_user_can_do_the_same() {
    let _alone = alone();
    if !stage::is_root() || std::env::var_os(INNER).is_some() {
        println!("skipped: an ordinary user: only root can become another user");
        return;
    }
    let tests = [
        "every_kind_runs_every_workload_and_leaves_nothing",
        "each_kind_has_its_phases",
        "failures_leave_nothing",
        "a_root_that_was_tampered_with_is_refused",
    ];
    let Some(output) = stage::as_user(65534, &tests) else {
        println!("skipped: an ordinary user: nobody may execute in the temp folder");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
}
