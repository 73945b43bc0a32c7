//! Kernels that are none: a few instructions at CPL 0 where a bzImage has its 64-bit entry. They need no
//! hardware, so what the VMM holds against a guest's ring 0 is tested on every KVM.

use std::time::{Duration, Instant};

use isobench::backend::Backend;
use isobench::backend::linux_vm::LinuxVm;
use isobench::backend::linux_vm::options::{Options, Savings};
use isobench::trial::{Failure, Launch, Observation};
use isobench::vmm::linux::kernel::Kernel;
use isobench::vmm::linux::{layout, slots};
use isobench::workload::{Task, Workload};
use isobench_abi::{DOORBELL_PORT, Op};

/// Where such a kernel lies in the guest.
const LOADED: u32 = 0x100_0000;
/// What lies behind its code, from its beginning on.
const DATA: u32 = 0x1000;

/// The least that passes for a kernel, with this code at its entry, and these data.
fn kernel(code: &[u8], data: &[u8]) -> Kernel {
    const SETUP: usize = 2 * 512;
    const BODY: usize = 0x2000;
    let mut file = vec![0; SETUP + BODY];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]); // setup_sects
    put(0x1f4, &(BODY as u32 / 16).to_le_bytes()); // syssize
    put(0x1fe, &[0x55, 0xaa]); // boot_flag
    put(0x202, b"HdrS\x0f\x02"); // header, version
    put(0x211, &[1]); // loadflags
    put(0x230, &0x20_0000u32.to_le_bytes()); // kernel_alignment
    put(0x236, &[1, 0]); // xloadflags
    put(0x238, &2047u32.to_le_bytes()); // cmdline_size
    put(0x24c, &0x1000u32.to_le_bytes()); // payload_length
    put(0x258, &u64::from(LOADED).to_le_bytes()); // pref_address
    put(0x260, &0x10_0000u32.to_le_bytes()); // init_size
    put(SETUP + 0x200, code);
    put(SETUP + DATA as usize, data);
    Kernel::parse(file).unwrap()
}

/// What becomes of a trial with it; `None` with a line that says why there is none.
fn run(test: &str, code: &[u8], deadline: Duration) -> Option<Result<Observation, Failure>> {
    run_with(test, Savings::NONE, &kernel(code, &[]), deadline)
}

/// The same in a machine with these options.
fn run_with(
    test: &str,
    options: impl Into<Options>,
    kernel: &Kernel,
    deadline: Duration,
) -> Option<Result<Observation, Failure>> {
    Some(trial(&mut machine(test, options, kernel)?, deadline))
}

fn machine(test: &str, options: impl Into<Options>, kernel: &Kernel) -> Option<LinuxVm> {
    LinuxVm::with_kernel(options, kernel, b"init")
        .inspect_err(|why| eprintln!("skipped: linux_vm {test}: {why}"))
        .ok()
}

fn trial(vm: &mut LinuxVm, deadline: Duration) -> Result<Observation, Failure> {
    let task = Task {
        workload: Workload::Noop,
        size: 0,
        reps: 1,
    };
    vm.trial(&Launch { task, deadline })
}

/// Ends as the guest kernel's failure, in these words; hands over the console's.
fn ends(test: &str, code: &[u8], deadline: Duration, says: &str) -> Option<String> {
    match run(test, code, deadline)? {
        Err(Failure::GuestKernel { how, console }) => {
            assert!(how.contains(says), "{test}: {how}");
            Some(console)
        }
        other => panic!("{test}: {other:?}"),
    }
}

const LONG: Duration = Duration::from_secs(60);

/// `mov dx, port; mov eax, value; out dx, eax`.
fn ring(value: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend(DOORBELL_PORT.to_le_bytes());
    code.push(0xb8);
    code.extend(value.to_le_bytes());
    code.push(0xef);
    code
}

#[test]
fn what_never_ends_is_ended_at_the_deadline() {
    let codes: [(&str, &[u8]); 5] = [
        ("jmp $", &[0xeb, 0xfe]),
        // cli; hlt
        ("hlt", &[0xfa, 0xf4, 0xeb, 0xfd]),
        // out 0x80, al; jmp
        ("port storm", &[0xe6, 0x80, 0xeb, 0xfc]),
        // mov ebx, 0x30000000; mov [rbx], eax; jmp: mapped, and behind the end of RAM
        ("mmio storm", &[0xbb, 0, 0, 0, 0x30, 0x89, 0x03, 0xeb, 0xfc]),
        // mov dx, 0x3f8; mov al, 'x'; out dx, al; jmp
        (
            "console flood",
            &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd],
        ),
    ];
    for (test, code) in codes {
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        let Some(console) = ends(test, code, limit, "did not start within 300ms") else {
            return;
        };
        assert!(begun.elapsed() >= limit, "{test}");
        assert!(console.len() <= 8 << 10, "{test}: {}", console.len());
        assert_eq!(console.contains("xxx"), test == "console flood", "{test}");
    }
}

