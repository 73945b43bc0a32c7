//! A child that has given up root's ids and still shares the harness's memory is nobody else's to look
//! into. The controls: the same observer and the same process, once the mark is taken back too early, and
//! once it has memory of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a test states its expectations

mod stage;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use isobench::backend::container::PAYLOAD_ID;
use isobench::sys::program::{Arguments, Descriptors, Grants, Network, Op, Program};
use isobench::sys::spawn::{Place, Spawned, Stack, spawn};
use isobench::sys::{fd, pidfd};
use isobench::trial::PhaseLog;
use isobench::workload::payload;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

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

fn is_dumpable() -> bool {
    nix::sys::prctl::get_dumpable().unwrap()
}

/// Changes its ids, asks, and executes when it has its answer.
fn program() -> Program {
    let mut program = Program::new();
    program.push("ids", Op::SetIds(PAYLOAD_ID));
    program.push("ask", Op::AskAgent);
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
    let (unix, seqpacket) = (AddressFamily::Unix, SockType::SeqPacket);
    let (door, agent) = socketpair(unix, seqpacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let descriptors = Descriptors {
        stdin: input.as_fd(),
        stdout: stdout.as_fd(),
        stderr: null.as_fd(),
        harness: own.as_fd(),
        image: Some(image.as_fd()),
        grants: Grants {
            network: Some(Network {
                host: null.as_fd(),
                agent: Some(door.as_fd()),
                address: [1, 2, 3, 4],
            }),
            ..Grants::default()
        },
    };
    let start = || -> io::Result<Spawned> {
        let arguments = Arguments::new(&["payload", "idle", "0", "1"]);
        let (mut stack, mut log) = (Stack::new()?, PhaseLog::new());
        let place = Place::default();
        let made = spawn(
            &mut stack,
            place,
            &program(),
            descriptors,
            &arguments,
            &mut log,
        );
        made.map_err(io::Error::other)
    };
    let child = std::thread::scope(|scope| {
        let started = scope.spawn(start);
        let mut address = [0; 8];
        let raw = std::os::fd::AsRawFd::as_raw_fd(&agent);
        assert_eq!(recv(raw, &mut address, MsgFlags::empty()), Ok(4));
        // It has the ids, and waits.
        let pid = stage::children()[0];
        let looked = may_look_into(pid);
        let dumpable = is_dumpable();
        nix::sys::prctl::set_dumpable(true).unwrap();
        let looked_later = may_look_into(pid);
        nix::sys::prctl::set_dumpable(false).unwrap();
        address[4..].fill(0);
        send(raw, &address, MsgFlags::empty()).unwrap();
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
