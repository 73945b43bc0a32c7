//! dockerd's own account of a trial: stored with it, on the harness's clock, and shown.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use isobench::store::document::Status;
use isobench::store::record::{Measured, Record};
use support::folder::{read_records, read_run};
use support::{left_behind, run, run_into, settled, skipped, start, status, stderr, stdout, until};

const EVENTS: [&str; 7] = [
    "attach",
    "create",
    "destroy",
    "die",
    "network connect",
    "network disconnect",
    "start",
];

/// Whether somebody set the clock meanwhile: then nothing is known, and that is said.
fn clock_was_set(why: &str) -> bool {
    why.contains("wall clock moved") || why.contains("must have been set")
}

/// Every event once, where what caused it and what it caused put it. The phases are the harness's own
/// readings: a wrong map would put events outside of them.
fn check(backend: &str, trial: &Measured) -> bool {
    let told = trial.told.as_deref().unwrap();
    assert_eq!(told.by, "dockerd");
    if let Some(why) = &told.absent {
        assert!(clock_was_set(why), "{backend}: {why}");
        return false;
    }
    assert!(told.missing.is_empty(), "{told:?}");
    let mut names: Vec<&str> = told.events.iter().map(|e| e.name.as_str()).collect();
    assert!(told.events.is_sorted_by_key(|event| event.at), "{told:?}");
    names.sort_unstable();
    assert_eq!(names, EVENTS, "{backend}");
    let bound = told.bound.unwrap().0 + 1;
    let at = |name: &str| told.events.iter().find(|e| e.name == name).unwrap().at.0;
    let within = |name: &str, from: i64, to: i64| {
        let at = at(name);
        assert!(
            (from - bound..=to + bound).contains(&at),
            "{name} {from} {to}: {trial:?}"
        );
    };
    assert!(at("create") <= at("start") && at("start") <= at("die") && at("die") <= at("destroy"));
    within("create", 0, trial.t1.0);
    within("network connect", at("create"), trial.t1.0);
    within("die", trial.t3.0, trial.t5.0);
    within("destroy", trial.t4.0, trial.t5.0);
    if backend.starts_with("dockerd") {
        let phase = |name: &str| {
            let mut all = trial.phases.iter().chain(&trial.teardown);
            let one = all.find(|phase| phase.name == name).unwrap();
            (one.at.0, one.at.0 + one.ns.0)
        };
        let (from, to) = phase("create");
        within("create", from, to);
        within("start", phase("start").0, trial.t5.0);
        let (from, to) = phase("remove");
        within("destroy", from, to);
    }
    true
}

#[test]
fn every_trial_through_dockerd_has_its_events_and_they_lie_where_they_must() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--backends",
        "process,dockerd,dockerd:network=bridge,docker",
        "--workloads",
        "noop",
        "--blocks",
        "2",
    ];
    let child = start(&mut run_into(&flags, &out));
    let number = child.id();
    let output = child.wait_with_output().unwrap();
    if status(&output) == 3 {
        return skipped("daemon_events", &stderr(&output));
    }
    assert_eq!(settled(&output), 0, "{}", stderr(&output));
    let document = read_run(&out);
    let mut known = 0;
    let mut asked = 0;
    for record in read_records(&out) {
        let Record::Trial(trial) = record else {
            continue;
        };
        let measured = trial.measured.as_ref().unwrap();
        if trial.backend == "process" {
            assert_eq!(measured.told, None);
        } else {
            asked += 1;
            known += u32::from(check(&trial.backend, measured));
        }
    }
    let skips = document.backends.iter();
    let skips = skips.filter(|backend| backend.status == Status::Skipped);
    for backend in skips {
        skipped(
            "daemon_events",
            &format!("{}: {:?}", backend.id, backend.reason),
        );
    }
    // Nobody sets a clock all the time.
    assert!(asked == 0 || known > 0, "none of {asked}");
    // What is stored is read back, with every check of a reader.
    let again = run(&["report", out.to_str().unwrap()]);
    assert_eq!(settled(&again), 0, "{}", stderr(&again));
    until("nothing is left", || left_behind(number).is_empty());
}

#[test]
fn explain_shows_them_among_the_phases() {
    let output = run(&["explain", "--backends", "dockerd", "--workloads", "noop"]);
    if status(&output) == 3 {
        return skipped("explain_daemon_events", &stderr(&output));
    }
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    if clock_was_set(&text.replace("\n    ", " ")) {
        return skipped("explain_daemon_events", "the clock was set");
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let line = |ends: &str| lines.iter().position(|line| line.ends_with(ends)).unwrap();
    for event in EVENTS {
        line(&format!("event of dockerd: {event}"));
    }
    assert!(line("event of dockerd: create") < line("t1  first instruction of the payload"));
    assert!(line("t4  the harness observes the exit") < line("event of dockerd: destroy"));
    assert!(
        text.contains("events of dockerd: as it dates them itself, ±"),
        "{text}"
    );
}
