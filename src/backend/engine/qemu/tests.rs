//! What becomes of a QEMU that is none: a program in its place that dies, hangs, prints or lies.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use isobench_abi::{ABI_VERSION, Ready, Report};

use super::super::Engined;
use super::*;
use crate::backend::Backend;
use crate::trial::EngineEnd;
use crate::vmm::linux::kernel_tests::bzimage;
use crate::workload::{Task, Workload};
use isobench_abi::Message;

/// Seconds that no other program here sleeps.
const LONG: &str = "31415";

/// QEMU replaced by this script, with a kernel that is never looked at.
fn replaced_by(folder: &Path, script: &str) -> Engined {
    let path = folder.join("qemu-system-x86_64");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let kernel = folder.join("vmlinuz");
    fs::write(&kernel, bzimage(|_| {})).unwrap();
    let mut services = Services::default();
    let found = kernel_file::find(Some(&kernel), Path::new("/boot")).unwrap();
    let image = Image::new(&found.kernel, payload::BYTES).unwrap();
    let workspace = services.get(Workspace::new).unwrap();
    let qemu = Qemu {
        machine: QemuMachine::Tcg,
        found: Found {
            path,
            version: "a script".to_owned(),
        },
        initramfs: write_initramfs(&image, &workspace).unwrap(),
        workspace: Rc::clone(&workspace),
        guest: GuestKernel {
            sha256: found.sha256,
            format: String::new(),
            version: None,
            command_line: String::new(),
        },
        kernel,
        image,
    };
    Engined {
        engine: Box::new(qemu),
        workspace,
    }
}

fn trial(script: &str, deadline: Duration) -> Failure {
    let folder = tempfile::tempdir().unwrap();
    let task = Task {
        workload: Workload::Noop,
        size: 0,
        reps: 1,
    };
    let launch = Launch { task, deadline };
    let seen = replaced_by(folder.path(), script).trial(&launch);
    seen.map(|seen| panic!("{script}: {seen:?}")).unwrap_err()
}

/// How many still sleep as a script here does.
fn sleepers() -> usize {
    let sleeper = format!("sleep\0{LONG}\0");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    commands
        .filter(|command| command == sleeper.as_bytes())
        .count()
}

/// A test that writes a program and starts it races with forks of others that hold it open for writing
/// (ETXTBSY); those end at once.
fn engine_failure(script: &str, deadline: Duration) -> (EngineEnd, String) {
    match trial(script, deadline) {
        Failure::Engine(failure) => (failure.how, failure.tail),
        other => panic!("{script}: {other:?}"),
    }
}

const SOON: Duration = Duration::from_secs(30);

#[test]
fn one_that_dies_hangs_or_prints_is_told_with_its_last_words_and_leaves_nothing() {
    let (how, tail) = engine_failure("echo no such machine >&2; exit 3", SOON);
    assert!(matches!(how, EngineEnd::Status(3)), "{how:?}");
    assert_eq!(tail, "no such machine");
    let (how, _) = engine_failure("kill -SEGV $$", SOON);
    assert!(matches!(how, EngineEnd::Signal(libc::SIGSEGV)), "{how:?}");
    let (how, _) = engine_failure("exit 0", SOON);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    let (how, _) = engine_failure("yes 'not a message'", SOON);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    let hangs = format!("echo booting >&2; sleep {LONG}");
    let (how, tail) = engine_failure(&hangs, Duration::from_millis(500));
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");
    assert_eq!((tail.as_str(), sleepers()), ("booting", 0));
}

/// Readings that stand still while the host's counter does not: no offset explains them.
#[test]
fn a_counter_that_fits_no_offset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ready = Message::Ready(Ready {
        first_instruction: 1000,
        abi: ABI_VERSION,
    });
    let answer = crate::workload::known_answer(&Task {
        workload: Workload::Noop,
        size: 0,
        reps: 1,
    });
    let answer = answer.unwrap();
    let result = Message::Result(Report {
        start: 1002,
        end: 1003,
        units: answer.units,
        digest: answer.digest,
        image: payload::image_fold().unwrap(),
        isa: Default::default(),
    });
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ready"), ready.encode(0, 1001).to_bytes()).unwrap();
    fs::write(path("result"), result.encode(1, 1004).to_bytes()).unwrap();
    let script = format!(
        "cat {}; read go; sleep 0.1; cat {}",
        path("ready").display(),
        path("result").display()
    );
    match trial(&script, SOON) {
        Failure::Clock(why) => assert!(why.contains("fit no offset"), "{why}"),
        other => panic!("{other:?}"),
    }
}
