//! `linux-vm`: the payload as `/init` of a real Linux. Only a KVM with hardware (or the nested bed,
//! tests/nested.rs) runs it; elsewhere it says why not, quickly.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::print_stdout)]

#[path = "linux_vm/hostile.rs"]
mod hostile;
mod support;

use std::path::Path;
use std::time::Duration;

use isobench::backend::linux_vm::LinuxVm;
use isobench::backend::linux_vm::options::{Options, Savings};
use isobench::backend::{Backend, Unavailable};
use isobench::host::kvm::{self, KvmKind};
use isobench::metric::Ticks;
use isobench::trial::{Failure, Launch, Observation};
use isobench::workload::{Task, Workload, payload};
use support::measurement::right;

/// An emulated machine under load boots a kernel in half a minute.
const DEADLINE: Duration = Duration::from_secs(120);

/// The backend, or `None` with a line that says why the test does nothing here. Where the CPU has
/// what it takes, only a missing kernel is an excuse.
fn backend(test: &str, made: Result<LinuxVm, Unavailable>) -> Option<LinuxVm> {
    match made {
        Ok(backend) => Some(backend),
        Err(why) => {
            let kind = kvm::detect(Path::new("/")).kind;
            let hardware = matches!(kind, KvmKind::HardwareSvm | KvmKind::HardwareVmx);
            let excuse = ["no kernel", "no permission", "cannot be read"];
            let excused = excuse.iter().any(|words| why.reason.contains(words));
            assert!(!hardware || excused, "{test}: {why} ({})", why.remedy);
            eprintln!("skipped: linux_vm {test}: {why}");
            None
        }
    }
}

/// As by default, but silent: an emulated SVM (QEMU 7.2) was seen to lock up, host kernel and all, in two of
/// some fifteen boots that print, with their 40,000 exits, and in none of thirty that do not.
fn quiet() -> Savings {
    Savings::parse("save=quiet").unwrap()
}

fn lean() -> Savings {
    Savings::parse("keep=console").unwrap()
}

fn launch(workload: Workload, size: u64, reps: u64) -> Launch {
    let task = Task {
        workload,
        size,
        reps,
    };
    Launch {
        task,
        deadline: DEADLINE,
    }
}

fn print_timeline(name: &str, seen: &Observation) {
    let at = |ticks: Ticks| (ticks - seen.instants.t0) as f64 / 1e6;
    println!("timeline {name}: millions of ticks since t0");
    let from_vm = |name: &&str| ["enter_kernel", "boot"].contains(name);
    for phase in &seen.phases {
        let mark = if from_vm(&phase.name) { '*' } else { ' ' };
        let (from, to) = (at(phase.start), at(phase.end));
        println!(
            "timeline {name}: {from:>10.3} to {to:>10.3} {mark}{}",
            phase.name
        );
    }
    let i = seen.instants;
    let marks = [
        ("init started, t1", i.t1),
        ("t2", i.t2),
        ("t3", i.t3),
        ("t4", i.t4),
        ("t5", i.t5),
    ];
    for (mark, instant) in marks {
        println!("timeline {name}: {:>10.3} {mark}", at(instant));
    }
    let exits = seen.exits.unwrap();
    for row in exits.counts().iter().filter(|row| row.count > 50) {
        println!("timeline {name}: {:>6} exits: {}", row.count, row.reason);
    }
    println!(
        "timeline {name}: {} exits; payload {}",
        exits.total(),
        payload::SHA256
    );
}

#[test]
fn linux_boots_to_the_payload() {
    let Some(mut vm) = backend("boots", LinuxVm::new(quiet(), None)) else {
        return;
    };
    let kernel = vm.guest_kernel().unwrap();
    println!(
        "timeline linux-vm:save=quiet: {}",
        kernel.version.unwrap_or_default()
    );
    assert_eq!(kernel.sha256.len(), 64);
    let noop = launch(Workload::Noop, 0, 1);
    let seen = vm.trial(&noop).unwrap();
    print_timeline("linux-vm:save=quiet", &seen);
    right(&noop, &seen);
    let [.., enter, boot] = seen.phases.as_slice() else {
        panic!("{:?}", seen.phases)
    };
    assert_eq!((enter.name, boot.name), ("enter_kernel", "boot"));
    assert_eq!((enter.end, boot.end), (boot.start, seen.instants.t1));
    assert!(seen.phases.windows(2).all(|p| p[1].start - p[0].end >= 0));
}