#[test]
fn a_storm_of_exits_ends_at_its_budget() {
    // out 0x80, al; jmp
    let storm = kernel(&[0xe6, 0x80, 0xeb, 0xfc], &[]);
    let Some(vm) = machine("exit budget", Savings::NONE, &storm) else {
        return;
    };
    match trial(&mut vm.with_exit_budget(1_000), LONG) {
        Err(Failure::ExitBudget(1_001)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_ends_ends_typed() {
    // ud2, without an IDT.
    let end = |test, code: &[u8], says| ends(test, code, LONG, says).is_some();
    if !end("ud2", &[0x0f, 0x0b], "triple fault") {
        return;
    }
    // mov al, 0xfe; out 0x64, al
    end("reset", &[0xb0, 0xfe, 0xe6, 0x64], "reset the machine");
    end("no operation", &ring(0xee), "no doorbell operation 0xee");
    // A byte to the doorbell: mov dx, port; out dx, al
    let byte = [&ring(0)[..4], &[0xee]].concat();
    end("a byte", &byte, "1 × 1 bytes");
}

#[test]
fn a_forged_conversation_is_refused() {
    let refused = |test, code: &[u8]| match run(test, code, LONG) {
        None => None,
        Some(Err(failure)) => Some(failure),
        Some(Ok(seen)) => panic!("{test}: {seen:?}"),
    };
    let Some(exit) = refused("exit", &ring(Op::Exit.encode(0))) else {
        return;
    };
    assert!(matches!(exit, Failure::Protocol(_)), "{exit:?}");
    let frame = refused("frame of zeros", &ring(Op::Frame.encode(0))).unwrap();
    assert!(matches!(frame, Failure::Message(_)), "{frame:?}");
    for op in [Op::Trap, Op::Wait] {
        let failure = refused("out of order", &ring(op.encode(0))).unwrap();
        assert!(
            matches!(failure, Failure::Protocol(_)),
            "{op:?}: {failure:?}"
        );
    }
}

/// All that a queue can hold of a console's output, 64 chains of 64 KiB, again and again, with one access to a
/// register each time: the VMM copies four megabytes for it, and must look at the clock nevertheless, also
/// where every fourth exit is an empty doorbell, which is the caller's to answer.
#[test]
fn a_flood_on_the_virtio_console_ends_at_the_deadline() {
    for (notifications, bell) in [(1, vec![]), (3, ring(Op::Null.encode(0)))] {
        flood(notifications, &bell);
    }
}

fn flood(notifications: usize, bell: &[u8]) {
    const CHAINS: u16 = 64;
    /// Of each, the end of these data last.
    const BYTES: u32 = 64 << 10;
    const AVAILABLE: u32 = DATA + 0x400;
    const USED: u32 = DATA + 0x600;
    // Descriptors: address, length, no flags; then the ring of those available, and how many.
    let mut data = Vec::new();
    for _ in 0..CHAINS {
        data.extend(u64::from(LOADED + 2 * DATA - BYTES).to_le_bytes());
        data.extend(BYTES.to_le_bytes());
        data.extend([0; 4]);
    }
    data.extend([0; 4]);
    data.extend((0..CHAINS).flat_map(u16::to_le_bytes));
    data.resize(0x700, 0);
    data.resize(DATA as usize, b'x');
    // Its registers are behind what is mapped: mov dword [PDPT + 24], 0x6000 + 0x23;
    // mov dword [0x6000 + 0x400], 0xd0000000 + 0xe3; mov ebx, registers
    let mut code = vec![0xc7, 0x04, 0x25];
    code.extend(
        [(layout::PDPT as u32 + 24), 0x6023]
            .map(u32::to_le_bytes)
            .concat(),
    );
    code.extend([0xc7, 0x04, 0x25]);
    code.extend(
        [0x6400, layout::VIRTIO as u32 + 0xe3]
            .map(u32::to_le_bytes)
            .concat(),
    );
    code.push(0xbb);
    code.extend((slots::CONSOLE.base as u32).to_le_bytes());
    // mov dword [rbx + register], value
    let set = |register: u32, value: u32| {
        let mut code = vec![0xc7, 0x83];
        code.extend([register, value].map(u32::to_le_bytes).concat());
        code
    };
    for (register, value) in [
        (0x70, 1),   // status: acknowledged
        (0x70, 3),   // a driver
        (0x24, 1),   // the upper half of the features:
        (0x20, 1),   // version 1
        (0x70, 0xb), // agreed
        (0x30, 1),   // the queue of what is printed
        (0x38, u32::from(CHAINS)),
        (0x80, LOADED + DATA),
        (0x90, LOADED + AVAILABLE),
        (0xa0, LOADED + USED),
        (0x44, 1),   // ready
        (0x70, 0xf), // up
    ] {
        code.extend(set(register, value));
    }
    // mov edi, index; top: (add word [rdi], 64; notify) as often; the doorbell; jmp top
    code.push(0xbf);
    code.extend((LOADED + AVAILABLE + 2).to_le_bytes());
    let top = code.len();
    for _ in 0..notifications {
        code.extend([0x66, 0x83, 0x07, CHAINS as u8]);
        code.extend(set(0x50, 1));
    }
    code.extend(bell);
    code.extend([
        0xeb,
        (top as i8)
            .wrapping_sub(code.len() as i8 + 2)
            .cast_unsigned(),
    ]);
    let options = Options::parse("with=console").unwrap();
    let limit = Duration::from_millis(300);
    let begun = Instant::now();
    match run_with("virtio flood", options, &kernel(&code, &data), limit) {
        None => return,
        Some(Err(Failure::GuestKernel { how, console })) => {
            assert!(how.contains("did not start within 300ms"), "{how}");
            assert!(console.contains("xxx"), "{console}");
        }
        Some(other) => panic!("{other:?}"),
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}
