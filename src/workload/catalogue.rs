//! What each workload is for, and which metric it yields.

use std::fmt;

use super::Workload;
use crate::metric::{BANDWIDTH, FLOPS, LATENCY, Metric, OPS, PAGES};

/// What a workload tells about an isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Getting there and back.
    Startup,
    /// Computing.
    Cpu,
    /// Reading and writing memory, and getting it.
    Memory,
    /// Crossing the boundary.
    Boundary,
    /// Being there.
    Density,
    /// Seeing and reaching.
    Isolation,
}

impl Group {
    /// Spelling in lists and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Boundary => "boundary",
            Self::Density => "density",
            Self::Isolation => "isolation",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a workload's SIZE counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// It has none.
    None,
    /// Bytes.
    Bytes,
    /// Rows and columns of a square matrix.
    Side,
    /// Instructions of one repetition.
    Instructions,
    /// Questions left out, from the first on.
    Question,
}

impl Size {
    /// Its unit, in the plural.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bytes => "bytes",
            Self::Side => "rows and columns",
            Self::Instructions => "instructions",
            Self::Question => "questions to leave out",
        }
    }
}

/// One workload's entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Which.
    pub workload: Workload,
    /// What it tells about.
    pub group: Group,
    /// One line: what it does, and what that shows.
    pub description: &'static str,
    /// What its SIZE counts.
    pub size: Size,
    /// What its work yields beyond the instants that every trial has.
    pub metric: Option<Metric>,
}

impl Entry {
    /// The value of [`Self::metric`], in its unit, of a trial whose work took `elapsed_seconds`
    /// between the payload's own marks.
    ///
    /// A rate is units ÷ time; a latency is time ÷ units. `None` where the workload has no metric,
    /// or the time or the units are not positive (a broken clock is no rate).
    #[must_use]
    pub fn value(&self, units: u64, elapsed_seconds: f64) -> Option<f64> {
        let metric = self.metric?;
        if units == 0 || !(elapsed_seconds > 0.0 && elapsed_seconds.is_finite()) {
            return None;
        }
        let units = units as f64;
        Some(if metric.name == LATENCY.name {
            elapsed_seconds * 1e9 / units
        } else {
            units / elapsed_seconds
        })
    }
}

/// Every workload, in the order of [`Workload::ALL`].
pub const CATALOGUE: [Entry; 12] = [
    Entry {
        workload: Workload::Noop,
        group: Group::Startup,
        description: "says ready and leaves: the cost of getting there and back",
        size: Size::None,
        metric: None,
    },
    Entry {
        workload: Workload::Sha256,
        group: Group::Cpu,
        description: "SHA-256 in scalar code: integer arithmetic",
        size: Size::Bytes,
        metric: Some(BANDWIDTH),
    },
    Entry {
        workload: Workload::Matmul,
        group: Group::Cpu,
        description: "f64 matrix product with the widest of SSE2 and AVX2: vector arithmetic",
        size: Size::Side,
        metric: Some(FLOPS),
    },
    Entry {
        workload: Workload::Branch,
        group: Group::Cpu,
        description: "an interpreter loop: branches that depend on data",
        size: Size::Instructions,
        metric: Some(OPS),
    },
    Entry {
        workload: Workload::Triad,
        group: Group::Memory,
        description: "STREAM copy, scale, add, triad over three arrays: memory bandwidth",
        size: Size::Bytes,
        metric: Some(BANDWIDTH),
    },
    Entry {
        workload: Workload::Chase,
        group: Group::Memory,
        description: "dependent loads through a random cycle: cache, memory and TLB latency",
        size: Size::Bytes,
        metric: Some(LATENCY),
    },
    Entry {
        workload: Workload::Fault,
        group: Group::Memory,
        description: "first write to each page of fresh memory: page faults",
        size: Size::Bytes,
        metric: Some(PAGES),
    },
    Entry {
        workload: Workload::Crossing,
        group: Group::Boundary,
        description: "the cheapest crossing to whoever serves the payload: system call or VM exit",
        size: Size::None,
        metric: Some(LATENCY),
    },
    Entry {
        workload: Workload::Clock,
        group: Group::Boundary,
        description: "the fenced time-stamp counter: is reading the clock intercepted?",
        size: Size::None,
        metric: Some(LATENCY),
    },
    Entry {
        workload: Workload::Idle,
        group: Group::Density,
        description: "says ready, touches its memory (none by default), waits: what one more costs",
        size: Size::Bytes,
        metric: None,
    },
    Entry {
        workload: Workload::Warm,
        group: Group::Density,
        description: "fills its memory, waits, answers one request from it: what a snapshot saves",
        size: Size::Bytes,
        metric: None,
    },
    Entry {
        workload: Workload::Probe,
        group: Group::Isolation,
        description: "asks about its surroundings: what it can see and reach (`list facts`)",
        size: Size::Question,
        metric: None,
    },
];

/// The entry of a workload.
#[must_use]
pub const fn entry(workload: Workload) -> &'static Entry {
    // `Workload` has as many values as the table has rows, in the same order (tested).
    &CATALOGUE[workload as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_workloads() {
        for (index, workload) in Workload::ALL.into_iter().enumerate() {
            assert_eq!(CATALOGUE[index].workload, workload);
            assert_eq!(entry(workload).workload, workload);
            assert_eq!(
                entry(workload).size == Size::None,
                workload.limits().max_size == 0
            );
        }
    }

    #[test]
    fn rates_and_latencies_have_the_units_of_their_metric() {
        let value = |workload, seconds| entry(workload).value(1000, seconds);
        assert_eq!(value(Workload::Sha256, 0.5), Some(2000.0));
        assert_eq!(value(Workload::Fault, 2.0), Some(500.0));
        assert_eq!(value(Workload::Chase, 0.001), Some(1000.0));
        assert_eq!(value(Workload::Noop, 1.0), None);
        assert_eq!(value(Workload::Idle, 1.0), None);
        for broken in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(value(Workload::Clock, broken), None);
        }
        assert_eq!(entry(Workload::Chase).value(0, 1.0), None);
    }
}
