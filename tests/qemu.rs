//! QEMU with the kernel and initramfs of `linux-vm`: full emulation runs on every host, the machines on KVM
//! where that can run a kernel (tests/nested.rs runs them where `ISOBENCH_NESTED_INNER_QEMU` names a QEMU). The
//! kernel is that of the nested bed (`.ci/nested-kit`), or the newest in `/boot`.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]
#![allow(clippy::print_stdout)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use isobench::backend::{Backend, Provided, Unavailable, open_with};
use isobench::store::document::Status;
use isobench::trial::{Launch, Observation};
use isobench::workload::{Task, Workload};
use support::folder::read_run;
use support::measurement::right;

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

/// The backend; where it cannot run here, that is said by name and must be for one of these reasons, or for
/// want of the program or of a kernel.
fn usable(test: &str, id: &str, more: &[&str]) -> Option<Box<dyn Backend>> {
    match open(id) {
        Ok(backend) => Some(backend),
        Err(why) => {
            let excuses = ["not on the path", "no kernel", "cannot be read"];
            let mut excuses = excuses.iter().chain(more);
            let excused = excuses.any(|words| why.reason.contains(words));
            assert!(excused, "{id}: {why} ({})", why.remedy);
            support::skipped(test, &why.reason);
            None
        }
    }
}

/// What a KVM cannot that is none, or whose ring 0 is software.
const NO_KVM: [&str; 2] = ["/dev/kvm", "cannot run a kernel"];

#[test]
fn full_emulation_boots_the_kernel_to_the_payload() {
    let Some(mut qemu) = usable("full_emulation", "qemu:tcg", &[]) else {
        return;
    };
    boots("qemu:tcg", qemu.as_mut());
}

#[test]
fn a_microvm_on_kvm_boots_the_kernel_to_the_payload() {
    boots_beside_linux_vm("a_microvm_on_kvm", "qemu:microvm");
}

#[test]
fn a_pc_on_kvm_boots_the_kernel_to_the_payload() {
    boots_beside_linux_vm("a_pc_on_kvm", "qemu:pc");
}

/// As quiet as QEMU's kernels are.
const OURS: &str = "linux-vm:save=quiet";

/// The same kernel as in the machine of this project's own VMM.
fn boots_beside_linux_vm(test: &str, id: &str) {
    let Some(mut qemu) = usable(test, id, &NO_KVM) else {
        return;
    };
    let mut ours = open(OURS).unwrap_or_else(|why| panic!("{id} runs, but {why}"));
    let kernel = |backend: &dyn Backend| backend.guest_kernel().unwrap().sha256;
    assert_eq!(kernel(qemu.as_ref()), kernel(ours.as_ref()));
    let noop = launch(Workload::Noop, 0, 1);
    tell(OURS, &measured(&noop, ours.as_mut()));
    tell(id, &measured(&noop, qemu.as_mut()));
    boots(id, qemu.as_mut());
}

/// From the harness's own end: an answer for each trial, in a document that names the kernel.
#[test]
fn a_run_on_kvm_measures_both_beside_linux_vm() {
    let test = "a_run_on_kvm";
    // Where one can run so can the other.
    if usable(test, "qemu:microvm", &NO_KVM).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ids = ["process", OURS, "qemu:microvm", "qemu:pc"];
    let backends = ids.join(",");
    let mut flags = vec!["--backends", &backends, "--workloads", "noop"];
    flags.extend(["--profile", "smoke", "--blocks", "1", "--seed", "1"]);
    flags.extend(["--max-time", "5m"]);
    let kernel = kernel();
    if let Some(kernel) = &kernel {
        flags.extend(["--kernel", kernel.to_str().unwrap()]);
    }
    let output = support::run_into(&flags, folder.path()).output().unwrap();
    let said = support::stderr(&output);
    assert_eq!(support::settled(&output), 0, "{said}");
    let run = read_run(folder.path());
    assert_eq!(run.backends.len(), ids.len());
    for (backend, id) in run.backends.iter().zip(ids) {
        assert_eq!(backend.id, id);
        let (status, failures) = (backend.status, backend.failures);
        assert!(status == Status::Measured && failures == 0, "{id}: {said}");
    }
    let kernels = run.backends[1..].iter().map(|b| b.guest_kernel.as_ref());
    let kernels: Vec<_> = kernels.map(|kernel| &kernel.unwrap().sha256).collect();
    assert!(kernels.iter().all(|sha256| *sha256 == kernels[0]));
    println!("timeline a run: {} measured", ids.join(", "));
}

fn measured(launch: &Launch, backend: &mut dyn Backend) -> Observation {
    let seen = backend.trial(launch).unwrap();
    right(launch, &seen);
    seen
}

fn tell(id: &str, seen: &Observation) {
    let i = seen.instants;
    let [t1, t5] = [i.t1, i.t5].map(|at| (at - i.t0) as f64 / 1e6);
    println!(
        "timeline {id}: millions of ticks from t0: t1 {t1:.1}, t5 {t5:.1}; {:?}",
        seen.clock
    );
}

fn boots(id: &str, qemu: &mut dyn Backend) {
    let facts = qemu.engine().unwrap();
    assert!(facts.version.contains("QEMU"), "{facts:?}");
    let guest = qemu.guest_kernel().unwrap();
    assert_eq!(guest.sha256.len(), 64);
    // Over a serial port, so more than a message.
    let sha256 = launch(Workload::Sha256, 1 << 16, 2);
    let seen = measured(&sha256, qemu);
    tell(id, &seen);
    let i = seen.instants;
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
