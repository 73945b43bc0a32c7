//! QEMU with the kernel and initramfs of `linux-vm`: full emulation runs on every host. The kernel is that
//! of the nested bed (`.ci/nested-kit`), or the newest in `/boot`.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]
#![allow(clippy::print_stdout)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use isobench::backend::{Backend, Provided, Unavailable, open_with};
use isobench::trial::Launch;
use isobench::workload::answers::known_answer;
use isobench::workload::{Task, Workload, payload};

fn kernel() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("ISOBENCH_NESTED_KERNEL")?).join("boot");
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("vmlinuz-"))
}

fn open(id: &str) -> Result<Box<dyn Backend>, Unavailable> {
    let provided = Provided {
        kernel: kernel(),
        ..Provided::default()
    };
    open_with(&id.parse().unwrap(), &provided)
}

fn launch(workload: Workload, size: u64, reps: u64) -> Launch {
    Launch {
        task: Task {
            workload,
            size,
            reps,
        },
        deadline: Duration::from_secs(120),
    }
}

#[test]
fn full_emulation_boots_the_kernel_to_the_payload() {
    let test = "full_emulation";
    let mut qemu = match open("qemu:tcg") {
        Ok(qemu) => qemu,
        Err(why) => {
            let excuses = ["not on the path", "no kernel", "cannot be read"];
            let excused = excuses.iter().any(|words| why.reason.contains(words));
            assert!(excused, "{why} ({})", why.remedy);
            return support::skipped(test, &why.reason);
        }
    };
    let facts = qemu.engine().unwrap();
    assert!(facts.version.contains("QEMU"), "{facts:?}");
    let guest = qemu.guest_kernel().unwrap();
    assert_eq!(guest.sha256.len(), 64);
    // Over a serial port, so more than a message.
    let sha256 = launch(Workload::Sha256, 1 << 16, 2);
    let seen = qemu.trial(&sha256).unwrap();
    let answer = known_answer(&sha256.task).unwrap();
    let report = seen.report;
    assert_eq!((report.digest, report.units), (answer.digest, answer.units));
    assert_eq!(report.image, payload::image_fold().unwrap());
    let i = seen.instants;
    let order = [i.t0, i.t1, i.t2, i.t3, i.t4, i.t5];
    assert!(order.windows(2).all(|p| p[1] - p[0] > 0), "{order:?}");
    println!("clock of qemu:tcg: {:?}", seen.clock);
    // The bound is what a message takes; the start is a hundred times as long.
    assert!(
        seen.clock.bound < (i.t1 - i.t0).unsigned_abs(),
        "{:?}",
        seen.clock
    );

    let held = qemu.hold(&launch(Workload::Idle, 8 << 20, 1)).unwrap();
    let (footprint, memory) = (held.footprint().unwrap(), held.guest_memory().unwrap());
    assert!(
        footprint.private.0 > 8 << 20 && memory.0 > 8 << 20,
        "{footprint:?}"
    );
    held.release().unwrap();
}

/// Where KVM cannot run a kernel, or the program is not there, it says so at once.
#[test]
fn what_cannot_run_says_why_and_what_would_help() {
    let begun = std::time::Instant::now();
    for id in ["qemu:microvm", "qemu:pc", "firecracker", "cloud-hypervisor"] {
        match open(id) {
            Ok(_) => println!("{id}: runs here"),
            Err(why) => {
                assert!(
                    !why.reason.is_empty() && !why.remedy.is_empty(),
                    "{id}: {why:?}"
                );
                println!("{id}: {why} (to fix it: {})", why.remedy);
            }
        }
    }
    println!("asked in {:?}", begun.elapsed());
}

/// QEMU does not die with who started it: the guardian ends it.
#[test]
fn a_killed_harness_leaves_no_qemu() {
    let test = "a_killed_harness_leaves_no_qemu";
    let mut command = support::isobench();
    command.args(["explain", "--backends", "qemu:tcg"]);
    if let Some(kernel) = kernel() {
        command.arg("--kernel").arg(kernel);
    }
    let mut harness = support::start(&mut command);
    let name = format!("isobench-{}-", harness.id());
    let running = || isobench_guardian::marked(|mark| mark.starts_with(&name)).len();
    let mut ended = None;
    support::until("QEMU, or that there is none", || {
        ended = harness.try_wait().unwrap();
        running() > 0 || ended.is_some()
    });
    if let Some(ended) = ended {
        assert_eq!(ended.code(), Some(3), "this host cannot");
        return support::skipped(test, "qemu:tcg cannot run here");
    }
    harness.kill().unwrap();
    harness.wait().unwrap();
    support::until("the end of QEMU", || running() == 0);
}
