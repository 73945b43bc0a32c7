//! What the payload may ask of the kernel: the seccomp filter and the capabilities.

use std::collections::BTreeMap;
use std::path::Path;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::backend::Unavailable;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
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

/// Whether a running payload is as confined as it was asked to be, by the kernel's own account
/// (`/proc/PID/status`, proc_pid_status(5)): what an exec gives back, no set-up can see
/// (CVE-2022-29162).
///
/// # Errors
/// The field that says otherwise.
pub fn verify(pid: i32, mechanisms: Mechanisms) -> Result<(), String> {
    let status = fd::text(Path::new(&format!("/proc/{pid}/status")))
        .map_err(|error| format!("/proc/{pid}/status: {error}"))?;
    contradiction(&status, mechanisms).map_or(Ok(()), Err)
}

fn contradiction(status: &str, mechanisms: Mechanisms) -> Option<String> {
    const NONE: &str = "0000000000000000";
    let has = |mechanism| mechanisms.has(mechanism);
    let mut wanted = Vec::new();
    if has(Mechanism::Capabilities) {
        wanted.extend(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| (set, NONE)));
    }
    if has(Mechanism::Capabilities) || has(Mechanism::Seccomp) {
        wanted.push(("NoNewPrivs", "1"));
    }
    if has(Mechanism::Seccomp) {
        wanted.push(("Seccomp", "2"));
    }
    wanted.into_iter().find_map(|(field, value)| {
        let line = |line: &str| {
            Some(
                line.strip_prefix(field)?
                    .strip_prefix(':')?
                    .trim()
                    .to_owned(),
            )
        };
        let found = status.lines().find_map(line).unwrap_or_default();
        (found != value).then(|| format!("{field} of the payload is {found:?}, not {value}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_is_named() {
        let confined = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
            CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
            NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let all = Mechanisms::of(Mechanism::ALL);
        assert_eq!(contradiction(confined, all), None);
        let inheritable = confined.replacen("0000000000000000", "0000000000000400", 1);
        assert!(contradiction(&inheritable, all).unwrap().contains("CapInh"));
        assert_eq!(
            contradiction(&inheritable, Mechanisms::of([Mechanism::Seccomp])),
            None
        );
        let unfiltered = confined.replace("Seccomp:\t2", "Seccomp:\t0");
        assert!(contradiction(&unfiltered, all).unwrap().contains("Seccomp"));
        assert!(contradiction("", all).unwrap().contains("CapInh"));
        assert_eq!(contradiction("", Mechanisms::NONE), None);
    }

    /// This process itself: what has capabilities or no filter is not taken for confined.
    #[test]
    fn the_harness_is_not_confined() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(verify(own, Mechanisms::DEFAULT).is_err());
    }
}
