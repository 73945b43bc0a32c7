//! The embedded payload, run as an ordinary process: does it keep its contract?
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test states its expectations"
)]

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use isobench::sys::fd;
use isobench::workload::{Profile, Task, Workload, known_answer, payload};
use isobench_abi::question::{ENDED, FACTS, FIRST_CALL, SYSTEM_CALLS};
use isobench_abi::{
    ABI_VERSION, Ask, FRAME_BYTES, Fact, Frame, GuestFault, Mark, Message, Question, Report, Value,
};
use object::Endianness;
use object::elf::{ET_EXEC, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use proptest::prelude::*;
use syscalls::Sysno;

/// The payload as a memory file, by a path that a child of any user can execute: nothing is written to
/// disk and nothing stays.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(OwnedFd, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let image = fd::sealed_memory(c"payload", payload::BYTES).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
        (image, path.into())
    });
    path
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The messages in order; their sequence numbers and their own clock readings are checked.
fn messages(output: &Output) -> Vec<Message> {
    assert!(output.stderr.is_empty());
    let mut latest = 0;
    let records = output.stdout.chunks(FRAME_BYTES).enumerate();
    records
        .map(|(index, bytes)| {
            let (frame, message) = Frame::decode(bytes).unwrap();
            assert_eq!(usize::from(frame.seq), index);
            assert!(frame.sent >= latest, "frames are sent in order");
            latest = frame.sent;
            if let Message::Ready(ready) = message {
                assert_eq!((index, ready.abi), (0, ABI_VERSION), "ready comes first");
                assert!(ready.first_instruction <= frame.sent);
            }
            if let Message::Result(report) = message {
                assert!(report.start <= report.end && report.end <= frame.sent);
            }
            message
        })
        .collect()
}

/// Runs a task to its end and compares its report with the known answer.
fn check(task: &Task) -> Report {
    let argv = task.argv();
    let arguments: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
    let output = run(&arguments);
    let said = messages(&output);
    assert_eq!(output.status.code(), Some(0), "{task:?}: {said:?}");
    let answer = known_answer(task).unwrap();
    let reply = match task.workload {
        Workload::Idle => Some(Mark::Awake),
        Workload::Warm => Some(Mark::Answer(answer.digest)),
        _ => None,
    };
    if let Some(reply) = reply {
        let waiting = Message::Mark(Mark::Waiting(task.size));
        assert_eq!(said[1..3], [waiting, Message::Mark(reply)]);
        assert_eq!(said.len(), 4, "{task:?}: {said:?}");
    } else {
        assert_eq!(said.len(), 2, "{task:?}: {said:?}");
    }
    let Some(Message::Result(report)) = said.last() else {
        panic!("{task:?}: {said:?}");
    };
    assert_eq!(
        (report.digest, report.units),
        (answer.digest, answer.units),
        "{task:?}"
    );
    assert_eq!(report.image, payload::image_fold().unwrap(), "{task:?}");
    *report
}

fn check_all(workload: Workload, cases: &[(u64, u64)]) {
    for &(size, reps) in cases {
        check(&Task {
            workload,
            size,
            reps,
        });
    }
}

#[test]
fn noop_and_idle_answer_at_once() {
    check_all(Workload::Noop, &[(0, 1)]);
    check_all(Workload::Idle, &[(0, 1), (4096, 1), (1 << 20, 1)]);
}

#[test]
fn warm_answers_from_its_state() {
    check_all(Workload::Warm, &[(4096, 1), (12_288, 1), (1 << 20, 1)]);
    check_all(Workload::Warm, &[(16 << 20, 1), (64 << 20, 1)]);
}

#[test]
fn sha256_agrees_with_an_independent_implementation() {
    // Every length of the padding: 0 to 7 words after the last whole block.
    let sizes = (64..=128).step_by(8);
    check_all(Workload::Sha256, &sizes.map(|n| (n, 3)).collect::<Vec<_>>());
    check_all(Workload::Sha256, &[(4096, 1), (65_536, 5)]);
}

#[test]
fn matmul_agrees_at_every_edge_of_its_blocks() {
    let sides = [
        1, 2, 7, 8, 9, 63, 64, 127, 128, 129, 136, 255, 256, 257, 264, 300,
    ];
    check_all(Workload::Matmul, &sides.map(|n| (n, 2)));
}

#[test]
fn branch_agrees_with_an_independent_interpreter() {
    check_all(
        Workload::Branch,
        &[(1, 1), (255, 1), (256, 3), (257, 2), (100_000, 2)],
    );
}

#[test]
fn triad_is_exact_to_its_last_repetition() {
    check_all(
        Workload::Triad,
        &[(64, 1), (64, 300), (128, 2), (4096, 13), (65_600, 14)],
    );
}

