//! The VMM as a process of its own: what it can do, what it cannot, and what is left of it.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)] // Other tests use the rest.
#[path = "microvm/guest.rs"]
mod guest;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isobench::backend::container::is_privileged;
use isobench::backend::jailed::Jailed;
use isobench::backend::microvm::MicroVm;
use isobench::backend::{Backend, Unavailable};
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};
use isobench_abi::Op;

use guest::Guest;
use support::{isobench, skipped, start, until};

fn launch(workload: Workload, size: u64, reps: u64) -> Launch {
    let task = Task {
        workload,
        size,
        reps,
    };
    Launch {
        task,
        deadline: Duration::from_secs(20),
    }
}

/// The backend with this payload, or `None` with a line that says why the test does nothing here.
fn backend(test: &str, vm: Result<MicroVm, Unavailable>) -> Option<Jailed> {
    let executable = PathBuf::from(isobench().get_program());
    match vm.and_then(|vm| Jailed::with_executable(vm, &executable)) {
        Ok(backend) => Some(backend),
        Err(why) => {
            let kvm = fs::File::options().read(true).write(true).open("/dev/kvm");
            assert!(kvm.is_err(), "{test}: {why} ({})", why.remedy);
            skipped(test, &why.reason);
            None
        }
    }
}

/// Process ids of the VMMs that this process, or the one with this id, has started.
fn vmms(harness: u32) -> Vec<i32> {
    let name = format!("isobench-vmm\0{harness}\0");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command == name.as_bytes()
        })
        .collect()
}

#[test]
fn every_workload_reports_with_instants_in_order() {
    let vm = backend("every_workload (jailed)", MicroVm::new());
    let Some(mut vm) = vm.map(|vm| vm.checked().unwrap()) else {
        return;
    };
    for (workload, size, reps) in [
        (Workload::Noop, 0, 1),
        (Workload::Sha256, 1 << 16, 4),
        (Workload::Triad, 1 << 18, 3),
        (Workload::Fault, 1 << 20, 1),
        (Workload::Crossing, 0, 200),
        (Workload::Idle, 0, 1),
        (Workload::Probe, 0, 51),
    ] {
        let seen = vm
            .trial(&launch(workload, size, reps))
            .unwrap_or_else(|error| panic!("{}: {error}", workload.name()));
        let i = seen.instants;
        let order = [i.t0, i.t1, i.t3, i.t4, i.t5];
        assert!(order.windows(2).all(|p| p[1] - p[0] > 0), "{order:?}");
        assert!(i.t2 - i.t1 > 0 && i.t4 - i.t2 >= 0);
        assert_eq!(seen.report.units, workload.units(size, reps));
        assert!(seen.exits.unwrap().total() >= 3);
        for phase in &seen.phases {
            let inside = phase.start - i.t0 >= 0 && i.t1 - phase.end >= 0;
            assert!(inside && phase.end - phase.start >= 0, "{phase:?}");
        }
        let named: BTreeSet<&str> = seen.phases.iter().map(|phase| phase.name).collect();
        // Its memory and tasks are limited where there is a place for a group, else it says so.
        let limited = vm.limitations().iter().all(|l| l.mechanism != "cgroup");
        for name in ["cgroup_create", "cgroup_join"] {
            assert_eq!(named.contains(name), limited, "{name}: {named:?}");
        }
        let removed = seen.teardown.iter().any(|p| p.name == "cgroup_remove");
        assert!(removed || !limited, "{:?}", seen.teardown);
        for name in [
            "execve",
            "pivot_root",
            "capabilities",
            "create_vm",
            "seccomp",
        ] {
            assert!(named.contains(name), "{name}: {named:?}");
        }
        assert_eq!(seen.phases.last().unwrap().name, "run");
    }
}

