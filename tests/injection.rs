//! `ISOBENCH_INJECT`: a gate catches what was put in, and nobody takes such a run for a measurement.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::path::Path;
use std::process::Output;

use support::folder::read_run;
use support::{isobench, run_into, skipped, status, stderr, stdout, usable};

const VARIABLE: &str = "ISOBENCH_INJECT";

fn injected(what: &str, flags: &[&str], out: &Path) -> Output {
    let mut command = run_into(flags, out);
    command.env(VARIABLE, what).output().unwrap()
}

fn process(what: &str, out: &Path) -> Output {
    let flags = [
        "--backends",
        "process",
        "--workloads",
        "noop",
        "--blocks",
        "3",
    ];
    injected(what, &flags, out)
}

#[test]
fn such_a_run_says_so_everywhere_and_becomes_no_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let output = process("process/startup/clone3=2ms,process/teardown=1ms", &out);
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    let run = read_run(&out);
    let expected = [
        "process/startup/clone3=2000000ns",
        "process/teardown=1000000ns",
    ];
    assert_eq!(run.injected, expected);
    let said = "no measurement: ISOBENCH_INJECT put in process/startup/clone3=2000000ns";
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat(stdout(&output)).contains(said), "{}", stdout(&output));
    let again = isobench().arg("report").arg(&out).output().unwrap();
    assert!(flat(stdout(&again)).contains(said), "{}", stdout(&again));
    // The delay is where it was put: in every trial, the phase and the teardown are that long.
    let trials = std::fs::read_to_string(out.join("trials.jsonl")).unwrap();
    let trials = trials
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let trials: Vec<_> = trials.filter(|t| t["record"] == "trial").collect();
    assert!(!trials.is_empty());
    for trial in trials {
        let phase = |list: &str, name: &str| {
            let phases = trial["measured"][list].as_array().unwrap().iter();
            let its = phases.filter(|p| p["name"] == name);
            its.map(|p| p["ns"].as_i64().unwrap()).sum::<i64>()
        };
        assert!(phase("phases", "clone3") >= 2_000_000, "{trial}");
        assert!(phase("teardown", "injected") >= 1_000_000, "{trial}");
    }
    let baseline = dir.path().join("b.json");
    let mut keep = isobench();
    let keep = keep.arg("baseline").arg(&out).arg(&baseline);
    let output = keep.output().unwrap();
    assert_eq!(status(&output), 2, "{}", stderr(&output));
    assert!(!baseline.exists());
    let mut command = run_into(&["--save-baseline", "x"], &dir.path().join("two"));
    let output = command
        .env(VARIABLE, "process/startup=1ms")
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
    assert!(
        stderr(&output).contains("--save-baseline"),
        "{}",
        stderr(&output)
    );
    assert!(!dir.path().join("two").exists());
}

#[test]
fn what_can_have_no_effect_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (index, (what, said)) in [
        ("", "BACKEND/PLACE"),
        ("container/startup=1ms", "container is not measured"),
        ("process/startup=1h", "a time from"),
        ("process/startup/clone3=1ms,", "BACKEND/PLACE"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = dir.path().join(index.to_string());
        let output = process(what, &out);
        assert_eq!(status(&output), 2, "{what}: {}", stderr(&output));
        let error = stderr(&output);
        assert!(error.contains(VARIABLE) && error.contains(said), "{error}");
        assert!(!out.exists());
    }
    // Only the trials tell which phases there are.
    let output = process("process/startup/pivot_root=1ms", &dir.path().join("phase"));
    assert_eq!(status(&output), 2);
    let error = stderr(&output);
    assert!(error.contains("it has: pipe, clone3"), "{error}");
}

/// The whole way: two runs of this host, one with a delay, and the gate names metric and phase.
#[test]
fn the_gate_names_the_metric_and_the_phase_that_was_slowed_down() {
    const NAME: &str = "the_gate_names_the_metric_and_the_phase_that_was_slowed_down";
    if !usable("container") {
        return skipped(NAME, "no container on this host");
    }
    let dir = tempfile::tempdir().unwrap();
    let (base, head) = (dir.path().join("base"), dir.path().join("head"));
    let flags = [
        "--backends",
        "process,container",
        "--workloads",
        "noop",
        "--blocks",
        "40",
    ];
    let clean = run_into(&flags, &base).output().unwrap();
    let slow = injected("container/startup/clone3=50ms", &flags, &head);
    for output in [&clean, &slow] {
        assert_eq!(support::settled(output), 0, "{}", stderr(output));
    }
    let mut command = isobench();
    let command = command.args(["compare", "--gate", "--format", "json"]);
    let output = command.args([&base, &head]).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    let startup = metrics.iter().find(|m| m["metric"] == "startup").unwrap();
    if let Some(why) = support::disturbed(startup) {
        return skipped(NAME, &why);
    }
    assert_eq!(status(&output), 1, "{json:#}");
    assert_eq!(startup["verdict"], "worse", "{json:#}");
    assert_eq!(startup["parts"][0]["name"], "clone3", "{json:#}");
    assert_eq!(
        json["injected"][0],
        "HEAD: container/startup/clone3=50000000ns"
    );
}
