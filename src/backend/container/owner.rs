//! Names of what a harness makes on the host, so that the next one knows what a dead one left.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// First part of every name of a directory. The harness's process id, the pid namespace that this
/// id belongs to (its inode), and a number follow.
const PREFIX: &str = "isobench-";

/// The harness that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process id,
    pub pid: u32,
    /// in this pid namespace.
    pub namespace: u64,
}

impl Owner {
    /// This harness.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            pid: std::process::id(),
            namespace: fs::metadata("/proc/self/ns/pid")?.ino(),
        })
    }

    /// A name that this harness has not used before.
    #[must_use]
    pub fn new_name(self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}{}-{}-{number}", self.pid, self.namespace)
    }

    /// The owner in a name that [`Self::new_name`] made.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let (pid, namespace, number) = (parts.next()?, parts.next()?, parts.next()?);
        number.parse::<u64>().ok()?;
        let owner = Self {
            pid: pid.parse().ok()?,
            namespace: namespace.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether nobody in the pid namespace of `current` has this process id any more. Those of
    /// other namespaces are not visible here, and a harness there may well live.
    #[must_use]
    pub fn is_gone(self, current: Self) -> bool {
        self.namespace == current.namespace && !Path::new(&format!("/proc/{}", self.pid)).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        let owner = Owner {
            pid: 12,
            namespace: 4_026_531_836,
        };
        assert_eq!(Owner::of("isobench-12-4026531836-0"), Some(owner));
        assert_eq!(Owner::of(&owner.new_name()), Some(owner));
        for foreign in [
            "isobench",
            "isobench-12",
            "isobench-12-0",
            "isobench-x-1-1",
            "isobench-1-1-",
            "isobench-1-1-1-1",
            "docker-1-2-3",
        ] {
            assert_eq!(Owner::of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_harness_of_another_pid_namespace_is_never_taken_for_dead() {
        let here = Owner::current().unwrap();
        // Beyond the kernel's largest process id: nobody has it.
        let dead = Owner {
            pid: 1 << 30,
            ..here
        };
        let elsewhere = Owner {
            namespace: here.namespace + 1,
            ..here
        };
        assert!(dead.is_gone(here) && !dead.is_gone(elsewhere));
        assert!(!here.is_gone(here));
    }
}
