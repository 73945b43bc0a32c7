//! How far are our launchers from what the kernel itself costs? Each backend's start beside its
//! floor, the barest sequence of system calls or ioctls that such an isolation cannot do without,
//! interleaved at random in one process.
//!
//! `cargo bench --bench floor` prints medians and ratios; any other way of running it (as
//! `cargo test --benches` does) makes a handful of rounds to show that it works.
#![allow(missing_docs)]

#[path = "floor/container.rs"]
mod container;
#[path = "floor/microvm.rs"]
mod microvm;

fn main() {}
