//! Typed quantities and the metrics made of them.

use std::fmt;
use std::ops::Sub;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reading of the host's time-stamp counter. Only differences mean anything; a
/// [`crate::measure::clock::Clock`] turns them into time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticks(pub u64);

impl Sub for Ticks {
    type Output = i64;

    /// Signed distance: a counter mapped from a guest may lie before its reference.
    fn sub(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// A duration in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Nanos(pub i64);

/// An amount of memory in bytes. Signed: a measured difference may be negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Bytes(pub i64);

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better: a time, a footprint.
    Lower,
    /// More is better: a rate.
    Higher,
}

/// Unit of a metric, spelled as in `run.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// Bytes a second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Floating-point operations a second.
    #[serde(rename = "FLOP/s")]
    FlopPerSecond,
    /// Operations a second.
    #[serde(rename = "op/s")]
    OpsPerSecond,
    /// Pages a second.
    #[serde(rename = "page/s")]
    PagesPerSecond,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::FlopPerSecond => "FLOP/s",
            Self::OpsPerSecond => "op/s",
            Self::PagesPerSecond => "page/s",
        })
    }
}

/// A named quantity with unit and direction; defined by what starts it, what ends it and what it
/// leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name in `run.json`.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Direction.
    pub better: Better,
    /// Start event, end event, exclusions: one sentence each.
    pub definition: &'static str,
}

/// `t1 − t0`.
pub const STARTUP: Metric = Metric {
    name: "startup",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "From just before the first system call made for the trial (t0) to the payload's \
                 first instruction (t1). Excludes what is prepared once for all trials.",
};
/// `t2 − t0`.
pub const READY: Metric = Metric {
    name: "ready",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "From t0 until the harness has the payload's first message (t2). Includes the \
                 first crossing out of the isolation and the harness's wake-up.",
};
/// The reply to the first request.
pub const REPLY: Metric = Metric {
    name: "reply",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "From t0 until the harness has the answer to its first request (`warm`). Includes \
                 making the state that the answer comes from, or, where an instance is a copy of \
                 one that has it, the copying. The request is there from the start: no time passes \
                 waiting for it.",
};
/// `t4 − t0`.
pub const TOTAL: Metric = Metric {
    name: "total",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "From t0 until the harness observes the exit (t4). Excludes clean-up.",
};
/// `t5 − t4`.
pub const TEARDOWN: Metric = Metric {
    name: "teardown",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "From the observed exit (t4) until nothing of the trial is left (t5): processes, \
                 cgroups, mounts, VM descriptors and memory. Excludes what the kernel frees later \
                 on its own worker threads.",
};
/// Bytes a second between the payload's own marks.
pub const BANDWIDTH: Metric = Metric {
    name: "bandwidth",
    unit: Unit::BytesPerSecond,
    better: Better::Higher,
    definition: "Bytes worked on between the payload's own start and end marks, over that time. \
                 Excludes start-up, initialisation of the data and the digest.",
};
/// FLOP a second between the payload's own marks.
pub const FLOPS: Metric = Metric {
    name: "flops",
    unit: Unit::FlopPerSecond,
    better: Better::Higher,
    definition: "2·n³ floating-point operations a repetition between the payload's own marks, \
                 over that time. Excludes initialisation and the digest.",
};
/// Interpreted operations a second between the payload's own marks.
pub const OPS: Metric = Metric {
    name: "ops",
    unit: Unit::OpsPerSecond,
    better: Better::Higher,
    definition: "Interpreted instructions between the payload's own marks, over that time.",
};
/// Time for one step between the payload's own marks.
pub const LATENCY: Metric = Metric {
    name: "latency",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    definition: "Time between the payload's own marks divided by the number of steps (dependent \
                 loads, crossings, clock reads). Excludes building the cycle.",
};
/// Pages a second between the payload's own marks.
pub const PAGES: Metric = Metric {
    name: "pages",
    unit: Unit::PagesPerSecond,
    better: Better::Higher,
    definition: "Fresh 4 KiB pages written for the first time between the payload's own marks, \
                 over that time. Excludes reserving the address range.",
};
/// Proportional set size of one idle instance.
pub const PSS: Metric = Metric {
    name: "pss",
    unit: Unit::Bytes,
    better: Better::Lower,
    definition: "Proportional set size of everything in user space that belongs to one idle \
                 instance while several run (proc_pid_smaps(5)). Excludes kernel memory.",
};
/// Private memory of one idle instance.
pub const PRIVATE: Metric = Metric {
    name: "private",
    unit: Unit::Bytes,
    better: Better::Lower,
    definition: "Private_Clean + Private_Dirty of one idle instance while several run \
                 (proc_pid_smaps(5)): what ending it would give back. Excludes kernel memory.",
};
/// Kernel memory per idle instance.
pub const KERNEL: Metric = Metric {
    name: "kernel",
    unit: Unit::Bytes,
    better: Better::Lower,
    definition: "Theil–Sen slope of the kernel's own accounts (Slab, PageTables, SecPageTables, \
                 Percpu, VmallocUsed; kernel stacks are in the last) over seven numbers of idle \
                 instances. Excludes pages in no account: see the balance sheet.",
};
/// Marginal cost of one more idle instance.
pub const MARGINAL: Metric = Metric {
    name: "marginal",
    unit: Unit::Bytes,
    better: Better::Lower,
    definition: "Theil–Sen slope over seven numbers of idle instances of memory that is no longer \
                 left over: not free, not in the CPUs' stock of free pages, not page cache. User \
                 and kernel memory, accounted or not. Excludes what all instances share.",
};

/// Every metric, in the catalogue's order.
pub const CATALOGUE: [Metric; 14] = [
    STARTUP, READY, REPLY, TOTAL, TEARDOWN, BANDWIDTH, FLOPS, OPS, LATENCY, PAGES, PSS, PRIVATE,
    KERNEL, MARGINAL,
];
