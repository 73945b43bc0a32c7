//! The command line as a user meets it.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use isobench::store::document::{Run, Status};
use isobench::store::record::Record;
use isobench::workload::Workload;
use support::{isobench, left_behind, run, skipped, start, status, stderr, stdout};

fn read_run(folder: &std::path::Path) -> Run {
    serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap()
}

fn read_records(folder: &std::path::Path) -> Vec<Record> {
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn bad_input_is_refused_by_field_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let cases: [(&[&str], &str); 12] = [
        (&["--backends", "docker-ish"], "--backends"),
        (&["--backends", ""], "--backends"),
        (&["--workloads", "chase@12"], "--workloads"),
        (&["--workloads", "../noop"], "--workloads"),
        (&["--profile", "gigantic"], "--profile"),
        (&["--blocks", "0"], "--blocks"),
        (&["--blocks", "-1"], "--blocks"),
        (&["--blocks", "18446744073709551616"], "--blocks"),
        (&["--seed", "-1"], "--seed"),
        (&["--max-time", "NaNs"], "--max-time"),
        (&["--max-time", "1e999s"], "--max-time"),
        (&["--format", "pdf"], "--format"),
    ];
    for (flags, field) in cases {
        let output = isobench()
            .arg("run")
            .args(flags)
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap();
        assert_eq!(status(&output), 2, "{flags:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(field),
            "{flags:?}: {}",
            stderr(&output)
        );
        assert!(stdout(&output).is_empty());
        assert!(!out.exists());
    }
    assert_eq!(status(&run(&[])), 2);
    assert_eq!(status(&run(&["run", "--seed", "1", "--seed", "2"])), 2);
}

#[test]
fn an_argument_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let output = isobench()
        .args(["run", "--backends"])
        .arg(bytes)
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
}

