//! Runs that are interrupted or killed: what was measured is kept, nothing is left behind.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use isobench::measure::stored::load;
use isobench::store::document::Status;
use isobench::store::record::Record;
use nix::sys::signal::Signal;
use support::folder::{finished, read_records, read_run};
use support::{
    isobench, left_behind, run_into, signal, skipped, start, status, stderr, stdout, until, usable,
};

/// Starts a run, and interrupts it once `trials.jsonl` has so many lines; hands back how many it had
/// then.
fn interrupted(flags: &[&str], lines: usize, out: &Path) -> (u32, usize, Output) {
    let child = start(&mut run_into(flags, out));
    let number = child.id();
    // Written before the first trial, and after the signals are watched for.
    until("a run.json", || out.join("run.json").exists());
    until("enough trials", || finished(out) >= lines);
    let seen = finished(out);
    signal(&child, Signal::SIGINT);
    (number, seen, child.wait_with_output().unwrap())
}

/// SIGINT in the middle, twice: 130, finished trials kept, the run marked incomplete, nothing left.
#[test]
fn an_interrupt_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--profile", "full", "--workloads", "noop"];
    let child = start(&mut run_into(&flags, &out));
    let number = child.id();
    until("five trials", || finished(&out) >= 5);
    signal(&child, Signal::SIGINT);
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let document = read_run(&out);
    assert!(!document.complete);
    assert_eq!(document.ended_early.as_deref(), Some("interrupted"));
    assert!(read_records(&out).len() >= 5);
    assert_eq!(left_behind(number), BTreeSet::new());
}

/// Before the first trial is over: nothing was measured, but nothing has failed either.
#[test]
fn an_interrupt_in_the_warm_up_is_nobodys_failure() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--backends", "process", "--workloads", "chase@256MiB"];
    let (number, seen, output) = interrupted(&flags, 0, &out);
    assert_eq!((seen, status(&output)), (0, 130), "{}", stderr(&output));
    let document = read_run(&out);
    let process = &document.backends[0];
    assert_eq!((process.status, process.failures), (Status::Unmeasured, 0));
    assert!(process.reason.as_deref().unwrap().contains("interrupted"));
    let text = stdout(&output);
    assert!(text.contains("process was not measured"), "{text}");
    assert!(!text.contains("failed"), "{text}");
    assert_eq!(left_behind(number), BTreeSet::new());
    // And so it is when read back.
    let report = isobench().arg("report").arg(&out).output().unwrap();
    assert_eq!(stdout(&report), text, "{}", stderr(&report));
}

/// A budget that is smaller than one trial: inconclusive, and nobody's failure.
#[test]
fn a_budget_below_one_trial_is_nobodys_failure() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--backends",
        "process",
        "--workloads",
        "chase@256MiB",
        "--max-time",
        "100ms",
    ];
    let output = run_into(&flags, &out).output().unwrap();
    assert_eq!(status(&output), 5, "{}", stderr(&output));
    let document = read_run(&out);
    assert_eq!(document.ended_early.as_deref(), Some("max-time"));
    assert_eq!(document.backends[0].status, Status::Unmeasured);
    assert_eq!(document.backends[0].failures, 0);
}

/// SIGINT while a guest works: the vCPU is brought back and nothing more is started.
#[test]
fn an_interrupt_ends_a_working_vm() {
    if !usable("microvm") {
        return skipped("an_interrupt_ends_a_working_vm", "no usable /dev/kvm");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--backends", "microvm", "--workloads", "chase@256MiB"];
    let (number, seen, output) = interrupted(&flags, 1, &out);
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let document = read_run(&out);
    assert!(!document.complete);
    assert_eq!(document.ended_early.as_deref(), Some("interrupted"));
    assert_eq!(document.backends[0].failures, 0);
    assert!(read_records(&out).len() >= seen);
    assert_eq!(left_behind(number), BTreeSet::new());
}

/// SIGINT while instances idle: all are released, and the round it cut short is nobody's failure.
#[test]
fn an_interrupt_releases_idle_instances() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--profile", "full", "--workloads", "idle"];
    let (number, _, output) = interrupted(&flags, 1, &out);
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let document = read_run(&out);
    assert!(!document.complete);
    assert!(document.backends.iter().all(|b| b.failures == 0));
    assert!(read_records(&out).iter().all(|r| match r {
        Record::Trial(t) => t.failure.is_none(),
        Record::Memory(m) => m.failure.is_none(),
        Record::Burst(b) => b.failure.is_none(),
        Record::Probe(p) => p.failure.is_none(),
        Record::Boundary(b) => b.failure.is_none(),
    }));
    assert_eq!(left_behind(number), BTreeSet::new());
}

