//! What crosses the payload's boundary: counted in a run, and told one by one by `explain`.
#![allow(clippy::unwrap_used)] // a test states its expectations

mod support;

use isobench::store::document::{Crossed, CrossingCount};
use isobench::store::record::Record;
use support::folder::{read_records, read_run};
use support::{run, run_into, skipped, status, stderr, stdout, usable};

fn count(stage: &str, what: &str, count: u64) -> CrossingCount {
    CrossingCount {
        stage: stage.to_owned(),
        what: what.to_owned(),
        count,
    }
}

/// A thousand crossings are a thousand, on whichever side of whichever boundary they are counted.
#[test]
fn a_run_counts_what_crosses() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = ["--workloads", "noop,crossing", "--blocks", "2"];
    let output = run_into(&flags, &out).output().unwrap();
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("crossings"), "{}", stdout(&output));
    let document = read_run(&out);
    let crossed = |backend: &str, workload: &str| -> Option<Crossed> {
        let mut all = document.boundary.iter();
        let found = all.find(|b| b.backend == backend && b.workload == workload);
        if found.is_none() {
            assert!(!usable(backend), "{backend} runs here and was not counted");
            skipped("a_run_counts_what_crosses", &format!("no {backend} here"));
        }
        found.map(|found| found.crossed.clone().unwrap())
    };
    for backend in ["process", "container"] {
        let Some(crossing) = crossed(backend, "crossing") else {
            continue;
        };
        assert_eq!(crossing.by, "system calls");
        let counts = [
            count("start", "write", 1),
            count("work", "getppid", 1000),
            count("work", "write", 1),
            count("end", "exit_group", 1),
        ];
        assert_eq!((&crossing.counts[..], crossing.total), (&counts[..], 1003));
        assert_eq!(crossed(backend, "noop").unwrap().total, 3);
    }
    if let Some(crossing) = crossed("microvm", "crossing") {
        assert_eq!(crossing.by, "VM exits");
        let of = |stage: &str, what: &str| {
            let mut all = crossing.counts.iter();
            all.find(|c| c.stage == stage && c.what == what)
                .map(|c| c.count)
        };
        assert_eq!(of("start", "out 0x05b0 message"), Some(1));
        assert_eq!(of("work", "out 0x05b0 nothing"), Some(1000));
        assert_eq!(of("work", "out 0x05b0 message"), Some(1));
        assert_eq!(of("end", "out 0x05b0 exit"), Some(1));
        // KVM sees all that the VMM sees, and more (a signal before the entry is no exit to it).
        if let Some(kvm) = crossing.kvm.iter().find(|c| c.name == "exits") {
            assert!(kvm.value >= 1003, "{crossing:?}");
        }
    }
    // Every trial, too, says what its exits were.
    let mut exits = 0;
    for record in read_records(&out) {
        if let Record::Trial(trial) = record
            && let Some(measured) = trial.measured
        {
            let sum: u64 = measured.exit_counts.iter().map(|c| c.count).sum();
            assert_eq!(sum, measured.exits.unwrap_or(0));
            exits += sum;
        }
    }
    assert_eq!(exits > 0, usable("microvm"));
}

/// A copy has the exits behind its snapshot, and a VM that is kept those of its last life alone.
#[test]
fn copies_and_kept_vms_are_counted_by_the_life() {
    let test = "copies_and_kept_vms_are_counted_by_the_life";
    if !usable("microvm") {
        return skipped(test, "no microvm here");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let kinds = ["microvm:snapshot", "microvm:pool"];
    let list = format!("process,{}", kinds.join(","));
    let flags = ["--backends", &list, "--workloads", "noop,crossing"];
    let flags = [&flags[..], &["--blocks", "2"]].concat();
    let output = run_into(&flags, &out).output().unwrap();
    assert_eq!(support::settled(&output), 0, "{}", stderr(&output));
    let document = read_run(&out);
    for kind in kinds {
        let crossed = |workload: &str| {
            let mut all = document.boundary.iter();
            let found = all.find(|b| b.backend == kind && b.workload == workload);
            found.and_then(|found| found.crossed.clone()).unwrap()
        };
        let (noop, crossing) = (crossed("noop"), crossed("crossing"));
        let said = count("work", "out 0x05b0 message", 1);
        let exit = count("end", "out 0x05b0 exit", 1);
        let nothing = count("work", "out 0x05b0 nothing", 1000);
        // A signal of the host may come between.
        let of = |crossed: &Crossed| -> Vec<_> {
            let counts = crossed.counts.iter().filter(|c| c.what != "signal");
            counts.cloned().collect()
        };
        assert_eq!(of(&noop), [said.clone(), exit.clone()], "{kind}");
        assert_eq!(of(&crossing), [nothing, said, exit], "{kind}");
        // Hardware KVM counts port accesses as such, software KVM as emulated instructions. Two lives
        // would have 2,004 at least.
        let kvm = |name: &str| crossing.kvm.iter().find(|c| c.name == name);
        if let Some(ports) = kvm("io_exits").or(kvm("insn_emulation")) {
            assert!((1002..2004).contains(&ports.value), "{kind}: {ports:?}");
        }
    }
}

/// Every instant, in its order, with the phases and exits between them.
#[test]
fn explain_tells_a_trial_in_order() {
    for (backend, said) in [
        ("process", &["execve", "system calls: start: write 1"][..]),
        ("container", &["pivot_root", "exit_group 1", "ptrace(2)"]),
        (
            "microvm",
            &[
                "create_vcpu",
                "KVM_RUN, until out 0x05b0 message",
                "in this launch",
            ],
        ),
        (
            "microvm:snapshot",
            &[
                "mmap_snapshot",
                "KVM_RUN, until out 0x05b0 exit",
                "2 VM exits: work: out 0x05b0 message 1; end: out 0x05b0 exit 1",
                "in this launch",
            ],
        ),
        (
            "microvm:pool",
            &[
                "rewind_memory",
                "KVM_RUN, until out 0x05b0 exit",
                "2 VM exits: work: out 0x05b0 message 1; end: out 0x05b0 exit 1",
                "in this launch",
            ],
        ),
    ] {
        if !usable(backend) {
            skipped("explain_tells_a_trial_in_order", backend);
            continue;
        }
        let output = run(&["explain", "--backends", backend]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        let text = stdout(&output);
        for words in said {
            assert!(text.contains(words), "{words}: {text}");
        }
        let at = |instant: &str| text.find(&format!("  {instant}  ")).unwrap();
        // The payload may mark its end before the harness has heard its beginning.
        for order in [
            ["t0", "t1", "t2", "t4", "t5"],
            ["t0", "t1", "t3", "t4", "t5"],
        ] {
            assert!(order.map(at).is_sorted(), "{text}");
        }
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }
}

#[test]
fn explain_refuses_what_is_not_timed() {
    for (flags, names) in [
        (["--workloads", "idle"], "idle"),
        (["--workloads", "probe"], "probe"),
        (["--backends", "nothing"], "nothing"),
        (["--profile", "huge"], "huge"),
    ] {
        let output = run(&[&["explain"][..], &flags].concat());
        assert_eq!(status(&output), 2);
        assert!(stderr(&output).contains(names), "{}", stderr(&output));
    }
}
