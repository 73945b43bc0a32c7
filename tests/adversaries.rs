//! Hostile guests at CPL 3: each ends typed, within its deadline, and the VMM lives to say so. Guests
//! with ring 0 in their hands are in `src/vmm/machine_tests.rs`, those of the confined VMM in
//! `tests/jailed.rs`, messages and timestamps in `tests/microvm.rs`.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)] // Other tests use the rest.
#[path = "microvm/guest.rs"]
mod guest;

use std::fs;
use std::time::{Duration, Instant};

use isobench::backend::Backend;
use isobench::backend::microvm::MicroVm;
use isobench::measure::check;
use isobench::measure::clock::Clock;
use isobench::trial::{Failure, Launch, Observation};
use isobench::vmm::layout;
use isobench::workload::{Task, Workload, known_answer, payload};
use isobench_abi::{DOORBELL_PORT, Message, Op, Report};

use guest::{Guest, frame};

/// Of guests that go on for ever.
const DEADLINE: Duration = Duration::from_millis(400);
/// Of guests that end by themselves or at a budget, however slow the machine: what they do comes first.
const ENOUGH: Duration = Duration::from_secs(60);
/// What the hardening plan allows beyond the deadline, and more for a busy machine.
const GRACE: Duration = Duration::from_secs(10);
const NOOP: Task = Task {
    workload: Workload::Noop,
    size: 0,
    reps: 1,
};

/// Runs hand-assembled code as the payload; `None` with a line that says why not.
fn run(test: &str, code: &[u8], deadline: Duration) -> Option<Result<Observation, Failure>> {
    let mut vm = match MicroVm::with_payload(&Guest::new(code).elf()) {
        Ok(vm) => vm,
        Err(why) => {
            let kvm = fs::File::options().read(true).write(true).open("/dev/kvm");
            assert!(kvm.is_err(), "{test}: {why}");
            eprintln!("skipped: {test}: {why}");
            return None;
        }
    };
    let begun = Instant::now();
    let outcome = vm.trial(&Launch {
        task: NOOP,
        deadline,
    });
    assert!(begun.elapsed() < deadline + GRACE, "{test}: {outcome:?}");
    Some(outcome)
}

fn kind(test: &str, code: &[u8]) -> Option<String> {
    kind_within(test, code, ENOUGH)
}

fn kind_within(test: &str, code: &[u8], deadline: Duration) -> Option<String> {
    let failure = run(test, code, deadline)?.err();
    let failure = failure.unwrap_or_else(|| panic!("{test}: came to its end"));
    Some(failure.kind().to_owned())
}

/// An access at a port, in every width and both ways, then an endless loop.
fn port(number: u16, tail: &[u8]) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend(number.to_le_bytes());
    code.extend(tail);
    code.extend([0xeb, 0xfe]);
    code
}

/// The I/O bitmap has the doorbell and no other port (all 65,536 are looked at in
/// `vmm::descriptors`); here the CPU is asked about those of real devices, and around the doorbell.
#[test]
fn every_port_but_the_doorbell_is_closed() {
    for number in [
        0x00, 0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xb2, 0xcf8,
        0xcfc, 0x1f0, 0x2f8, 0x3f8, 0x402, 0x510, 0x511, 0x5ac, 0x5af, 0x5b4, 0x600, 0x604, 0xcf9,
        0xfffc, 0xffff,
    ] {
        for tail in [
            &[0xee][..],
            &[0x66, 0xef],
            &[0xef],
            &[0xec],
            &[0x66, 0xed],
            &[0xed],
        ] {
            let Some(kind) = kind("closed_port", &port(number, tail)) else {
                return;
            };
            assert_eq!(kind, "guest-exception", "{number:#x} {tail:x?}");
        }
    }
    // Half in, half out: a 32-bit access must not reach a byte that is not the doorbell's.
    for number in [DOORBELL_PORT - 1, DOORBELL_PORT + 1, DOORBELL_PORT + 3] {
        let Some(kind) = kind("straddling", &port(number, &[0xef])) else {
            return;
        };
        assert_eq!(kind, "guest-exception", "{number:#x}");
    }
}

