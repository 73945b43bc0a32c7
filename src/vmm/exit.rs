//! Narrows the dozens of KVM exits (KVM API, section 5 "The kvm_run structure") to the two that
//! are answers. Everything else is [`Unexpected`], and the trial a failure.
#![allow(unsafe_code)]

use isobench_abi::{DOORBELL_PORT, Op};
use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO,
    KVM_EXIT_IO_OUT, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, kvm_run,
};

use crate::exits::Reason;
use crate::trial::Failure;

/// Why the vCPU came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// One 32-bit `out` to the doorbell: operation and argument.
    Doorbell(Op, u32),
    /// A signal: time to look at the clock and at what the user wants.
    Interrupted,
}

/// An exit that no payload of ours can cause, or a KVM that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexpected {
    /// A port access that is not one 32-bit `out` to the doorbell.
    #[error("{direction} port {port:#06x}, {count} × {size} bytes")]
    Port {
        /// `in` or `out`.
        direction: &'static str,
        /// The port.
        port: u16,
        /// Bytes a transfer.
        size: u8,
        /// Transfers (more than one for `rep outs`).
        count: u32,
    },
    /// A doorbell value with no meaning.
    #[error("no doorbell operation {0:#x}")]
    Doorbell(u32),
    /// An access outside RAM: no device claims it.
    #[error("{} of {len} bytes at {address:#x}: no device", if *write { "write" } else { "read" })]
    Mmio {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        len: u32,
        /// Direction.
        write: bool,
    },
    /// HLT in ring 0.
    #[error("hlt")]
    Halt,
    /// A triple fault.
    #[error("shutdown (triple fault)")]
    Shutdown,
    /// KVM gave up.
    #[error("KVM internal error {0}")]
    Internal(u32),
    /// The CPU refused the state.
    #[error("entry failed: hardware reason {reason:#x} on CPU {cpu}")]
    EntryFailed {
        /// VMX exit reason or SVM exit code.
        reason: u64,
        /// Host CPU.
        cpu: u32,
    },
    /// Any other reason.
    #[error("exit reason {0}")]
    Other(u32),
    /// KVM_RUN itself failed.
    #[error("KVM_RUN: {}", std::io::Error::from_raw_os_error(*.0))]
    Run(i32),
}

impl From<Exit> for Reason {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Doorbell(op, _) => Self::Doorbell(op),
            Exit::Interrupted => Self::Signal,
        }
    }
}

impl From<Unexpected> for Reason {
    fn from(exit: Unexpected) -> Self {
        match exit {
            Unexpected::Port {
                direction, port, ..
            } => Self::Port(port, direction == "out"),
            Unexpected::Doorbell(_) => Self::Port(DOORBELL_PORT, true),
            Unexpected::Mmio { address, write, .. } => Self::Mmio(address, write),
            Unexpected::Halt => Self::Halt,
            Unexpected::Shutdown => Self::Shutdown,
            Unexpected::Internal(_) => Self::Kvm(KVM_EXIT_INTERNAL_ERROR),
            Unexpected::EntryFailed { .. } => Self::Kvm(KVM_EXIT_FAIL_ENTRY),
            Unexpected::Other(reason) => Self::Kvm(reason),
            Unexpected::Run(errno) => Self::Errno(errno),
        }
    }
}

impl From<Unexpected> for Failure {
    fn from(exit: Unexpected) -> Self {
        Self::VmExit(exit.to_string())
    }
}

/// A port access as KVM describes it, with the first four bytes of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// To the port.
    pub out: bool,
    /// The port.
    pub port: u16,
    /// Bytes a transfer.
    pub size: u8,
    /// Transfers.
    pub count: u32,
    /// The data of a single four-byte transfer, else `None`.
    pub value: Option<u32>,
}

impl PortAccess {
    /// The access as a doorbell.
    ///
    /// # Errors
    /// Another port, `in`, another width, a string instruction, or no such operation.
    pub fn doorbell(self) -> Result<Exit, Unexpected> {
        match self.value {
            Some(value) if self.out && self.port == DOORBELL_PORT => Op::decode(value)
                .map(|(op, argument)| Exit::Doorbell(op, argument))
                .ok_or(Unexpected::Doorbell(value)),
            _ => Err(Unexpected::Port {
                direction: if self.out { "out" } else { "in" },
                port: self.port,
                size: self.size,
                count: self.count,
            }),
        }
    }
}

