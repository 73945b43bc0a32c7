//! What becomes of a QEMU that is none: a program in its place that dies, hangs, prints or lies.

use super::super::false_vmm::{FalseVmm, SOON, sleepers};
use super::*;
use crate::trial::EngineEnd;

/// Seconds that no other program here sleeps.
const LONG: &str = "31415";

fn qemu(found: Found, workspace: Rc<Workspace>, guest: Guest) -> Box<dyn Engine> {
    Box::new(Qemu {
        machine: QemuMachine::Tcg,
        found,
        workspace,
        guest,
    })
}

fn replaced() -> FalseVmm {
    FalseVmm::new(qemu, "a script", Port::Second)
}

fn engine_failure(script: &str, deadline: Duration) -> (EngineEnd, String) {
    let (_, how, tail) = replaced().failure(script, deadline);
    (how, tail)
}

#[test]
fn one_that_dies_hangs_or_prints_is_told_with_its_last_words_and_leaves_nothing() {
    let (how, tail) = engine_failure("echo no such machine >&2; exit 3", SOON);
    assert!(matches!(how, EngineEnd::Status(3)), "{how:?}");
    assert_eq!(tail, "no such machine");
    let (how, _) = engine_failure("kill -SEGV $$", SOON);
    assert!(matches!(how, EngineEnd::Signal(libc::SIGSEGV)), "{how:?}");
    let (how, _) = engine_failure("exit 0", SOON);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    let (how, _) = engine_failure("yes 'not a message'", SOON);
    assert!(matches!(how, EngineEnd::Garbage(_)), "{how:?}");
    let hangs = format!("echo booting >&2; sleep {LONG}");
    let (how, tail) = engine_failure(&hangs, Duration::from_millis(500));
    assert!(matches!(how, EngineEnd::Timeout(_)), "{how:?}");
    assert_eq!((tail.as_str(), sleepers(LONG)), ("booting", 0));
}

/// Readings that stand still while the host's counter does not: no offset explains them.
#[test]
fn a_counter_that_fits_no_offset_is_refused() {
    let replaced = replaced();
    replaced.write_messages();
    let script = "cat {}/ready; read go; sleep 0.1; cat {}/result";
    match replaced.trial(script, SOON) {
        Err(Failure::Clock(why)) => assert!(why.contains("fit no offset"), "{why}"),
        other => panic!("{other:?}"),
    }
}
