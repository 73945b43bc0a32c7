//! Engines that people use, each where its program is: measured, and nothing of them is left, also by a
//! harness that is interrupted or killed.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use isobench::store::document::{Run, Status};
use isobench::store::record::Record;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::folder::{finished, read_records, read_run};
use support::{
    isobench, left_behind, run, run_into, signal, skipped, start, status, stderr, stdout, until,
};

/// What doctor says of each backend: usable, reason, remedy.
fn doctor() -> Vec<serde_json::Value> {
    let told = stdout(&run(&["doctor", "--format", "json"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["backends"].as_array().unwrap().clone()
}

/// Whether an engine can be used; if not, that is said.
fn has(test: &str, id: &str) -> bool {
    let all = doctor();
    let plain = id.split(':').next().unwrap();
    let one = all.iter().find(|one| one["id"] == plain).unwrap();
    let usable = one["usable"] == true;
    if !usable {
        let why = format!("{id}: {}", one["reason"].as_str().unwrap());
        skipped(test, &why);
    }
    usable
}

/// Runs with a folder for temporary files of its own, which must be empty in the end.
fn run_there(flags: &[&str], out: &Path, temporary: &Path) -> (u32, Run) {
    let mut command = run_into(flags, out);
    let child = start(command.env("TMPDIR", temporary));
    let number = child.id();
    let output = child.wait_with_output().unwrap();
    let document = read_run(out);
    let told = (stdout(&output), stderr(&output));
    assert!(matches!(status(&output), 0 | 5), "{told:?}");
    (number, document)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().count() == 0
}

/// Every kind of workload comes through the engine, and its memory is told.
/// A filter makes `probe` take as many launches as there are system calls: one spelling of a runtime is
/// enough.
fn measures(test: &str, id: &str) {
    let asked = !id.ends_with(":run");
    if !has(test, id) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let backends = format!("process,{id}");
    let flags = [
        "--backends",
        &backends,
        "--workloads",
        if asked {
            "noop,sha256,crossing,warm@1MiB,idle,probe"
        } else {
            "noop,sha256,crossing,warm@1MiB,idle"
        },
        "--blocks",
        "2",
        "--profile",
        "smoke",
        "--max-time",
        "5m",
    ];
    let (number, document) = run_there(&flags, &out, temporary.path());
    let backend = document.backends.iter().find(|b| b.id == id).unwrap();
    let usual = matches!(backend.status, Status::Measured | Status::Unmeasured);
    assert!(usual && backend.failures == 0, "{backend:?}");
    let engine = backend.engine.as_ref().unwrap();
    assert!(engine.program.starts_with('/') && !engine.version.is_empty());
    assert!(!engine.differences.is_empty());
    // One may have been disturbed from outside; that is no failure of the engine.
    for workload in ["noop", "sha256", "crossing", "warm"] {
        let done = read_records(&out).into_iter().any(|record| match record {
            Record::Trial(trial) => {
                trial.backend == id
                    && trial.workload.starts_with(workload)
                    && trial.failure.is_none()
            }
            _ => false,
        });
        assert!(done, "{id}: {workload}");
    }
    let balance = document.memory.iter().find(|m| m.backend == id).unwrap();
    assert!(balance.backend == id);
    let told = document.isolation.iter().any(|fact| fact.backend == id);
    assert_eq!(told, asked);
    let failed = |record: &Record| match record {
        Record::Memory(memory) => memory.failure.is_some(),
        Record::Probe(probe) => probe.failure.is_some(),
        _ => false,
    };
    let failed: Vec<_> = read_records(&out).into_iter().filter(failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(left_behind(number), BTreeSet::new());
    assert!(is_empty(temporary.path()));
}

#[test]
fn crun_measures() {
    measures("crun_measures", "crun");
    measures("crun_measures", "crun:run");
}

#[test]
fn runc_measures() {
    measures("runc_measures", "runc");
    measures("runc_measures", "runc:run");
}

#[test]
fn youki_measures() {
    // Not `youki:run`: youki 0.7.0 may miss the end of a short payload and wait for ever (docs/engines.md).
    measures("youki_measures", "youki");
}

#[test]
fn bwrap_measures() {
    measures("bwrap_measures", "bwrap");
}

#[test]
fn podman_measures() {
    measures("podman_measures", "podman");
}

#[test]
fn nspawn_measures() {
    measures("nspawn_measures", "nspawn");
}

/// What is there, and what is not, has its reason and what to type.
#[test]
fn doctor_and_list_tell_of_every_engine() {
    let listed = stdout(&run(&["list", "backends"]));
    for one in doctor() {
        let id = one["id"].as_str().unwrap();
        assert!(listed.contains(&format!("  {id} ")), "{id}: {listed}");
        if one["usable"] != true {
            assert!(!one["reason"].as_str().unwrap().is_empty(), "{one}");
            assert!(!one["remedy"].as_str().unwrap().is_empty(), "{one}");
        }
    }
}

/// A harness that has started some idle instances of an engine.
fn holding(id: &str, out: &Path, temporary: &Path) -> Child {
    let flags = ["--backends", id, "--workloads", "idle", "--profile", "full"];
    let child = start(run_into(&flags, out).env("TMPDIR", temporary));
    until("some instances", || {
        marked_by(child.id()).len() >= 4 && out.join("run.json").exists()
    });
    child
}

/// Processes that are there on behalf of a harness.
fn marked_by(harness: u32) -> Vec<u32> {
    let name = format!("isobench-{harness}-");
    isobench_guardian::marked(|mark| mark.starts_with(&name))
}

/// Kills or interrupts a harness that has started some idle instances.
fn ended_by(test: &str, id: &str, how: Signal) {
    if !has(test, id) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut child = holding(id, &dir.path().join("out"), temporary.path());
    let number = child.id();
    signal(&child, how);
    if how == Signal::SIGKILL {
        child.wait().unwrap();
        until("the guardian's work", || {
            left_behind(number).is_empty() && is_empty(temporary.path())
        });
    } else {
        let output = child.wait_with_output().unwrap();
        assert_eq!(status(&output), 130, "{}", stderr(&output));
        assert_eq!(left_behind(number), BTreeSet::new());
        assert!(is_empty(temporary.path()));
    }
}

#[test]
fn a_killed_harness_leaves_nothing_of_an_engine() {
    for id in [
        "crun", "runc", "runc:run", "youki", "bwrap", "podman", "nspawn",
    ] {
        ended_by(
            "a_killed_harness_leaves_nothing_of_an_engine",
            id,
            Signal::SIGKILL,
        );
    }
}

/// If its guardian was killed before, the next harness that uses the engine removes what is left.
#[test]
fn the_next_start_removes_what_nobody_guarded() {
    let test = "the_next_start_removes_what_nobody_guarded";
    for id in ["runc", "podman"] {
        if !has(test, id) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let mut child = holding(id, &dir.path().join("out"), temporary.path());
        let number = child.id();
        let guardian = guardian_of(number);
        kill(Pid::from_raw(guardian), Signal::SIGKILL).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!marked_by(number).is_empty() && !is_empty(temporary.path()));
        let again = isobench()
            .args(["explain", "--backends", id])
            .env("TMPDIR", temporary.path())
            .output()
            .unwrap();
        assert_eq!(status(&again), 0, "{}", stderr(&again));
        assert_eq!(left_behind(number), BTreeSet::new(), "{}", stderr(&again));
        assert!(is_empty(temporary.path()));
    }
}

fn guardian_of(harness: u32) -> i32 {
    let start = format!("isobench-guardian\0{harness}-");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.starts_with(start.as_bytes())
    })
    .unwrap()
}

#[test]
fn an_interrupted_harness_leaves_nothing_of_an_engine() {
    for id in ["crun", "runc:run", "youki", "bwrap", "podman", "nspawn"] {
        ended_by(
            "an_interrupted_harness_leaves_nothing_of_an_engine",
            id,
            Signal::SIGINT,
        );
    }
}

/// A runtime that has made everything and then hangs is what an interrupt finds: the process, the
/// groups and the state that it leaves are removed.
#[test]
fn what_a_runtime_leaves_that_is_ended_in_the_middle_is_removed() {
    let test = "what_a_runtime_leaves_that_is_ended_in_the_middle_is_removed";
    if !has(test, "runc") {
        return;
    }
    for how in [Signal::SIGINT, Signal::SIGKILL] {
        let dir = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let hangs = dir.path().join("hangs");
        // The first launches go well; then `create` does its work and does not end.
        let script = format!(
            "#!/bin/sh\nreal() {{ {} \"$@\"; }}\ncase \" $* \" in *' create '*)\n  real \"$@\"; \
             status=$?\n  if [ -e {out}/trials.jsonl ] && [ $(wc -l < {out}/trials.jsonl) -ge 2 ]; \
             then touch {hangs}; sleep 1000; fi; exit $status;;\nesac\nreal \"$@\"\n",
            real("runc"),
            out = dir.path().join("out").display(),
            hangs = hangs.display(),
        );
        support::program(&dir.path().join("runc"), &script);
        let out = dir.path().join("out");
        let flags = ["--backends", "runc", "--workloads", "noop"];
        let path = format!(
            "{}:{}",
            dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = run_into(&flags, &out);
        command
            .env("PATH", path)
            .env("TMPDIR", temporary.path())
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let number = child.id();
        until("a runtime that hangs", || hangs.exists());
        assert!(finished(&out) >= 2);
        assert!(!left_behind(number).is_empty());
        signal(&child, how);
        child.wait().unwrap();
        until("everything gone", || {
            left_behind(number).is_empty() && is_empty(temporary.path())
        });
    }
}

fn real(program: &str) -> String {
    let found = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")])
        .output()
        .unwrap();
    stdout(&found).trim().to_owned()
}

/// A runtime that does not do what it should is skipped with what it printed last, in time.
#[test]
fn a_broken_runtime_is_skipped_with_its_last_words() {
    let cases = [
        ("#!/bin/sh\necho no version >&2; exit 7", "exit status 7"),
        (
            "#!/bin/sh\ncase $1 in --version) echo fake 1.0;; *) echo cannot create >&2; exit 3;; esac",
            "cannot create",
        ),
        (
            "#!/bin/sh\ncase $1 in --version) echo fake 1.0;; *) echo created nothing;; esac",
            "No such file",
        ),
        ("#!/bin/sh\nkill -9 $$", "signal 9"),
        ("#!/nonexistent/shell\n", "No such file"),
    ];
    for (script, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        support::program(&dir.path().join("crun"), script);
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let mut command = run_into(
            &[
                "--backends",
                "process,crun",
                "--workloads",
                "noop",
                "--blocks",
                "1",
            ],
            &dir.path().join("out"),
        );
        let child = start(command.env("PATH", path).env("TMPDIR", temporary.path()));
        let number = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
        let document = read_run(&dir.path().join("out"));
        let crun = document.backends.iter().find(|b| b.id == "crun").unwrap();
        assert_eq!(crun.status, Status::Skipped);
        let reason = crun.reason.as_deref().unwrap();
        assert!(reason.contains("crun") && reason.contains(says), "{reason}");
        assert_eq!(left_behind(number), BTreeSet::new());
        assert!(is_empty(temporary.path()));
    }
}

/// One that passes over the wish for a filter, as youki's default build does, is found out by its payload.
#[test]
fn a_runtime_that_sets_no_filter_up_is_told_of() {
    if !has("a_runtime_that_sets_no_filter_up_is_told_of", "runc") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "#!/bin/sh\nfor word; do\n  config=\"$word/config.json\"\n  \
         [ ! -e \"$config\" ] || sed -i 's/\"seccomp\":/\"passedOver\":/' \"$config\"\ndone\n\
         exec {} \"$@\"\n",
        real("runc"),
    );
    support::program(&dir.path().join("runc"), &script);
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let out = dir.path().join("out");
    let flags = ["--backends", "runc", "--workloads", "noop", "--blocks", "1"];
    let output = run_into(&flags, &out).env("PATH", path).output().unwrap();
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    let document = read_run(&out);
    let runc = &document.backends[0];
    let told = runc.limitations.iter().find(|l| l.starts_with("seccomp: "));
    assert!(told.is_some(), "{runc:?}");
    let differences = &runc.engine.as_ref().unwrap().differences;
    let none = "it has no seccomp filter";
    assert!(differences.iter().any(|d| d == none), "{differences:?}");
}

/// A VMM that is there but no use, by its own doing or by that of this host's KVM: it is skipped at once, with
/// its version and the reason, and nothing is left of it.
#[test]
fn a_vmm_that_is_no_use_is_skipped_with_its_version() {
    for id in ["firecracker", "cloud-hypervisor"] {
        let dir = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\ncase $1 in --version) echo VMM v1.0.0;; *) exit 3;; esac";
        support::program(&dir.path().join(id), script);
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let backends = format!("process,{id}");
        let flags = [
            "--backends",
            &backends,
            "--workloads",
            "noop",
            "--blocks",
            "1",
        ];
        let mut command = run_into(&flags, &dir.path().join("out"));
        let child = start(command.env("PATH", path).env("TMPDIR", temporary.path()));
        let number = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
        let document = read_run(&dir.path().join("out"));
        let vmm = document.backends.iter().find(|b| b.id == id).unwrap();
        assert_eq!(vmm.status, Status::Skipped);
        let reason = vmm.reason.as_deref().unwrap();
        let found = format!("found {}/{id} (VMM v1.0.0), but ", dir.path().display());
        assert!(reason.starts_with(&found), "{reason}");
        assert!(vmm.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()));
        assert_eq!(left_behind(number), BTreeSet::new());
        assert!(is_empty(temporary.path()));
    }
}