#[test]
fn an_output_folder_that_cannot_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "mine").unwrap();
    let below = file.join("below");
    for out in [&file, &below] {
        let output = isobench()
            .args([
                "run",
                "--backends",
                "process",
                "--workloads",
                "noop",
                "--blocks",
                "1",
            ])
            .arg("--out")
            .arg(out)
            .output()
            .unwrap();
        assert_eq!(status(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("--out"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_run_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run.json"), "{}").unwrap();
    let output = isobench()
        .args([
            "run",
            "--backends",
            "process",
            "--workloads",
            "noop",
            "--blocks",
            "1",
            "--out",
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
    assert_eq!(
        fs::read_to_string(dir.path().join("run.json")).unwrap(),
        "{}"
    );
}

#[test]
fn list_schema_completions_and_manual_print_and_succeed() {
    for (args, expected) in [
        (&["list"][..], "crossing"),
        (&["list", "backends"], "microvm"),
        (&["list", "workloads"], "chase@16KiB"),
        (&["list", "metrics"], "teardown"),
        (&["schema"], "isolation"),
        (&["completions", "bash"], "isobench"),
        (&["man"], ".TH"),
        (&["--help"], "doctor"),
        (&["run", "--help"], "--max-time"),
    ] {
        let output = run(args);
        assert_eq!(status(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(
            stdout(&output).contains(expected),
            "{args:?}: {}",
            stdout(&output)
        );
        assert!(stdout(&output).lines().all(|l| l.chars().count() <= 100) || args[0] != "list");
    }
}

#[test]
fn doctor_names_the_kvm_kind_and_every_backend() {
    let output = run(&["doctor"]);
    assert!([0, 3].contains(&status(&output)), "{}", stderr(&output));
    let text = stdout(&output);
    for needed in ["process", "container", "microvm", "kvm", "cgroup"] {
        assert!(text.contains(needed), "{needed} is missing in:\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["doctor", "--format", "json"]))).unwrap();
    let kind = json["kvm"].as_str().unwrap();
    assert!(
        ["hardware-svm", "hardware-vmx", "software", "absent"].contains(&kind),
        "{kind}"
    );
    for backend in json["backends"].as_array().unwrap() {
        if backend["usable"] == false {
            assert!(!backend["reason"].as_str().unwrap().is_empty());
            assert!(!backend["remedy"].as_str().unwrap().is_empty());
        }
    }
}

/// Every workload once on every backend that works here: one payload, the known answer each time,
/// nothing left behind.
#[test]
fn a_run_measures_every_working_backend_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let child = start(
        isobench()
            .args(["run", "--profile", "smoke", "--blocks", "6", "--seed", "1"])
            .args(["--workloads", &Workload::ALL.map(Workload::name).join(",")])
            .args(["--max-time", "5m", "--out"])
            .arg(&out),
    );
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        status(&output),
        0,
        "{}\n{}",
        stdout(&output),
        stderr(&output)
    );
    // Not a terminal: no progress, no colour.
    assert!(!stderr(&output).contains('\u{1b}') && !stdout(&output).contains('\u{1b}'));
    // 80 columns, but for a word that alone is longer: a path is not broken.
    let fits = |line: &str| line.chars().count() <= 80 || !line.trim().contains(' ');
    assert!(stdout(&output).lines().all(fits), "{}", stdout(&output));

    let document = read_run(&out);
    assert!(document.complete);
    assert_eq!(document.schema, "isobench.run/1");
    assert_eq!(document.payload.sha256.len(), 64);
    let records = read_records(&out);
    for backend in &document.backends {
        match backend.status {
            Status::Skipped => {
                skipped(
                    "a_run_measures_every_working_backend (part)",
                    &format!("{}: {}", backend.id, backend.reason.as_deref().unwrap()),
                );
                assert!(backend.remedy.is_some());
            }
            Status::Failed | Status::Unmeasured => panic!("{backend:?}"),
            Status::Measured => {
                assert_eq!(backend.failures, 0, "{backend:?}");
                let measured = |name: &str| {
                    records.iter().any(|r| match r {
                        Record::Trial(t) => {
                            t.backend == backend.id
                                && t.workload.starts_with(name)
                                && t.measured.is_some()
                        }
                        Record::Memory(m) => name == "idle" && m.backend == backend.id,
                        Record::Burst(_) => false,
                        Record::Probe(p) => name == "probe" && p.backend == backend.id,
                    })
                };
                for workload in Workload::ALL {
                    assert!(measured(workload.name()), "{} {workload:?}", backend.id);
                }
                let startup = document
                    .metrics
                    .iter()
                    .find(|m| m.backend == backend.id && m.metric == "startup")
                    .unwrap();
                assert!(startup.n == 6 && startup.median > 0.0 && startup.ci95.is_some());
                assert_eq!(startup.phases.last().unwrap().name, "unaccounted");
            }
        }
    }
    assert_eq!(left_behind(pid), BTreeSet::new());
}

/// One digest per workload whatever the backend, taken from the raw trials.
#[test]
fn answers_do_not_depend_on_the_backend() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = isobench()
        .args(["run", "--profile", "smoke", "--blocks", "1"])
        .args([
            "--workloads",
            "sha256,matmul,branch,noop",
            "--format",
            "json",
            "--out",
        ])
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let printed: Run = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed, read_run(&out));
    let mut digests = std::collections::BTreeMap::new();
    for record in read_records(&out) {
        if let Record::Trial(trial) = record {
            let measured = trial.measured.unwrap();
            let digest = digests
                .entry(trial.workload)
                .or_insert(measured.digest.clone());
            assert_eq!(*digest, measured.digest);
        }
    }
    assert_eq!(digests.len(), 4);
}

#[test]
fn csv_and_markdown_carry_every_estimate() {
    for (format, needle) in [
        ("csv", "process,noop,startup,ns,lower,"),
        ("markdown", "| process |"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let output = isobench()
            .args([
                "run",
                "--backends",
                "process",
                "--workloads",
                "noop",
                "--blocks",
                "7",
            ])
            .args(["--format", format, "--out"])
            .arg(&out)
            .output()
            .unwrap();
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains(needle), "{}", stdout(&output));
        assert!(out.join("summary.md").exists());
    }
}

/// SIGINT in the middle: 130, finished trials kept, the run marked incomplete, nothing left.
#[test]
fn an_interrupt_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let child = start(
        isobench()
            .args(["run", "--profile", "full", "--workloads", "noop", "--out"])
            .arg(&out),
    );
    let number = child.id();
    // Some trials in, not a fixed time: until the file has lines.
    let patience = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(out.join("trials.jsonl")).map_or(0, |t| t.lines().count()) < 5 {
        assert!(Instant::now() < patience, "no trial within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let document = read_run(&out);
    assert!(!document.complete);
    assert_eq!(document.ended_early.as_deref(), Some("interrupted"));
    assert!(read_records(&out).len() >= 5);
    assert_eq!(left_behind(number), BTreeSet::new());
}

/// Starts a run, and interrupts it once `trials.jsonl` has a line; hands back how many it had then.
fn interrupted(flags: &[&str], out: &std::path::Path) -> (u32, usize, std::process::Output) {
    let child = start(isobench().arg("run").args(flags).arg("--out").arg(out));
    let number = child.id();
    let lines = || fs::read_to_string(out.join("trials.jsonl")).map_or(0, |t| t.lines().count());
    let patience = Instant::now() + Duration::from_secs(120);
    while lines() == 0 {
        assert!(Instant::now() < patience, "nothing within two minutes");
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen = lines();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(number).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    (number, seen, child.wait_with_output().unwrap())
}

/// Whether a backend can run on this host.
fn usable(id: &str) -> bool {
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["doctor", "--format", "json"]))).unwrap();
    let backends = json["backends"].as_array().unwrap();
    backends
        .iter()
        .any(|b| b["id"] == id && b["usable"] == true)
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
    let (number, seen, output) = interrupted(&flags, &out);
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
    let (number, _, output) = interrupted(&flags, &out);
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    let document = read_run(&out);
    assert!(!document.complete);
    assert!(document.backends.iter().all(|b| b.failures == 0));
    assert!(read_records(&out).iter().all(|r| match r {
        Record::Trial(t) => t.failure.is_none(),
        Record::Memory(m) => m.failure.is_none(),
        Record::Burst(b) => b.failure.is_none(),
        Record::Probe(p) => p.failure.is_none(),
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
    let mut child = start(isobench().arg("run").args(flags).arg("--out").arg(&out));
    let number = child.id();
    let children = || -> Vec<String> {
        let left = left_behind(number).into_iter();
        left.filter_map(|l| l.strip_prefix("process ").map(str::to_owned))
            .collect()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    let mut payloads = Vec::new();
    while payloads.len() < 3 {
        assert!(Instant::now() < patience, "no instances within two minutes");
        payloads = children();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for stat in payloads {
        let pid = stat.split(' ').next().unwrap().to_owned();
        // A zombie is dead; whoever adopted it may take its time to notice.
        let lives = || {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|now| now.contains("(payload)") && !now.contains(") Z"))
        };
        while lives() {
            assert!(Instant::now() < patience, "payload {pid} outlives isobench");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    while !left_behind(number).is_empty() {
        assert!(Instant::now() < patience, "{:?}", left_behind(number));
        std::thread::sleep(Duration::from_millis(10));
    }
    read_records(&out);
}

#[test]
fn a_host_without_a_free_process_is_told_so_and_nothing_panics() {
    if nix::unistd::geteuid().is_root() {
        return skipped("a_host_without_a_free_process", "the limit is not for root");
    }
    let output = Command::new("prlimit")
        .arg("--nproc=1")
        .arg(isobench().get_program())
        .args(["run", "--workloads", "noop", "--out", "/nonexistent/out"])
        .output();
    match output {
        Ok(output) if !stderr(&output).contains("failed to set") => {
            assert_eq!(status(&output), 3, "{}", stderr(&output));
            assert!(stderr(&output).contains("ulimit -u"), "{}", stderr(&output));
        }
        _ => skipped("a_host_without_a_free_process", "no prlimit"),
    }
}

#[test]
fn closed_standard_descriptors_cost_a_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = Command::new("sh")
        .args([
            "-c",
            "exec \"$ISOBENCH\" run --workloads noop --blocks 1 --out \"$0\" <&- >&- 2>&-",
        ])
        .arg(&out)
        .env("ISOBENCH", isobench().get_program())
        .output()
        .unwrap();
    assert_eq!(status(&output), 0);
    assert!(read_run(&out).complete);
}

/// Runs a shell line in a mount namespace of its own whose /dev is empty but for /dev/null.
fn without_kvm(args: &str) -> Option<std::process::Output> {
    let script = format!(
        "mount -t tmpfs none /dev && touch /dev/null && mknod -m 666 /dev/nul2 c 1 3 && \
         mv -f /dev/nul2 /dev/null && exec \"$ISOBENCH\" {args}"
    );
    let binary = isobench().get_program().to_owned();
    let supported = Command::new("unshare")
        .args(["-m", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !supported {
        return None;
    }
    Some(
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .env("ISOBENCH", binary)
            .output()
            .unwrap(),
    )
}

#[test]
fn without_kvm_the_others_still_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = format!(
        "run --profile smoke --workloads noop --blocks 6 --out {}",
        out.display()
    );
    let Some(output) = without_kvm(&args) else {
        return skipped(
            "without_kvm_the_others_still_run",
            "needs root for a mount namespace",
        );
    };
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let document = read_run(&out);
    let find = |id: &str| document.backends.iter().find(|b| b.id == id).unwrap();
    assert_eq!(find("microvm").status, Status::Skipped);
    assert!(
        find("microvm")
            .reason
            .as_deref()
            .unwrap()
            .contains("/dev/kvm")
    );
    assert!(find("microvm").remedy.is_some());
    assert_eq!(find("process").status, Status::Measured);
    assert!(stdout(&output).contains("microvm was skipped"));
}

#[test]
fn a_host_where_nothing_can_run_exits_3() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = format!(
        "run --backends microvm --workloads noop --out {}",
        out.display()
    );
    let Some(output) = without_kvm(&args) else {
        return skipped("a_host_where_nothing_can_run_exits_3", "needs root");
    };
    assert_eq!(status(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("/dev/kvm"), "{}", stderr(&output));
    assert!(!out.exists());
}

#[test]
fn a_read_only_folder_is_refused() {
    if nix::unistd::geteuid().is_root() {
        return skipped("a_read_only_folder_is_refused", "root writes anywhere");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let out = dir.path().join("out");
    let output = isobench()
        .args([
            "run",
            "--backends",
            "process",
            "--workloads",
            "noop",
            "--out",
        ])
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(status(&output), 2, "{}", stderr(&output));
}

/// A full disk in the middle of a run: exit 4 with the file and the reason, nothing half-written.
#[test]
fn a_full_disk_ends_the_run_with_the_file_named() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none {0} && \"$ISOBENCH\" run --backends process --workloads \
         noop --blocks 2000 --out {0}/out; s=$?; ls {0}/out; grep ended_early {0}/out/run.json; exit $s",
        dir.path().display()
    );
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .env("ISOBENCH", isobench().get_program())
        .output();
    match output {
        Ok(output) if status(&output) == 4 => {
            assert!(
                stderr(&output).contains("trials.jsonl"),
                "{}",
                stderr(&output)
            );
            // What was there before the first trial: no estimates, and it says so.
            let left = stdout(&output);
            assert!(left.contains("\"ended_early\": \"running\""), "{left}");
            assert!(!left.contains("summary.md"), "{left}");
        }
        Ok(output) if nix::unistd::geteuid().is_root() => {
            panic!("exit {}: {}", status(&output), stderr(&output))
        }
        _ => skipped("a_full_disk_ends_the_run_with_the_file_named", "needs root"),
    }
}

#[test]
fn closed_standard_output_is_an_error_and_no_panic() {
    let output = Command::new("sh")
        .args(["-c", "exec \"$ISOBENCH\" list >&-"])
        .env("ISOBENCH", isobench().get_program())
        .output()
        .unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}
