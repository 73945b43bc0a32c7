//! Backend `process`, through the library.

mod stage;

use isobench::backend::Backend;
use isobench::backend::process::Process;
use isobench::metric::Bytes;
use isobench::workload::{Workload, payload};
use sha2::{Digest, Sha256};
use stage::{INNER, Traces, alone, launch};

#[test]
fn instants_are_in_order_and_phases_fill_the_start() {
    let _alone = alone();
    let mut process = Process::new().unwrap();
    for _ in 0..20 {
        let seen = process.trial(&launch(Workload::Noop)).unwrap();
        stage::assert_consistent(&seen, &["pipe", "clone3", "stdio", "execve"]);
        assert_eq!(seen.teardown.len(), 2, "{seen:?}");
    }
}

#[test]
fn what_runs_is_what_was_built() {
    let found: String = Sha256::digest(payload::BYTES)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(found, payload::SHA256);
}

#[test]
fn an_idle_instance_waits_and_answers() {
    let _alone = alone();
    let before = Traces::look();
    let mut process = Process::new().unwrap();
    let held = process.hold(&launch(Workload::Idle)).unwrap();
    let footprint = held.footprint().unwrap();
    assert!(footprint.pss > Bytes(0) && footprint.private > Bytes(0));
    held.release().unwrap();
    // Dropped without a release, it is killed.
    let held = process.hold(&launch(Workload::Idle)).unwrap();
    assert_eq!(stage::children().len(), 1);
    drop(held);
    drop(process);
    assert_eq!(Traces::look(), before);
}

#[test]
fn failures_are_typed_and_leave_nothing() {
    let _alone = alone();
    let before = Traces::look();
    stage::assert_failures_are_typed(|elf| Process::with_payload(elf).unwrap());
    assert_eq!(Traces::look(), before);
}

#[test]
fn fifty_trials_leave_nothing() {
    let _alone = alone();
    let mut process = Process::new().unwrap();
    let before = Traces::look();
    for _ in 0..50 {
        process.trial(&launch(Workload::Noop)).unwrap();
    }
    assert_eq!(Traces::look(), before);
}

#[test]
fn an_ordinary_user_can_do_the_same() {
    let _alone = alone();
    if !stage::is_root() || std::env::var_os(INNER).is_some() {
        println!("skipped: an_ordinary_user_can_do_the_same: only root can become another user");
        return;
    }
    let tests = [
        "instants_are_in_order_and_phases_fill_the_start",
        "an_idle_instance_waits_and_answers",
        "failures_are_typed_and_leave_nothing",
        "fifty_trials_leave_nothing",
    ];
    let Some(output) = stage::as_user(65534, &tests) else {
        println!(
            "skipped: an_ordinary_user_can_do_the_same: nobody may execute in the temp folder"
        );
        return;
    };
    assert!(output.status.success(), "{output:?}");
}
