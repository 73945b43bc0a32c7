//! An idle virtual machine: its vCPU is outside KVM_RUN, on no thread, and, where it has one, its kernel's clock
//! stands.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::smaps::footprint_of;
use super::status;
use crate::backend::{Footprint, Instance};
use crate::metric::Bytes;
use crate::sys::watchdog;
use crate::trial::{Failure, Launch};
use crate::vmm::linux::machine::LinuxMachine;
use crate::vmm::machine::Machine;
use crate::vmm::session::{Pause, Session, Speaker};

/// A machine of which it can be told what it takes.
pub trait Accounted: Speaker + 'static {
    /// The mappings that belong to it.
    fn mappings(&self) -> [Range<u64>; 2];

    /// Guest-physical memory in bytes.
    fn memory(&self) -> usize;
}

impl Accounted for Machine {
    fn mappings(&self) -> [Range<u64>; 2] {
        self.mappings()
    }

    fn memory(&self) -> usize {
        self.memory()
    }
}

impl Accounted for LinuxMachine {
    fn mappings(&self) -> [Range<u64>; 2] {
        self.mappings()
    }

    fn memory(&self) -> usize {
        self.memory()
    }
}

/// The instance.
struct Held<M> {
    machine: M,
    session: Session,
    limit: Duration,
}

/// Keeps a machine whose payload has its memory in place and waits.
///
/// # Errors
/// It does not wait, or not with that memory.
pub fn hold<M: Accounted>(
    machine: M,
    session: Session,
    pause: Pause,
    launch: &Launch,
) -> Result<Box<dyn Instance>, Failure> {
    if pause != Pause::Waiting {
        return Err(Failure::Protocol("the payload ended instead of waiting"));
    }
    session.waits_with(launch.task.heap_bytes())?;
    Ok(Box::new(Held {
        machine,
        session,
        limit: launch.deadline,
    }))
}

impl<M: Accounted> Instance for Held<M> {
    fn footprint(&self) -> Result<Footprint, Failure> {
        footprint_of(&self.machine.mappings())
            .map_err(|cause| Failure::setup("read /proc/self/smaps", cause))
    }

    fn guest_memory(&self) -> Option<Bytes> {
        i64::try_from(self.machine.memory()).ok().map(Bytes)
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let watchdog = watchdog::arm(Instant::now(), self.limit)
            .map_err(|cause| Failure::setup("arm_watchdog", cause))?;
        let pause = self.session.run(&mut self.machine, &watchdog)?;
        self.session.finish(status(pause)?).map(drop)
    }
}
