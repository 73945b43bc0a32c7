//! Our launcher beside those people use: crun, runc, youki and bubblewrap, with the same payload and a
//! configuration as close to `container` as each allows, interleaved at random in one process.
//!
//! Two lanes are ours: the library, as a harness uses it, and a process of its own that starts,
//! prepares everything, launches one container and ends, as the others do. Peers that are not on the
//! path are skipped by name.
//!
//! `cargo bench --bench peers` measures; any other way of running it makes one round.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use isobench::backend::container::Container;
use isobench::backend::container::options::Options;
use isobench::backend::{Backend, Configuration, open};
use isobench::measure::clock::Clock;
use isobench::measure::schedule;
use isobench::metric::{Ticks, Unit};
use isobench::report::format::{quantity, ratio_with_interval};
use isobench::stats::{Sample, paired, quantile};
use isobench::sys::clock;
use isobench::trial::Launch;
use isobench::workload::{Profile, Workload, payload};
use isobench_abi::{FRAME_BYTES, Frame, Message};
use serde_json::json;

/// From before the first call to the payload's first instruction, and until nothing is left; ticks.
type Times = [i64; 2];

struct Lane {
    name: String,
    start: Box<dyn FnMut() -> io::Result<Times>>,
    times: Vec<(u64, Times)>,
}

/// Set in the process that [`own_process`] starts.
const ONCE: &str = "--launch-once";

fn main() -> io::Result<()> {
    if std::env::args().any(|argument| argument == ONCE) {
        return once();
    }
    let bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, warmups) = if bench { (100, 3) } else { (1, 0) };
    let Ok(ticks) = Clock::calibrate(Duration::from_millis(100)) else {
        println!("skipped: peers: this host's clock cannot be used");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let mut lanes = Vec::new();
    for lane in ours().into_iter().chain(peers(folder.path())?) {
        match lane {
            Ok(mut lane) => match (lane.start)() {
                Ok(_) => lanes.push(lane),
                Err(why) => println!("skipped: {}: a first launch failed: {why}", lane.name),
            },
            Err(why) => println!("skipped: {why}"),
        }
    }
    for block in schedule::blocks(&[rounds], lanes.len(), warmups, 1) {
        for position in block.order {
            let lane = &mut lanes[position];
            match (lane.start)() {
                Ok(times) if !block.warmup => lane.times.push((u64::from(block.round), times)),
                Ok(_) => {}
                Err(failure) => println!("failed: {}: {failure}", lane.name),
            }
        }
    }
    println!(
        "{:<24} {:>9} {:>9}  {:<20} {:<20} end / own process",
        "", "start", "end", "start / container", "end / container"
    );
    let [library, own] = [0, 1].map(|i| lanes.get(i).map(|lane| lane.times.clone()));
    for lane in &lanes {
        let median = |what: usize| {
            let values: Vec<f64> = lane
                .times
                .iter()
                .map(|(_, t)| ticks.nanos(t[what]).0 as f64)
                .collect();
            Sample::new(values).map_or_else(
                |_| "–".to_owned(),
                |s| quantity(quantile::median(&s), Unit::Nanoseconds),
            )
        };
        println!(
            "{:<24} {:>9} {:>9}  {:<20} {:<20} {}",
            lane.name,
            median(0),
            median(1),
            ratio(library.as_deref(), lane, 0),
            ratio(library.as_deref(), lane, 1),
            ratio(own.as_deref(), lane, 1)
        );
    }
    Ok(())
}

fn ratio(base: Option<&[(u64, Times)]>, lane: &Lane, what: usize) -> String {
    let pairs: Vec<(f64, f64)> = base
        .unwrap_or_default()
        .iter()
        .filter_map(|(round, a)| {
            let (_, b) = lane.times.iter().find(|(other, _)| other == round)?;
            Some((a[what] as f64, b[what] as f64))
        })
        .collect();
    paired::ratio(&pairs, 0.95).map_or_else(
        |_| "too few".to_owned(),
        |r| ratio_with_interval(r.ratio, Some([r.low, r.high])),
    )
}

fn launch() -> Launch {
    Launch {
        task: Profile::Smoke.task(Workload::Noop, 0),
        deadline: Duration::from_secs(10),
    }
}

/// `container` through the library and through a process of its own; `process` for scale.
fn ours() -> Vec<Result<Lane, String>> {
    let through = |configuration: Configuration| {
        let mut backend = open(&configuration).map_err(|why| format!("{configuration}: {why}"))?;
        Ok(Lane {
            name: configuration.id(),
            start: Box::new(move || {
                let seen = backend.trial(&launch()).map_err(io::Error::other)?;
                let t = seen.instants;
                Ok([t.t1 - t.t0, t.t5 - t.t0])
            }),
            times: Vec::new(),
        })
    };
    let own = Lane {
        name: "container, own process".to_owned(),
        start: Box::new(|| {
            let t0 = clock::now();
            let output = Command::new(std::env::current_exe()?).arg(ONCE).output()?;
            let end = clock::now();
            let t1: [u8; 8] = output.stdout.try_into().map_err(|_| {
                io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())
            })?;
            Ok([Ticks(u64::from_le_bytes(t1)) - t0, end - t0])
        }),
        times: Vec::new(),
    };
    vec![
        through(Configuration::container()),
        Ok(own),
        through(Configuration::Process),
    ]
}

