//! Guests that no honest VMM makes: with ring 0, tables and mappings in hostile hands. What a guest at
//! CPL 3 cannot do, the host does for it before the first KVM_RUN.

use std::time::{Duration, Instant};

use super::*;
use crate::sys::watchdog::{Verdict, arm};
use crate::vmm::cpu::TaskType;
use crate::vmm::elf::Image;
use crate::vmm::paging::{self, Access};
use crate::workload::payload;

/// `ud2`: into ring 0.
const UD2: [u8; 2] = [0x0f, 0x0b];
/// Where the stub of #UD lies.
const UD_STUB: u64 = layout::STUBS_PHYS + 6 * 16;
/// Each ends within this time.
const LIMIT: Duration = Duration::from_millis(400);

/// A VM with the payload's first instructions replaced, and whatever else was done to its memory.
fn machine(test: &str, code: &[u8], tamper: impl Fn(&GuestRam)) -> Option<Machine> {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(why) => {
            eprintln!("skipped: {test}: /dev/kvm: {why}");
            return None;
        }
    };
    let image = Image::parse(payload::BYTES).unwrap();
    let template = Template::new(payload::BYTES, &image).unwrap();
    let vm = kvm.create_vm().unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    let cpu = Cpu::new(&kvm, &vcpu, image.entry, TaskType::of_host()).unwrap();
    let start = Start {
        stack: InitialStack::new(&image, &["/payload"]).unwrap(),
        heap_len: 0,
        budget: 100,
        note_exits: false,
    };
    let machine = Machine::start(&template, &cpu, &start, &mut PhaseLog::new()).unwrap();
    let entry = layout::IMAGE_PHYS + (image.entry - layout::IMAGE);
    machine.ram.write(entry, code).unwrap();
    tamper(&machine.ram);
    Some(machine)
}

/// Runs it to its first answer; `None` at the deadline.
fn outcome(machine: &mut Machine) -> Option<Result<Exit, Failure>> {
    let watchdog = arm(Instant::now(), LIMIT).unwrap();
    loop {
        match machine.run() {
            Ok(Exit::Interrupted) => match watchdog.verdict().unwrap() {
                Verdict::Continue => {}
                Verdict::Expired | Verdict::Requested => return None,
            },
            answer => return Some(answer),
        }
    }
}

fn refused(test: &str, code: &[u8], tamper: impl Fn(&GuestRam)) -> Option<String> {
    let mut machine = machine(test, code, tamper)?;
    let begun = Instant::now();
    let failure = match outcome(&mut machine) {
        Some(Err(failure)) => failure,
        other => panic!("{test}: {other:?}"),
    };
    assert_eq!(failure.kind(), "vm-exit", "{test}: {failure}");
    assert!(begun.elapsed() < LIMIT, "{test}");
    Some(failure.to_string())
}

#[test]
fn a_triple_fault_is_a_shutdown() {
    let no_gates = |ram: &GuestRam| {
        let idt = layout::DESCRIPTORS_PHYS + layout::IDT_OFFSET;
        ram.write(idt, &[0; 32 * 16]).unwrap();
    };
    let Some(said) = refused("a_triple_fault", &UD2, no_gates) else {
        return;
    };
    assert!(said.contains("shutdown"), "{said}");
}

#[test]
fn ring_0_that_halts_or_touches_a_port_is_told_so() {
    let port = |tail: &[u8]| [&[0x66, 0xba, 0x80, 0x00][..], tail].concat();
    for (test, stub, says) in [
        ("hlt", vec![0xf4], "hlt"),
        ("out", port(&[0xee]), "out port 0x0080, 1 × 1"),
        ("out_32", port(&[0xef]), "out port 0x0080, 1 × 4"),
        ("in", port(&[0xec]), "in port 0x0080, 1 × 1"),
        // mov rdi, rsp; mov ecx, 4; rep insb.
        (
            "rep_ins",
            port(&[0x48, 0x89, 0xe7, 0xb9, 4, 0, 0, 0, 0xf3, 0x6c]),
            "in port 0x0080",
        ),
    ] {
        let tamper = |ram: &GuestRam| ram.write(UD_STUB, &stub).unwrap();
        let Some(said) = refused(test, &UD2, tamper) else {
            return;
        };
        assert!(said.contains(says), "{test}: {said}");
    }
}

#[test]
fn ring_0_that_loops_ends_at_the_deadline() {
    let tamper = |ram: &GuestRam| ram.write(UD_STUB, &[0xeb, 0xfe]).unwrap();
    let Some(mut machine) = machine("ring_0_that_loops", &UD2, tamper) else {
        return;
    };
    let begun = Instant::now();
    assert!(outcome(&mut machine).is_none());
    assert!(begun.elapsed() >= LIMIT);
}

