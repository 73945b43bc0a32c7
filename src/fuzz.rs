//! Fuzz targets: one function for each reader of bytes that nobody vouches for. Each hands its input to
//! the reader, states what must hold whatever the input is, and says whether the input was accepted.
//! A panic is a finding.
//!
//! ```text
//!   fuzz/fuzz_targets/NAME.rs (libFuzzer, nightly) ─┐
//!                                                   ├─► the function here ─► the reader
//!   fuzz/corpus/NAME/*  (replay, cargo test) ───────┘
//! ```
//!
//! Compiled for tests and for cargo-fuzz (`--cfg fuzzing`) alone. A function that needs what its subject
//! keeps to itself, or `unsafe`, lies beside its subject (`src/vmm/*_fuzz.rs`).

mod elf;
mod frame;
mod kernel;
#[cfg(test)]
mod replay;
mod transcript;

pub use self::elf::elf;
pub use self::frame::frame;
pub use self::kernel::kernel;
pub(crate) use self::transcript::number_frames;
pub use self::transcript::transcript;
pub use crate::vmm::exit::fuzz::exit;
pub use crate::vmm::session::fuzz::session;
pub use crate::vmm::snapshot::fuzz::snapshot;
pub use crate::vmm::virtio::fuzz::virtqueue;

/// A seed: the name of its file and its bytes. What is accepted has a name that begins with
/// [`ACCEPTED`].
#[cfg(test)]
pub(crate) type Seed = (&'static str, Vec<u8>);

/// How the name of an acceptable input begins; every other one must be refused.
#[cfg(test)]
const ACCEPTED: &str = "valid";

/// A target as `cargo test` knows it.
#[cfg(test)]
struct Target {
    /// Of the file in `fuzz/fuzz_targets` and the folder in `fuzz/corpus`.
    name: &'static str,
    /// Whether the input was accepted.
    body: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Seed>,
}

#[cfg(test)]
const TARGETS: [Target; 8] = [
    Target {
        name: "elf",
        body: elf,
        seeds: elf::seeds,
    },
    Target {
        name: "exit",
        body: exit,
        seeds: crate::vmm::exit::fuzz::seeds,
    },
    Target {
        name: "frame",
        body: frame,
        seeds: frame::seeds,
    },
    Target {
        name: "kernel",
        body: kernel,
        seeds: kernel::seeds,
    },
    Target {
        name: "session",
        body: session,
        seeds: crate::vmm::session::fuzz::seeds,
    },
    Target {
        name: "snapshot",
        body: snapshot,
        seeds: crate::vmm::snapshot::fuzz::seeds,
    },
    Target {
        name: "transcript",
        body: transcript,
        seeds: transcript::seeds,
    },
    Target {
        name: "virtqueue",
        body: virtqueue,
        seeds: crate::vmm::virtio::fuzz::seeds,
    },
];