/// kill -9 while containers idle: their payloads die with the harness, and its guardian removes
/// their groups. What was recorded can be read.
#[test]
fn a_killed_run_leaves_nothing() {
    if !usable("container") {
        return skipped("a_killed_run_leaves_nothing", "no container here");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--backends", "container", "--workloads", "idle"];
    let mut child = start(&mut run_into(&flags, &out));
    let number = child.id();
    let mut payloads = Vec::new();
    until("three instances", || {
        let left = left_behind(number).into_iter();
        payloads = left
            .filter_map(|l| l.strip_prefix("process ").map(str::to_owned))
            .collect();
        payloads.len() >= 3
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for stat in payloads {
        let pid = stat.split(' ').next().unwrap().to_owned();
        // A zombie is dead; whoever adopted it may take its time to notice.
        until("the payload's end", || {
            !fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|now| now.contains("(payload)") && !now.contains(") Z"))
        });
    }
    until("the guardian's work", || left_behind(number).is_empty());
    read_records(&out);
}

/// SIGKILL at several moments: nothing that was written is lost, and the run is still evidence.
#[test]
fn a_killed_run_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // Not the first run: it may have got no further than its warm-up.
    let base = dir.path().join("1");
    for (index, wanted) in [1_usize, 9, 40, 100].into_iter().enumerate() {
        let out = dir.path().join(index.to_string());
        // Fixed, or a quiet machine has enough before the hundredth trial.
        let flags = [
            "--workloads",
            "noop",
            "--backends",
            "process",
            "--blocks",
            "100000",
        ];
        let mut child = run_into(&flags, &out)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("so many trials", || finished(&out) >= wanted);
        let acknowledged = finished(&out);
        child.kill().unwrap();
        child.wait().unwrap();
        let stored = load(&out).unwrap();
        assert!(stored.is_unsealed() && !stored.run.complete);
        assert!(stored.records.unwrap().len() >= acknowledged);
        // The first trial only warms up.
        assert!(wanted == 1 || stored.run.metrics[0].metric == "startup");
        let report = isobench().arg("report").arg(&out).output().unwrap();
        assert_eq!(status(&report), 0, "{}", stderr(&report));
        if index > 1 {
            let mut compare = isobench();
            compare.arg("compare").args([&base, &out]).arg("--gate");
            let output = compare.output().unwrap();
            // One backend has nothing to be compared with: inconclusive, not an error.
            assert_eq!(status(&output), 5, "{}", stderr(&output));
        }
    }
}

/// A dockerd that answers with what `answer` makes of a request's first line, and keeps what it was
/// asked.
fn dockerd(
    socket: &Path,
    answer: impl Fn(&str) -> Option<String> + Send + 'static,
) -> std::sync::Arc<std::sync::Mutex<Vec<String>>> {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&asked);
    // Ends with the test: nobody but its isobench connects.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            loop {
                let (mut head, mut length) = (Vec::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push(line.trim().to_owned());
                }
                let Some(first) = head.first() else { break };
                let first = first.trim_end_matches(" HTTP/1.1").to_owned();
                stream.read_exact(&mut vec![0; length]).unwrap();
                kept.lock().unwrap().push(first.clone());
                let Some(body) = answer(&first) else { continue };
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    asked
}

fn with_dockerd(socket: &Path, out: &Path) -> std::process::Child {
    let mut run = run_into(&["--backends", "dockerd"], out);
    start(run.arg("--docker-socket").arg(socket))
}

/// What a daemon was asked to make is there when it says so, and not when its asker gives up: only then
/// it can be removed, by the name that it was given.
#[test]
fn what_a_daemon_makes_behind_an_interrupt_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let (creating, created) = std::sync::mpsc::channel();
    let (interrupted, go_on) = std::sync::mpsc::channel::<()>();
    let asked = dockerd(&socket, move |request| {
        if request.starts_with("POST /containers/create") {
            creating.send(()).unwrap();
            go_on.recv().unwrap();
            // The harness looks at its signals every tenth of a second.
            std::thread::sleep(std::time::Duration::from_millis(500));
            return Some("{\"Id\":\"0123abc\"}".to_owned());
        }
        Some("{\"Version\":\"0\"}".to_owned())
    });
    let child = with_dockerd(&socket, &dir.path().join("out"));
    created.recv().unwrap();
    signal(&child, Signal::SIGINT);
    interrupted.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let asked = asked.lock().unwrap();
    let at = |wanted: &str| asked.iter().position(|request| request.starts_with(wanted));
    assert!(at("DELETE /containers/0123abc?").is_some(), "{asked:?}");
    assert_eq!(at("POST /containers/0123abc/start"), None, "{asked:?}");
}

/// It is the user who ended it, and not the host that cannot.
#[test]
fn an_interrupt_while_an_engine_is_looked_for_is_an_interrupt() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let asked = dockerd(&socket, |request| {
        (!request.starts_with("GET /version")).then(String::new)
    });
    let child = with_dockerd(&socket, &dir.path().join("out"));
    until("a question", || !asked.lock().unwrap().is_empty());
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    assert!(!dir.path().join("out").exists());
}