/// Just behind RAM, at the two interrupt controllers, at the ends of 4 GiB, above.
#[test]
fn an_access_outside_of_ram_is_told_with_its_address() {
    let ram_end = {
        let image = Image::parse(payload::BYTES).unwrap();
        Template::new(payload::BYTES, &image).unwrap().len() as u64
    };
    for address in [
        ram_end.next_multiple_of(layout::PAGE),
        layout::HEAP_PHYS,
        0xfec0_0000,
        0xfee0_0000,
        0xffff_f000,
        1 << 32,
        1 << 35,
    ] {
        for (code, says) in [([0x8a, 0x00], "read"), ([0x88, 0x00], "write")] {
            // mov rax, STACK; mov al, [rax] or the reverse: a page that is not RAM is mapped there.
            let mut access = vec![0x48, 0xb8];
            access.extend(layout::STACK.to_le_bytes());
            access.extend(code);
            let tamper = |ram: &GuestRam| {
                let (slot, entry) =
                    paging::leaf(layout::STACK, address, Access::USER_DATA).unwrap();
                ram.write(slot, &entry.to_le_bytes()).unwrap();
            };
            let Some(said) = refused("mmio", &access, tamper) else {
                return;
            };
            let expected = format!("{says} of 1 bytes at {address:#x}");
            assert!(said.contains(&expected), "{said}");
        }
    }
}

/// Code on a page without memory: there is nothing to execute, and KVM says so in its own way.
#[test]
fn a_jump_out_of_ram_ends_typed() {
    let mut jump = vec![0x48, 0xb8];
    jump.extend(layout::STACK.to_le_bytes());
    jump.extend([0xff, 0xe0]);
    let tamper = |ram: &GuestRam| {
        let code = Access {
            user: true,
            write: false,
            execute: true,
        };
        let (slot, entry) = paging::leaf(layout::STACK, 0xfec0_0000, code).unwrap();
        ram.write(slot, &entry.to_le_bytes()).unwrap();
    };
    let Some(mut machine) = machine("a_jump_out_of_ram", &jump, tamper) else {
        return;
    };
    match outcome(&mut machine) {
        // At the deadline, where KVM tries again for ever.
        None => {}
        Some(Err(failure)) => {
            let kinds = ["vm-exit", "guest-exception"];
            assert!(kinds.contains(&failure.kind()), "{failure}");
        }
        Some(Ok(exit)) => panic!("{exit:?}"),
    }
}

/// A guest that overwrites the tables it runs on.
#[test]
fn destroyed_page_tables_end_typed() {
    // mov rdi, STACK; xor eax, eax; mov ecx, 512; rep stosq; then any access.
    let mut code = vec![0x48, 0xbf];
    code.extend(layout::STACK.to_le_bytes());
    code.extend([0x31, 0xc0, 0xb9, 0, 2, 0, 0, 0xf3, 0x48, 0xab]);
    code.extend([0x0f, 0x0b]);
    for table in [layout::PML4, layout::PDPT, layout::PD_LOW, layout::PT_USER] {
        let tamper = |ram: &GuestRam| {
            let (slot, entry) = paging::leaf(layout::STACK, table, Access::USER_DATA).unwrap();
            ram.write(slot, &entry.to_le_bytes()).unwrap();
        };
        let Some(mut machine) = machine("destroyed_page_tables", &code, tamper) else {
            return;
        };
        match outcome(&mut machine) {
            // What the TLB still holds may let it run on, to its ud2 or for ever.
            None => {}
            Some(Err(failure)) => {
                let kinds = ["vm-exit", "guest-exception"];
                assert!(kinds.contains(&failure.kind()), "{failure}");
            }
            Some(Ok(exit)) => panic!("{table:#x}: {exit:?}"),
        }
    }
}

/// More exits than it was given, of whatever kind.
#[test]
fn an_exit_storm_ends_at_its_budget() {
    // mov dx, DOORBELL_PORT; mov eax, Null; out dx, eax; jmp back.
    let mut code = vec![0x66, 0xba];
    code.extend(isobench_abi::DOORBELL_PORT.to_le_bytes());
    code.push(0xb8);
    code.extend(Op::Null.encode(0).to_le_bytes());
    code.extend([0xef, 0xeb, 0xfd]);
    let Some(mut machine) = machine("an_exit_storm", &code, |_| {}) else {
        return;
    };
    for _ in 0..100 {
        assert!(matches!(
            outcome(&mut machine),
            Some(Ok(Exit::Doorbell(Op::Null, 0)))
        ));
    }
    let last = outcome(&mut machine).unwrap();
    assert!(matches!(last, Err(Failure::ExitBudget(_))), "{last:?}");
}
