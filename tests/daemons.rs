//! Private daemons: they come up, serve, and go with everything that is theirs, also where they or the
//! harness are killed; and the stack ladder that stands on them.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use isobench::store::document::{BackendResult, Run, Status};
use isobench::store::record::Record;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::folder::{finished, read_records, read_run};
use support::{left_behind, run, run_into, signal, skipped, start, status, stderr, stdout, until};

/// One after the other: what one keeps, the others would use.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether these can run here; the first that cannot is named. Doctor is asked once: it starts daemons.
fn have(test: &str, ids: &[&str]) -> bool {
    static DOCTOR: OnceLock<serde_json::Value> = OnceLock::new();
    let told = DOCTOR.get_or_init(|| {
        serde_json::from_str(&stdout(&run(&["doctor", "--format", "json"]))).unwrap()
    });
    let refused = |id: &&&str| {
        let all = told["backends"].as_array().unwrap();
        let one = all.iter().find(|one| one["id"] == **id).unwrap();
        (one["usable"] != true).then(|| format!("{id}: {}", one["reason"].as_str().unwrap()))
    };
    let missing = ids.iter().find_map(|id| refused(&id));
    if let Some(why) = &missing {
        skipped(test, why);
    }
    missing.is_none()
}

/// What this host has that daemons might change: mounts, interfaces, rules, control groups, folders.
fn world() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // Numbers of mounts are not theirs to keep.
    all.extend(
        mounts
            .lines()
            .map(|l| l.splitn(4, ' ').last().unwrap().to_owned()),
    );
    let links = fs::read_to_string("/proc/self/net/dev").unwrap();
    all.extend(
        links
            .lines()
            .filter_map(|l| Some(format!("link {}", l.split_once(':')?.0.trim()))),
    );
    for command in ["iptables-save", "ip6tables-save"] {
        if let Ok(output) = Command::new(command).output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // Comments have the time, chains have counters.
            let rules = text.lines().filter(|line| line.starts_with('-'));
            all.extend(rules.map(|line| format!("{command} {line}")));
        }
    }
    all.extend(top_groups().map(|group| format!("group {}", group.display())));
    for folder in [
        "/run",
        "/run/containerd",
        "/run/docker",
        "/etc/docker",
        "/etc/cni",
        "/opt",
    ] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        all.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    all
}

/// The control groups right below the root of each hierarchy.
fn top_groups() -> impl Iterator<Item = PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let roots: Vec<PathBuf> = roots
        .map(|line| line.split(' ').nth(4).unwrap().into())
        .collect();
    let entries = roots.into_iter().filter_map(|root| fs::read_dir(root).ok());
    let folders = entries.flatten().flatten().map(|entry| entry.path());
    // Other harnesses may be running; what this one leaves is looked for by its name.
    let is_other = |path: &PathBuf| path.to_string_lossy().contains("isobench-");
    folders.filter(move |path| path.is_dir() && !is_other(path))
}

/// Folders in which private daemons of a harness could be.
fn homes(of: &str) -> Vec<String> {
    let places = ["/var/tmp", "/tmp", "/dev/shm"].map(Path::new);
    let entries = places
        .into_iter()
        .filter_map(|place| fs::read_dir(place).ok());
    let names = entries
        .flatten()
        .flatten()
        .map(|e| e.path().display().to_string());
    names.filter(|path| path.contains(of)).collect()
}

/// The daemon of this name whose command line has this in it.
fn daemon(name: &str, of: &str) -> Option<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split('\0').next() == Some(name) && command.contains(of)
    };
    pids.into_iter().find(is_it).map(Pid::from_raw)
}

fn engines(action: &[&str]) -> Output {
    run(&[&["engines"], action].concat())
}

fn shown() -> serde_json::Value {
    serde_json::from_str(&stdout(&engines(&["status", "--format", "json"]))).unwrap()
}

fn backend<'a>(document: &'a Run, id: &str) -> &'a BackendResult {
    document.backends.iter().find(|b| b.id == id).unwrap()
}

/// Takes down what a failed test would keep.
struct Kept;

impl Drop for Kept {
    fn drop(&mut self) {
        engines(&["down"]);
    }
}

