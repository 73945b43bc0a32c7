//! `isobench selftest` as a user meets it. What it finds is this host's affair; that it says so
//! completely is tested here.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{isobench, left_behind, run, skipped, start, status, stderr, stdout};

const GROUPS: [&str; 5] = [
    "known durations",
    "known answers",
    "overhead",
    "false alarms",
    "injected delays",
];

/// Runs it; nothing where this host's clock or `process` is refused.
#[allow(clippy::unwrap_used)] // a part of tests, though not marked as one
fn selftest(test: &str, format: &str) -> Option<(i32, String)> {
    let flags = [
        "selftest",
        "--profile",
        "smoke",
        "--seed",
        "3",
        "--format",
        format,
    ];
    let child = start(isobench().args(flags));
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(left_behind(pid).is_empty());
    if status(&output) == 3 {
        skipped(test, &stderr(&output));
        return None;
    }
    Some((status(&output), stdout(&output)))
}

#[test]
fn a_table_has_every_check_and_ends_with_a_sentence() {
    let Some((code, text)) = selftest("table", "human") else {
        return;
    };
    for group in GROUPS {
        assert!(text.contains(&format!("\n{group}")), "{group}\n{text}");
    }
    for row in [
        "spin 1 ms",
        "sleep 100 ms",
        "every workload as a process",
        "a trial outside t0..t5",
        "process > 5 %, 400 pairs",
        "startup +10 %, 400 pairs",
        "teardown +5 %, 800 pairs",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let sentence = text.rsplit("\n\n").next().unwrap();
    let expected = match code {
        0 => "is straight",
        4 => "is not straight",
        5 => "Too little data",
        other => panic!("status {other}\n{text}"),
    };
    let joined = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(expected), "{code}: {joined}");
}

#[test]
fn json_says_the_same() {
    let Some((code, text)) = selftest("json", "json") else {
        return;
    };
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["schema"], "isobench.selftest/1");
    assert_eq!(report["seed"], 3);
    assert!(report["interrupted"].is_null());
    let word = match code {
        0 => "pass",
        4 => "fail",
        _ => "inconclusive",
    };
    assert_eq!(report["outcome"], word);
    let checks = report["checks"].as_array().unwrap();
    for group in GROUPS {
        assert!(checks.iter().any(|c| c["group"] == group), "{group}");
    }
    let answers = checks
        .iter()
        .find(|c| c["group"] == "known answers")
        .unwrap();
    assert_eq!(answers["outcome"], "pass", "{answers}");
    for rate in checks.iter().filter(|c| c["finding"]["kind"] == "rate") {
        let number = |field: &str| rate["finding"][field].as_f64().unwrap();
        assert!(number("comparisons") >= 1.0);
        let ends = &rate["finding"]["ci95"];
        let (low, high) = (ends[0].as_f64().unwrap(), ends[1].as_f64().unwrap());
        assert!(low <= number("rate") && number("rate") <= high, "{rate}");
    }
}

/// What the gate catches on a busy machine is this host's affair; that every claim is looked at and
/// told is tested here.
#[test]
fn the_gate_is_tested_with_delays_leaks_and_nothing() {
    const NAME: &str = "the_gate_is_tested_with_delays_leaks_and_nothing";
    if !support::usable("container") {
        return skipped(NAME, "no container on this host");
    }
    let flags = [
        "selftest",
        "--gate",
        "--profile",
        "smoke",
        "--seed",
        "3",
        "--format",
        "json",
    ];
    let child = start(isobench().args(flags));
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(left_behind(pid).is_empty());
    assert!([0, 4, 5].contains(&status(&output)), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let checks = report["checks"].as_array().unwrap();
    for (group, what) in [
        ("gate: false alarms", "two runs of the same"),
        ("gate: leaks", "container 256 KiB more"),
        ("gate: delays", "container clone3 +10 %"),
        ("gate: delays", "container pivot_root +10 %"),
        ("gate: delays", "container cgroup_remove +10 %"),
    ] {
        let check = checks
            .iter()
            .find(|c| c["group"] == group && c["what"] == what);
        let finding = &check.unwrap_or_else(|| panic!("{group} {what}: {report:#}"))["finding"];
        assert_eq!(finding["kind"], "rate", "{group} {what}: {finding}");
        assert!(finding["comparisons"].as_u64().unwrap() >= 1);
        if group == "gate: delays" {
            let injected = finding["injected"].as_f64().unwrap();
            assert!((0.01..1.0).contains(&injected), "{finding}");
        }
    }
}

#[test]
fn bad_input_is_refused_by_field() {
    for (flags, field) in [
        (["--profile", "huge"], "--profile"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "1.5"], "--seed"),
        (["--format", "csv"], "--format"),
    ] {
        let output = isobench().arg("selftest").args(flags).output().unwrap();
        assert_eq!(status(&output), 2, "{flags:?}");
        assert!(stderr(&output).contains(field), "{}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
}

#[test]
fn a_signal_ends_it_with_what_there_is() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let mut command = isobench();
        command.args(["selftest", "--profile", "full", "--format", "json"]);
        command.stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let asked = Instant::now();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        if status(&output) == 3 {
            return skipped("signal", "the clock or process is refused");
        }
        assert_eq!(status(&output), code);
        // Far more than it takes, far less than the profile.
        assert!(asked.elapsed() < Duration::from_secs(30));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(report["interrupted"], signal);
    }
}

#[test]
fn help_explains_it() {
    let text = stdout(&run(&["selftest", "--help"]));
    for word in ["--profile", "--seed", "--format", "known answer", "quick"] {
        assert!(text.contains(word), "{word}\n{text}");
    }
}
