//! A file that may be a snapshot ([`Snapshot::open`]).

use super::*;

/// The CPU and the task that are asked for.
const MODEL: Model = Model {
    digest: [7; 32],
    states: 0b111,
};
const TASK: Identity = [9; 32];

/// The input: a file. It is opened as it is, and once more with the digest that it should have: what
/// a forger would do, so that what is behind the digest is reached.
///
/// What is opened has the digest that it says, is of the task and the CPU that were asked for, is
/// written down again as the same bytes, and maps as the memory in the file and zeros behind it.
pub fn snapshot(bytes: &[u8]) -> bool {
    let accepted = opened(bytes);
    let mut forged = bytes.to_vec();
    if let Some(right) = sha256(bytes) {
        put(&mut forged, DIGEST_AT, &right);
    }
    let forgery = opened(&forged);
    assert!(forgery || !accepted);
    assert_eq!(accepted, forgery && forged == bytes);
    accepted
}

/// The digest, as the format's description has it.
fn sha256(file: &[u8]) -> Option<[u8; 32]> {
    let (before, behind) = (file.get(..DIGEST_AT)?, file.get(HEADER..)?);
    Some(Sha256::digest([before, behind].concat()).into())
}

fn opened(bytes: &[u8]) -> bool {
    let Ok(file) = fd::sealed_memory(c"snapshot", bytes) else {
        return false;
    };
    let snapshot = match Snapshot::open(file.into(), &MODEL, &TASK) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert_eq!(sha256(bytes), Some(field(bytes, DIGEST_AT)));
    let state = &snapshot.state;
    assert_eq!((state.identity, state.cpu), (TASK, MODEL.digest));
    assert_eq!(
        bytes.get(HEADER..HEADER + state::BYTES),
        Some(&*state.encode())
    );
    let memory = &bytes[MEMORY_AT as usize..];
    assert_eq!(memory.len(), snapshot.stored());
    match snapshot.map() {
        Ok(ram) => {
            assert_eq!(ram.len(), snapshot.ram);
            let mut found = vec![0; memory.len()];
            assert!(ram.read_into(0, &mut found).is_ok() && found == memory);
            let behind = snapshot.ram - snapshot.stored;
            if behind >= 8 {
                for at in [snapshot.stored, snapshot.ram - 8] {
                    assert_eq!(ram.read(at as u64).ok(), Some([0; 8]));
                }
            }
            assert!(ram.read::<1>(snapshot.ram as u64).is_err());
        }
        // A host may be out of address space; nothing else may go wrong.
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOMEM)),
    }
    true
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<crate::fuzz::Seed> {
    use kvm_bindings::kvm_regs;

    const RAM: u64 = layout::HEAP_PHYS + layout::LARGE_PAGE;
    let with = |edit: fn(&mut State)| {
        let mut state = State {
            identity: TASK,
            cpu: MODEL.digest,
            said: Said {
                first_instruction: 4711,
                messages: 2,
                waiting: Some(8),
            },
            vcpu: Vcpu {
                regs: kvm_regs {
                    rip: layout::IMAGE,
                    rflags: 2,
                    ..Default::default()
                },
                fpu: Box::default(),
            },
        };
        edit(&mut state);
        let file = fd::memory(c"snapshot").unwrap();
        file.set_len(MEMORY_AT + PAGE).unwrap();
        file.write_all_at(b"memory", MEMORY_AT).unwrap();
        seal(&file, [PAGE, RAM], &state).unwrap();
        let mut bytes = vec![0; (MEMORY_AT + PAGE) as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let good = with(|_| {});
    let edited = |at: usize, what: &[u8], forged: bool| {
        let mut bytes = good.clone();
        put(&mut bytes, at, what);
        if forged {
            let right = sha256(&bytes).unwrap();
            put(&mut bytes, DIGEST_AT, &right);
        }
        bytes
    };
    let long = edited(16, &(2 * PAGE).to_le_bytes(), true);
    vec![
        ("valid-waits", good.clone()),
        ("valid-ready", with(|state| state.said.waiting = None)),
        ("truncated-empty", Vec::new()),
        ("truncated-head", good[..100].to_vec()),
        ("truncated-memory", good[..good.len() - 1].to_vec()),
        ("hostile-magic", edited(0, b"X", true)),
        ("hostile-version", edited(8, &[2], true)),
        ("hostile-state-length", edited(12, &[0xff; 4], true)),
        ("hostile-stored", edited(16, &[0xff; 8], true)),
        ("hostile-stored-more", long),
        ("hostile-ram", edited(24, &[0xff; 8], true)),
        ("hostile-digest", edited(DIGEST_AT, &[0; 32], false)),
        ("hostile-memory", edited(MEMORY_AT as usize, b"M", false)),
        ("hostile-identity", with(|state| state.identity = [8; 32])),
        ("hostile-cpu", with(|state| state.cpu = [8; 32])),
        ("hostile-mute", with(|state| state.said.messages = 0)),
        (
            "hostile-talker",
            with(|state| state.said.messages = u16::MAX),
        ),
        // XSTATE_BV: AMX, which this CPU model does not have.
        (
            "hostile-fpu",
            with(|state| state.vcpu.fpu.region[128] = 1 << 18),
        ),
        ("hostile-request", edited(HEADER + 64 + 16, &[2], true)),
    ]
}
