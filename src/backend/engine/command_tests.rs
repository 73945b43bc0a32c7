use std::time::Duration;

use super::*;
use crate::backend::child::Deadline;

fn shell(script: &str) -> Invocation {
    Invocation::of(Path::new("/bin/sh")).with(["-c", script])
}

fn patience(allowed: Duration) -> Patience {
    Patience::until(Deadline::after(allowed))
}

const LONG: Duration = Duration::from_secs(30);

fn refused(script: &str, allowed: Duration) -> EngineFailure {
    match shell(script).run(patience(allowed)) {
        Err(Failure::Engine(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_read_whole_and_a_status_is_a_failure_with_the_tail() {
    let answer = shell("echo one; echo noise >&2; echo two").run(patience(LONG));
    assert_eq!(answer.unwrap(), b"one\ntwo\n");
    let failure = refused("echo on stdout; echo why >&2; exit 3", LONG);
    assert!(matches!(failure.how, EngineEnd::Status(3)));
    assert_eq!(failure.tail, "why");
    assert!(failure.to_string().starts_with("/bin/sh -c echo on stdout"));
    assert_eq!(refused("echo only here; exit 1", LONG).tail, "only here");
    assert!(matches!(
        refused("kill -9 $$", LONG).how,
        EngineEnd::Signal(9)
    ));
    let nobody = Invocation::of(Path::new("/nonexistent/engine"));
    let failure = nobody.run(patience(LONG)).unwrap_err();
    assert!(failure.to_string().contains("No such file"), "{failure}");
}

/// One that hangs is ended with all that it started, and one that floods both of its pipes is not
/// in the way of its own end.
#[test]
fn what_hangs_is_ended_with_its_group_and_a_flood_is_taken_in() {
    let failure = refused(
        "echo begun >&2; sleep 60 & sleep 60",
        Duration::from_millis(200),
    );
    assert!(matches!(failure.how, EngineEnd::Timeout(_)));
    assert_eq!(failure.tail, "begun");
    let flood = "head -c 3000000 /dev/zero | tr '\\0' x >&2; head -c 300000 /dev/zero";
    assert_eq!(shell(flood).run(patience(LONG)).unwrap().len(), 300_000);
    let endless = refused("yes", LONG);
    assert!(matches!(endless.how, EngineEnd::Garbage(_)));
}

/// Whoever was detached with the pipe in hand does not keep the harness.
#[test]
fn a_detached_process_is_not_waited_for() {
    let name = isobench_guardian::Owner::current().unwrap().new_name();
    let command = shell("setsid sleep 60 & echo $!").marked(&name);
    let answer = String::from_utf8(command.run(patience(LONG)).unwrap()).unwrap();
    let detached = answer.trim().parse::<u32>().unwrap();
    // While it becomes `setsid` and then `sleep` it cannot be recognised.
    let mut ended = Vec::new();
    while ended.is_empty() {
        ended = isobench_guardian::end_marked(|mark| mark == name);
    }
    assert_eq!(ended, [detached]);
}

/// What a command leaves behind with its standard error in hand, and that prints without an end, is not
/// waited for without an end.
#[test]
fn a_flood_is_not_waited_out() {
    let name = isobench_guardian::Owner::current().unwrap().new_name();
    let flood = shell("setsid yes >&2 & exit 0").marked(&name);
    let mut started = flood.start(Stdio::null(), Stdio::null()).unwrap();
    started.succeed(patience(LONG)).unwrap();
    let (done, waited) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        started.wait_for_silence();
        let _ = done.send(());
    });
    let in_time = waited.recv_timeout(LONG);
    // Ends also a wait that has no end of its own.
    while !waits.is_finished() {
        isobench_guardian::end_marked(|mark| mark == name);
        std::thread::sleep(Duration::from_millis(10));
    }
    waits.join().unwrap();
    in_time.unwrap();
}

/// All that a command has written is read, however close before its end it wrote it.
#[test]
fn the_last_words_are_never_missed() {
    let last = shell("exec 2>&-; exec echo last");
    for _ in 0..200 {
        assert_eq!(last.run(patience(LONG)).unwrap(), b"last\n");
    }
}
