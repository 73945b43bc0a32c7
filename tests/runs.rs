//! Runs as a user makes them, on the host as it is and on worse ones.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use isobench::store::document::{MetricResult, Run, Status};
use isobench::store::record::Record;
use isobench::workload::Workload;
use support::folder::{read_records, read_run};
use support::{isobench, left_behind, run_into, skipped, start, status, stderr, stdout, usable};

/// Every workload once on every backend that works here: one payload, the known answer each time,
/// nothing left behind.
#[test]
fn a_run_measures_every_working_backend_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let all = Workload::ALL.map(Workload::name).join(",");
    let flags = [
        ["--profile", "smoke"],
        ["--blocks", "6"],
        ["--seed", "1"],
        ["--workloads", &all],
        ["--max-time", "5m"],
    ];
    let child = start(&mut run_into(flags.as_flattened(), &out));
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
                        Record::Burst(_) | Record::Boundary(_) => false,
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
                // A trial that the host has disturbed is kept and not estimated from.
                let tainted = records.iter().filter(|r| match r {
                    Record::Trial(t) => {
                        t.backend == backend.id && t.workload == "noop" && !t.tainted.is_empty()
                    }
                    _ => false,
                });
                assert!(startup.n <= 6 && startup.n + tainted.count() as u64 >= 6);
                assert!(startup.median > 0.0);
                assert_eq!(startup.ci95.is_some(), startup.n >= 6);
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
    let flags = [
        ["--profile", "smoke"],
        ["--blocks", "1"],
        ["--workloads", "sha256,matmul,branch,noop"],
        ["--format", "json"],
    ];
    let output = run_into(flags.as_flattened(), &out).output().unwrap();
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
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
        let flags = [
            ["--backends", "process"],
            ["--workloads", "noop"],
            ["--blocks", "7"],
            ["--format", format],
        ];
        let output = run_into(flags.as_flattened(), &out).output().unwrap();
        assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains(needle), "{}", stdout(&output));
        assert!(out.join("summary.md").exists());
    }
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
    assert_eq!(support::settled(&output), 0);
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
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
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

/// A copy is never sold as a boot: beside its first instruction stands its first reply, and the report
/// says what it is.
#[test]
fn copies_show_their_first_reply_and_that_they_are_copies() {
    let test = "copies_show_their_first_reply_and_that_they_are_copies";
    if !usable("microvm") {
        return skipped(test, "no micro-VM here");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        [
            "--backends",
            "process,microvm:cold,microvm:snapshot,microvm:pool",
        ],
        ["--workloads", "noop,warm@1MiB"],
        ["--blocks", "6"],
    ];
    let output = run_into(flags.as_flattened(), &out).output().unwrap();
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    let document = read_run(&out);
    for id in ["process", "microvm", "microvm:snapshot", "microvm:pool"] {
        for (workload, metric) in [
            ("noop", "startup"),
            ("noop", "ready"),
            ("warm@1MiB", "startup"),
            ("warm@1MiB", "reply"),
        ] {
            let of = |m: &&MetricResult| m.workload == workload && m.metric == metric;
            let found = document.metrics.iter().filter(of).find(|m| m.backend == id);
            let found = found.unwrap_or_else(|| panic!("{id} {workload} {metric}"));
            // A trial that the host has disturbed is kept and not estimated from.
            assert!((1..=6).contains(&found.n), "{id} {workload} {metric}");
        }
    }
    let text = stdout(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("microvm:snapshot, microvm:pool: each start is a copy"),
        "{text}"
    );
    assert!(text.contains("and no boot"), "{text}");
    let fits = |line: &str| line.chars().count() <= 80 || !line.trim().contains(' ');
    assert!(stdout(&output).lines().all(fits), "{}", stdout(&output));
}
