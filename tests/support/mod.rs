//! What the behaviour tests share: the binary, and what a run must not leave behind.
#![allow(clippy::expect_used)] // a test states its expectations
#![allow(dead_code)] // each test binary uses its own part

pub mod folder;
pub mod measurement;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The isobench binary: the one built with these tests, or a copy named by ISOBENCH_BIN (for a
/// user who cannot read the build folder).
pub fn isobench() -> Command {
    let built = env!("CARGO_BIN_EXE_isobench");
    let mut command =
        Command::new(std::env::var_os("ISOBENCH_BIN").unwrap_or_else(|| built.into()));
    command.env_remove("NO_COLOR");
    // Neither into the history of whoever runs the tests nor with what the shell has set.
    command
        .env("ISOBENCH_HISTORY", "off")
        .env_remove("ISOBENCH_INJECT");
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    isobench().args(args).output().expect("the binary starts")
}

/// `isobench run` with these flags into this folder.
pub fn run_into(flags: &[&str], out: &Path) -> Command {
    let mut command = isobench();
    command.arg("run").args(flags).arg("--out").arg(out);
    command
}

/// The flags of a run that is over at once.
pub const SHORT: [&str; 6] = [
    "--backends",
    "process",
    "--workloads",
    "noop",
    "--blocks",
    "1",
];

/// Whether a backend can run on this host.
pub fn usable(id: &str) -> bool {
    let doctor = stdout(&run(&["doctor", "--format", "json"]));
    let json: serde_json::Value = serde_json::from_str(&doctor).expect("doctor prints JSON");
    let backends = json["backends"].as_array().expect("a list");
    backends
        .iter()
        .any(|b| b["id"] == id && b["usable"] == true)
}

/// Waits for something that is bound to happen.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(120);
    while !happened() {
        assert!(Instant::now() < patience, "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("the child is there");
}

/// Exit status, 999 for a signal.
pub fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or(999)
}

/// Exit status of a run. One that the host disturbed is inconclusive (5) and as good as any: no test may
/// ask how quiet a machine is.
pub fn settled(output: &Output) -> i32 {
    match status(output) {
        5 => 0,
        other => other,
    }
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

/// Writes a program, by way of a process of its own: what this one holds open for writing while another
/// thread forks cannot be executed (ETXTBSY, execve(2)).
pub fn program(path: &Path, text: &str) {
    let mut install = Command::new("install");
    let install = install.args(["-m", "755", "/dev/stdin"]).arg(path);
    let mut install = install.stdin(Stdio::piped()).spawn().expect("install");
    let mut input = install.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    assert!(install.wait().expect("it ends").success(), "{path:?}");
}

/// Why a compared metric has no verdict, where that is the host's doing and not the tool's.
pub fn disturbed(metric: &serde_json::Value) -> Option<String> {
    let doubt = &metric["doubt"];
    let host = ["other state", "disturbed", "failures", "too few"];
    let short = doubt["short"].as_str()?;
    host.contains(&short)
        .then(|| format!("no verdict: {short}: {}", doubt["words"]))
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
            .filter(|l| l.contains(&format!("isobench-{pid}-")))
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
    let name = format!("isobench-{pid}-");
    let marked = isobench_guardian::marked(|mark| mark.starts_with(&name));
    found.extend(marked.iter().map(|pid| format!("marked process {pid}")));
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