/// What the kernel says of a VMM whose guest idles. The control is this process, which has all of it.
#[test]
fn a_vmm_can_reach_nothing_but_its_vm() {
    // In a process of its own, whose VMMs are this test's.
    const ALONE: &str = "ISOBENCH_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_vmm_can_reach_nothing_but_its_vm",
                "--nocapture",
            ])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let Some(mut backend) = backend("a_vmm_can_reach_nothing", MicroVm::new()) else {
        return;
    };
    let held = backend.hold(&launch(Workload::Idle, 0, 1)).unwrap();
    let [vmm] = vmms(std::process::id())[..] else {
        panic!("{:?}", vmms(std::process::id()));
    };
    let file = |name: &str| fs::read_to_string(format!("/proc/{vmm}/{name}")).unwrap();
    let status = file("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0".repeat(16), "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs"), field("Seccomp")),
        ("1".into(), "2".into())
    );
    // One, and those that KVM adds for itself (kvm-nx-lpage-recovery).
    let tasks = fs::read_dir(format!("/proc/{vmm}/task")).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    assert_eq!(names.filter(|name| !name.starts_with("kvm-")).count(), 1);
    if is_privileged() {
        assert_eq!(field("Uid"), ["65532"; 4].join("\t"));
        assert_eq!(field("Groups"), "");
    }
    // Links of /proc/PID need the rights of a tracer, which an ordinary user has over a VMM in a user
    // namespace of its own, and root over all.
    let namespace = |pid: &str, kind: &str| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}"))
            .unwrap()
            .into_os_string()
    };
    let mut kinds = vec!["pid", "net", "ipc", "mnt", "uts", "cgroup"];
    if !is_privileged() {
        kinds.push("user");
    }
    for kind in kinds {
        assert_ne!(
            namespace(&vmm.to_string(), kind),
            namespace("self", kind),
            "{kind}"
        );
    }
    let root = format!("/proc/{vmm}/root");
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    let fds = fs::read_dir(format!("/proc/{vmm}/fd")).unwrap();
    let mut open: Vec<String> = fds
        .map(|fd| {
            let link = fs::read_link(fd.unwrap().path()).unwrap();
            let link = link.to_str().unwrap().split([':', '[']).collect::<Vec<_>>();
            link[..link.len().min(2)].join(":")
        })
        .map(|link| {
            if link.starts_with("pipe") {
                "pipe".into()
            } else {
                link
            }
        })
        .collect();
    open.sort();
    let expected = [
        "/dev/kvm",
        "anon_inode:kvm-vcpu",
        "anon_inode:kvm-vm",
        "pipe",
        "pipe",
        "pipe",
    ];
    assert_eq!(open, expected);
    assert!(held.footprint().unwrap().private.0 > 0);
    held.release().unwrap();
    assert!(vmms(std::process::id()).is_empty());
}

/// The same failures, of the same kinds, as from the VMM in the harness.
#[test]
fn hostile_guests_end_typed() {
    let mut endless = guest::ring(Op::Null.encode(0));
    endless.extend([0xeb, 0xfd]);
    let mut twice = guest::frame::ready(guest::frame::Forgery::None);
    twice.extend(guest::ring(Op::Frame.encode(0)));
    let forged = guest::frame::ready(guest::frame::Forgery::Sent(0));
    for (name, code, kind) in [
        ("ud2", vec![0x0f, 0x0b], "guest-exception"),
        ("null", guest::at(0, &[0x8a, 0x00]), "guest-exception"),
        ("loop", vec![0xeb, 0xfe], "timeout"),
        ("storm", endless, "exit-budget"),
        ("no message", guest::ring(Op::Frame.encode(0)), "message"),
        ("ready twice", twice, "protocol"),
        ("flood", guest::frame::flood(), "protocol"),
        ("early wait", guest::ring(Op::Wait.encode(0)), "protocol"),
        ("silent exit", guest::ring(Op::Exit.encode(0)), "protocol"),
        ("status", guest::ring(Op::Exit.encode(9)), "status"),
        ("no operation", guest::ring(0xee), "vm-exit"),
        (
            "forged",
            [
                forged,
                guest::frame::result(1),
                guest::ring(Op::Exit.encode(0)),
            ]
            .concat(),
            "clock",
        ),
    ] {
        let Some(mut vm) = backend(name, MicroVm::with_payload(&Guest::new(&code).elf())) else {
            continue;
        };
        let mut launch = launch(Workload::Noop, 0, 1);
        // The others end by themselves, on an emulated CPU after more than that.
        if kind == "timeout" {
            launch.deadline = Duration::from_millis(400);
        }
        let begun = Instant::now();
        let failure = vm.trial(&launch).unwrap_err();
        assert_eq!(failure.kind(), kind, "{name}: {failure}");
        let patience = launch.deadline + Duration::from_secs(5);
        assert!(begun.elapsed() < patience, "{name}");
    }
}

/// A harness that is killed at any moment takes its VMMs with it.
#[test]
fn a_killed_harness_leaves_no_vmm() {
    if backend("a_killed_harness_leaves_no_vmm", MicroVm::new()).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for delay in (0..12).map(|n| Duration::from_millis(150 + 17 * n)) {
        let out = dir.path().join(delay.as_millis().to_string());
        let flags = [
            "--backends",
            "microvm:jailed",
            "--workloads",
            "noop,crossing",
        ];
        let mut run = start(&mut support::run_into(&flags, &out));
        let pid = run.id();
        // Somewhere in a trial, once there are any.
        until("a first trial", || {
            support::folder::finished(&out) > 0 || run.try_wait().unwrap().is_some()
        });
        std::thread::sleep(delay);
        run.kill().unwrap();
        run.wait().unwrap();
        until("every VMM is gone", || vmms(pid).is_empty());
    }
}

/// A program without the entry is not started again and again in the hope that it is a VMM.
#[test]
fn a_program_without_an_entry_is_refused() {
    let Ok(vm) = MicroVm::new() else {
        skipped("a_program_without_an_entry_is_refused", "no /dev/kvm");
        return;
    };
    let why = Jailed::of(vm).err().unwrap();
    assert!(why.reason.contains("no entry"), "{why}");
    let vm = MicroVm::new().unwrap();
    let other = Jailed::with_executable(vm, "/bin/true".as_ref());
    assert!(other.and_then(Jailed::checked).is_err());
}
