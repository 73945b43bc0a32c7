//! Backends of the user's own, `[[backend]]` in `isobench.toml`: those that work, and those that die, hang,
//! refuse or print garbage.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use isobench::store::document::{BackendResult, Run, Status};
use isobench::store::record::Record;
use support::folder::{read_records, read_run};
use support::{isobench, left_behind, run_into, start, status, stderr, stdout};

/// A folder with an `isobench.toml` and whatever its scripts need.
struct Bench {
    dir: tempfile::TempDir,
    temporary: tempfile::TempDir,
}

impl Bench {
    /// With one backend, `own`: these lines behind its name.
    fn with(lines: &str) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            temporary: tempfile::tempdir().unwrap(),
        };
        let text = format!("[[backend]]\nname = \"own\"\n{lines}");
        fs::write(bench.file(), text).unwrap();
        bench
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("isobench.toml")
    }

    /// Runs `process` and it, found in the working directory; checks that nothing is left.
    fn run(&self, workloads: &str, blocks: &str) -> (i32, Run, Vec<Record>) {
        let out = self.dir.path().join("out");
        let flags = [
            "--backends",
            "process,own",
            "--workloads",
            workloads,
            "--blocks",
            blocks,
            "--profile",
            "smoke",
        ];
        let mut command = run_into(&flags, &out);
        command.current_dir(self.dir.path());
        let child = start(command.env("TMPDIR", self.temporary.path()));
        let number = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(out.exists(), "{}", stderr(&output));
        assert_eq!(left_behind(number), BTreeSet::new());
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 0);
        (status(&output), read_run(&out), read_records(&out))
    }

    /// Why its first launch failed.
    fn skipped(&self) -> String {
        let (status, document, _) = self.run("noop", "1");
        assert!(matches!(status, 0 | 5), "{status}");
        let own = own(&document);
        assert_eq!(own.status, Status::Skipped, "{own:?}");
        own.reason.clone().unwrap()
    }
}

fn own(document: &Run) -> &BackendResult {
    document.backends.iter().find(|b| b.id == "own").unwrap()
}

/// A script that works for its first launches, and then does something else: the second argument is a
/// file in which launches are counted.
fn fails_later(counter: &Path, after: u32, otherwise: &str) -> String {
    let script = format!(
        "echo x >> {file}; if [ $(wc -l < {file}) -gt {after} ]; then {otherwise}; fi; \
         exec {{payload}} {{workload}} {{args}}",
        file = counter.display()
    );
    format!("start = ['/bin/sh', '-c', \"{script}\"]\n")
}

const WORKS: &str = "start = '{payload} {workload} {args}'\n";

#[test]
fn the_payload_itself_is_a_backend() {
    let bench = Bench::with(WORKS);
    let (status, document, records) = bench.run("noop,sha256,warm@1MiB,idle", "2");
    assert!(matches!(status, 0 | 5), "{:?}", own(&document));
    let own = own(&document);
    assert_eq!((own.status, own.failures), (Status::Measured, 0), "{own:?}");
    let held = records.iter().any(|record| match record {
        Record::Memory(memory) => memory.backend == "own" && !memory.pss.is_empty(),
        _ => false,
    });
    assert!(held);
    let explain = isobench()
        .args(["explain", "--backends", "own", "--config"])
        .arg(bench.file())
        .output()
        .unwrap();
    let told = stdout(&explain);
    assert!(told.contains("start") && told.contains("t5"), "{told}");
    for command in ["doctor", "list"] {
        let mut isobench = isobench();
        let output = isobench.arg(command).current_dir(bench.dir.path()).output();
        assert!(stdout(&output.unwrap()).contains("\n  own ") || command == "doctor");
    }
}

/// Started and left: the output comes through a FIFO, `ready` says when it is there, `stop` ends it.
#[test]
fn a_backend_that_detaches_is_measured_too() {
    let bench = Bench::with(
        r#"
start = ["sh", "-c", "setsid sh -c 'sleep 0.05; touch \"$0.there\"; exec {payload} {workload} {args} > {output}' {rootfs}/{name} < /dev/null > /dev/null 2>&1 &"]
ready = "test -e {rootfs}/{name}.there"
stop = "rm {rootfs}/{name}.there"
"#,
    );
    let (status, document, _) = bench.run("noop", "2");
    assert!(matches!(status, 0 | 5), "{:?}", own(&document));
    assert_eq!(own(&document).failures, 0);
    let startup = document.metrics.iter();
    let startup = startup.filter(|m| m.backend == "own" && m.metric == "startup");
    let names: Vec<_> = startup.flat_map(|m| &m.phases).map(|p| &p.name).collect();
    assert!(names.iter().any(|name| *name == "ready"), "{names:?}");
}

