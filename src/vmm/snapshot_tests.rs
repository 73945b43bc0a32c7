//! Files that are no snapshots, or no longer. No KVM is needed to refuse one.

use kvm_bindings::kvm_regs;

use super::*;

const MODEL: Model = Model {
    digest: [7; 32],
    states: 0b111,
};
const RAM: u64 = layout::IMAGE_PHYS + PAGE;
const MEMORY: usize = MEMORY_AT as usize;

fn of_task() -> Identity {
    identity([1; 32], &["/payload", "noop", "0", "1"])
}

fn state() -> State {
    let mut fpu = Box::<kvm_bindings::kvm_xsave>::default();
    fpu.region[40] = 0x0102_0304;
    State {
        identity: of_task(),
        cpu: MODEL.digest,
        said: Said {
            first_instruction: 4711,
            messages: 2,
            waiting: Some(0),
        },
        vcpu: Vcpu {
            regs: kvm_regs {
                rax: 1,
                r15: 15,
                rip: 0x20_0000,
                rflags: 2,
                ..Default::default()
            },
            fpu,
        },
    }
}

/// A good snapshot's bytes: one page of memory is not zero, the last is.
fn good() -> Vec<u8> {
    with(&state())
}

fn with(state: &State) -> Vec<u8> {
    let file = fd::memory(c"snapshot").unwrap();
    file.set_len(MEMORY_AT + RAM).unwrap();
    file.write_all_at(b"memory", MEMORY_AT + PAGE).unwrap();
    seal(&file, [RAM, RAM], state).unwrap();
    let mut bytes = vec![0; MEMORY + RAM as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn open(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    open_for(bytes, &MODEL, &of_task())
}

fn open_for(bytes: &[u8], model: &Model, identity: &Identity) -> Result<Snapshot, SnapshotError> {
    let file = fd::sealed_memory(c"snapshot", bytes).unwrap().into();
    Snapshot::open(file, model, identity)
}

/// The digest as it should be, after a change that is to be found by what comes behind it.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let file = File::from(fd::sealed_memory(c"snapshot", &bytes).unwrap());
    let right = digest(&file, bytes.len() as u64).unwrap();
    bytes[DIGEST_AT..HEADER].copy_from_slice(&right);
    bytes
}

#[test]
fn what_was_written_is_read() {
    let snapshot = open(&good()).unwrap();
    let (found, wrote) = (snapshot.vcpu(), state().vcpu);
    assert_eq!(found.regs, wrote.regs);
    assert_eq!(found.fpu.region, wrote.fpu.region);
    assert_eq!(snapshot.said(), state().said);
    let ram = snapshot.map().unwrap();
    assert_eq!(ram.len() as u64, RAM);
    assert_eq!(ram.read(PAGE).unwrap(), *b"memory");
    assert_eq!(ram.read(RAM - 8).unwrap(), [0; 8]);
    // A copy's memory is its own.
    ram.write(PAGE, b"MEMORY").unwrap();
    assert_eq!(snapshot.map().unwrap().read(PAGE).unwrap(), *b"memory");
}

#[test]
fn every_flipped_byte_is_noticed() {
    let good = good();
    let all = (0..256)
        .chain((256..good.len()).step_by(251))
        .chain([good.len() - 1]);
    for at in all {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let error = open(&bytes).unwrap_err();
        let expected = match at {
            0..8 => matches!(error, SnapshotError::Magic(_)),
            8..12 => matches!(error, SnapshotError::Version(_)),
            12..16 => matches!(error, SnapshotError::Size { field: "state", .. }),
            16..32 => matches!(error, SnapshotError::Size { .. }),
            _ => matches!(error, SnapshotError::Digest),
        };
        assert!(expected, "byte {at}: {error}");
    }
}

#[test]
fn every_other_length_is_refused() {
    let good = good();
    let short = (0..100).chain((100..good.len()).step_by(997));
    for length in short.chain([MEMORY - 1, MEMORY, good.len() - 1]) {
        let error = open(&good[..length]).unwrap_err();
        assert!(
            matches!(
                error,
                SnapshotError::Size {
                    field: "length",
                    ..
                }
            ),
            "{length}: {error}"
        );
    }
    for more in [1, PAGE as usize, 1 << 20] {
        let mut bytes = good.clone();
        bytes.resize(good.len() + more, 0);
        let error = open(&bytes).unwrap_err();
        assert!(
            matches!(
                error,
                SnapshotError::Size {
                    field: "length",
                    ..
                }
            ),
            "{more}: {error}"
        );
    }
}

/// Lengths are refused before anything that long is read or mapped, also where the digest is right.
#[test]
fn lengths_that_no_vm_has_are_refused() {
    for (at, value, field) in [
        (16, 0, "stored memory"),
        (16, PAGE, "stored memory"),
        (16, RAM + PAGE, "stored memory"),
        (16, u64::MAX, "stored memory"),
        (24, 0, "guest memory"),
        (24, RAM + 1, "guest memory"),
        (24, u64::MAX, "guest memory"),
        (
            24,
            layout::HEAP_PHYS + layout::HEAP_MAX + layout::LARGE_PAGE,
            "guest memory",
        ),
        (24, layout::HEAP_PHYS + PAGE, "guest memory"),
    ] {
        let mut bytes = good();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let error = open(&resealed(bytes)).unwrap_err();
        let expected =
            matches!(&error, SnapshotError::Size { field: found, .. } if *found == field);
        assert!(expected, "{field} {value}: {error}");
    }
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let bytes = good();
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(matches!(open(&newer), Err(SnapshotError::Version(2))));
    for other in [
        identity([2; 32], &["/payload", "noop", "0", "1"]),
        identity([1; 32], &["/payload", "noop", "0", "2"]),
        identity([1; 32], &["/payload", "noop", "01"]),
    ] {
        let error = open_for(&bytes, &MODEL, &other).unwrap_err();
        assert!(matches!(error, SnapshotError::Identity), "{error}");
    }
    let other = Model {
        digest: [8; 32],
        ..MODEL
    };
    let error = open_for(&bytes, &other, &of_task()).unwrap_err();
    assert!(matches!(error, SnapshotError::Cpu), "{error}");
}

#[test]
fn a_state_that_no_vm_has_is_refused() {
    let mut talker = state();
    talker.said.messages = u16::MAX;
    let mut mute = state();
    mute.said.messages = 0;
    let mut tiles = state();
    // XSTATE_BV: AMX, which this CPU model does not have.
    tiles.vcpu.fpu.region[128] = 1 << 18;
    for wrong in [talker, mute, tiles] {
        let error = open(&with(&wrong)).unwrap_err();
        assert!(matches!(error, SnapshotError::State(_)), "{error}");
    }
    let mut bytes = good();
    // The flag that says whether it waits.
    bytes[HEADER + 64 + 16] = 2;
    let error = open(&resealed(bytes)).unwrap_err();
    assert!(matches!(error, SnapshotError::State("request")), "{error}");
}

#[test]
fn a_file_that_can_change_is_refused() {
    let file = fd::memory(c"snapshot").unwrap();
    file.write_all_at(&good(), 0).unwrap();
    let error = Snapshot::open(file, &MODEL, &of_task()).unwrap_err();
    assert!(matches!(error, SnapshotError::Unsealed), "{error}");
}
