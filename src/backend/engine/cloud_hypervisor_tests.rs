//! What becomes of a Cloud Hypervisor that is none: a program in its place that dies, hangs or lies, and
//! somebody behind its socket who does.

use std::os::unix::net::UnixStream;
use std::thread;

use super::super::false_vmm::{FalseVmm, SOON, say, sleepers};
use super::*;
use crate::trial::EngineEnd;

/// Seconds that no other program here sleeps.
const LONG: &str = "31417";
/// Says where it would listen: `--serial socket=PATH`, its last argument.
const TELLS: &str =
    "for last; do :; done; echo \"${last#socket=}\" > {}/note; mv {}/note {}/socket";

fn cloud_hypervisor(found: Found, workspace: Rc<Workspace>, guest: Guest) -> Box<dyn Engine> {
    Box::new(CloudHypervisor::with(found, workspace, guest).unwrap())
}

fn replaced() -> FalseVmm {
    FalseVmm::new(cloud_hypervisor, "cloud-hypervisor v53.0.0", Port::Console)
}

/// What came of a trial with this script, which has told its socket, and this behind the socket.
fn with_port(
    replaced: &FalseVmm,
    script: &str,
    port: impl FnOnce(&mut UnixStream) + Send,
    deadline: Duration,
) -> Failure {
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = replaced.listen().accept().unwrap();
            port(&mut stream);
        });
        let script = format!("{TELLS}; {script}");
        replaced.trial(&script, deadline).unwrap_err()
    })
}

fn engine_end(failure: Failure) -> (EngineEnd, String) {
    match failure {
        Failure::Engine(failure) => (failure.how, failure.tail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_dies_or_hangs_before_it_listens_is_told_with_its_last_words() {
    let (command, how, tail) = replaced().failure("echo no /dev/kvm; exit 1", SOON);
    assert!(matches!(how, EngineEnd::Status(1)), "{how:?}");
    assert!(command.contains("--kernel"), "{command}");
    assert_eq!(tail, "no /dev/kvm");
    let hangs = format!("echo starting >&2; sleep {LONG}0");
    let (_, how, tail) = replaced().failure(&hangs, Duration::from_millis(500));
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");
    let left = sleepers(&format!("{LONG}0"));
    assert_eq!((tail.as_str(), left), ("starting", 0));
}

#[test]
fn a_port_without_a_message_is_told_with_what_came() {
    let sleeps = format!("exec sleep {LONG}");
    // It hangs: what it said so far is no message.
    let says = |stream: &mut UnixStream| {
        say(stream, b"Linux says\r\n");
        thread::sleep(Duration::from_secs(2));
    };
    let failure = with_port(&replaced(), &sleeps, says, Duration::from_secs(1));
    let (how, tail) = engine_end(failure);
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");
    assert_eq!(tail, "Linux says");
    // It ends: by the port's end, and then by its own.
    let failure = with_port(
        &replaced(),
        "sleep 0.2; echo rebooting; exit 0",
        |_| {},
        SOON,
    );
    let (how, tail) = engine_end(failure);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    assert_eq!(tail, "rebooting");
    assert_eq!(sleepers(LONG), 0);
}

/// The kernel's words, the payload's messages, its answer: as with the real one, but for a counter that stands
/// still.
#[test]
fn the_payload_is_heard_behind_the_kernel_on_one_port() {
    let replaced = replaced();
    replaced.write_messages();
    let read = |name: &str| std::fs::read(replaced.path(name)).unwrap();
    let (ready, result) = (read("ready"), read("result"));
    let end = replaced.path("end");
    let port = move |stream: &mut UnixStream| {
        use std::io::Read;
        say(stream, b"Linux says\r\nISOB");
        say(stream, &ready);
        assert_eq!(stream.read(&mut [0; 2]).unwrap(), 2, "go on, and on");
        thread::sleep(Duration::from_millis(100));
        say(stream, &result);
        std::fs::write(end, "").unwrap();
    };
    let script = "until [ -e {}/end ]; do sleep 0.01; done";
    match with_port(&replaced, script, port, SOON) {
        Failure::Clock(why) => assert!(why.contains("fit no offset"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_message_behind_the_first_is_garbage() {
    let replaced = replaced();
    replaced.write_messages();
    let ready = std::fs::read(replaced.path("ready")).unwrap();
    let port = move |stream: &mut UnixStream| {
        say(stream, &ready);
        say(stream, &[b'x'; 200]);
        thread::sleep(Duration::from_millis(200));
    };
    let failure = with_port(&replaced, &format!("exec sleep {LONG}1"), port, SOON);
    let (how, _) = engine_end(failure);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    assert_eq!(sleepers(&format!("{LONG}1")), 0);
}
