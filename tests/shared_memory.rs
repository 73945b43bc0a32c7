//! A child that has given up root's ids and still shares the harness's memory is nobody else's to look
//! into. The controls: the same observer and the same process, once the mark is taken back too early, and
//! once it has memory of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a test states its expectations

mod stage;

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use isobench::backend::container::PAYLOAD_ID;
use isobench::sys::program::{Arguments, Descriptors, Grants, Op, Program};
use isobench::sys::spawn::{Place, Spawned, Stack, spawn};
use isobench::sys::{fd, pidfd};
use isobench::trial::PhaseLog;
use isobench::workload::payload;
use nix::sys::stat::Mode;

/// Whether a process of the payload's ids may look into this one (`environ` asks what reading by
/// ptrace(2) asks, PTRACE_MODE_READ, without Yama's say).
fn may_look_into(pid: i32) -> bool {
    let output = Command::new("cat")
        .arg(format!("/proc/{pid}/environ"))
        .uid(PAYLOAD_ID)
        .gid(PAYLOAD_ID)
        .output()
        .unwrap();
    output.status.success()
}

/// Whether all its user and group ids are the payload's. The last of them to change are the user's.
fn has_the_ids(pid: &i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains(&format!("\nUid:\t{PAYLOAD_ID}\t{PAYLOAD_ID}\t"))
}

fn is_dumpable() -> bool {
    nix::sys::prctl::get_dumpable().unwrap()
}

/// Changes its ids, and executes when somebody reads from this pipe: until then its open waits.
fn program(door: &Path) -> Program {
    let door = CString::new(door.as_os_str().as_bytes()).unwrap();
    let mut program = Program::new();
    program.push("ids", Op::SetIds(PAYLOAD_ID));
    program.push("wait", Op::Write(door, b"!".to_vec()));
    program.push("stdio", Op::Stdio);
    program.push("close_range", Op::CloseOnExec);
    program.push("execve", Op::ExecImage);
    program
}

#[test]
fn who_has_the_payloads_id_does_not_get_at_the_harness_through_its_child() {
    if !stage::is_root() {
        println!("skipped: shared memory: only root changes its ids");
        return;
    }
    assert!(is_dumpable(), "the mark is gone with the child");
    let ((input, _wake), (_output, stdout)) = (fd::pipe().unwrap(), fd::pipe().unwrap());
    let (null, own) = (fd::null().unwrap(), pidfd::own().unwrap());
    let image = fd::sealed_memory(c"payload", payload::BYTES).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("door");
    nix::unistd::mkfifo(&door, Mode::empty()).unwrap();
    let open_to_all = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open_to_all(&door, 0o666);
    open_to_all(folder.path(), 0o755);
    let descriptors = Descriptors {
        stdin: input.as_fd(),
        stdout: stdout.as_fd(),
        stderr: null.as_fd(),
        harness: own.as_fd(),
        image: Some(image.as_fd()),
        grants: Grants::default(),
    };
    let start = || -> io::Result<Spawned> {
        let arguments = Arguments::new(&["payload", "idle", "0", "1"]);
        let (mut stack, mut log) = (Stack::new()?, PhaseLog::new());
        let place = Place::default();
        let made = spawn(
            &mut stack,
            place,
            &program(&door),
            descriptors,
            &arguments,
            &mut log,
        );
        made.map_err(io::Error::other)
    };
    let child = std::thread::scope(|scope| {
        let started = scope.spawn(start);
        let end = Instant::now() + Duration::from_secs(10);
        let pid = loop {
            if let Some(pid) = stage::children().into_iter().find(has_the_ids) {
                break pid;
            }
            assert!(Instant::now() < end, "no child has the ids");
            std::thread::yield_now();
        };
        let looked = may_look_into(pid);
        let dumpable = is_dumpable();
        nix::sys::prctl::set_dumpable(true).unwrap();
        let looked_later = may_look_into(pid);
        nix::sys::prctl::set_dumpable(false).unwrap();
        assert_eq!(std::fs::read(&door).unwrap(), b"!");
        let child = started.join().unwrap().unwrap();
        assert_eq!(child.pid, pid);
        assert!(!looked && !dumpable);
        assert!(looked_later, "the control: this is what the mark is for");
        child
    });
    assert!(may_look_into(child.pid), "the payload's memory is its own");
    assert!(is_dumpable());
    pidfd::kill(child.pidfd.as_fd()).unwrap();
    pidfd::reap(child.pidfd.as_fd()).unwrap();
}