#[test]
fn chase_reaches_the_same_node() {
    check_all(
        Workload::Chase,
        &[
            (128, 1),
            (192, 2),
            (4096, 63),
            (4096, 64),
            (4160, 1000),
            (1 << 20, 100_000),
        ],
    );
}

#[test]
fn fault_touches_every_page() {
    check_all(Workload::Fault, &[(4096, 1), (8192, 1), (1 << 20, 1)]);
}

#[test]
fn crossing_and_clock_count() {
    check_all(Workload::Crossing, &[(0, 1), (0, 1000)]);
    check_all(Workload::Clock, &[(0, 1), (0, 1000)]);
}

#[test]
fn every_task_of_the_smoke_profile_is_right() {
    for task in Profile::Smoke.tasks() {
        let report = check(&task);
        assert!(report.isa == 0 || task.workload == Workload::Matmul);
    }
}

#[test]
fn the_time_of_a_matrix_product_grows_with_its_repetitions() {
    // If the compiler had moved the repetitions out of the timed section or folded them into one,
    // sixteen times the work would take no longer. The best of three keeps the scheduler out.
    let best = |reps| {
        let task = Task {
            workload: Workload::Matmul,
            size: 128,
            reps,
        };
        let took = (0..3).map(|_| check(&task)).map(|r| r.end - r.start);
        took.min().unwrap()
    };
    assert!(best(64) > 4 * best(4));
}

#[test]
fn vector_instructions_are_those_the_cpu_has() {
    let report = check(&Profile::Smoke.task(Workload::Matmul, 64));
    let has = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
    assert_eq!(report.isa, u64::from(has));
}

#[test]
fn idle_waits_for_the_request() {
    let mut child = Command::new(program())
        .arg("idle")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    child.stdin.take().unwrap().write_all(b"!").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = messages(&output);
    assert_eq!(said[1], Message::Mark(Mark::Waiting(0)));
    assert_eq!(said[2], Message::Mark(Mark::Awake));
}

/// Answers of a probe, in order, parts of texts left out; whether it came to its end.
fn answers(first: u16, count: u16) -> (Vec<Fact>, Option<Report>, Output) {
    let output = run(&["probe", &first.to_string(), &count.to_string()]);
    let mut said = messages(&output);
    let report = match said.last() {
        Some(Message::Result(report)) => Some(*report),
        _ => None,
    };
    said.retain(|message| matches!(message, Message::Fact(_)));
    let facts = said.into_iter().map(|message| match message {
        Message::Fact(fact) => fact,
        other => unreachable!("{other:?} was left out"),
    });
    let whole = facts.filter(|f| !matches!(f.value, Value::Text(part) if part.more));
    (whole.collect(), report, output)
}

#[test]
fn probe_answers_every_fact_in_order() {
    let (facts, report, _) = answers(0, FACTS);
    let asked: Vec<Ask> = facts.iter().map(|fact| fact.ask).collect();
    assert_eq!(asked, Question::ALL.map(Ask::Fact));
    let task = Task {
        workload: Workload::Probe,
        size: 0,
        reps: FACTS.into(),
    };
    let (report, answer) = (report.unwrap(), known_answer(&task).unwrap());
    assert_eq!((report.digest, report.units), (answer.digest, answer.units));
    assert_eq!(report.image, payload::image_fold().unwrap());
    // There is a kernel, and nothing is left out.
    assert!(
        facts
            .iter()
            .all(|f| !matches!(f.value, Value::NoKernel | Value::Skipped))
    );
}

/// A call that ends the payload is the first question without an answer; one that must not be made
/// is not made; a real call with arguments that mean nothing does nothing.
#[test]
fn probe_asks_about_system_calls_and_ends_where_they_end_it() {
    let call = |name: Sysno| FIRST_CALL + name as u16;
    let (facts, report, output) = answers(FIRST_CALL, SYSTEM_CALLS);
    assert_eq!(facts.last().unwrap().ask.number() + 1, call(Sysno::exit));
    assert!(report.is_none());
    assert_eq!(output.status.code(), Some(ENDED.into()));
    let value = |name: Sysno| facts[usize::from(call(name) - FIRST_CALL)].value;
    for name in [Sysno::pause, Sysno::fork, Sysno::vfork, Sysno::rt_sigreturn] {
        assert_eq!(value(name), Value::Skipped, "{name}");
    }
    assert_eq!(value(Sysno::close), Value::Refused(9));
    assert_eq!(value(Sysno::open), Value::Refused(14));
    let after_exit = call(Sysno::exit) + 1;
    let (facts, report, _) = answers(after_exit, call(Sysno::exit_group) - after_exit);
    assert!(report.is_some());
    let value = |name: Sysno| facts[usize::from(call(name) - after_exit)].value;
    assert_eq!(value(Sysno::kill), Value::Refused(3));
    for name in [Sysno::setsid, Sysno::vhangup, Sysno::sync] {
        assert_eq!(value(name), Value::Skipped, "{name}");
    }
}

