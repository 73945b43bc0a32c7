//! Copies of a micro-VM, and a micro-VM given its state back: the same answers as a cold start's, and
//! nothing of the life before.
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)] // each test binary uses its own part
#[path = "microvm/guest.rs"]
mod guest;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobench::backend::microvm::MicroVm;
use isobench::backend::microvm::pool::Pool;
use isobench::backend::microvm::snapshot::Copies;
use isobench::backend::{Backend, Unavailable};
use isobench::sys::pagemap::Pagemap;
use isobench::sys::watchdog;
use isobench::trial::{Failure, Launch, PhaseLog};
use isobench::vmm::cpu::{Cpu, TaskType};
use isobench::vmm::elf::Image;
use isobench::vmm::layout;
use isobench::vmm::machine::{Machine, Start};
use isobench::vmm::session::{Pause, Session};
use isobench::vmm::snapshot::{Snapshot, identity};
use isobench::vmm::stack::InitialStack;
use isobench::vmm::template::Template;
use isobench::workload::{Task, Workload, known_answer, payload};
use isobench_abi::{Message, Op, Report};
use kvm_ioctls::Kvm;

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

/// Both backends that do not start cold.
fn both(test: &str, payload: Option<&[u8]>) -> Option<[(&'static str, Box<dyn Backend>); 2]> {
    let made = || match payload {
        None => MicroVm::new(),
        Some(elf) => MicroVm::with_payload(elf),
    };
    Some([
        ("snapshot", Box::new(Copies::of(backend(test, made())?))),
        ("pool", Box::new(Pool::of(backend(test, made())?))),
    ])
}

#[test]
fn every_workload_has_its_answer_again_and_again() {
    let Some(both) = both("every_workload_again", None) else {
        return;
    };
    for (name, mut backend) in both {
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
            (Workload::Idle, 1 << 20, 1),
            (Workload::Warm, 1 << 20, 1),
            (Workload::Probe, 0, 51),
        ] {
            let launch = launch(workload, size, reps);
            let answer = known_answer(&launch.task).unwrap();
            for again in 0..3 {
                let what = format!("{name} {} {again}", launch.task);
                let seen = backend
                    .trial(&launch)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let i = seen.instants;
                for order in [
                    [i.t0, i.t1, i.t2, i.t4, i.t5],
                    [i.t0, i.t1, i.t3, i.t4, i.t5],
                ] {
                    assert!(
                        order.windows(2).all(|p| p[1] - p[0] >= 0),
                        "{what}: {order:?}"
                    );
                }
                assert_eq!(seen.reply.is_some(), workload.waits(), "{what}");
                let report = seen.report;
                assert_eq!(
                    (report.digest, report.units),
                    (answer.digest, answer.units),
                    "{what}"
                );
                assert_eq!(report.image, payload::image_fold().unwrap(), "{what}");
                let names: Vec<_> = seen.phases.iter().map(|phase| phase.name).collect();
                let made = names.contains(&"create_vm");
                assert_eq!(made, name == "snapshot", "{what}: {names:?}");
                assert_eq!(names.last(), Some(&"run"), "{what}");
                for phase in &seen.phases {
                    let inside = phase.start - i.t0 >= 0 && i.t1 - phase.end >= 0;
                    assert!(inside && phase.end - phase.start >= 0, "{what}: {phase:?}");
                }
            }
        }
    }
}

#[test]
fn a_copy_has_less_to_do_than_a_start() {
    let Some(mut cold) = backend("less_to_do", MicroVm::new()) else {
        return;
    };
    let Some(both) = both("less_to_do", None) else {
        return;
    };
    let warm = launch(Workload::Warm, 1 << 20, 1);
    let started = cold.trial(&warm).unwrap().exits.unwrap().total();
    for (name, mut backend) in both {
        let copied = backend.trial(&warm).unwrap().exits.unwrap().total();
        // Ready, waiting and the wait itself lie before the snapshot.
        assert!(
            copied >= 3 && copied <= started - 3,
            "{name}: {copied} of {started}"
        );
    }
}

#[test]
fn held_copies_share_their_memory_until_they_run() {
    let Some(both) = both("held_copies", None) else {
        return;
    };
    for (name, mut backend) in both {
        let warm = launch(Workload::Warm, 4 << 20, 1);
        let held: Vec<_> = (0..5).map(|_| backend.hold(&warm).unwrap()).collect();
        for instance in &held {
            let private = instance.footprint().unwrap().private.0;
            // `kvm_run` alone: no page of the guest's.
            assert!(private <= 16 << 10, "{name}: {private}");
        }
        for instance in held {
            instance.release().unwrap();
        }
        let failure = backend.hold(&launch(Workload::Noop, 0, 1)).err().unwrap();
        assert!(matches!(failure, Failure::Protocol(_)), "{name}: {failure}");
    }
}

