//! `isobench ab`: two builds in the same blocks.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use support::{isobench, left_behind, skipped, start, status, stderr, stdout};

/// The build under test.
fn build() -> PathBuf {
    PathBuf::from(isobench().get_program())
}

/// A build that is started by a script.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    let text = text.replace("ISOBENCH ", &format!("{} ", build().display()));
    support::program(&path, &format!("#!/bin/sh\n{text}\n"));
    path
}

fn ab(base: &Path, head: &Path, flags: &[&str]) -> Output {
    let mut command = isobench();
    command
        .arg("ab")
        .arg("--base")
        .arg(base)
        .arg("--head")
        .arg(head);
    command.args(["--backends", "process", "--gate", "--seed", "1"]);
    command.args(flags).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

#[test]
fn every_block_has_a_trial_of_each_build() {
    let output = ab(&build(), &build(), &["--blocks", "25", "--format", "json"]);
    // Which word a busy machine allows is not this test's affair.
    assert!([0, 1, 5].contains(&status(&output)), "{}", stderr(&output));
    let json = json(&output);
    assert_eq!(json["schema"], "isobench.compare/1");
    assert_eq!(json["reference"], "BASE in the same block");
    assert_eq!(json["injected"].as_array().unwrap().len(), 0);
    let metrics = json["metrics"].as_array().unwrap();
    let names: Vec<&str> = metrics
        .iter()
        .map(|m| m["metric"].as_str().unwrap())
        .collect();
    for metric in ["startup", "ready", "total", "teardown"] {
        assert!(names.contains(&metric), "{names:?}");
    }
    for metric in metrics {
        let blocks = metric["blocks"][0].as_u64().unwrap();
        assert!((20..=25).contains(&blocks), "{metric}");
        assert!(metric["ratio"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_slower_build_is_worse_in_the_phase_that_is_slower() {
    const NAME: &str = "a_slower_build_is_worse_in_the_phase_that_is_slower";
    let dir = tempfile::tempdir().unwrap();
    let slow = "ISOBENCH_INJECT=process/startup/clone3=30ms exec ISOBENCH \"$@\"";
    let slow = script(dir.path(), "slow", slow);
    let startup = |output: &Output| {
        let mut found = json(output);
        let metrics = found["metrics"].as_array_mut().unwrap();
        metrics.retain(|metric| metric["metric"] == "startup");
        metrics.remove(0)
    };
    let both = [(build(), slow.clone()), (slow, build())];
    for (index, (base, head)) in both.iter().enumerate() {
        let output = ab(base, head, &["--blocks", "30", "--format", "json"]);
        let startup = startup(&output);
        let ratio = startup["ratio"].as_f64().unwrap();
        let injected = json(&output)["injected"][0].clone();
        // A machine that takes the processor away gives no verdict, and says so.
        let disturbed = support::disturbed(&startup);
        if let Some(why) = &disturbed {
            skipped(NAME, why);
        }
        if index == 0 {
            assert_eq!(injected, "HEAD: process/startup/clone3=30000000ns");
            assert!(ratio > 2.0, "{startup:#}");
            if disturbed.is_some() {
                assert_eq!(status(&output), 5, "{startup:#}");
                continue;
            }
            assert_eq!(status(&output), 1, "{startup:#}");
            assert_eq!(startup["verdict"], "worse");
            assert_eq!(startup["parts"][0]["name"], "clone3");
            let difference = startup["parts"][0]["difference"].as_f64().unwrap();
            assert!(difference > 25e6, "{difference}");
        } else {
            // The other way round it is an improvement, and passes.
            assert_eq!(injected, "BASE: process/startup/clone3=30000000ns");
            assert!(ratio < 0.5, "{startup:#}");
            let expected = if disturbed.is_some() { 5 } else { 0 };
            assert_eq!(status(&output), expected, "{startup:#}");
        }
    }
}

#[test]
fn what_is_no_build_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = dir.path().join("nothing");
    let folder = dir.path().to_path_buf();
    let mute = script(dir.path(), "mute", "exit 7");
    let other = script(dir.path(), "other", "echo hello");
    // What says that it is isobench, and then does not serve, or not as it should.
    let claims = |name: &str, then: &str| {
        let version = "[ \"$1\" = --version ] && { echo isobench 9; exit; }";
        script(dir.path(), name, &format!("{version}\n{then}"))
    };
    let silent = claims("silent", "echo hello; sleep 1");
    let gone = claims("gone", "exit 7");
    let newer =
        "echo '{\"protocol\":3,\"version\":\"9\",\"commit\":\"x\",\"payload\":\"y\"}'; sleep 1";
    let newer = claims("newer", newer);
    let foreign =
        "echo '{\"protocol\":2,\"version\":\"9\",\"commit\":\"x\",\"payload\":\"y\"}'; sleep 1";
    let foreign = claims("foreign", foreign);
    let runtime = script(dir.path(), "runtime", "echo runc version 99");
    for (head, said) in [
        (&nothing, "cannot start"),
        (&folder, "cannot start"),
        (&mute, "neither isobench nor one of the runtimes"),
        (&other, "its --version says \"hello\""),
        (
            &runtime,
            "is runc (runc version 99), and --base is isobench",
        ),
        (&silent, "no answer"),
        (&gone, "exit status: 7"),
        (&newer, "protocol 3"),
        (&foreign, "payload.sha256"),
    ] {
        let output = ab(&build(), head, &["--blocks", "1"]);
        assert_eq!(status(&output), 2, "{said}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
    for (flag, bad) in [
        ("--blocks", "0"),
        ("--max-time", "0s"),
        ("--threshold", "NaN"),
        ("--profile", "huge"),
        ("--workloads", "idle"),
        ("--runtime", "podman"),
    ] {
        let output = ab(&build(), &build(), &[flag, bad]);
        assert_eq!(status(&output), 2, "{flag}");
        assert!(stderr(&output).contains(flag), "{}", stderr(&output));
    }
}

#[test]
fn a_build_that_ends_on_the_way_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let short = script(
        dir.path(),
        "short",
        "[ \"$1\" = --version ] && exec ISOBENCH --version\nISOBENCH worker | { sed -u 6q; kill $$; }",
    );
    let output = ab(&build(), &short, &["--blocks", "50"]);
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    assert!(stderr(&output).contains("short"), "{}", stderr(&output));
}

#[test]
fn nothing_is_left_after_an_interrupt() {
    let mut command = isobench();
    command
        .arg("ab")
        .arg("--base")
        .arg(build())
        .arg("--head")
        .arg(build());
    command.args([
        "--backends",
        "process",
        "--max-time",
        "60s",
        "--blocks",
        "100000",
    ]);
    let child = start(&mut command);
    let pid = child.id();
    let workers = || {
        left_behind(pid)
            .iter()
            .filter(|l| l.starts_with("process"))
            .count()
    };
    support::until("two workers", || workers() == 2);
    std::thread::sleep(std::time::Duration::from_millis(300));
    support::signal(&child, nix::sys::signal::Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    support::until("no workers", || workers() == 0);
}
