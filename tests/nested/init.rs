//! Process 1 inside: makes a Linux system of what the kernel gives, runs the steps, ends.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::image;
use crate::steps::{self, Bed, Group, Kind, Step, User};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Hands controllers down.
const SLICE: &str = "/sys/fs/cgroup/bed";
/// Begins in it, without controllers of its own.
const SCOPE: &str = "/sys/fs/cgroup/bed/step";
/// The ordinary user.
const NOBODY: u32 = 65534;

/// Everything, then the end of the machine.
pub fn run() -> ! {
    leave_the_initramfs();
    mount_file_systems();
    // Opened only now: the console in the initramfs is the first port.
    let port = Arc::new(Mutex::new(
        File::options().write(true).open("/dev/ttyS1").unwrap(),
    ));
    say(&port, "step init");
    load_modules();
    // Linux 6.2 and newer; else nothing shows that the terminal is protected from what could be done.
    let _ = fs::write("/proc/sys/dev/tty/legacy_tiocsti", "1");
    call("/bin/ip", &["link", "set", "lo", "up"]);
    let bed = Bed::named(&std::env::var(steps::BED).unwrap()).unwrap();
    if bed.kind == Kind::Uml {
        swap_on();
    }
    say(&port, "end init: ready");
    for step in bed.chosen() {
        say(&port, &format!("step {}", step.name));
        let begun = Instant::now();
        let before = traces();
        let mut how = perform(bed.kind, step, &port);
        let seconds = begun.elapsed().as_secs();
        if let Some(left) = left_behind(&before) {
            how = format!("{how}, leaves {left:?}");
        }
        say(&port, &format!("end {}: {how} ({seconds} s)", step.name));
    }
    // The machine was told to end instead.
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    panic!("reboot: {error}");
}

fn call(program: &str, arguments: &[&str]) {
    let how = Command::new(program).args(arguments).status();
    assert!(
        how.is_ok_and(|status| status.success()),
        "{program} {arguments:?}"
    );
}

/// Into compressed memory: where a host has swap, a limit on memory must bite nevertheless.
fn swap_on() {
    fs::write("/sys/block/zram0/disksize", "512M").unwrap();
    call("/bin/mkswap", &["/dev/zram0"]);
    call("/bin/swapon", &["/dev/zram0"]);
}

fn say(port: &Mutex<File>, line: &str) {
    let mut port = port.lock().unwrap_or_else(|poison| poison.into_inner());
    port.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn mounted(source: &str, target: &str, kind: &str, flags: MsFlags, data: &str) {
    let kind = (!kind.is_empty()).then_some(kind);
    mount(Some(source), target, kind, flags, Some(data))
        .unwrap_or_else(|e| panic!("mount {source} on {target}: {e}"));
}

/// pivot_root(2), which containers do, refuses to leave the first file system of all: this one is
/// mounted over it, as switch_root(8) would.
fn leave_the_initramfs() {
    mounted("/", "/root", "", MsFlags::MS_BIND, "");
    std::env::set_current_dir("/root").unwrap();
    mounted(".", "/", "", MsFlags::MS_MOVE, "");
    nix::unistd::chroot(".").unwrap();
    std::env::set_current_dir("/").unwrap();
}

fn mount_file_systems() {
    let none = MsFlags::empty();
    mounted("proc", "/proc", "proc", none, "");
    mounted("sysfs", "/sys", "sysfs", none, "");
    mounted("devtmpfs", "/dev", "devtmpfs", none, "");
    for folder in ["/dev/pts", "/dev/shm"] {
        fs::create_dir_all(folder).unwrap();
    }
    mounted("devpts", "/dev/pts", "devpts", none, "");
    mounted("tmpfs", "/dev/shm", "tmpfs", none, "mode=1777");
    mounted("tmpfs", "/tmp", "tmpfs", none, "mode=1777");
    mounted("cgroup2", CGROUPS, "cgroup2", none, "");
}

fn load_modules() {
    for at in 0.. {
        let Ok(module) = File::open(format!("{}/{at}.ko", image::MODULES)) else {
            break;
        };
        finit_module(&module, c"", ModuleInitFlags::empty())
            .unwrap_or_else(|e| panic!("module {at}: {e}"));
    }
    // As udev would: everybody may use it.
    if Path::new("/dev/kvm").exists() {
        fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o666)).unwrap();
    }
}

