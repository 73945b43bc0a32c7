//! The harness's side of asking: what it makes for it is gone afterwards, and what it found can be
//! read back.
#![allow(clippy::unwrap_used)] // a test states its expectations

mod asked;
mod support;

use std::collections::BTreeSet;

use asked::ask;
use isobench::store::document::{IsolationFact, Run, Status, Verdict};
use support::{isobench, left_behind, skipped, status, stderr, stdout};

#[test]
fn a_probe_leaves_nothing_and_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let child = support::start(
        isobench()
            .args(["run", "--workloads", "probe", "--backends", "process"])
            .arg("--out")
            .arg(&out),
    );
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(left_behind(pid), BTreeSet::new());
    assert_eq!(segments_of(pid), 0);
    let table = stdout(&output);
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let row = table.lines().find(|line| line.contains("kernel release"));
    assert!(row.unwrap().ends_with("shared"), "{table}");
    for format in ["human", "markdown", "csv", "json"] {
        let shown = isobench()
            .args(["report", "--format", format])
            .arg(&out)
            .output()
            .unwrap();
        assert_eq!(status(&shown), 0, "{}", stderr(&shown));
        let text = stdout(&shown);
        assert!(text.contains("kernel release"), "{text}");
        if format == "csv" {
            let width = |line: &str| line.matches(',').count();
            assert!(text.lines().all(|line| width(line) >= 12), "{text}");
            assert!(text.contains("process,probe,kernel release,,,,,,,,,shared,"));
        }
    }
    // Facts are kept as they happen: killed before it was sealed, the run has them all the same.
    let sealed: Run =
        serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    let mut running = sealed.clone();
    running.complete = false;
    running.ended_early = Some("running".to_owned());
    running.isolation.clear();
    std::fs::write(
        out.join("run.json"),
        serde_json::to_string(&running).unwrap(),
    )
    .unwrap();
    let stored = isobench::measure::stored::load(&out).unwrap();
    assert_eq!(stored.run.isolation, sealed.isolation);
    assert_eq!(stored.run.backends[0].status, Status::Measured);
}

/// Whether a harness's message queue is there although no harness holds its socket.
fn orphaned_queue() -> bool {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let name = isobench_abi::question::CANARY_NAME;
    let address = SocketAddr::from_abstract_name(name.to_bytes()).unwrap();
    let held = UnixDatagram::unbound()
        .unwrap()
        .connect_addr(&address)
        .is_ok();
    let queue = format!("/{}", name.to_str().unwrap());
    let flags = nix::mqueue::MQ_OFlag::O_RDONLY;
    let opened = nix::mqueue::mq_open(queue.as_str(), flags, nix::sys::stat::Mode::empty(), None);
    let there = opened.map(nix::mqueue::mq_close).is_ok();
    there && !held
}

/// System V segments that this process made (proc_sysvipc(5): the creator is the fifth column).
fn segments_of(pid: u32) -> usize {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let creator = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
    text.lines()
        .filter(|line| creator(line) == Some(pid.to_string()))
        .count()
}

/// Starts to ask a container, and calls back once the run is under way.
fn while_asking(then: impl FnOnce(nix::unistd::Pid)) -> Option<(u32, std::process::Output)> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let child = support::start(
        isobench()
            .args(["run", "--workloads", "probe", "--backends", "container"])
            .arg("--out")
            .arg(&out),
    );
    let pid = child.id();
    // The first run.json is written just before the first question.
    let begun = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        out.join("run.json").exists()
    });
    if begun {
        std::thread::sleep(std::time::Duration::from_millis(50));
        then(nix::unistd::Pid::from_raw(pid.cast_signed()));
    }
    let output = child.wait_with_output().unwrap();
    begun.then_some((pid, output))
}

#[test]
fn an_interrupted_probe_leaves_nothing() {
    let interrupt = |pid| nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let Some((pid, output)) = while_asking(interrupt) else {
        skipped("an_interrupted_probe_leaves_nothing", "no container here");
        return;
    };
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    assert_eq!(left_behind(pid), BTreeSet::new());
    assert_eq!(segments_of(pid), 0);
}

/// What dies with the harness is gone at once; what does not, the next probe removes.
#[test]
fn the_next_probe_removes_what_a_killed_one_left() {
    let kill = |pid| nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let Some((pid, _)) = while_asking(kill) else {
        let test = "the_next_probe_removes_what_a_killed_one_left";
        skipped(test, "no container here");
        return;
    };
    // Until its exec a payload shares the harness's memory, and so the segment; it dies after it.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        segments_of(pid) == 0
    });
    assert!(gone, "a segment stays");
    // Another test's harness may live and die meanwhile: nobody's queue stays for ever.
    let gone = (0..100).any(|_| {
        let (_, facts) = ask(&[], "process");
        assert_eq!(facts.verdict("process", "abstract socket"), Verdict::Shared);
        !orphaned_queue()
    });
    assert!(gone);
}

/// Facts of a stored run are refused by field.
#[test]
fn wrong_facts_are_refused_by_field() {
    let (run, _) = ask(&[], "process");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    type Edit = fn(&mut Vec<IsolationFact>);
    let cases: [(Edit, &str); 6] = [
        (
            |f| f[0].backend = "other".to_owned(),
            "isolation[0].backend",
        ),
        (|f| f[1].fact = "colour".to_owned(), "isolation[1].fact"),
        (
            |f| f[0].value = "\u{1b}[2J".to_owned(),
            "isolation[0].value",
        ),
        (|f| f[0].value = String::new(), "isolation[0].value"),
        (
            |f| f[2].evidence = "x".repeat(40_000),
            "isolation[2].evidence",
        ),
        (|f| f[1].fact = f[0].fact.clone(), "isolation[1]"),
    ];
    for (edit, field) in cases {
        let mut wrong = run.clone();
        edit(&mut wrong.isolation);
        std::fs::write(&path, serde_json::to_string(&wrong).unwrap()).unwrap();
        let output = isobench().arg("report").arg(dir.path()).output().unwrap();
        assert_eq!(status(&output), 2, "{field}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(field),
            "{field}: {}",
            stderr(&output)
        );
    }
}
