//! Whatever a vCPU's shared mapping says ([`classify`]).

use std::mem::offset_of;

use kvm_bindings::kvm_run__bindgen_ty_1__bindgen_ty_4 as Io;

use super::*;

/// Of the mapping: `kvm_run`, and room behind it for the data of a port access.
const BYTES: usize = size_of::<kvm_run>() + 64;
const REASON: usize = offset_of!(kvm_run, exit_reason);
const IO: usize = offset_of!(kvm_run, __bindgen_anon_1);

#[repr(C, align(8))]
struct Mapping([u8; BYTES]);

impl Mapping {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    /// The value of one 32-bit `out` to the doorbell, if this is one.
    fn doorbell(&self) -> Option<u32> {
        let field = |at: usize| IO + at;
        let one = self.word(REASON) == Some(KVM_EXIT_IO)
            && self.bytes(field(offset_of!(Io, direction))) == Some([1])
            && self.bytes(field(offset_of!(Io, size))) == Some([4])
            && self.bytes(field(offset_of!(Io, port))) == Some(DOORBELL_PORT.to_le_bytes())
            && self.word(field(offset_of!(Io, count))) == Some(1);
        let offset = u64::from_le_bytes(self.bytes(field(offset_of!(Io, data_offset)))?);
        self.word(usize::try_from(offset).ok().filter(|_| one)?)
    }
}

/// The input: the first bytes of the mapping; the rest is zero.
///
/// Only one 32-bit `out` to the doorbell, its data inside the mapping, is a message, with the very value
/// that lies there. Everything else but a signal is refused, as what it is.
pub fn exit(bytes: &[u8]) -> bool {
    let mut mapping = Box::new(Mapping([0; BYTES]));
    let len = bytes.len().min(BYTES);
    mapping.0[..len].copy_from_slice(&bytes[..len]);
    // SAFETY: an owned mapping of that size, aligned as a `kvm_run`, and no vCPU at all.
    let answer = unsafe { classify((&raw const mapping.0).cast(), BYTES) };
    let reason = mapping.word(REASON);
    match answer {
        Ok(Exit::Doorbell(op, argument)) => {
            assert_eq!(Some(op.encode(argument)), mapping.doorbell());
            assert!(argument < 1 << 24);
        }
        Ok(Exit::Interrupted) => assert_eq!(reason, Some(KVM_EXIT_INTR)),
        Err(Unexpected::Doorbell(value)) => {
            assert_eq!(Some(value), mapping.doorbell());
            assert_eq!(Op::decode(value), None);
        }
        Err(Unexpected::Port { .. }) => {
            assert_eq!((reason, mapping.doorbell()), (Some(KVM_EXIT_IO), None));
        }
        Err(other) => {
            assert!(!matches!(reason, Some(KVM_EXIT_IO | KVM_EXIT_INTR)));
            if let Unexpected::Other(number) = other {
                assert_eq!(reason, Some(number));
            }
        }
    }
    // What becomes of it: a row of the count, and a failure in words.
    let row = answer.map_or_else(Reason::from, Reason::from);
    assert!(!row.to_string().is_empty());
    if let Err(unexpected) = answer {
        assert!(!Failure::from(unexpected).to_string().is_empty());
    }
    answer.is_ok()
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<crate::fuzz::Seed> {
    /// The data of these accesses: behind the union's fields, so that a seed is short.
    const DATA: usize = IO + size_of::<Io>();
    let reason = |reason: u32| {
        let mut bytes = vec![0; DATA + 4];
        bytes[REASON..REASON + 4].copy_from_slice(&reason.to_le_bytes());
        bytes
    };
    let port = |out: u8, port: u16, [size, count]: [u8; 2], offset: usize, value: u32| {
        let mut bytes = reason(KVM_EXIT_IO);
        bytes[IO + offset_of!(Io, direction)] = out;
        bytes[IO + offset_of!(Io, size)] = size;
        bytes[IO + offset_of!(Io, port)..][..2].copy_from_slice(&port.to_le_bytes());
        bytes[IO + offset_of!(Io, count)] = count;
        bytes[IO + offset_of!(Io, data_offset)..][..8].copy_from_slice(&offset.to_le_bytes());
        bytes[DATA..].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let bell = |op: Op| port(1, DOORBELL_PORT, [4, 1], DATA, op.encode(0xab));
    let frame = Op::Frame.encode(0);
    vec![
        ("valid-frame", bell(Op::Frame)),
        ("valid-null", bell(Op::Null)),
        ("valid-wait", bell(Op::Wait)),
        ("valid-exit", bell(Op::Exit)),
        ("valid-trap", bell(Op::Trap)),
        ("valid-signal", reason(KVM_EXIT_INTR)),
        ("truncated-empty", Vec::new()),
        ("truncated-reason", bell(Op::Exit)[..REASON + 4].to_vec()),
        (
            "hostile-operation",
            port(1, DOORBELL_PORT, [4, 1], DATA, 0xee),
        ),
        ("hostile-in", port(0, DOORBELL_PORT, [4, 1], DATA, frame)),
        ("hostile-byte", port(1, DOORBELL_PORT, [1, 1], DATA, frame)),
        (
            "hostile-string",
            port(1, DOORBELL_PORT, [4, 9], DATA, frame),
        ),
        ("hostile-port", port(1, 0x80, [4, 1], DATA, frame)),
        (
            "hostile-data-across-the-end",
            port(1, DOORBELL_PORT, [4, 1], BYTES - 3, frame),
        ),
        (
            "hostile-data-wraps",
            port(1, DOORBELL_PORT, [4, 1], usize::MAX - 1, frame),
        ),
        ("hostile-mmio", reason(KVM_EXIT_MMIO)),
        ("hostile-halt", reason(KVM_EXIT_HLT)),
        ("hostile-triple-fault", reason(KVM_EXIT_SHUTDOWN)),
        ("hostile-internal", reason(KVM_EXIT_INTERNAL_ERROR)),
        ("hostile-entry", reason(KVM_EXIT_FAIL_ENTRY)),
        ("hostile-unknown", reason(4711)),
    ]
}
