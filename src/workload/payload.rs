//! The payload: the one ELF that every backend runs, embedded at build time.

/// The ELF file.
pub const BYTES: &[u8] = include_bytes!(env!("ISOBENCH_PAYLOAD"));

/// SHA-256 of [`BYTES`], lower-case hexadecimal, computed when it was built.
pub const SHA256: &str = env!("ISOBENCH_PAYLOAD_SHA256");