/// Instructions of operating systems, and some that leave the guest without telling the VMM.
#[test]
fn privileged_instructions_end_it_and_others_end_at_the_deadline() {
    for (test, code) in [
        ("cli", &[0xfa][..]),
        ("hlt", &[0xf4]),
        ("lgdt", &[0x0f, 0x01, 0x14, 0x24]),
        ("lidt", &[0x0f, 0x01, 0x1c, 0x24]),
        ("lmsw", &[0x0f, 0x01, 0xf0]),
        ("invlpg", &[0x0f, 0x01, 0x3c, 0x24]),
        ("swapgs", &[0x0f, 0x01, 0xf8]),
        ("mov_cr0", &[0x0f, 0x22, 0xc0]),
        ("mov_cr3", &[0x0f, 0x22, 0xd8]),
        ("mov_cr4", &[0x0f, 0x22, 0xe0]),
        ("mov_dr7", &[0x0f, 0x23, 0xf8]),
        ("rdmsr", &[0x0f, 0x32]),
        ("wrmsr", &[0x0f, 0x30]),
        ("xsetbv", &[0x0f, 0x01, 0xd1]),
        ("wbinvd", &[0x0f, 0x09]),
        ("invd", &[0x0f, 0x08]),
        (
            "iretq_to_ring_0",
            &[
                0x6a, 0x10, 0x6a, 0x00, 0x6a, 0x02, 0x6a, 0x08, 0x6a, 0x00, 0x48, 0xcf,
            ],
        ),
        ("sysexit", &[0x0f, 0x35]),
        ("sysret", &[0x48, 0x0f, 0x07]),
        ("ud2", &[0x0f, 0x0b]),
    ] {
        let Some(kind) = kind(test, &[code, &[0xeb, 0xfe]].concat()) else {
            return;
        };
        assert_eq!(kind, "guest-exception", "{test}");
    }
    for (test, code) in [
        ("jmp", &[0xeb, 0xfe][..]),
        ("pause", &[0xf3, 0x90, 0xeb, 0xfc]),
        ("cpuid", &[0x0f, 0xa2, 0xeb, 0xfc]),
        ("rdtsc", &[0x0f, 0x31, 0xeb, 0xfc]),
        // Every page of the image anew: clflush [rsp]; jmp.
        ("clflush", &[0x0f, 0xae, 0x3c, 0x24, 0xeb, 0xfa]),
    ] {
        let Some(kind) = kind_within(test, code, DEADLINE) else {
            return;
        };
        assert_eq!(kind, "timeout", "{test}");
    }
    // What a hypervisor or a kernel would answer: refused, or nobody there and the loop behind it.
    for (test, code) in [
        ("vmcall", &[0x0f, 0x01, 0xc1][..]),
        ("vmmcall", &[0x0f, 0x01, 0xd9]),
        ("syscall", &[0x0f, 0x05]),
        ("sysenter", &[0x0f, 0x34]),
        ("int_80", &[0xcd, 0x80]),
        ("rdpmc", &[0x0f, 0x33]),
        ("vmxon", &[0xf3, 0x0f, 0xc7, 0x34, 0x24]),
        ("vmrun", &[0x0f, 0x01, 0xd8]),
        ("mwait", &[0x0f, 0x01, 0xc9]),
    ] {
        let Some(kind) = kind_within(test, &[code, &[0xeb, 0xfe]].concat(), DEADLINE) else {
            return;
        };
        let known = ["guest-exception", "timeout", "vm-exit"];
        assert!(known.contains(&kind.as_str()), "{test}: {kind}");
    }
}

/// A fault is told with the registers the guest had, those that the stub uses included.
#[test]
fn a_fault_is_told_with_its_registers() {
    // mov rax, …; mov rdx, …; mov r15, …; mov cl, [0].
    let mut code = Vec::new();
    for (prefix, value) in [
        ([0x48, 0xb8], 0x1111_2222_3333_4444u64),
        ([0x48, 0xba], 0x5555_6666_7777_8888),
        ([0x49, 0xbf], 0x9999_aaaa_bbbb_cccc),
    ] {
        code.extend(prefix);
        code.extend(value.to_le_bytes());
    }
    code.extend([0x8a, 0x0c, 0x25, 0x40, 0, 0, 0]);
    let Some(outcome) = run("registers", &code, ENOUGH) else {
        return;
    };
    let failure = outcome.unwrap_err();
    let Failure::GuestException {
        vector,
        rip,
        address,
        registers,
        ..
    } = &failure
    else {
        panic!("{failure}");
    };
    assert_eq!((*vector, *address, *rip), (14, 0x40, Guest::ENTRY + 30));
    assert_eq!(registers.general[0], 0x1111_2222_3333_4444);
    assert_eq!(registers.general[3], 0x5555_6666_7777_8888);
    assert_eq!(registers.general[14], 0x9999_aaaa_bbbb_cccc);
    assert!((layout::STACK..=layout::STACK_TOP).contains(&registers.rsp));
    // Bit 1 is always set; interrupts are off.
    assert_eq!(registers.rflags & 0x202, 2);
    assert!(failure.to_string().contains("14 #PF"), "{failure}");
}

/// Storms: of empty doorbells, of messages that say nothing new, of faults.
#[test]
fn storms_end_at_a_budget() {
    let mut empty = guest::ring(Op::Null.encode(0));
    empty.extend([0xeb, 0xfd]);
    for (test, code, expected) in [
        ("doorbells", empty, "exit-budget"),
        ("messages", frame::flood(), "protocol"),
    ] {
        let Some(kind) = kind(test, &code) else {
            return;
        };
        assert_eq!(kind, expected, "{test}");
    }
}

/// A life that is well-formed and a result that is not the answer.
#[test]
fn forged_results_are_no_measurements() {
    let Some(outcome) = run("forged_results", &life(0, 0), ENOUGH) else {
        return;
    };
    let clock = Clock::calibrate(Duration::from_millis(20)).unwrap();
    let answer = known_answer(&NOOP).unwrap();
    let image = payload::image_fold().unwrap();
    let judged = |seen: &Observation| check::measured(seen, &NOOP, answer, image, &clock);
    let other = judged(&outcome.unwrap()).unwrap_err();
    assert_eq!(other.kind(), "other-bytes", "{other}");
    let seen = run("forged_results", &life(image, answer.digest ^ 1), ENOUGH).unwrap();
    let wrong = judged(&seen.unwrap()).unwrap_err();
    assert_eq!(wrong.kind(), "wrong-answer", "{wrong}");
    // Not detected, and not claimed to be: a fold is no signature. Whoever forges both is believed.
    let seen = run("forged_results", &life(image, answer.digest), ENOUGH).unwrap();
    judged(&seen.unwrap()).unwrap();
}

/// Ready, a result with this image and digest, exit.
fn life(image: u64, digest: u64) -> Vec<u8> {
    let message = Message::Result(Report {
        start: 0,
        end: 0,
        units: 1,
        digest,
        image,
        isa: 0,
    });
    let mut code = frame::ready(frame::Forgery::None);
    code.extend(frame::stamped(&message, 1));
    code.extend(guest::ring(Op::Exit.encode(0)));
    code
}
