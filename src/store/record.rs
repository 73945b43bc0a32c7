//! One line of `trials.jsonl`.

use serde::{Deserialize, Serialize};

use super::document::{Crossed, CrossingCount, IsolationFact};
use crate::host::accounts::Accounts;
use crate::metric::{Bytes, Nanos};

/// One line, in the order things ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    /// A trial.
    Trial(Box<TrialRecord>),
    /// One step of a density measurement.
    Memory(Box<MemoryRecord>),
    /// A burst of launches.
    Burst(BurstRecord),
    /// The isolation of a configuration.
    Probe(Box<ProbeRecord>),
    /// What crosses the boundary of a configuration's payload.
    Boundary(Box<BoundaryRecord>),
}

/// A trial: its place in the schedule, and what it gave or why it failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// Number of the trial in this run, from 0.
    pub trial: u64,
    /// Number of the block; trials of one block are paired.
    pub block: u64,
    /// Configuration id.
    pub backend: String,
    /// Task id, e.g. `chase@1MiB`.
    pub workload: String,
    /// Whether it only warmed up: kept, never estimated from.
    pub warmup: bool,
    /// What disturbed it: `steal`, `clock step`, `suspend`, `stopped`, `throttled`. Kept, counted,
    /// never estimated from.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tainted: Vec<String>,
    /// What was measured, if it came to its end with the right answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub measured: Option<Measured>,
    /// Why it is not a number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureRecord>,
}

/// Times of one trial in nanoseconds after `t0`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// First instruction of the payload.
    pub t1: Nanos,
    /// The harness has the payload's first message.
    pub t2: Nanos,
    /// The payload's own mark that the work is done.
    pub t3: Nanos,
    /// The harness observes the exit.
    pub t4: Nanos,
    /// Nothing is left.
    pub t5: Nanos,
    /// The harness has the reply to its request, where the payload waited for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<Nanos>,
    /// Between the payload's own start and end marks.
    pub timed: Nanos,
    /// Units of work done in that time.
    pub units: u64,
    /// The digest, which equals the known answer.
    pub digest: String,
    /// Instruction set the payload chose: `sse2` or `avx2`.
    pub isa: String,
    /// How guest readings were mapped: `same`, `read-back`, `bracketed`.
    pub clock: String,
    /// Largest possible error of t1 and t3.
    pub clock_bound: Nanos,
    /// Exits to the VMM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exits: Option<u64>,
    /// Those exits by part of the trial and reason.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub exit_counts: Vec<CrossingCount>,
    /// Named phases of `t0..t1`.
    pub phases: Vec<PhaseRecord>,
    /// What of `t0..t1` no phase names.
    pub unaccounted: Nanos,
    /// Named phases of `t4..t5`.
    pub teardown: Vec<PhaseRecord>,
    /// What the daemon behind the backend says itself, where one is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub told: Option<Box<ToldRecord>>,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRecord {
    /// System call, ioctl or step.
    pub name: String,
    /// Start after `t0`.
    pub at: Nanos,
    /// Length.
    pub ns: Nanos,
}

/// What a daemon says itself of a trial ([`crate::told`]): events with a bound, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldRecord {
    /// The daemon.
    pub by: String,
    /// Its events in order, on the harness's clock.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub events: Vec<InstantRecord>,
    /// Largest possible error of their times.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bound: Option<Nanos>,
    /// Events of every container that it did not tell of this one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing: Vec<String>,
    /// Why nothing is known of any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absent: Option<String>,
}

/// A named instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstantRecord {
    /// The event.
    pub name: String,
    /// After `t0`.
    pub at: Nanos,
}

/// A typed failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureRecord {
    /// [`crate::trial::Failure::kind`].
    pub kind: String,
    /// The failure in words.
    pub message: String,
}

/// What one configuration lets its payload see and reach, asked in as many launches as it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRecord {
    /// Configuration id.
    pub backend: String,
    /// Every fact with its evidence.
    pub facts: Vec<IsolationFact>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureRecord>,
}

/// What crossed the boundary of the payload in one launch that is no trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundaryRecord {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// What was counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crossed: Option<Crossed>,
    /// Why there are no counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureRecord>,
}

/// The state of the host with a number of idle instances of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryRecord {
    /// Configuration id.
    pub backend: String,
    /// Repetition, from 0.
    pub round: u32,
    /// Idle instances at this moment.
    pub instances: u32,
    /// The host's accounts; absent in a step that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accounts: Option<Accounts>,
    /// Kernel memory charged to the harness's own control group, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub charged: Option<Bytes>,
    /// What the group's own accounts name of that (cgroup version 2).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub charged_named: Option<Bytes>,
    /// PSS of some instances, spread over all; read at the last count only.
    pub pss: Vec<Bytes>,
    /// Private memory of the same instances.
    pub private: Vec<Bytes>,
    /// All memory charged to the cgroup of each of them, where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cgroup_usage: Vec<Bytes>,
    /// The kernel's part of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cgroup_kernel: Vec<Bytes>,
    /// Guest memory that the VMM gave to each instance, where it is a virtual machine; at every
    /// count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guest_given: Option<Bytes>,
    /// Why there are fewer instances than planned: the resource that is short.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limited_by: Option<String>,
    /// Why this step is not a number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureRecord>,
}

/// Launches of `noop` one right after the other, and a pause in which the kernel cleans up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurstRecord {
    /// Configuration id.
    pub backend: String,
    /// Repetition, from 0.
    pub round: u32,
    /// Launches.
    pub instances: u32,
    /// From before the first to after the last launch, without the pause.
    pub wall: Nanos,
    /// Processor time of the harness and its children.
    pub own: Nanos,
    /// Processor time of the whole host, the pause included.
    pub host: Nanos,
    /// Where `host` was read: `cpuacct.usage`, `cpu.stat` or `/proc/stat`.
    pub source: String,
    /// Why it is not a number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureRecord>,
}
