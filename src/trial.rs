//! What one trial leaves behind: an observation with its instants, phases and the payload's
//! report, or a typed failure.

use std::time::Duration;

use isobench_abi::Report;

use crate::exits::Exits;
use crate::metric::{Nanos, Ticks};
use crate::told::Told;
use crate::workload::Task;

mod failure;
#[cfg(test)]
#[path = "trial_pause.rs"]
pub(crate) mod pause;
mod phases;

pub use failure::{EngineEnd, EngineFailure, Failure, Registers};
pub use phases::{Phase, PhaseLog};

/// One launch: a task, and the bounds it must keep.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What the payload shall do.
    pub task: Task,
    /// From `t0`: when it is ended by force.
    pub deadline: Duration,
}

/// The six instants, on the host's time-stamp counter (design contract "same events").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instants {
    /// Just before the first system call made for this trial.
    pub t0: Ticks,
    /// First instruction of the payload.
    pub t1: Ticks,
    /// The harness has the payload's first message.
    pub t2: Ticks,
    /// The payload's own mark that the work is done.
    pub t3: Ticks,
    /// The harness observes the exit.
    pub t4: Ticks,
    /// Nothing of the trial is left.
    pub t5: Ticks,
}

/// How a guest's counter was mapped to the host's: `host = guest + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMap {
    /// Added to the guest's reading, wrapping.
    pub offset: u64,
    /// Largest possible error of a mapped reading, in ticks.
    pub bound: u64,
    /// How the offset is known.
    pub source: ClockSource,
}

/// How the guest's counter relates to the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The payload reads the host's own counter: no mapping.
    Same,
    /// The offset KVM reports for the vCPU (KVM_VCPU_TSC_OFFSET), consistent with every exit.
    ReadBack,
    /// Only bracketed by host readings around exits.
    Bracketed,
}

impl ClockSource {
    /// Spelling in `trials.jsonl`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::ReadBack => "read-back",
            Self::Bracketed => "bracketed",
        }
    }
}

impl ClockMap {
    /// The payload shares the host's counter. The bound covers the skew between CPUs, which the
    /// run's clock check measures and adds.
    pub const SAME: Self = Self {
        offset: 0,
        bound: 0,
        source: ClockSource::Same,
    };

    /// A guest reading on the host's counter.
    #[must_use]
    pub const fn host(self, guest: u64) -> Ticks {
        Ticks(guest.wrapping_add(self.offset))
    }
}

/// A trial that came to its end. Whether its answer is right is for the harness to decide.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The six instants.
    pub instants: Instants,
    /// The harness has the reply to its request, where the payload waited for one.
    pub reply: Option<Ticks>,
    /// Named phases of `t0..t1`.
    pub phases: Vec<Phase>,
    /// Named phases of `t4..t5`.
    pub teardown: Vec<Phase>,
    /// What the payload said it did; its counter readings are the guest's.
    pub report: Report,
    /// How guest readings were mapped.
    pub clock: ClockMap,
    /// Exits to the VMM, or `None` where there is no VMM.
    pub exits: Option<Exits>,
    /// For how long a limit on processor time kept it from running; `None` without such a limit.
    pub throttled: Option<Nanos>,
    /// What the daemon behind the backend says itself, where one was asked.
    pub told: Option<Told>,
}