#[test]
fn probe_refuses_what_is_no_question_by_its_number() {
    for number in [FACTS, FIRST_CALL - 1] {
        let detail = refused(&["probe", &number.to_string(), "1"]);
        assert_eq!(detail, u64::from(number));
    }
    let last = isobench_abi::question::END - 1;
    let output = run(&["probe", &last.to_string(), "2"]);
    let end = messages(&output).pop();
    let refused = Message::Fault(GuestFault::BadArgument, u64::from(last) + 1);
    // Where the kernel has no i386 entry, asking about it is the end (SIGSEGV).
    assert!(
        end == Some(refused) || output.status.code().is_none(),
        "{end:?}"
    );
}

fn refused(arguments: &[&str]) -> u64 {
    let output = run(arguments);
    let said = messages(&output);
    assert!(output.status.code().unwrap() > 0, "{arguments:?}");
    match said[..] {
        [
            Message::Ready(_),
            Message::Fault(GuestFault::BadArgument, detail),
        ] => detail,
        _ => panic!("{arguments:?}: {said:?}"),
    }
}

#[test]
fn arguments_that_are_no_numbers_are_refused() {
    for arguments in [
        &[][..],
        &[""],
        &["nope"],
        &["noop "],
        &["sha256", ""],
        &["sha256", "-64", "1"],
        &["sha256", "+64", "1"],
        &["sha256", "64KiB", "1"],
        &["sha256", "0x40", "1"],
        &["sha256", "64", "one"],
        &["sha256", "18446744073709551616", "1"],
        &["sha256", "99999999999999999999999999999999", "1"],
    ] {
        assert_eq!(refused(arguments), 0, "{arguments:?}");
    }
}

#[test]
fn arguments_outside_their_range_are_refused_by_value() {
    for workload in Workload::ALL {
        let limits = workload.limits();
        let sizes = [0, 1, 63, 65, limits.max_size + limits.size_step, u64::MAX];
        for size in sizes.into_iter().filter(|&size| !limits.allow_size(size)) {
            let task = Task {
                workload,
                size,
                reps: 1,
            };
            assert!(task.check().is_err() && known_answer(&task).is_err());
            assert_eq!(refused(&[workload.name(), &size.to_string(), "1"]), size);
        }
        let size = limits.min_size.to_string();
        for reps in [0, limits.max_reps + 1, u64::MAX] {
            assert_eq!(refused(&[workload.name(), &size, &reps.to_string()]), reps);
        }
    }
    assert_eq!(refused(&["chase"]), 0, "a missing size is 0");
}

#[test]
fn a_host_that_does_not_listen_ends_it() {
    let child = Command::new(program())
        .arg("noop")
        .stdin(Stdio::null())
        .stdout(std::fs::File::open("/dev/null").unwrap())
        .status()
        .unwrap();
    assert_eq!(child.code(), Some(4));
}

/// What the VMM and the image check rely on.
#[test]
fn the_file_is_a_plain_static_executable() {
    let file = payload::BYTES;
    let header = FileHeader64::<Endianness>::parse(file).unwrap();
    let endian = header.endian().unwrap();
    assert_eq!(header.e_type(endian), ET_EXEC);
    let segments = header.program_headers(endian, file).unwrap();
    let mut end = 0x20_0000;
    for segment in segments {
        let kind = segment.p_type(endian);
        let flags = segment.p_flags(endian).0;
        assert!(kind != PT_INTERP && kind != PT_DYNAMIC);
        assert!(flags & (PF_W.0 | PF_X.0) != PF_W.0 | PF_X.0);
        if kind == PT_LOAD {
            let start = segment.p_vaddr(endian);
            assert!(start >= end && start.is_multiple_of(4096), "{start:#x}");
            end = start + segment.p_memsz(endian);
            let code = (start..end).contains(&header.e_entry(endian));
            assert_eq!(code, flags == PF_R.0 | PF_X.0);
        }
    }
    assert!(end < 0x21_0000, "the payload stays small");
    let sections = header.sections(endian, file).unwrap();
    for section in sections.iter() {
        assert!(section.rel(endian, file).unwrap().is_none());
        assert!(section.rela(endian, file).unwrap().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn payload_and_host_agree_on_any_small_task(
        workload in prop::sample::select(&Workload::ALL)
            .prop_filter("says more than a result", |w| *w != Workload::Probe),
        steps in 0u64..500,
        reps in 1u64..20,
    ) {
        let limits = workload.limits();
        let largest = 1u64 << if workload == Workload::Matmul { 6 } else { 18 };
        let size = (limits.min_size + steps * limits.size_step).min(largest).min(limits.max_size);
        let size = size - (size - limits.min_size) % limits.size_step;
        check(&Task { workload, size, reps: reps.min(limits.max_reps) });
    }
}