/// Says why KVM_RUN returned. `run_bytes` is the size of the mapping that starts with `run`.
///
/// # Errors
/// See [`Unexpected`].
///
/// # Safety
/// `run` is the start of a vCPU's shared mapping of `run_bytes` bytes, KVM_RUN has returned 0, and
/// the vCPU is not running.
pub unsafe fn classify(run: *const kvm_run, run_bytes: usize) -> Result<Exit, Unexpected> {
    // SAFETY: the caller's contract: a mapped `kvm_run` that nobody writes to while the vCPU is
    // stopped. Each union member read below is the one `exit_reason` names, and all of them are
    // plain integers, so every bit pattern is valid.
    unsafe {
        match (*run).exit_reason {
            KVM_EXIT_IO => {
                let io = (*run).__bindgen_anon_1.io;
                let at = io.data_offset as usize;
                // KVM puts the data behind `kvm_run`; a check costs nothing.
                let whole = io.size == 4 && io.count == 1 && at.saturating_add(4) <= run_bytes;
                PortAccess {
                    out: u32::from(io.direction) == KVM_EXIT_IO_OUT,
                    port: io.port,
                    size: io.size,
                    count: io.count,
                    value: whole.then(|| run.cast::<u8>().add(at).cast::<u32>().read_unaligned()),
                }
                .doorbell()
            }
            KVM_EXIT_INTR => Ok(Exit::Interrupted),
            KVM_EXIT_MMIO => {
                let mmio = (*run).__bindgen_anon_1.mmio;
                Err(Unexpected::Mmio {
                    address: mmio.phys_addr,
                    len: mmio.len,
                    write: mmio.is_write != 0,
                })
            }
            KVM_EXIT_HLT => Err(Unexpected::Halt),
            KVM_EXIT_SHUTDOWN => Err(Unexpected::Shutdown),
            KVM_EXIT_INTERNAL_ERROR => Err(Unexpected::Internal(
                (*run).__bindgen_anon_1.internal.suberror,
            )),
            KVM_EXIT_FAIL_ENTRY => {
                let entry = (*run).__bindgen_anon_1.fail_entry;
                Err(Unexpected::EntryFailed {
                    reason: entry.hardware_entry_failure_reason,
                    cpu: entry.cpu,
                })
            }
            other => Err(Unexpected::Other(other)),
        }
    }
}

#[cfg(any(test, fuzzing))]
#[path = "exit_fuzz.rs"]
pub mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    /// A `kvm_run` with room for the data of a port access behind it.
    #[repr(C)]
    struct Mapping {
        run: kvm_run,
        data: u32,
    }

    fn classified(edit: impl FnOnce(&mut Mapping)) -> Result<Exit, Unexpected> {
        let mut mapping = Mapping {
            run: kvm_run::default(),
            data: 0,
        };
        edit(&mut mapping);
        // SAFETY: an owned mapping of that size, and no vCPU at all.
        unsafe { classify((&raw const mapping).cast(), size_of::<Mapping>()) }
    }

    fn port(out: u8, port: u16, size: u8, count: u32, data: u32) -> Result<Exit, Unexpected> {
        classified(|m| {
            m.run.exit_reason = KVM_EXIT_IO;
            m.data = data;
            m.run.__bindgen_anon_1.io = kvm_bindings::kvm_run__bindgen_ty_1__bindgen_ty_4 {
                direction: out,
                size,
                port,
                count,
                data_offset: std::mem::offset_of!(Mapping, data) as u64,
            };
        })
    }

    #[test]
    fn one_dword_to_the_doorbell_is_a_message() {
        let value = Op::Exit.encode(7);
        assert_eq!(
            port(1, DOORBELL_PORT, 4, 1, value),
            Ok(Exit::Doorbell(Op::Exit, 7))
        );
        assert_eq!(
            port(1, DOORBELL_PORT, 4, 1, 0xee),
            Err(Unexpected::Doorbell(0xee))
        );
    }

    #[test]
    fn every_other_port_access_is_refused() {
        let value = Op::Frame.encode(0);
        for (out, number, size, count) in [
            (0, DOORBELL_PORT, 4, 1),
            (1, DOORBELL_PORT, 1, 1),
            (1, DOORBELL_PORT, 2, 1),
            (1, DOORBELL_PORT, 1, 4),
            (1, DOORBELL_PORT, 4, 2),
            (1, 0x80, 4, 1),
        ] {
            assert!(matches!(
                port(out, number, size, count, value),
                Err(Unexpected::Port { .. })
            ));
        }
    }

    #[test]
    fn data_outside_the_mapping_is_not_read() {
        let answer = classified(|m| {
            m.run.exit_reason = KVM_EXIT_IO;
            m.run.__bindgen_anon_1.io = kvm_bindings::kvm_run__bindgen_ty_1__bindgen_ty_4 {
                direction: 1,
                size: 4,
                port: DOORBELL_PORT,
                count: 1,
                data_offset: u64::MAX,
            };
        });
        assert!(matches!(answer, Err(Unexpected::Port { .. })));
    }

    #[test]
    fn reasons_that_end_a_trial() {
        let reason = |reason| classified(|m| m.run.exit_reason = reason);
        assert_eq!(reason(KVM_EXIT_HLT), Err(Unexpected::Halt));
        assert_eq!(reason(KVM_EXIT_SHUTDOWN), Err(Unexpected::Shutdown));
        assert_eq!(reason(KVM_EXIT_INTR), Ok(Exit::Interrupted));
        assert_eq!(
            reason(KVM_EXIT_INTERNAL_ERROR),
            Err(Unexpected::Internal(0))
        );
        assert!(matches!(
            reason(KVM_EXIT_FAIL_ENTRY),
            Err(Unexpected::EntryFailed { .. })
        ));
        assert!(matches!(
            reason(KVM_EXIT_MMIO),
            Err(Unexpected::Mmio { .. })
        ));
        assert_eq!(reason(4711), Err(Unexpected::Other(4711)));
    }
}
