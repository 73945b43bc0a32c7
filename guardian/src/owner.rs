//! Whose something is, told from its name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kernel;

/// First part of the name of a group or folder.
const PREFIX: &str = "isobench-";
/// First part of an interface's name, which has room for 15 bytes (IFNAMSIZ, netdevice(7)).
const LINK_PREFIX: &str = "ib";
/// Digits of an interface's name, 5 bits each: 11 for the owner's 54 bits (a process id has at
/// most 22, `PID_MAX_LIMIT`; an inode of a namespace 32), 2 for the number.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const OWNER_DIGITS: usize = 11;
const NUMBER_DIGITS: usize = 2;

/// The harness that made something: its process id, and the pid namespace that this id belongs to
/// (the inode of `/proc/PID/ns/pid`, namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    namespace: u64,
}

impl Owner {
    /// The calling process.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        let path = "/proc/self/ns/pid";
        let facts = fs::metadata(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        Ok(Self {
            pid: std::process::id(),
            namespace: facts.ino(),
        })
    }

    /// A name for a group or folder that neither this process nor an earlier one with its id has used:
    /// `isobench-PID-NAMESPACE-NUMBER`.
    #[must_use]
    pub fn new_name(self) -> String {
        self.name(next_number())
    }

    fn name(self, number: u64) -> String {
        format!("{PREFIX}{}-{}-{number}", self.pid, self.namespace)
    }

    /// Whose this name is; `None` for a name that [`Self::new_name`] does not make.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-').map(number::<u64>);
        let (pid, namespace, _) = (parts.next()??, parts.next()??, parts.next()??);
        let pid = u32::try_from(pid).ok()?;
        parts.next().is_none().then_some(Self { pid, namespace })
    }

    /// A name for a network interface that this process has not used for 1,024 names.
    #[must_use]
    pub fn new_link_name(self) -> String {
        self.link_name(next_number())
    }

    fn link_name(self, number: u64) -> String {
        let owner = self.namespace << 22 | u64::from(self.pid);
        let digits = |value: u64, count: usize| {
            (0..count)
                .rev()
                .map(move |place| char::from(DIGITS[(value >> (5 * place) & 31) as usize]))
        };
        let tail = digits(owner, OWNER_DIGITS).chain(digits(number, NUMBER_DIGITS));
        LINK_PREFIX.chars().chain(tail).collect()
    }

    /// Whose this interface is; `None` for a name that [`Self::new_link_name`] does not make.
    #[must_use]
    pub fn of_link(name: &str) -> Option<Self> {
        let tail = name.strip_prefix(LINK_PREFIX)?.as_bytes();
        if tail.len() != OWNER_DIGITS + NUMBER_DIGITS {
            return None;
        }
        let mut values = tail.iter().map(|b| DIGITS.iter().position(|d| d == b));
        let owner = values
            .by_ref()
            .take(OWNER_DIGITS)
            .try_fold(0, |value, digit| Some(value << 5 | digit? as u64))?;
        let whole = values.all(|digit| digit.is_some()) && owner >> 54 == 0;
        whole.then_some(Self {
            pid: (owner & ((1 << 22) - 1)) as u32,
            namespace: owner >> 22,
        })
    }

    /// Whether nobody has its process id any more, as far as a process of `observer`'s pid namespace
    /// can tell: who lives in another namespace is never taken for dead.
    #[must_use]
    pub fn is_gone(self, observer: Self) -> bool {
        self.namespace == observer.namespace && !kernel::is_process(self.pid)
    }
}

/// Counts on from the wall clock's microseconds at the first call: what an earlier process with the same
/// id left, before a reboot perhaps, has other numbers.
fn next_number() -> u64 {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let first = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = now.map_or(0, |since| since.as_micros());
        AtomicU64::new(u64::try_from(micros).unwrap_or(0))
    };
    NEXT.get_or_init(first).fetch_add(1, Ordering::Relaxed)
}

/// Decimal digits only, as `Display` writes them: no sign, no leading zero.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse()
        .ok()
        .filter(|value: &T| value.to_string() == text)
}

/// A harness as its guardian knows it: an owner that may still live. The start time tells it from
/// another process that has got the same id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harness {
    /// Whose things it makes.
    pub owner: Owner,
    started: u64,
}