#[test]
fn the_payload_works_in_linux() {
    let Some(mut vm) = backend("works", LinuxVm::new(lean(), None)) else {
        return;
    };
    for (workload, size, reps) in [(Workload::Sha256, 1 << 16, 4), (Workload::Probe, 0, 51)] {
        let launch = launch(workload, size, reps);
        let seen = vm
            .trial(&launch)
            .unwrap_or_else(|e| panic!("{workload:?}: {e}"));
        right(&launch, &seen);
        if workload == Workload::Sha256 {
            print_timeline("linux-vm:keep=console", &seen);
        }
    }
}

/// The disk's partition is in the kernel's log only if its first sector was read as it is.
#[test]
fn a_disk_and_a_console_are_found_by_their_drivers() {
    let options = Options::parse("save=pci+keyboard:with=disk+console").unwrap();
    let Some(mut vm) = backend("devices", LinuxVm::new(options, None)) else {
        return;
    };
    let noop = launch(Workload::Noop, 0, 1);
    let seen = match vm.trial(&noop) {
        Ok(seen) => seen,
        Err(error) => panic!("{error}; {:?}", vm.used()),
    };
    right(&noop, &seen);
    print_timeline("linux-vm:with=disk+console", &seen);
    let used = vm.used().unwrap();
    println!("timeline linux-vm:with=disk+console: {used:?}");
    let disk = used.disk.unwrap();
    assert!(disk.reads > 0 && disk.read_bytes >= 512, "{used:?}");
    assert_eq!((disk.writes, disk.refused), (0, 0));
    assert!(used.console.unwrap() > 0, "{used:?}");
    assert!(used.last_words.contains("vda: vda1"), "{used:?}");
}

/// Private memory of this process in bytes, without the guest's memory; shared pages are not its own.
fn private_memory() -> u64 {
    let maps = procfs::process::Process::myself().unwrap().smaps().unwrap();
    let own = |name: &str| {
        maps.iter()
            .filter_map(|m| m.extension.map.get(name))
            .sum::<u64>()
    };
    own("Private_Clean") + own("Private_Dirty")
}

/// And what the VMM adds to its guest's memory: its heap, its devices, what it learned of the kernel.
/// KVM's own is the kernel's and not in here.
#[test]
fn idle_instances_are_held_accounted_and_released() {
    const VMM_AT_MOST: u64 = 3 << 19;
    let before = private_memory();
    let Some(mut vm) = backend("idle", LinuxVm::new(lean(), None)) else {
        return;
    };
    let idle = launch(Workload::Idle, 64 << 20, 1);
    let held = vm.hold(&idle).unwrap();
    let footprint = held.footprint().unwrap();
    let memory = held.guest_memory().unwrap();
    assert!(
        footprint.private.0 > 64 << 20 && footprint.pss.0 <= memory.0,
        "{footprint:?}"
    );
    let guest = footprint.private.0.cast_unsigned();
    let own = private_memory().saturating_sub(before + guest);
    println!("timeline linux-vm memory: {own} bytes of the VMM's own beside {guest} of its guest");
    assert!(own <= VMM_AT_MOST, "{own} bytes");
    held.release().unwrap();
}

#[test]
fn a_kernel_without_init_is_a_typed_failure_with_its_last_words() {
    let made = LinuxVm::with_init(lean(), None, b"not a program");
    let Some(mut vm) = backend("panic", made) else {
        return;
    };
    match vm.trial(&launch(Workload::Noop, 0, 1)) {
        Err(Failure::GuestKernel { how, console }) => {
            assert!(how.contains("triple fault"), "{how}; {console}");
            assert!(console.contains("Kernel panic"), "{how}; {console}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_boot_that_takes_too_long_ends_at_the_deadline() {
    let Some(mut vm) = backend("deadline", LinuxVm::new(Savings::NONE, None)) else {
        return;
    };
    let mut hasty = launch(Workload::Noop, 0, 1);
    hasty.deadline = Duration::from_millis(1);
    match vm.trial(&hasty) {
        Err(Failure::GuestKernel { how, .. }) => assert!(how.contains("did not start"), "{how}"),
        other => panic!("{other:?}"),
    }
}