#[test]
fn a_payload_that_fails_fails_again() {
    // Ready, then an undefined instruction: after the snapshot, in every life.
    let mut code = frame::ready(frame::Forgery::None);
    code.extend([0x0f, 0x0b]);
    let Some(both) = both("fails_again", Some(&Guest::new(&code).elf())) else {
        return;
    };
    for (name, mut backend) in both {
        for _ in 0..3 {
            match backend.trial(&launch(Workload::Noop, 0, 1)) {
                Err(Failure::GuestException { vector: 6, .. }) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    // Before the snapshot.
    let Some(both) = self::both("fails_before", Some(&Guest::new(&[0x0f, 0x0b]).elf())) else {
        return;
    };
    for (name, mut backend) in both {
        match backend.trial(&launch(Workload::Noop, 0, 1)) {
            Err(Failure::GuestException { vector: 6, .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn endless_copies_end_at_the_deadline() {
    let mut code = frame::ready(frame::Forgery::None);
    code.extend([0xeb, 0xfe]);
    let Some(both) = both("endless_copies", Some(&Guest::new(&code).elf())) else {
        return;
    };
    for (name, mut backend) in both {
        let mut launch = launch(Workload::Noop, 0, 1);
        launch.deadline = Duration::from_millis(300);
        let begun = Instant::now();
        match backend.trial(&launch) {
            Err(Failure::Timeout(after)) => assert_eq!(after, launch.deadline),
            other => panic!("{name}: {other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

/// What a life leaves wherever it can.
const SECRET: u64 = 0x5ec4_e75e_c4e7_5ec5;
/// Heaps of the guest below, in bytes; it touches every page.
const HEAPS: [u64; 2] = [0, layout::LARGE_PAGE];

/// A payload that, from its snapshot on, first gathers what it can see of an earlier life, then
/// writes the secret to every page of its heap and stack, to general registers, to the lowest and
/// highest SSE register, to the x87 stack and to MXCSR, and reports: digest, what it had found;
/// units, what it finds now that it has written.
fn secretive(heap: u64) -> Vec<u8> {
    /// `mov rax, start`; then `each` for `count` pages.
    fn pages(start: u64, count: u64, each: &[u8]) -> Vec<u8> {
        let mut code = vec![0x48, 0xb8];
        code.extend(start.to_le_bytes());
        code.push(0xb9); // mov ecx, count
        code.extend((count as u32).to_le_bytes());
        code.extend_from_slice(each);
        code.extend([0x48, 0x05, 0, 0x10, 0, 0]); // add rax, 4096
        code.extend([0xff, 0xc9, 0x75]); // dec ecx; jnz
        code.push((-(each.len() as i8) - 10).cast_unsigned());
        code
    }
    let everywhere = |each: &[u8]| {
        let mut code = pages(layout::STACK, layout::STACK_BYTES / layout::PAGE, each);
        if heap != 0 {
            code.extend(pages(layout::HEAP, heap / layout::PAGE, each));
        }
        code
    };
    let look = [0x4c, 0x0b, 0x20]; // or r12, [rax]
    let leave = [0x48, 0x89, 0x18]; // mov [rax], rbx
    let mut code = frame::ready(frame::Forgery::None);
    // Registers that nothing has used so far: or r12, r13 … r15, rbp.
    code.extend([
        0x4d, 0x09, 0xec, 0x4d, 0x09, 0xf4, 0x4d, 0x09, 0xfc, 0x49, 0x09, 0xec,
    ]);
    // movq rax, xmm0; or r12, rax; movq rax, xmm15; or r12, rax.
    code.extend([0x66, 0x48, 0x0f, 0x7e, 0xc0, 0x49, 0x09, 0xc4]);
    code.extend([0x66, 0x4c, 0x0f, 0x7e, 0xf8, 0x49, 0x09, 0xc4]);
    // fnstsw ax; movzx eax, ax; or r12, rax: the top of the x87 stack and its flags.
    code.extend([0xdf, 0xe0, 0x0f, 0xb7, 0xc0, 0x49, 0x09, 0xc4]);
    // stmxcsr [rsp − 8]; mov eax, [rsp − 8]; xor eax, 0x1f80 (as after a reset); or r12, rax;
    // mov qword [rsp − 8], 0.
    code.extend([0x0f, 0xae, 0x5c, 0x24, 0xf8, 0x8b, 0x44, 0x24, 0xf8]);
    code.extend([0x35, 0x80, 0x1f, 0, 0, 0x49, 0x09, 0xc4]);
    code.extend(everywhere(&look));
    // mov rbx, SECRET.
    code.extend([0x48, 0xbb]);
    code.extend(SECRET.to_le_bytes());
    code.extend(everywhere(&leave));
    // mov r13, rbx; mov r14, rbx; mov r15, rbx; mov rbp, rbx; movq xmm0, rbx; movq xmm15, rbx.
    code.extend([
        0x49, 0x89, 0xdd, 0x49, 0x89, 0xde, 0x49, 0x89, 0xdf, 0x48, 0x89, 0xdd,
    ]);
    code.extend([0x66, 0x48, 0x0f, 0x6e, 0xc3, 0x66, 0x4c, 0x0f, 0x6e, 0xfb]);
    // push rbx; fild qword [rsp]; ldmxcsr of 0x3f80 (another rounding): push 0x3f80; ldmxcsr [rsp].
    code.extend([
        0x53, 0xdf, 0x2c, 0x24, 0x68, 0x80, 0x3f, 0, 0, 0x0f, 0xae, 0x14, 0x24,
    ]);
    // mov r8, r12; xor r12, r12; what is found now; mov r9, r12; mov r12, rbx.
    code.extend([0x4d, 0x89, 0xe0, 0x4d, 0x31, 0xe4]);
    code.extend(everywhere(&look));
    code.extend([0x4d, 0x89, 0xe1, 0x49, 0x89, 0xdc]);
    let message = Message::Result(Report {
        start: 0,
        end: 0,
        units: 0,
        digest: 0,
        image: 0,
        isa: 0,
    });
    code.extend(frame::store(&message, 1));
    // mov [rdi + 40], r8 (digest); mov [rdi + 32], r9 (units).
    code.extend([0x4c, 0x89, 0x47, 40, 0x4c, 0x89, 0x4f, 32]);
    for offset in [16, 24, 8] {
        code.extend(frame::stamp(offset));
    }
    code.extend(guest::ring(Op::Frame.encode(0)));
    code.extend(guest::ring(Op::Exit.encode(0)));
    Guest::new(&code).elf()
}

/// A task that gives the guest above this heap.
fn with_heap(heap: u64) -> Launch {
    match heap {
        0 => launch(Workload::Noop, 0, 1),
        heap => launch(Workload::Fault, heap, 1),
    }
}

#[test]
fn no_life_sees_the_one_before() {
    for heap in HEAPS {
        let Some(both) = both("no_life_sees", Some(&secretive(heap))) else {
            return;
        };
        for (name, mut backend) in both {
            for again in 0..4 {
                let what = format!("{name}, heap {heap}, life {again}");
                let report = backend.trial(&with_heap(heap)).unwrap().report;
                assert_eq!(report.digest, 0, "{what}: {:#x}", report.digest);
                // It would have seen it.
                assert_eq!(report.units, SECRET, "{what}");
            }
        }
    }
}

/// How often the secret lies in a VM's memory.
fn secrets(machine: &Machine) -> usize {
    let mut all = vec![0; machine.ram().len()];
    machine.ram().read_into(0, &mut all).unwrap();
    let secret = SECRET.to_le_bytes();
    all.windows(8).filter(|window| *window == secret).count()
}

/// The host's view of the same: after a reset every byte of memory and every register is the
/// snapshot's.
#[test]
fn a_reset_leaves_no_byte() {
    if backend("no_byte", MicroVm::new()).is_none() {
        return;
    }
    for heap in HEAPS {
        no_byte_of(heap);
    }
}

fn no_byte_of(heap: u64) {
    let elf = secretive(heap);
    let image = Image::parse(&elf).unwrap();
    let template = Template::new(&elf, &image).unwrap();
    let kvm = Kvm::new().unwrap();
    let (vm, task) = (kvm.create_vm().unwrap(), with_heap(heap).task);
    let vcpu = vm.create_vcpu(0).unwrap();
    let cpu = Cpu::new(&kvm, &vcpu, image.entry, TaskType::of_host()).unwrap();
    let start = Start {
        stack: InitialStack::new(&image, &task.argv()).unwrap(),
        heap_len: heap,
        note_exits: false,
        budget: 100,
    };
    let mut log = PhaseLog::new();
    let mut first = Machine::start(&template, &cpu, &start, &mut log).unwrap();
    let watchdog = watchdog::arm(Instant::now(), DEADLINE).unwrap();
    let mut session = Session::new(DEADLINE);
    session.until_ready(&mut first, &watchdog).unwrap();
    let said = session.said().unwrap();
    let identity = identity([0; 32], &task.argv());
    let snapshot = Arc::new(Snapshot::take(&mut first, &cpu, said, &identity).unwrap());
    let mut machine = Machine::restore(&snapshot, &cpu, 100, &mut log).unwrap();
    // The program's text has the secret as the operand of one instruction.
    let own = secrets(&machine);
    assert_eq!(own, 1);
    let (fresh, mut memory) = (snapshot.map().unwrap(), vec![0; machine.ram().len()]);
    let mut original = memory.clone();
    fresh.read_into(0, &mut original).unwrap();
    let map = Pagemap::open().ok();
    for life in 0..3 {
        let mut session = Session::after(said, DEADLINE);
        let pause = session.run(&mut machine, &watchdog).unwrap();
        assert_eq!(pause, Pause::Exited(0));
        let pages = (heap + layout::STACK_BYTES) / layout::PAGE;
        assert!(
            secrets(&machine) as u64 >= pages,
            "life {life} left nothing to find"
        );
        let dirty = machine.capture(&cpu).unwrap();
        assert_eq!((dirty.regs.r13, dirty.regs.rbp), (SECRET, SECRET));
        assert_ne!(dirty.fpu.region, snapshot.vcpu().fpu.region);
        // Written over, dropped, and written over again.
        let pages = map.as_ref().filter(|_| life != 1);
        let mut log = PhaseLog::new();
        machine.reset(pages, &cpu, 100, &mut log).unwrap();
        let names: Vec<_> = log.phases().iter().map(|phase| phase.name).collect();
        let how = if pages.is_some() {
            "rewind_memory"
        } else {
            "forget_memory"
        };
        assert!(names.contains(&how), "life {life}: {names:?}");
        assert_eq!(secrets(&machine), own, "life {life}");
        machine.ram().read_into(0, &mut memory).unwrap();
        assert!(
            memory == original,
            "life {life}: a byte is not the snapshot's"
        );
        // KVM has the registers once it was entered, which this does without running the guest.
        let clean = machine.capture(&cpu).unwrap();
        assert_eq!(clean.regs, snapshot.vcpu().regs, "life {life}");
        let (found, wanted) = (clean.fpu.region, snapshot.vcpu().fpu.region);
        let other = (0..wanted.len()).find(|&word| found[word] != wanted[word]);
        assert_eq!(other, None, "life {life}: a word of the FPU's state");
        let events = machine.exits().total();
        assert_eq!(events, 0);
    }
    machine.close(&mut log);
    first.reset(None, &cpu, 100, &mut log).unwrap_err();
    first.close(&mut log);
}

/// What KVM has made of the guest's page tables stays: after a reset nothing is faulted in again. On a host
/// that moves or takes away pages between two lives a few may be; not in every one of them.
#[test]
fn a_reset_keeps_what_kvm_has_translated() {
    const FAULTS: &str = "pf_fixed";
    let Some(vm) = backend("keeps_translations", MicroVm::new()) else {
        return;
    };
    fn counted(backend: &mut dyn Backend, launch: &Launch) -> Vec<(String, u64)> {
        backend.count(launch).unwrap().unwrap().kvm
    }
    let faults = |life: &[(String, u64)]| {
        let of = life.iter().filter(|(name, _)| name == FAULTS);
        of.map(|(_, count)| count).sum::<u64>()
    };
    let Some(mut cold) = backend("keeps_translations", MicroVm::new()) else {
        return;
    };
    if faults(&counted(&mut cold, &launch(Workload::Noop, 0, 1))) == 0 {
        return eprintln!("skipped: keeps_translations: this KVM does not count {FAULTS}");
    }
    let mut pool = Pool::of(vm);
    if !pool.limitations().is_empty() {
        return eprintln!("skipped: keeps_translations: {:?}", pool.limitations());
    }
    for launch in [
        launch(Workload::Noop, 0, 1),
        launch(Workload::Warm, 1 << 20, 1),
    ] {
        let lives: Vec<_> = (0..5).map(|_| counted(&mut pool, &launch)).collect();
        let all: Vec<_> = lives.iter().map(|life| faults(life)).collect();
        assert!(lives.iter().all(|life| !life.is_empty()), "{lives:?}");
        assert!(all.contains(&0), "{}: {all:?}", launch.task);
    }
}
