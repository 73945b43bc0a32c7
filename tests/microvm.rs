//! The micro-VM through the library: honest payloads, hostile guests, and what is left afterwards.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "microvm/guest.rs"]
mod guest;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use isobench::backend::microvm::MicroVm;
use isobench::backend::{Backend, Unavailable};
use isobench::host::kvm::{self, KvmKind};
use isobench::trial::{ClockSource, Failure, Launch, Observation};
use isobench::vmm::layout;
use isobench::workload::{Task, Workload};
use isobench_abi::{DOORBELL_PORT, Op};

use guest::{Guest, frame};

const DEADLINE: Duration = Duration::from_secs(60);

fn launch(workload: Workload, size: u64, reps: u64) -> Launch {
    let task = Task {
        workload,
        size,
        reps,
    };
    Launch {
        task,
        deadline: DEADLINE,
    }
}

/// The backend, or `None` with a line that says why the test does nothing here.
fn backend(test: &str, made: Result<MicroVm, Unavailable>) -> Option<MicroVm> {
    let kvm = fs::File::options().read(true).write(true).open("/dev/kvm");
    match (made, kvm) {
        (Ok(backend), _) => Some(backend),
        (Err(why), Err(_)) => {
            eprintln!("skipped: {test} needs /dev/kvm: {why}");
            None
        }
        (Err(why), Ok(_)) => panic!("{test}: {why} ({})", why.remedy),
    }
}

/// Runs hand-assembled code as the payload.
fn run(test: &str, code: &[u8], deadline: Duration) -> Option<Result<Observation, Failure>> {
    let mut vm = backend(test, MicroVm::with_payload(&Guest::new(code).elf()))?;
    let mut launch = launch(Workload::Noop, 0, 1);
    launch.deadline = deadline;
    Some(vm.trial(&launch))
}

/// Code that must end in exactly this exception. `rip` is relative to the entry; `None` where the
/// instruction lies elsewhere.
fn exception(test: &str, code: &[u8], expected: (u8, u64), rip: Option<u64>, cr2: Option<u64>) {
    match run(test, code, DEADLINE) {
        None => {}
        Some(Err(Failure::GuestException {
            vector,
            error,
            rip: found,
            address,
            ..
        })) => {
            assert_eq!((vector, error), expected, "{test}: rip {found:#x}");
            if let Some(rip) = rip {
                assert_eq!(found, Guest::ENTRY + rip, "{test}");
            }
            if let Some(cr2) = cr2 {
                assert_eq!(address, cr2, "{test}");
            }
        }
        Some(other) => panic!("{test}: {other:?}"),
    }
}

fn vm_exit(test: &str, code: &[u8], says: &str) {
    match run(test, code, DEADLINE) {
        None => {}
        Some(Err(Failure::VmExit(why))) => assert!(why.contains(says), "{test}: {why}"),
        Some(other) => panic!("{test}: {other:?}"),
    }
}

