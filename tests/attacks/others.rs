//! Other processes: their signals, memory, messages, sockets and terminal; and one's own limits.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Stdio};

use libc::{
    AF_ALG, AF_INET, AF_PACKET, AF_UNIX, AF_VSOCK, AT_FDCWD, IPC_CREAT, IPC_RMID, O_CREAT,
    O_RDONLY, O_RDWR, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, SYS_connect, SYS_fork, SYS_ioctl,
    SYS_kill, SYS_mq_open, SYS_mq_unlink, SYS_openat, SYS_ptrace, SYS_shmctl, SYS_shmget,
    SYS_socket, TIOCSTI,
};

use super::*;

#[test]
fn host_processes_are_out_of_reach() {
    let _alone = alone();
    let Some(target) = Target::find("host processes") else {
        return;
    };
    let mut canary = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = canary.id();
    let attacks = [
        Attack {
            name: "a signal to a host process",
            prepare: vec![],
            calls: vec![sys!(SYS_kill, pid, 0)],
            refused: libc::ESRCH,
            root: Control::Without(&[Seccomp, Pid, Capabilities]),
            user: Control::Without(&[Seccomp, Pid]),
        },
        Attack {
            name: "tracing a host process",
            prepare: vec![],
            // Let go again by the tracer's end.
            calls: vec![sys!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0)],
            refused: libc::ESRCH,
            root: Control::Without(&[Seccomp, Pid, Capabilities]),
            user: Control::Impossible("nobody traces out of a user namespace"),
        },
    ];
    for attack in &attacks {
        target.attempt(attack);
    }
    assert_eq!(canary.try_wait().unwrap(), None, "the canary was harmed");
    canary.kill().unwrap();
    canary.wait().unwrap();
}

#[test]
fn more_tasks_than_the_limit_are_refused() {
    let _alone = alone();
    let Some(target) = Target::find("tasks") else {
        return;
    };
    if !target.grouped {
        println!("skipped: more tasks than the limit: no control group can be made here");
        return;
    }
    let without = Control::Without(&[Seccomp, Cgroup]);
    target.attempt(&Attack {
        name: "more tasks than the limit",
        prepare: vec![],
        // The payload itself is the 17th; who has ended counts until it is reaped.
        calls: vec![sys!(SYS_fork); 16],
        refused: libc::EAGAIN,
        root: without.clone(),
        user: without,
    });
}