/// The other side of `container, own process`: prints the payload's first instruction in ticks.
fn once() -> io::Result<()> {
    let mut container =
        Container::with_payload(Options::default(), payload::BYTES).map_err(io::Error::other)?;
    let seen = container.trial(&launch()).map_err(io::Error::other)?;
    io::stdout().write_all(&seen.instants.t1.0.to_le_bytes())
}

/// Every peer, or why not.
fn peers(folder: &Path) -> io::Result<Vec<Result<Lane, String>>> {
    let root = folder.join("rootfs");
    for directory in [&root, &root.join("proc"), &root.join("dev")] {
        std::fs::create_dir(directory)?;
    }
    std::fs::write(root.join("payload"), payload::BYTES)?;
    let executable = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(root.join("payload"), executable)?;
    std::fs::write(folder.join("config.json"), bundle(true).to_string())?;
    let plain = folder.join("plain");
    std::fs::create_dir(&plain)?;
    std::os::unix::fs::symlink(&root, plain.join("rootfs"))?;
    std::fs::write(plain.join("config.json"), bundle(false).to_string())?;

    let mut lanes = Vec::new();
    for runtime in ["crun", "runc", "youki"] {
        lanes.push(oci(runtime, runtime.to_owned(), &[], folder));
    }
    let disabled = ["--cgroup-manager=disabled"];
    lanes.push(oci(
        "crun",
        "crun, no control group".to_owned(),
        &disabled,
        &plain,
    ));
    let root = root.display().to_string();
    let bwrap: Vec<String> = [
        &["--unshare-all", "--die-with-parent", "--new-session"][..],
        &["--cap-drop", "ALL", "--hostname", "isobench"],
        &["--ro-bind", &root, "/", "--proc", "/proc", "--dev", "/dev"],
        &["--uid", "65532", "--gid", "65532"],
        &["/payload", "noop", "0", "1"],
    ]
    .concat()
    .iter()
    .map(ToString::to_string)
    .collect();
    lanes.push(command("bwrap", "bwrap".to_owned(), move |_| bwrap.clone()));
    Ok(lanes)
}

fn oci(runtime: &str, name: String, flags: &[&str], bundle: &Path) -> Result<Lane, String> {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let bundle = bundle.display().to_string();
    command(runtime, name, move |number| {
        let id = format!("isobench-peer-{}-{number}", std::process::id());
        let run = ["run".to_owned(), "--bundle".to_owned(), bundle.clone(), id];
        flags.iter().cloned().chain(run).collect()
    })
}

/// A lane that runs `program`, whose payload writes to the standard output it was given.
fn command(
    program: &str,
    name: String,
    arguments: impl Fn(u64) -> Vec<String> + 'static,
) -> Result<Lane, String> {
    let path = on_path(program).ok_or_else(|| format!("{name}: {program} is not on the path"))?;
    let mut number = 0;
    let start = move || {
        number += 1;
        let t0 = clock::now();
        let mut child = Command::new(&path)
            .args(arguments(number))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut bytes = Vec::new();
        if let Some(stdout) = &mut child.stdout {
            stdout.read_to_end(&mut bytes)?;
        }
        let output = child.wait_with_output()?;
        let end = clock::now();
        let first = bytes.get(..FRAME_BYTES).map(Frame::decode);
        match first {
            Some(Ok((_, Message::Ready(ready)))) if output.status.success() => {
                Ok([Ticks(ready.first_instruction) - t0, end - t0])
            }
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!(
                    "{}: {}",
                    output.status,
                    said.trim()
                )))
            }
        }
    };
    Ok(Lane {
        name,
        start: Box::new(start),
        times: Vec::new(),
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// An OCI bundle's configuration (runtime-spec 1.0) that asks for what `container` has.
fn bundle(grouped: bool) -> serde_json::Value {
    let namespaces: Vec<_> = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let nothing = json!([]);
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let mut linux = json!({
        "namespaces": namespaces,
        "seccomp": {
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "architectures": ["SCMP_ARCH_X86_64"],
            // The payload's own calls, and those that the runtimes make behind their filter.
            "syscalls": [{
                "names": ["read", "write", "mmap", "getppid", "exit_group", "execve", "execveat",
                          "close", "close_range", "fcntl", "newfstatat", "openat", "futex", "prctl",
                          "capget", "capset", "setresuid", "setresgid", "rt_sigprocmask", "rt_sigaction",
                          "sigaltstack", "madvise", "munmap", "mprotect", "brk", "getpid", "gettid",
                          "tgkill", "rt_sigreturn", "epoll_ctl", "epoll_pwait", "nanosleep", "fstat",
                          "readlinkat", "fstatfs", "getdents64", "statx", "dup3", "lseek", "sched_yield"],
                "action": "SCMP_ACT_ALLOW"
            }]
        }
    });
    if grouped {
        linux["resources"] = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 16 } });
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 65532, "gid": 65532 },
            "args": ["/payload", "noop", "0", "1"],
            "env": [],
            "cwd": "/",
            "capabilities": { "bounding": nothing, "effective": nothing, "permitted": nothing,
                              "inheritable": nothing, "ambient": nothing },
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "isobench",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"])
        ],
        "linux": linux
    })
}