/// Makes the delegated groups and gives them to this user (cgroups(7), "Cgroups delegation").
fn delegate(user: u32) {
    let controllers = "+memory +pids +cpu";
    fs::write(format!("{CGROUPS}/cgroup.subtree_control"), controllers).unwrap();
    fs::create_dir_all(SLICE).unwrap();
    fs::write(format!("{SLICE}/cgroup.subtree_control"), controllers).unwrap();
    fs::create_dir_all(SCOPE).unwrap();
    for group in [SLICE, SCOPE] {
        chown(group, Some(user), Some(user)).unwrap();
        for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(format!("{group}/{file}"), Some(user), Some(user)).unwrap();
        }
    }
}

/// Moves this process: what it starts begins there.
fn enter(group: &str) {
    fs::write(format!("{group}/cgroup.procs"), "0").unwrap();
}

/// Runs a step to its end or its limit. In words: how it ended.
fn perform(kind: Kind, step: &Step, port: &Arc<Mutex<File>>) -> String {
    let mut command = Command::new(format!("/bin/{}", step.program()));
    command
        .args(step.arguments())
        .current_dir("/tmp")
        .process_group(0);
    command
        .env_clear()
        .env("PATH", "/bin")
        .env("TMPDIR", "/tmp");
    command
        .env("ISOBENCH_BIN", "/bin/isobench")
        .env("RUST_BACKTRACE", "1")
        // One after the other, or their names and results could not be told apart.
        .env("RUST_TEST_THREADS", "1");
    let (kills, part) = match kind {
        _ if steps::full() => ("100", "1"),
        Kind::Svm => ("1", "10"),
        Kind::Uml => ("2", "2"),
    };
    command
        .env("ISOBENCH_KILLS", kills)
        .env("ISOBENCH_SOAK", part);
    let kills_of = std::env::var_os(steps::KILLS_OF);
    if let Some(of) = kills_of.or(step.kills_of.map(Into::into)) {
        command.env(steps::KILLS_OF, of);
    }
    let user = match step.user {
        User::Root => 0,
        User::Nobody => NOBODY,
    };
    if step.user != User::Root {
        command.uid(user).gid(user);
    }
    let (out, out_writer) = io::pipe().unwrap();
    let (err, err_writer) = io::pipe().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(out_writer)
        .stderr(err_writer);
    if step.group == Group::Delegated {
        delegate(user);
        enter(SCOPE);
    }
    let child = command.spawn();
    enter(CGROUPS);
    // The writing ends are in the command.
    drop(command);
    let child = match child {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => return format!("not started: {error}"),
    };
    let streams = [("out", out), ("err", err)].map(|(word, pipe)| forward(word, pipe, port));
    let end = await_end(child, step.limit());
    // Whoever still holds a pipe after this is not waited for.
    let patience = Instant::now() + Duration::from_secs(2);
    while streams.iter().any(|s| !s.is_finished()) && Instant::now() < patience {
        thread::sleep(Duration::from_millis(10));
    }
    end
}

fn forward(
    word: &'static str,
    pipe: PipeReader,
    port: &Arc<Mutex<File>>,
) -> thread::JoinHandle<()> {
    let port = Arc::clone(port);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            say(&port, &format!("{word} {}", String::from_utf8_lossy(&line)));
        }
    })
}

/// Waits for this child and for every orphan, as process 1 has to.
fn await_end(child: Pid, limit: Duration) -> String {
    let end = Instant::now() + limit;
    let mut late = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                return format!("exit status: {status}");
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return if late {
                    format!("killed after {limit:?}")
                } else {
                    format!("ended by {signal}")
                };
            }
            Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(10)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return format!("lost: {error}"),
        }
        if !late && Instant::now() > end {
            late = true;
            let _ = killpg(child, Signal::SIGKILL);
        }
    }
}

/// What a step could leave: groups, processes, mounts, temporary files.
fn traces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from(CGROUPS)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.map(|e| e.path()).filter(|path| path.is_dir()));
        // The bed's own.
        if !Path::new(SCOPE).starts_with(&folder) {
            found.insert(folder.display().to_string());
        }
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // A thread of the kernel has no command line, and neither has a zombie.
        let command = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if !command.is_empty() {
            found.insert(format!("{}: {command}", process.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().map(str::to_owned));
    let files = fs::read_dir("/tmp").unwrap().flatten();
    found.extend(files.map(|file| file.path().display().to_string()));
    found
}

/// What is there now and was not before, unless it goes within two seconds.
fn left_behind(before: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let patience = Instant::now() + Duration::from_secs(2);
    loop {
        let left = &traces() - before;
        if left.is_empty() {
            return None;
        }
        if Instant::now() > patience {
            return Some(left);
        }
        // An orphan is this process's to bury.
        let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
        thread::sleep(Duration::from_millis(10));
    }
}
