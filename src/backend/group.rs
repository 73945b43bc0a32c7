//! What the kernel keeps account of for an instance's own control group.

use crate::metric::{Bytes, Nanos};

/// All of it; `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupAccounts {
    /// All memory charged to the group now. Charges are drawn in batches of 64 pages a CPU
    /// (MEMCG_CHARGE_BATCH): a small group shows more than it uses.
    pub memory: Option<Bytes>,
    /// The most that it ever was.
    pub peak: Option<Bytes>,
    /// The kernel's part of it now.
    pub kernel: Option<Bytes>,
    /// Waits for the limit on processor time; `None` without one.
    pub throttling: Option<Throttling>,
    /// Waits for resources; cgroup v2 only.
    pub pressure: Option<Pressure>,
}

/// How a limit on processor time has worked (`cpu.stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which something ran.
    pub periods: u64,
    /// Of these, periods in which the limit was reached.
    pub throttled: u64,
    /// How long tasks were kept from running.
    pub time: Nanos,
}

/// For how long some task has waited (`Documentation/accounting/psi.rst`, the line `some`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// For a processor.
    pub cpu: Nanos,
    /// For memory.
    pub memory: Nanos,
    /// For input or output.
    pub io: Nanos,
}
