//! What becomes of a Firecracker that is none: a program in its place that dies, hangs, refuses or lies, and
//! somebody at its socket who does.

use std::fs;
use std::os::unix::net::UnixStream;
use std::thread;

use super::super::false_vmm::{FalseVmm, SOON, request, say, sleepers};
use super::*;
use crate::trial::EngineEnd;

/// Seconds that no other program here sleeps.
const LONG: &str = "31416";
/// Says where it would listen: `--api-sock PATH`.
const TELLS: &str = "echo \"$2\" > {}/note; mv {}/note {}/socket";
const FINE: &[u8] = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";

fn firecracker(found: Found, workspace: Rc<Workspace>, guest: Guest) -> Box<dyn Engine> {
    Box::new(Firecracker::with(found, workspace, guest).unwrap())
}

fn replaced() -> FalseVmm {
    FalseVmm::new(firecracker, "Firecracker v1.17.0", Port::Console)
}

/// A script that tells its socket and sleeps, with this at the socket.
fn with_api(api: fn(&mut UnixStream), deadline: Duration) -> (String, EngineEnd, String) {
    let replaced = replaced();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = replaced.listen().accept().unwrap();
            api(&mut stream);
        });
        let script = format!("echo waiting >&2; {TELLS}; exec sleep {LONG}");
        replaced.failure(&script, deadline)
    })
}

#[test]
fn one_that_dies_or_hangs_before_it_listens_is_told_with_its_last_words() {
    let (command, how, tail) = replaced().failure("echo no /dev/kvm >&2; exit 3", SOON);
    assert!(matches!(how, EngineEnd::Status(3)), "{how:?}");
    assert!(command.contains("--api-sock"), "{command}");
    assert_eq!(tail, "no /dev/kvm");
    let hangs = format!("echo starting >&2; sleep {LONG}0");
    let (_, how, tail) = replaced().failure(&hangs, Duration::from_millis(500));
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");
    let left = sleepers(&format!("{LONG}0"));
    assert_eq!((tail.as_str(), left), ("starting", 0));
}

#[test]
fn an_api_that_refuses_hangs_or_talks_garbage_is_told_by_request() {
    let refuses = |stream: &mut UnixStream| {
        assert!(request(stream).unwrap().starts_with("PUT /machine-config "));
        say(stream, FINE);
        assert!(request(stream).unwrap().starts_with("PUT /boot-source "));
        let body = "{\"fault_message\":\"no such kernel\"}";
        let length = body.len();
        let answer = format!("HTTP/1.1 400 \r\nContent-Length: {length}\r\n\r\n{body}");
        say(stream, answer.as_bytes());
    };
    let (command, how, tail) = with_api(refuses, SOON);
    assert!(
        matches!(&how, EngineEnd::Refused(said) if said == "no such kernel"),
        "{how:?}"
    );
    assert!(command.starts_with("PUT /boot-source, of "), "{command}");
    assert_eq!(tail, "waiting");

    let garbage = |stream: &mut UnixStream| {
        request(stream);
        say(stream, b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    };
    let (command, how, _) = with_api(garbage, SOON);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    assert!(command.starts_with("PUT /machine-config, of "), "{command}");

    // Until the harness gives it up, and with it the connection.
    let hangs = |stream: &mut UnixStream| while request(stream).is_some() {};
    let (_, how, _) = with_api(hangs, Duration::from_millis(800));
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");

    // The connection ends, the program does not.
    let (_, how, _) = with_api(|_| {}, SOON);
    assert!(matches!(how, EngineEnd::Unreachable(_)), "{how:?}");
    assert_eq!(sleepers(LONG), 0);
}

#[test]
fn one_that_dies_over_a_request_is_told_by_how_it_ended() {
    let replaced = replaced();
    let (command, how, tail) = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = replaced.listen().accept().unwrap();
            request(&mut stream);
            fs::write(replaced.path("die"), "").unwrap();
        });
        let script = format!(
            "{TELLS}; until [ -e {{}}/die ]; do sleep 0.01; done; echo panicked >&2; exit 148"
        );
        replaced.failure(&script, SOON)
    });
    assert!(matches!(how, EngineEnd::Status(148)), "{how:?}");
    assert!(command.starts_with("PUT /machine-config, of "), "{command}");
    assert_eq!(tail, "panicked");
}