#[test]
fn every_workload_reports_with_instants_in_order() {
    let Some(mut vm) = backend("every_workload", MicroVm::new()) else {
        return;
    };
    for (workload, size, reps) in [
        (Workload::Noop, 0, 1),
        (Workload::Sha256, 1 << 16, 4),
        (Workload::Matmul, 64, 2),
        (Workload::Branch, 10_000, 2),
        (Workload::Triad, 1 << 18, 3),
        (Workload::Chase, 1 << 16, 10_000),
        (Workload::Fault, 1 << 20, 1),
        (Workload::Crossing, 0, 200),
        (Workload::Clock, 0, 1000),
        (Workload::Idle, 0, 1),
        (Workload::Warm, 1 << 20, 1),
        (Workload::Probe, 0, 51),
    ] {
        let seen = vm
            .trial(&launch(workload, size, reps))
            .unwrap_or_else(|error| panic!("{}: {error}", workload.name()));
        let i = seen.instants;
        let order = [i.t0, i.t1, i.t2, i.t3, i.t4, i.t5];
        assert!(order.windows(2).all(|p| p[1] - p[0] > 0), "{order:?}");
        assert_eq!(seen.report.units, workload.units(size, reps));
        assert_ne!(seen.report.image, 0);
        let waits = matches!(workload, Workload::Idle | Workload::Warm);
        assert_eq!(seen.reply.is_some(), waits, "{workload:?}");
        let crossings = if workload == Workload::Crossing {
            reps
        } else {
            0
        };
        assert!(seen.exits.unwrap().total() >= 3 + crossings);
        for phase in &seen.phases {
            let inside = phase.start - i.t0 >= 0 && i.t1 - phase.end >= 0;
            assert!(inside && phase.end - phase.start >= 0, "{phase:?}");
        }
        assert_eq!(seen.phases.last().unwrap().name, "run");
        let exact = seen.clock.bound == 0;
        assert!(
            exact != (seen.clock.source == ClockSource::Bracketed),
            "{:?}",
            seen.clock
        );
        // With hardware for it, a guest's counter begins when the VM does.
        let kind = kvm::detect(Path::new("/")).kind;
        if matches!(kind, KvmKind::HardwareSvm | KvmKind::HardwareVmx) {
            assert_ne!(seen.clock.source, ClockSource::Same);
        }
    }
}

#[test]
fn compute_uses_the_same_instruction_set_as_a_process() {
    let Some(mut vm) = backend("instruction_set", MicroVm::new()) else {
        return;
    };
    let seen = vm.trial(&launch(Workload::Matmul, 64, 1)).unwrap();
    let wide = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    assert_eq!(seen.report.isa, u64::from(wide));
}

#[test]
fn a_size_that_no_workload_takes_is_refused_before_anything_is_made() {
    let Some(mut vm) = backend("refused_size", MicroVm::new()) else {
        return;
    };
    for size in [1, u64::MAX] {
        let failure = vm.trial(&launch(Workload::Triad, size, 1)).unwrap_err();
        assert!(matches!(failure, Failure::Setup { phase: "plan", .. }));
    }
}

#[test]
fn idle_instances_are_held_accounted_and_released() {
    let Some(mut vm) = backend("idle", MicroVm::new()) else {
        return;
    };
    let idle = launch(Workload::Idle, 0, 1);
    let held: Vec<_> = (0..5).map(|_| vm.hold(&idle).unwrap()).collect();
    for instance in &held {
        let footprint = instance.footprint().unwrap();
        assert!(footprint.private.0 >= 4096, "{footprint:?}");
        assert!(footprint.pss.0 >= footprint.private.0, "{footprint:?}");
        assert!(footprint.pss.0 < 1 << 20, "{footprint:?}");
    }
    for instance in held {
        instance.release().unwrap();
    }
    let failure = vm.hold(&launch(Workload::Noop, 0, 1)).err().unwrap();
    assert!(matches!(failure, Failure::Protocol(_)));
}