#[test]
fn host_ipc_is_invisible() {
    let _alone = alone();
    let Some(target) = Target::find("host IPC") else {
        return;
    };
    let key = 0x1505_0000 | (std::process::id() & 0xffff);
    let queue = format!("isobench-canary-{}", std::process::id());
    let made = unconfined(&[sys!(SYS_shmget, key, 4096, IPC_CREAT | 0o666)]);
    assert_eq!(made, Outcome::Succeeded);
    let made = unconfined(&[sys!(SYS_mq_open, &queue, O_CREAT | O_RDWR, 0o666, 0)]);
    assert_eq!(made, Outcome::Succeeded);
    let weak = Control::Without(&[Seccomp, Ipc]);
    let both = |name, call| Attack {
        name,
        prepare: vec![],
        calls: vec![call],
        refused: libc::ENOENT,
        root: weak.clone(),
        user: weak.clone(),
    };
    let attacks = [
        both("shared memory of the host", sys!(SYS_shmget, key, 0, 0)),
        both(
            "a message queue of the host",
            sys!(SYS_mq_open, &queue, O_RDONLY, 0, 0),
        ),
    ];
    let tried = std::panic::catch_unwind(|| attacks.iter().for_each(|a| target.attempt(a)));
    let taken_in = [
        sys!(SYS_shmget, key, 0, 0),
        sys!(SYS_shmctl, Arg::Earlier(1), IPC_RMID, 0),
        sys!(SYS_mq_unlink, &queue),
    ];
    assert_eq!(unconfined(&taken_in), Outcome::Succeeded);
    if let Err(panic) = tried {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn host_sockets_are_out_of_reach() {
    let _alone = alone();
    let Some(target) = Target::find("host sockets") else {
        return;
    };
    let name = format!("isobench-canary-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    // struct sockaddr_un: a NUL, then the name, whose length the address's length tells.
    let family = |family: i32| (family as u16).to_ne_bytes().to_vec();
    let unix = [family(AF_UNIX), vec![0], name.clone().into_bytes()].concat();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_be_bytes().to_vec();
    let inet = [family(AF_INET), port, vec![127, 0, 0, 1], vec![0; 8]].concat();

    let weak = Control::Without(&[Seccomp, Net]);
    let connect = |name, family: i32, address: &Vec<u8>| Attack {
        name,
        prepare: vec![],
        calls: vec![
            sys!(SYS_socket, family, SOCK_STREAM, 0),
            sys!(
                SYS_connect,
                Arg::Earlier(1),
                address.clone(),
                address.len() as u64
            ),
        ],
        refused: libc::ECONNREFUSED,
        root: weak.clone(),
        user: weak.clone(),
    };
    let socket = |name, family: i32, kind: i32| Attack {
        name,
        prepare: vec![],
        calls: vec![sys!(SYS_socket, family, kind, 0)],
        refused: libc::EPERM,
        root: Control::OnlySeccomp,
        user: Control::OnlySeccomp,
    };
    let attacks = [
        connect("an abstract socket of the host", AF_UNIX, &unix),
        connect("a TCP port of the host", AF_INET, &inet),
        Attack {
            root: Control::Without(&[Seccomp, Capabilities]),
            user: NO_CAPABILITY,
            ..socket("AF_PACKET", AF_PACKET, SOCK_RAW)
        },
        socket("AF_ALG", AF_ALG, SOCK_SEQPACKET),
        socket("AF_VSOCK", AF_VSOCK, SOCK_STREAM),
    ];
    for attack in &attacks {
        target.attempt(attack);
    }
}

/// Not a test of its own: has a controlling terminal.
#[test]
fn inner_pushes_input_into_its_terminal() {
    if std::env::var_os(INNER).is_none_or(|v| v != "terminal") {
        return;
    }
    let Some(target) = Target::find("TIOCSTI") else {
        return;
    };
    let calls = [
        sys!(SYS_openat, AT_FDCWD, "/dev/tty", O_RDWR),
        sys!(SYS_ioctl, Arg::Earlier(1), TIOCSTI, "x"),
    ];
    let elf = program(&calls);
    let tried = [
        target.outcome(&elf, &[]),
        target.outcome(&elf, &[Seccomp]),
        target.outcome(&elf, &[Seccomp, Rootfs]),
        unconfined(&calls),
    ];
    println!("\ntried {}", tried.map(|o| o.to_string()).join(" "));
}

/// Input for the shell that started isobench: no terminal has a device node in the container, and
/// none is the session's, which is a new one. The bare process has both.
#[test]
fn no_input_can_be_pushed_into_the_terminal() {
    let _alone = alone();
    let command = format!(
        "'{}' --exact others::inner_pushes_input_into_its_terminal --nocapture",
        std::env::current_exe().unwrap().display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env(INNER, "terminal")
        .stdin(Stdio::null())
        .output();
    let text = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(why) => return println!("skipped: TIOCSTI: no script(1): {why}"),
    };
    let Some(tried) = text.lines().find_map(|line| line.strip_prefix("tried ")) else {
        panic!("{text}");
    };
    let tried: Vec<_> = tried.split_whitespace().collect();
    assert_eq!(tried[..3], ["SIGSYS", "ENOENT", "ENXIO"], "{text}");
    match tried[3] {
        "succeeds" => {}
        // dev.tty.legacy_tiocsti, and not root.
        "EIO" | "EPERM" => println!("skipped: TIOCSTI: the control: switched off on this host"),
        other => panic!("the control: {other}"),
    }
}