/// An API that takes everything, in front of this script, which begins once the machine is started; the
/// requests, and what came of the trial.
fn started(replaced: &FalseVmm, script: &str) -> (Vec<String>, Failure) {
    let script = format!("{TELLS}; until [ -e {{}}/start ]; do sleep 0.01; done; {script}");
    thread::scope(|scope| {
        let api = scope.spawn(|| {
            let (mut stream, _) = replaced.listen().accept().unwrap();
            let mut requests = Vec::new();
            while let Some(one) = request(&mut stream) {
                requests.push(one);
                say(&mut stream, FINE);
                if requests.len() == 3 {
                    fs::write(replaced.path("start"), "").unwrap();
                }
            }
            requests
        });
        let failure = replaced.trial(&script, SOON).unwrap_err();
        (api.join().unwrap(), failure)
    })
}

/// The kernel's words, the payload's messages, its answer: as with the real one, but for a counter that stands
/// still.
#[test]
fn the_payload_is_heard_behind_the_kernel_on_one_port() {
    let replaced = replaced();
    replaced.write_messages();
    let restarts =
        "reboot: Restarting system, in more bytes than a message has: no beginning of one";
    let script = "printf 'Linux says\\r\\nISOB'; cat {}/ready; read go; sleep 0.1; cat {}/result";
    let script = format!("{script}; echo '{restarts}'; sleep 0.1");
    let (requests, failure) = started(&replaced, &script);
    match failure {
        Failure::Clock(why) => assert!(why.contains("fit no offset"), "{why}"),
        other => panic!("{other:?}"),
    }
    let [config, source, start] = &requests[..] else {
        panic!("{requests:?}");
    };
    let body = |request: &str| -> serde_json::Value {
        serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    assert!(config.starts_with("PUT /machine-config HTTP/1.1\r\n"));
    let memory = body(config)["mem_size_mib"].as_u64().unwrap();
    assert!((128..256).contains(&memory), "{config}");
    assert!(source.starts_with("PUT /boot-source "));
    let source = body(source);
    let line = source["boot_args"].as_str().unwrap();
    assert!(line.ends_with(" -- /payload noop 0 1"), "{line}");
    assert!(
        line.contains("reboot=k") && line.contains("=ttyS0 --"),
        "{line}"
    );
    let kernel = source["kernel_image_path"].as_str().unwrap();
    assert!(kernel.ends_with("/vmlinuz"), "taken as it is: {kernel}");
    assert!(start.starts_with("PUT /actions "));
    assert_eq!(body(start)["action_type"], "InstanceStart");
}

#[test]
fn a_guest_that_never_speaks_is_told_with_the_kernels_last_words() {
    let last_words = |script: &str| match started(&replaced(), script).1 {
        Failure::Engine(failure) => (failure.how, failure.tail),
        other => panic!("{other:?}"),
    };
    let (how, tail) = last_words("printf 'Kernel panic\\r\\nISO'; exit 1");
    assert!(matches!(how, EngineEnd::Status(1)), "{how:?}");
    assert_eq!(tail, "Kernel panic | ISO");
    let (how, tail) = last_words("echo Restarting; exit 0");
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    assert_eq!(tail, "Restarting");
}

/// Behind the first message everything is the payload's.
#[test]
fn what_is_no_message_behind_the_first_is_garbage() {
    let replaced = replaced();
    replaced.write_messages();
    let long =
        "not a message, and longer than one, so that it can be told from the beginning of one";
    let script = format!("cat {{}}/ready; read go; echo '{long}'; sleep {LONG}1");
    let (_, failure) = started(&replaced, &script);
    assert!(
        matches!(&failure, Failure::Engine(f) if matches!(f.how, EngineEnd::Garbage(_))),
        "{failure:?}"
    );
    assert_eq!(sleepers(&format!("{LONG}1")), 0);
}

#[test]
fn what_a_version_takes_is_read_from_it() {
    for (version, takes) in [
        ("Firecracker v1.17.0-dev", true),
        ("Firecracker v2.0.0", true),
        ("Firecracker v1.16.1", false),
        ("Firecracker v1.7", false),
        ("Firecracker", false),
        ("v1", false),
        ("", false),
    ] {
        assert_eq!(takes_bzimage(version), takes, "{version}");
    }
}
