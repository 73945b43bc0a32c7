//! isobench on *hardware* KVM semantics and on pure cgroup v2, whatever this host has: a Debian
//! kernel in a QEMU that emulates SVM in software. In it `/dev/kvm` is a real `kvm_amd` with nested
//! paging. What takes long and needs no KVM is done in User-Mode Linux, which is faster. What
//! holds there is asserted; how long anything takes means nothing and is not.
//!
//! ```text
//!   this test                            QEMU (-accel tcg -cpu max,+svm), or linux.uml
//!   ─────────                            ─────────────────────────────────────────────
//!   kit: kernel, test binaries
//!   image: initramfs, this binary as /init ──► init: mounts, modules, cgroups
//!   report ◄──────── second serial port ────── steps, one after the other
//! ```
//!
//! There are four such machines, a test each. To add a check, add a [`steps::Step`] to one of them; to
//! give it a file, add that to [`image`]. `ISOBENCH_NESTED_STEPS=WORD,…` does only the steps whose names
//! contain one of the words; `ISOBENCH_NESTED_FULL=1` kills at each phase a hundred times and soaks in full.
//! `ISOBENCH_NESTED_FIRECRACKER` names a Firecracker, which Debian does not have, for the step that compares it
//! with `linux-vm`; without it that is skipped. `ISOBENCH_NESTED_INNER_QEMU` names a QEMU to be put inside, for the
//! step that boots `qemu:microvm` and `qemu:pc` on that KVM; without it that is skipped, too.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::print_stdout)]

#[path = "nested/documents.rs"]
mod documents;
#[path = "nested/image.rs"]
mod image;
#[path = "nested/init.rs"]
mod init;
#[path = "nested/inner_qemu.rs"]
mod inner_qemu;
#[path = "nested/kernel.rs"]
mod kernel;
#[path = "nested/kit.rs"]
mod kit;
#[path = "nested/machine.rs"]
mod machine;
#[path = "nested/report.rs"]
mod report;
#[path = "nested/steps.rs"]
mod steps;
#[path = "nested/svm.rs"]
mod svm;
#[path = "nested/uml.rs"]
mod uml;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use kit::Kit;
use machine::Machine;
use report::Report;
use steps::Bed;

/// More than a machine's steps add up to in practice; then it is killed.
const LIMIT: Duration = Duration::from_secs(18 * 60);

// Two at a time they begin in the order of their names, which makes both rows of about the same length.
#[test]
fn cgroup2() {
    run(&steps::GROUPS);
}

#[test]
fn containers() {
    run(&steps::CONTAINERS);
}

#[test]
fn hardware_svm() {
    run(&steps::SVM);
}

#[test]
fn linux() {
    run(&steps::LINUX);
}

/// For the end of a machine that has done its steps.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(bed: &'static Bed) {
    if bed.chosen().next().is_none() {
        eprintln!("skipped: nested {}: no step is chosen", bed.name);
        return;
    }
    let kit = match Kit::find(bed) {
        Ok(kit) => kit,
        Err(why) => {
            eprintln!("skipped: nested {}: {why}", bed.name);
            return;
        }
    };
    let mut folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let image = image::write(&kit, bed, folder.path());
    let mut log = File::create(folder.path().join("steps.log")).unwrap();
    let begun = Instant::now();
    let limit = LIMIT * if steps::full() { 20 } else { 1 };
    let machine = Machine::start(&kit, bed, &image, folder.path());
    let mut report = Report::new(bed);
    while let Some(line) = machine.line(limit.saturating_sub(begun.elapsed())) {
        writeln!(log, "{:>9.3?} {line}", begun.elapsed()).unwrap();
        for said in report.take(&line) {
            println!("{said}");
        }
        if report.complete() {
            break;
        }
    }
    // It ends by itself now, and leaves its processes no moment on this host.
    while report.complete() && machine.line(PATIENCE).is_some() {}
    let console = machine.console_tail();
    drop(machine);
    let (said, wrong) = report.judged();
    for what in said {
        println!("{what}");
    }
    println!("nested {}: {:.0?} in all", bed.name, begun.elapsed());
    if !wrong.is_empty() {
        folder.disable_cleanup(true);
        let (wrong, logs) = (wrong.join("\n"), folder.path().display());
        panic!("{wrong}\n--- the end of the kernel's log\n{console}\n--- all of it: {logs}");
    }
}

/// Not a test of its own: process 1 of the machine that the test above starts.
#[test]
fn inner_is_process_1() {
    if std::process::id() == 1
        && std::env::var_os("ISOBENCH_TEST_INNER").is_some_and(|v| v == "init")
    {
        init::run();
    }
}
