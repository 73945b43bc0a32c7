//! isobench launches the same bytes as a bare process, as a namespace container and as a KVM
//! micro-VM, and measures what each kind of isolation costs and buys.
//!
//! Dependencies point downwards:
//!
//! ```text
//!   cli ─► measure, report, store ─► backend ─► vmm, sys
//!   stats, metric, trial, told, transcript and guests/abi know nobody above them
//! ```

pub mod backend;
pub mod cli;
pub mod delay;
pub mod exits;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod host;
pub mod measure;
pub mod metric;
pub mod report;
pub mod stats;
pub mod store;
pub mod sys;
pub mod told;
pub mod transcript;
pub mod trial;
pub mod vmm;
pub mod workload;