#[test]
fn kept_daemons_serve_a_run_and_go_with_all_that_is_theirs_also_when_killed() {
    let test = "kept_daemons";
    let _alone = alone();
    if !have(test, &["containerd", "dockerd"]) {
        return;
    }
    if shown()["daemons"]
        .as_array()
        .unwrap()
        .iter()
        .any(|d| d["up"] == true)
    {
        return skipped(test, "somebody keeps daemons on this host");
    }
    let before = world();
    let _kept = Kept;
    let up = engines(&["up"]);
    assert_eq!(status(&up), 0, "{}", stderr(&up));
    let daemons = shown()["daemons"].as_array().unwrap().clone();
    assert_eq!(daemons.len(), 2, "{daemons:?}");
    for daemon in &daemons {
        assert!(
            daemon["up"] == true && daemon["memory"].as_u64().unwrap() > 0,
            "{daemon}"
        );
        UnixStream::connect(daemon["socket"].as_str().unwrap()).unwrap();
    }
    assert!(stdout(&engines(&["up"])).starts_with("already up"));

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--backends",
        "process,containerd,cri,dockerd",
        "--workloads",
        "noop",
        "--blocks",
        "1",
    ];
    let output = run_into(&flags, &out).output().unwrap();
    assert!(matches!(status(&output), 0 | 5), "{}", stderr(&output));
    let document = read_run(&out);
    for id in ["containerd", "cri", "dockerd"] {
        assert_eq!(backend(&document, id).failures, 0);
        let used = backend(&document, id).engine.as_ref().unwrap();
        assert!(used.program.contains("isobench-engines"), "{used:?}");
    }
    let now = shown()["daemons"].as_array().unwrap().clone();
    let pids = |all: &[serde_json::Value]| all.iter().map(|d| d["pid"].clone()).collect::<Vec<_>>();
    assert_eq!(pids(&now), pids(&daemons), "a run leaves them alone");
    two_at_once(&daemons, &flags);

    // What is dead is taken down as well.
    let dockerd = daemons.iter().find(|d| d["name"] == "dockerd").unwrap();
    let pid = i32::try_from(dockerd["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("dead", || {
        stdout(&engines(&["status"])).contains("dockerd") && {
            let now = shown();
            now["daemons"]
                .as_array()
                .unwrap()
                .iter()
                .any(|d| d["up"] == false)
        }
    });
    let down = engines(&["down"]);
    assert_eq!((status(&down), stdout(&down).as_str()), (0, "taken down\n"));
    assert_eq!(stdout(&engines(&["down"])), "nothing was up\n");
    assert!(homes("isobench-engines").is_empty());
    assert!(isobench_guardian::marked(|mark| mark == "isobench-engines").is_empty());
    // The kernel takes a container's interfaces down later.
    until("as before", || world() == before);
}

/// Two runs at daemons that are somebody else's: neither takes the image of the other, and both are gone
/// afterwards, as is what an earlier one has left.
fn two_at_once(daemons: &[serde_json::Value], flags: &[&str]) {
    let socket = |name: &str| {
        let daemon = daemons.iter().find(|d| d["name"] == name).unwrap();
        daemon["socket"].as_str().unwrap().to_owned()
    };
    let (containerd, dockerd) = (socket("containerd"), socket("dockerd"));
    let given = ["--containerd-socket", &containerd];
    let given = [flags, &given, &["--docker-socket", &dockerd]].concat();
    let groups: Vec<PathBuf> = top_groups().collect();
    let dir = tempfile::tempdir().unwrap();
    let outs = ["one", "two"].map(|name| dir.path().join(name));
    let both = outs.each_ref().map(|out| start(&mut run_into(&given, out)));
    for (child, out) in both.into_iter().zip(&outs) {
        let output = child.wait_with_output().unwrap();
        assert!(matches!(status(&output), 0 | 5), "{}", stderr(&output));
        let document = read_run(out);
        for id in ["containerd", "cri", "dockerd"] {
            let found = backend(&document, id);
            assert_eq!((found.trials, found.failures), (1, 0), "{found:?}");
        }
    }
    for namespace in ["isobench", "k8s.io"] {
        let mut ctr = Command::new("ctr");
        let ctr = ctr.args(["--address", &containerd, "--namespace", namespace]);
        let images = ctr.args(["images", "list", "-q"]).output().unwrap();
        assert!(images.status.success(), "{}", stderr(&images));
        let images = stdout(&images);
        assert!(!images.contains("isobench.invalid/payload"), "{images}");
    }
    let request = "GET /images/json HTTP/1.0\r\nHost: docker\r\n\r\n";
    let mut stream = UnixStream::connect(dockerd).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut images = String::new();
    stream.read_to_string(&mut images).unwrap();
    assert!(images.ends_with("\r\n\r\n[]\n"), "{images}");
    // Where nobody tells them otherwise, as here, daemons put groups into groups of their own, which they keep.
    for group in top_groups().filter(|group| !groups.contains(group)) {
        let name = group.file_name().and_then(|name| name.to_str());
        assert!(matches!(name, Some("docker" | "k8s.io")), "{group:?}");
        fs::remove_dir(&group).unwrap();
    }
}

/// The trials of a daemon that dies fail as such; those of all others are whole, and nothing is left.
#[test]
fn a_dockerd_that_dies_fails_its_own_trials_only() {
    let _alone = alone();
    if !have("a_dockerd_that_dies", &["containerd", "dockerd"]) {
        return;
    }
    let before = world();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--backends",
        "process,containerd,dockerd",
        "--workloads",
        "noop",
        "--blocks",
        "8",
        "--max-time",
        "5m",
    ];
    let child = start(&mut run_into(&flags, &out));
    let number = child.id();
    let of = format!("isobench-{number}-");
    until("under way", || finished(&out) >= 9);
    kill(daemon("dockerd", &of).unwrap(), Signal::SIGKILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    let document = read_run(&out);
    for id in ["process", "containerd"] {
        let other = backend(&document, id);
        assert_eq!((other.trials, other.failures), (8, 0), "{other:?}");
    }
    assert!(backend(&document, "dockerd").failures > 0);
    for record in read_records(&out) {
        if let Record::Trial(trial) = record
            && let Some(failure) = trial.failure
        {
            assert_eq!(
                (trial.backend.as_str(), failure.kind.as_str()),
                ("dockerd", "engine"),
                "{failure:?}"
            );
        }
    }
    until("nothing is left", || {
        left_behind(number).is_empty() && homes(&of).is_empty()
    });
    until("as before", || world() == before);
}

