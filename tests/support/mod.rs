//! What the behaviour tests share: the binary, and what a run must not leave behind.
#![allow(clippy::expect_used)] // a test states its expectations
#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The isobench binary: the one built with these tests, or a copy named by ISOBENCH_BIN (for a
/// user who cannot read the build folder).
pub fn isobench() -> Command {
    let built = env!("CARGO_BIN_EXE_isobench");
    let mut command =
        Command::new(std::env::var_os("ISOBENCH_BIN").unwrap_or_else(|| built.into()));
    command.env_remove("NO_COLOR");
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    isobench().args(args).output().expect("the binary starts")
}

/// Exit status, 999 for a signal.
pub fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or(999)
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Says by name that a test cannot be run here.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
}

/// Starts it with its output in pipes.
pub fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// What an isobench with this process id has left on this host: its cgroups in every hierarchy, its
/// mounts in this mount namespace, its children. Others may be running: nothing of theirs counts.
pub fn left_behind(pid: u32) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    cgroups(
        Path::new("/sys/fs/cgroup"),
        6,
        &format!("isobench-{pid}-"),
        &mut found,
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(
        mounts
            .lines()
            .filter(|l| l.contains("isobench"))
            .map(|l| format!("mount {l}")),
    );
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (comm) state ppid": the name may hold blanks and brackets.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(&pid.to_string()) {
            found.insert(format!("process {stat}"));
        }
    }
    found
}

fn cgroups(folder: &Path, depth: usize, name: &str, found: &mut BTreeSet<String>) {
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(name) {
            found.insert(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), depth - 1, name, found);
    }
}