#[test]
fn endless_loops_end_at_the_deadline() {
    // A counting loop through zero bytes: `add [rax], al` on the stack, then back.
    let mut zeros = vec![0x48, 0x89, 0xe0];
    zeros.extend([0; 64]);
    zeros.extend([0xeb, 0xbc]);
    for code in [&[0xeb, 0xfe][..], &zeros] {
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        match run("endless_loop", code, limit) {
            None => return,
            Some(Err(Failure::Timeout(after))) => assert_eq!(after, limit),
            Some(other) => panic!("{other:?}"),
        }
        assert!(begun.elapsed() >= limit && begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn exceptions_are_reported_with_their_vector() {
    exception("ud2", &[0x0f, 0x0b], (6, 0), Some(0), None);
    // A trap: RIP is behind the instruction.
    exception("int3", &[0xcc], (3, 0), Some(1), None);
    // xor edx, edx; xor ecx, ecx; div ecx.
    let divide = [0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1];
    exception("divide", &divide, (0, 0), Some(4), None);
    exception("hlt", &[0xf4], (13, 0), Some(0), None);
    exception("mov_cr3", &[0x0f, 0x22, 0xd8], (13, 0), Some(0), None);
    exception("wrmsr", &[0x0f, 0x30], (13, 0), Some(0), None);
    let far = guest::at(1 << 62, &[0x8a, 0x00]);
    exception("non_canonical", &far, (13, 0), Some(10), None);
    // `int n` for a vector that only the CPU may raise, and beyond the table: #GP with the vector,
    // or #UD from a KVM that does not know the instruction at CPL 3; never the vector itself. A
    // QEMU that emulates the CPU may multiply the vector by a gate's 16 bytes (7.2, `do_interrupt64`).
    for n in [14u8, 0x80] {
        let selectors = [8, 16].map(|size| u64::from(n) * size + 2);
        match run("int_n", &[0xcd, n], DEADLINE) {
            None
            | Some(Err(Failure::GuestException {
                vector: 6,
                error: 0,
                ..
            })) => {}
            Some(Err(Failure::GuestException {
                vector: 13, error, ..
            })) => assert!(selectors.contains(&error), "int {n}: {error:#x}"),
            Some(other) => panic!("int {n}: {other:?}"),
        }
    }
}

#[test]
fn page_faults_are_reported_with_their_address() {
    let load = |address| guest::at(address, &[0x8a, 0x00]); // mov al, [rax]
    let store = |address| guest::at(address, &[0x88, 0x00]); // mov [rax], al
    let jump = |address| guest::at(address, &[0xff, 0xe0]); // jmp rax
    let guard = layout::STACK - 8;
    // Error: present 1, write 2, user 4, fetch 16 (Intel SDM vol. 3, 5.7).
    for (test, code, error, cr2) in [
        ("null_read", load(0), 4, 0),
        ("guard_page", store(guard), 6, guard),
        ("code_write", store(Guest::ENTRY), 7, Guest::ENTRY),
        (
            "gdt_read",
            load(layout::DESCRIPTORS),
            5,
            layout::DESCRIPTORS,
        ),
        ("stub_jump", jump(layout::STUBS), 0x15, layout::STUBS),
        ("stack_exec", jump(layout::STACK), 0x15, layout::STACK),
        (
            "doorbell_exec",
            jump(layout::DOORBELL),
            0x15,
            layout::DOORBELL,
        ),
        ("table_page", load(layout::PDPT), 4, layout::PDPT),
        ("far_away", load(1 << 46), 4, 1 << 46),
    ] {
        exception(test, &code, (14, error), None, Some(cr2));
    }
}

#[test]
fn the_heap_can_be_written_and_not_executed() {
    // mov [rax], al; jmp rax.
    let code = guest::at(layout::HEAP, &[0x88, 0x00, 0xff, 0xe0]);
    let made = MicroVm::with_payload(&Guest::new(&code).elf());
    let Some(mut vm) = backend("heap_exec", made) else {
        return;
    };
    match vm.trial(&launch(Workload::Fault, 1 << 21, 1)) {
        Err(Failure::GuestException {
            vector,
            error,
            address,
            ..
        }) => assert_eq!((vector, error, address), (14, 0x15, layout::HEAP)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_one_dword_out_to_the_doorbell_is_heard() {
    let dx = |port: u16, tail: &[u8]| {
        let mut code = vec![0x66, 0xba];
        code.extend(port.to_le_bytes());
        code.extend(tail);
        code.extend([0xeb, 0xfe]);
        code
    };
    vm_exit("out_8", &dx(DOORBELL_PORT, &[0xee]), "port 0x05b0, 1 × 1");
    vm_exit(
        "out_16",
        &dx(DOORBELL_PORT, &[0x66, 0xef]),
        "port 0x05b0, 1 × 2",
    );
    vm_exit("in_32", &dx(DOORBELL_PORT, &[0xed]), "in port 0x05b0");
    // Every other port is closed by the I/O bitmap, next-door ones included.
    for port in [0, 0x5ac, 0x5b1, 0x5b4, 0x5b8, 0xcf9, 0xffff] {
        exception("wild_port", &dx(port, &[0xef]), (13, 0), Some(4), None);
    }
    exception("cli", &[0xfa], (13, 0), Some(0), None);
    vm_exit(
        "bad_op",
        &dx(DOORBELL_PORT, &[0x31, 0xc0, 0xef]),
        "no doorbell operation",
    );
    // mov rsi, rsp; mov ecx, 3; rep outsd: KVM may hand it over whole or one by one.
    let outs = [0x48, 0x89, 0xe6, 0xb9, 3, 0, 0, 0, 0xf3, 0x6f];
    match run("rep_outs", &dx(DOORBELL_PORT, &outs), DEADLINE) {
        None | Some(Err(Failure::VmExit(_) | Failure::Protocol(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_that_break_the_protocol_are_refused() {
    let ring = |op: Op, argument| guest::ring(op.encode(argument));
    let mut twice = frame::ready(frame::Forgery::None);
    twice.extend(ring(Op::Frame, 0));
    for (test, code, expected) in [
        ("empty_frame", ring(Op::Frame, 0), "message"),
        ("trap_from_cpl_3", ring(Op::Trap, 0), "protocol"),
        ("early_wait", ring(Op::Wait, 0), "protocol"),
        ("silent_exit", ring(Op::Exit, 0), "protocol"),
        ("status", ring(Op::Exit, 9), "status"),
        ("wide_status", ring(Op::Exit, 0x100), "protocol"),
        ("ready_twice", twice, "protocol"),
    ] {
        if let Some(outcome) = run(test, &code, DEADLINE) {
            assert_eq!(outcome.unwrap_err().kind(), expected, "{test}");
        }
    }
}

#[test]
fn forged_timestamps_are_refused() {
    let life = |forgery| {
        let mut code = frame::ready(forgery);
        code.extend(frame::result(1));
        code.extend(guest::ring(Op::Exit.encode(0)));
        run("forged_timestamps", &code, DEADLINE)
    };
    match life(frame::Forgery::None) {
        None => return,
        Some(outcome) => drop(outcome.unwrap()),
    }
    // Days ago and years ahead, on whatever counter; 0 may be moments ago, when the VM was made.
    let long_ago = 0u64.wrapping_sub(1 << 50);
    for forgery in [
        frame::Forgery::FirstInstruction(long_ago),
        frame::Forgery::FirstInstruction(u64::MAX / 2),
        frame::Forgery::Sent(long_ago),
        frame::Forgery::Sent(u64::MAX / 2),
    ] {
        match life(forgery) {
            Some(Err(Failure::Clock(_))) => {}
            other => panic!("{forgery:?}: {other:?}"),
        }
    }
}

#[test]
fn a_flood_of_messages_is_bounded() {
    let begun = Instant::now();
    match run("flood", &frame::flood(), DEADLINE) {
        None => return,
        Some(Err(Failure::Protocol(why))) => assert!(why.contains("64 KiB"), "{why}"),
        Some(other) => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Descriptors, threads, and mappings that belong to VMs.
fn held_by_this_process() -> [usize; 3] {
    let entries = |path| fs::read_dir(path).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let guests = maps
        .lines()
        .filter(|line| line.contains("isobench-guest") || line.contains("kvm"));
    [
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
        guests.count(),
    ]
}

#[test]
fn nothing_is_left_behind() {
    // In a process of its own, so that tests beside it do not change the count.
    const ALONE: &str = "ISOBENCH_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_is_left_behind", "--test-threads=1"])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let Some(mut vm) = backend("nothing_is_left_behind", MicroVm::new()) else {
        return;
    };
    let mut crash = MicroVm::with_payload(&Guest::new(&[0x0f, 0x0b]).elf()).unwrap();
    let noop = launch(Workload::Noop, 0, 1);
    vm.trial(&noop).unwrap();
    let before = held_by_this_process();
    for _ in 0..25 {
        vm.trial(&noop).unwrap();
        crash.trial(&noop).unwrap_err();
    }
    // KVM ends its own threads in its own time.
    let begun = Instant::now();
    while held_by_this_process() != before && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(held_by_this_process(), before);
}