/// Asked to end, the run takes its daemons down. Killed, the kernel ends them and the guardian what is
/// left; with that killed, too, it is for whoever comes next.
#[test]
fn a_run_that_ends_early_leaves_no_daemon_and_nothing_of_theirs() {
    let _alone = alone();
    if !have("a_run_with_daemons_ends", &["containerd", "dockerd"]) {
        return;
    }
    let before = world();
    for (end, guarded) in [
        (Signal::SIGINT, true),
        (Signal::SIGKILL, true),
        (Signal::SIGKILL, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let flags = [
            "--backends",
            "containerd,dockerd",
            "--workloads",
            "noop",
            "--blocks",
            "100",
        ];
        let mut child = start(&mut run_into(&flags, &out));
        let of = format!("isobench-{}-", child.id());
        until("under way", || finished(&out) >= 3);
        let containerd = daemon("containerd", &of).unwrap();
        if !guarded {
            let guardian = daemon("isobench-guardian", &format!("\0{}-", child.id())).unwrap();
            kill(guardian, Signal::SIGKILL).unwrap();
        }
        signal(&child, end);
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), (end == Signal::SIGINT).then_some(130));
        until("no daemon", || {
            kill(containerd, None).is_err() && daemon("dockerd", &of).is_none()
        });
        if !guarded {
            assert_eq!(status(&engines(&["down"])), 0);
        }
        until("nothing is left", || {
            left_behind(child.id()).is_empty() && homes(&of).is_empty() && world() == before
        });
    }
}

/// Every layer is a rung over the one below it; what is stored is shown again.
#[test]
fn the_stack_ladder_has_every_layer_that_runs_here() {
    let _alone = alone();
    if !have(
        "the_stack_ladder",
        &["runc", "containerd", "dockerd", "docker"],
    ) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--ladder",
        "docker",
        "--profile",
        "smoke",
        "--blocks",
        "2",
        "--max-time",
        "5m",
    ];
    let child = start(&mut run_into(&flags, &out));
    let number = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(matches!(status(&output), 0 | 5), "{}", stderr(&output));
    let document = read_run(&out);
    let ladder = document.ladder.as_ref().unwrap();
    assert_eq!(
        (ladder.name.as_str(), ladder.base.as_str()),
        ("docker", "process")
    );
    for (id, over) in [
        ("container", "process"),
        ("containerd", "runc"),
        ("dockerd", "containerd"),
        ("docker", "dockerd"),
        ("cri", "containerd"),
    ] {
        let rung = |metric: &str| {
            let mut of = ladder
                .rungs
                .iter()
                .filter(|r| r.mechanism == id && r.metric == metric);
            of.next().unwrap()
        };
        assert!(
            ["startup", "teardown", "private"]
                .iter()
                .all(|m| rung(m).over.as_deref() == Some(over))
        );
        let one = backend(&document, id);
        assert_eq!(one.failures, 0, "{one:?}");
        if id == "containerd" || id == "dockerd" {
            let known = one.daemons.iter().find(|daemon| daemon.name == id).unwrap();
            assert!(known.memory.is_some_and(|bytes| bytes.0 > 0));
        }
        assert!(one.status == Status::Measured || one.tainted > 0 || one.status == Status::Skipped);
    }
    let printed = stdout(&output);
    assert!(
        printed.contains("Stack ladder") && printed.contains("Resident whether or not"),
        "{printed}"
    );
    let again = run(&["report", out.to_str().unwrap()]);
    assert!(
        stdout(&again).contains("Stack ladder"),
        "{}",
        stderr(&again)
    );
    until("nothing is left", || left_behind(number).is_empty());
}

/// A socket that the user names is used, and what is not there is said.
#[test]
fn a_named_socket_is_used_and_nothing_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flags = [
        "--backends",
        "dockerd",
        "--workloads",
        "noop",
        "--blocks",
        "1",
    ];
    for (socket, says) in [
        ("/nonexistent/docker.sock", "No such file"),
        ("tcp://127.0.0.1:1", "no Unix socket"),
    ] {
        let mut command = run_into(&flags, &out);
        let output = command.env("DOCKER_HOST", socket).output().unwrap();
        assert_eq!(status(&output), 3, "{}", stderr(&output));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    // One that listens and says nothing that dockerd would say.
    let socket = dir.path().join("liar.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let liar = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n").unwrap();
    });
    let mut command = run_into(&flags, &out);
    let output = command
        .args(["--docker-socket", socket.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(status(&output), 3);
    assert!(
        stderr(&output).contains("no message of the payload"),
        "{}",
        stderr(&output)
    );
    liar.join().unwrap();
}