/// Every way to fail at the first launch: skipped, with the command and its last words.
#[test]
fn a_backend_that_fails_is_skipped_with_its_last_words() {
    let sh =
        |script: &str| format!("start = ['sh', '-c', \"{script}\", '{{workload}}', '{{args}}']\n");
    let cases = [
        (
            sh("echo my engine is broken >&2; exit 3"),
            "exit status 3; it printed last: my engine is broken",
        ),
        (
            sh("echo garbage, no message at all, but long enough to be taken for one"),
            "no message of the payload",
        ),
        (sh("exit 0"), "it ended without one"),
        (sh("kill -9 $$"), "signal 9"),
        (
            sh("echo waiting >&2; sleep 100") + "timeout = '300ms'",
            "no end within 300ms: ended by the watchdog; it printed last: waiting",
        ),
        (sh("yes >&2") + "timeout = '300ms'", "printed last: y | y"),
        (sh("yes"), "no message of the payload"),
        (
            sh("true > /dev/null; : {output}") + "ready = 'false'\ntimeout = '300ms'",
            "false: no end within 300ms",
        ),
        (
            WORKS.to_owned() + "stop = 'sh -c \"echo cannot stop >&2; exit 9\"'",
            "exit status 9; it printed last: cannot stop",
        ),
    ];
    for (lines, says) in cases {
        let reason = Bench::with(&lines).skipped();
        assert!(reason.contains(says), "{lines}\n  {reason}");
    }
}

/// What detaches itself from the command and stays is found by its mark, ended, and a failure.
#[test]
fn what_a_backend_leaves_behind_is_ended_and_told() {
    let bench = Bench::with(
        "start = ['sh', '-c', 'setsid sleep 1000 < /dev/null > /dev/null 2>&1 & exec {payload} \
         {workload} {args}']\n",
    );
    let reason = bench.skipped();
    assert!(reason.contains("left behind: processes"), "{reason}");
}

/// In the middle of a run: typed failures for its trials, and complete results for the others.
#[test]
fn a_backend_that_breaks_in_the_middle_spoils_its_own_trials_only() {
    for (otherwise, kind, says) in [
        ("echo broken >&2; exit 4", "engine", "broken"),
        (
            "echo this is certainly not a message of sixty-four bytes or more; exit 0",
            "engine",
            "no message",
        ),
        ("{payload} nonsense; exit 1", "payload", "BadArgument"),
        (
            "{payload} {workload} {args}; exit 5",
            "status",
            "exit status 5",
        ),
    ] {
        let counter = tempfile::NamedTempFile::new().unwrap();
        let bench = Bench::with(&fails_later(counter.path(), 3, otherwise));
        let (status, document, records) = bench.run("noop", "4");
        assert_eq!(status, 4, "{otherwise}");
        let own = own(&document);
        assert!(own.failures >= 2, "{own:?}");
        let reason = own.reason.as_deref().unwrap();
        assert!(reason.contains(says), "{otherwise}: {reason}");
        let failed = records.iter().find_map(|record| match record {
            Record::Trial(trial) if trial.backend == "own" => trial.failure.as_ref(),
            _ => None,
        });
        assert_eq!(failed.unwrap().kind, kind, "{otherwise}");
        let process = document
            .backends
            .iter()
            .find(|b| b.id == "process")
            .unwrap();
        assert_eq!((process.trials, process.failures), (4, 0));
    }
}

/// Refused by its field before anything is done.
#[test]
fn a_bad_file_is_refused_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("isobench.toml");
    let out = dir.path().join("out");
    let good = format!("[[backend]]\nname = \"own\"\n{WORKS}");
    for (text, says) in [
        (good.replace("own", "docker"), "backend[0].name"),
        (good.clone() + "memory = 0", "memory"),
        (good.clone() + "start = 'twice'", "duplicate key"),
        (good.replace(WORKS, "start = 7"), "backend[0].start"),
        (good.clone() + "timeout = '-1s'", "backend[0].timeout"),
        (
            good.replace("{payload}", "/nonexistent"),
            "backend[0].start",
        ),
        ("\u{feff}]".to_owned(), "file"),
    ] {
        fs::write(&file, &text).unwrap();
        for (named, command) in [
            (true, "run"),
            (false, "run"),
            (true, "doctor"),
            (true, "list"),
        ] {
            let mut isobench = isobench();
            isobench.arg(command).current_dir(dir.path());
            if command == "run" {
                isobench.arg("--out").arg(&out);
            }
            if named {
                isobench.arg("--config").arg(&file);
            }
            let output = isobench.output().unwrap();
            assert_eq!(status(&output), 2, "{text}: {}", stderr(&output));
            assert!(
                stderr(&output).contains(says),
                "{text}: {}",
                stderr(&output)
            );
            assert!(!out.exists());
        }
    }
    fs::File::create(&file).unwrap().set_len(100 << 20).unwrap();
    let huge = isobench()
        .arg("doctor")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(status(&huge), 2);
    let absent = isobench()
        .args(["doctor", "--config", "absent.toml"])
        .output()
        .unwrap();
    assert_eq!(status(&absent), 2);
    assert!(stderr(&absent).contains("absent.toml"));
    // An empty file is no backend, and no error.
    fs::write(&file, "").unwrap();
    let empty = run_into(&support::SHORT, &out)
        .arg("--config")
        .arg(&file)
        .output();
    assert_eq!(status(&empty.unwrap()), 0);
}
