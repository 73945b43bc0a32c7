//! What the payload may ask of the kernel: the seccomp filter and the capabilities.

use std::collections::BTreeMap;
use std::path::Path;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::backend::Unavailable;
use crate::sys::fd;

/// System calls of the payload's transport (`guests/payload/src/transport.rs`), and the last one of
/// the launcher. Everything else, every other architecture's calls and x32 end the process; to
/// `probe`, which asks for everything else, that end is the answer.
const ALLOWED: [i64; 6] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_mmap,
    libc::SYS_getppid,
    libc::SYS_exit_group,
    libc::SYS_execveat,
];

/// Compiles the filter; once, for all trials.
///
/// # Errors
/// seccompiler refuses, which no input of a user can cause.
pub fn filter() -> Result<BpfProgram, Unavailable> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .and_then(BpfProgram::try_from)
    .map_err(|error| Unavailable {
        reason: format!("the seccomp filter does not compile: {error}"),
        remedy: "report this as a bug".to_owned(),
    })
}

/// Number of the last capability this kernel knows (capabilities(7)).
#[must_use]
pub fn last_capability() -> u32 {
    // CAP_CHECKPOINT_RESTORE, the last one of Linux 5.9 to 6.18. Before a kernel that has fewer,
    // the file exists.
    const KNOWN: u32 = 40;
    fd::text(Path::new("/proc/sys/kernel/cap_last_cap"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(KNOWN, |last: u32| last.min(63))
}
