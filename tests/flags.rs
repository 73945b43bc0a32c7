//! Flags, files and pipes as a user hands them to the command line.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{SHORT, isobench, run, run_into, skipped, status, stderr, stdout};

#[test]
fn bad_input_is_refused_by_field_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let cases: [(&[&str], &str); 12] = [
        (&["--backends", "docker-ish"], "--backends"),
        (&["--backends", ""], "--backends"),
        (&["--workloads", "chase@12"], "--workloads"),
        (&["--workloads", "../noop"], "--workloads"),
        (&["--profile", "gigantic"], "--profile"),
        (&["--blocks", "0"], "--blocks"),
        (&["--blocks", "-1"], "--blocks"),
        (&["--blocks", "18446744073709551616"], "--blocks"),
        (&["--seed", "-1"], "--seed"),
        (&["--max-time", "NaNs"], "--max-time"),
        (&["--max-time", "1e999s"], "--max-time"),
        (&["--format", "pdf"], "--format"),
    ];
    for (flags, field) in cases {
        let output = run_into(flags, &out).output().unwrap();
        assert_eq!(status(&output), 2, "{flags:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(field),
            "{flags:?}: {}",
            stderr(&output)
        );
        assert!(stdout(&output).is_empty());
        assert!(!out.exists());
    }
    assert_eq!(status(&run(&[])), 2);
    assert_eq!(status(&run(&["run", "--seed", "1", "--seed", "2"])), 2);
}

#[test]
fn an_argument_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let output = isobench()
        .args(["run", "--backends"])
        .arg(bytes)
        .output()
        .unwrap();
    assert_eq!(status(&output), 2);
}

#[test]
fn an_output_folder_that_cannot_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "mine").unwrap();
    let below = file.join("below");
    for out in [&file, &below] {
        let output = run_into(&SHORT, out).output().unwrap();
        assert_eq!(status(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("--out"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_read_only_folder_is_refused() {
    if nix::unistd::geteuid().is_root() {
        return skipped("a_read_only_folder_is_refused", "root writes anywhere");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let out = dir.path().join("out");
    let output = run_into(&SHORT, &out).output().unwrap();
    assert_eq!(status(&output), 2, "{}", stderr(&output));
}

#[test]
fn a_run_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("run.json"), "{}").unwrap();
    let output = run_into(&SHORT, dir.path()).output().unwrap();
    assert_eq!(status(&output), 2);
    assert_eq!(
        fs::read_to_string(dir.path().join("run.json")).unwrap(),
        "{}"
    );
}

/// Every kind of backend, in the order in which they are shown.
const KINDS: [&str; 24] = [
    "process",
    "container",
    "microvm",
    "microvm:jailed",
    "microvm:snapshot",
    "microvm:pool",
    "linux-vm",
    "crun",
    "runc",
    "youki",
    "bwrap",
    "podman",
    "nspawn",
    "containerd",
    "cri",
    "dockerd",
    "dockerd:network=bridge",
    "docker",
    "docker:network=bridge",
    "qemu:tcg",
    "qemu:microvm",
    "qemu:pc",
    "firecracker",
    "cloud-hypervisor",
];

#[test]
fn list_schema_completions_and_manual_print_and_succeed() {
    for (args, expected) in [
        (&["list"][..], "crossing"),
        (&["list", "backends"], "microvm"),
        (&["list", "workloads"], "chase@16KiB"),
        (&["list", "metrics"], "teardown"),
        (&["schema"], "isolation"),
        (&["completions", "bash"], "isobench"),
        (&["man"], ".TH"),
        (&["--help"], "doctor"),
        (&["run", "--help"], "--max-time"),
    ] {
        let output = run(args);
        assert_eq!(status(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(
            stdout(&output).contains(expected),
            "{args:?}: {}",
            stdout(&output)
        );
        assert!(stdout(&output).lines().all(|l| l.chars().count() <= 100) || args[0] != "list");
    }
}

#[test]
fn doctor_names_the_kvm_kind_and_every_backend() {
    let output = run(&["doctor"]);
    assert!([0, 3].contains(&status(&output)), "{}", stderr(&output));
    let text = stdout(&output);
    for needed in ["kvm", "cgroup"] {
        assert!(text.contains(needed), "{needed} is missing in:\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["doctor", "--format", "json"]))).unwrap();
    let kind = json["kvm"].as_str().unwrap();
    assert!(
        ["hardware-svm", "hardware-vmx", "software", "absent"].contains(&kind),
        "{kind}"
    );
    let backends = json["backends"].as_array().unwrap();
    let ids: Vec<_> = backends.iter().map(|b| b["id"].as_str().unwrap()).collect();
    assert_eq!(ids, KINDS);
    let mut usable = Vec::new();
    for backend in backends {
        let id = backend["id"].as_str().unwrap();
        if backend["usable"] == false {
            assert!(!backend["reason"].as_str().unwrap().is_empty());
            assert!(!backend["remedy"].as_str().unwrap().is_empty());
            assert!(text.contains(&format!("{id:<22} cannot run: ")), "{text}");
        } else {
            assert!(text.contains(&format!("{id:<22} usable")), "{text}");
            usable.push(id);
        }
    }
    // What it says last can be typed.
    let (_, command) = text.split_once("isobench run --backends ").unwrap();
    assert_eq!(command.trim_end().split(',').collect::<Vec<_>>(), usable);
}

#[test]
fn every_kind_of_backend_is_listed_once_and_in_the_help() {
    let list = stdout(&run(&["list", "backends"]));
    let help = stdout(&run(&["run", "--help"]));
    for kind in KINDS {
        let rows = list.lines().filter(|line| {
            let mut words = line.strip_prefix("  ").unwrap_or_default().split(' ');
            words.next() == Some(kind)
        });
        assert_eq!(rows.count(), 1, "{kind}: {list}");
        assert!(help.contains(kind), "{kind}: {help}");
    }
    assert_eq!(list.matches("microvm:snapshot").count(), 1, "{list}");
}

#[test]
fn closed_standard_output_is_no_panic() {
    let output = Command::new("sh")
        .args(["-c", "exec \"$ISOBENCH\" list >&-"])
        .env("ISOBENCH", isobench().get_program())
        .output()
        .unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

/// `isobench list | head -1`, at its worst: nobody has read anything.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = run_into(&SHORT, &out);
    let of = |args: &[&str]| {
        let mut command = isobench();
        command.args(args);
        command
    };
    let mut report = of(&["report"]);
    report.arg(&out);
    let mut commands = vec![run, report];
    for args in [
        &["list"][..],
        &["schema"],
        &["completions", "zsh"],
        &["man"],
        &["--help"],
        &["doctor"],
    ] {
        commands.push(of(args));
    }
    for mut command in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        let text = stderr(&output);
        assert!(
            status(&output) == 0 || text.contains("none of the backends"),
            "{command:?}: {} {text}",
            status(&output)
        );
        assert!(!text.contains("standard output"), "{command:?}: {text}");
    }
}

#[test]
fn a_full_disk_under_the_output_is_an_error() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = isobench().arg("list").stdout(full).output().unwrap();
    assert_eq!(status(&output), 4);
    let text = stderr(&output);
    assert!(text.contains("cannot write to standard output"), "{text}");
}