impl Harness {
    /// The calling process.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        let owner = Owner::current()?;
        let started = started(owner.pid).ok_or_else(|| {
            io::Error::other("/proc/self/stat: no start time, or a process that has ended")
        })?;
        Ok(Self { owner, started })
    }

    /// Whether it still runs: neither gone nor a zombie.
    #[must_use]
    pub fn lives(self) -> bool {
        started(self.owner.pid) == Some(self.started)
    }

    /// Whether the calling process is this one.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.owner.pid == std::process::id()
    }

    /// As the guardian's argument.
    #[must_use]
    pub fn to_argument(self) -> String {
        let Owner { pid, namespace } = self.owner;
        format!("{pid}-{namespace}-{}", self.started)
    }

    /// The reverse.
    #[must_use]
    pub fn from_argument(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (pid, namespace, started) = (parts.next()?, parts.next()?, parts.next()?);
        let owner = Owner {
            pid: number(pid)?,
            namespace: number(namespace)?,
        };
        let started = number(started)?;
        parts.next().is_none().then_some(Self { owner, started })
    }
}

/// When a process was started, in clock ticks since boot (field 22 of `/proc/PID/stat`,
/// proc_pid_stat(5)); `None` once it has ended, reaped or not.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "pid (name) state ppid …": the name may hold blanks and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        pid: 12,
        namespace: 4_026_531_836,
    };

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(OWNER.name(0), "isobench-12-4026531836-0");
        assert_ne!(OWNER.new_name(), OWNER.new_name());
        assert_eq!(Owner::of(&OWNER.name(u64::MAX)), Some(OWNER));
        for foreign in [
            "isobench",
            "isobench-12",
            "isobench-12-0",
            "isobench-x-1-1",
            "isobench-1-1-",
            "isobench-1-1-1-1",
            "isobench-01-1-1",
            "isobench-+1-1-1",
            "isobench-4294967296-1-1",
            "isobench-1-1-18446744073709551616",
            " isobench-1-1-1",
            "docker-1-2-3",
        ] {
            assert_eq!(Owner::of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_interface_has_an_owner_in_fifteen_bytes() {
        let largest = Owner {
            pid: (1 << 22) - 1,
            namespace: u64::from(u32::MAX),
        };
        for owner in [OWNER, largest] {
            for number in [0, 1, 1023] {
                let name = owner.link_name(number);
                assert_eq!(name.len(), 15, "{name}");
                assert_eq!(Owner::of_link(&name), Some(owner), "{name}");
            }
        }
        assert_ne!(OWNER.link_name(0), OWNER.link_name(1));
        for foreign in [
            "lo",
            "ib0",
            "ib00000000000000",
            "ibvvvvvvvvvvvvv",
            "ib0000000000W00",
        ] {
            assert_eq!(Owner::of_link(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_harness_of_another_pid_namespace_is_never_taken_for_dead() {
        let own = Owner::current().unwrap();
        // Beyond the kernel's largest process id: nobody has it.
        let nobody = |namespace| Owner {
            pid: 1 << 30,
            namespace,
        };
        assert!(nobody(own.namespace).is_gone(own));
        assert!(!nobody(own.namespace + 1).is_gone(own));
        // Oneself, somebody else's, and what no process can have.
        for pid in [own.pid, 1, 0, u32::MAX] {
            assert!(!Owner { pid, ..own }.is_gone(own), "{pid}");
        }
    }

    #[test]
    fn a_process_that_has_the_id_later_is_another_harness() {
        let own = Harness::current().unwrap();
        assert_eq!(Harness::from_argument(&own.to_argument()), Some(own));
        assert!(own.lives() && own.is_current());
        let later = Harness {
            started: own.started + 1,
            ..own
        };
        assert!(!later.lives());
        for wrong in ["", "1-2", "1-2-x", "1-2-3-4", "-1-2-3"] {
            assert_eq!(Harness::from_argument(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // Not reaped: it stays a zombie, which has no start time.
        while started(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(fs::metadata(format!("/proc/{pid}")).is_ok());
        child.wait().unwrap();
    }
}
