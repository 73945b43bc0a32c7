//! Whose something is, told from its name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kernel;
use crate::proc::{self, started};

/// First part of the name of a group or folder.
const PREFIX: &str = "isobench-";
/// First part of an interface's name, which has room for 15 bytes (IFNAMSIZ, netdevice(7)).
const LINK_PREFIX: &str = "ib";
/// Digits of an interface's name, 6 bits each: 12 for the owner's 72 bits (the inode of a namespace has
/// 32, a process id at most 22, `PID_MAX_LIMIT`, a start [`START_BITS`]), 1 for the number.
const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const OWNER_DIGITS: usize = 12;
const PID_BITS: u32 = 22;
/// Bits of a start time that a name has room for: 44 minutes of clock ticks. Two processes with the same
/// id whose starts lie further apart have the same ones by a chance of 1 in 262,144, and then each
/// other's names.
const START_BITS: u32 = 18;

/// The harness that made something: its process id, the pid namespace that this id belongs to (the
/// inode of `/proc/PID/ns/pid`, namespaces(7)), and when it was started, which tells it from a later
/// process with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    namespace: u64,
    /// The last [`START_BITS`] of its start in clock ticks since boot.
    start: u64,
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
        // Also where `/proc` has another number for this process.
        let (_, started) =
            proc::stat("self").ok_or_else(|| io::Error::other("/proc/self/stat: no start time"))?;
        Ok(Self::new(std::process::id(), facts.ino(), started))
    }

    fn new(pid: u32, namespace: u64, started: u64) -> Self {
        Self {
            pid,
            namespace,
            start: low(started, START_BITS),
        }
    }

    /// A name for a group or folder that neither this process nor an earlier one with its id has used:
    /// `isobench-PID-NAMESPACE-START-NUMBER`.
    #[must_use]
    pub fn new_name(self) -> String {
        self.name(next_number())
    }

    fn name(self, number: u64) -> String {
        let Self {
            pid,
            namespace,
            start,
        } = self;
        format!("{PREFIX}{pid}-{namespace}-{start}-{number}")
    }

    /// Whose this name is; `None` for a name that [`Self::new_name`] does not make.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-').map(number::<u64>);
        let (pid, namespace) = (parts.next()??, parts.next()??);
        let (start, _) = (parts.next()??, parts.next()??);
        let owner = Self::new(u32::try_from(pid).ok()?, namespace, start);
        (parts.next().is_none() && owner.start == start).then_some(owner)
    }

    /// A name for a network interface that this process has not used for 64 names.
    #[must_use]
    pub fn new_link_name(self) -> String {
        self.link_name(next_number())
    }

    fn link_name(self, number: u64) -> String {
        let id = u128::from(self.namespace) << PID_BITS | u128::from(self.pid);
        let owner = id << START_BITS | u128::from(self.start);
        let value = owner << 6 | u128::from(low(number, 6));
        let digit = |place| char::from(DIGITS[(value >> (6 * place) & 63) as usize]);
        let tail = (0..=OWNER_DIGITS).rev().map(digit);
        LINK_PREFIX.chars().chain(tail).collect()
    }

    /// Whose this interface is; `None` for a name that [`Self::new_link_name`] does not make.
    #[must_use]
    pub fn of_link(name: &str) -> Option<Self> {
        let tail = name.strip_prefix(LINK_PREFIX)?.as_bytes();
        if tail.len() != OWNER_DIGITS + 1 {
            return None;
        }
        let mut values = tail.iter().map(|b| DIGITS.iter().position(|d| d == b));
        let value = values.try_fold(0, |value: u128, digit| Some(value << 6 | digit? as u128))?;
        let owner = value >> 6;
        let id = (owner >> START_BITS) as u64;
        Some(Self {
            pid: low(id, PID_BITS) as u32,
            namespace: id >> PID_BITS,
            start: low(owner as u64, START_BITS),
        })
    }

    /// Whether it is no more, as far as a process of `observer`'s pid namespace can tell: nobody has its
    /// process id, or another process has. Who lives in another namespace is never taken for dead, and
    /// neither is whoever cannot be told from it.
    #[must_use]
    pub fn is_gone(self, observer: Self) -> bool {
        self.namespace == observer.namespace
            && (!kernel::is_process(self.pid) || self.is_another_by_now())
    }

    /// Whether a process that lives has its id and another start.
    fn is_another_by_now(self) -> bool {
        let known = proc::is_own() && proc::has_our_clock(self.pid);
        known && started(self.pid).is_some_and(|now| low(now, START_BITS) != self.start)
    }

    /// A later process with the same id.
    #[cfg(test)]
    pub(crate) fn later(self) -> Self {
        Self::new(self.pid, self.namespace, self.start + 1)
    }
}

const fn low(value: u64, bits: u32) -> u64 {
    value & ((1 << bits) - 1)
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

/// A harness as its guardian knows it: an owner that may still live, with all of its start time.
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
    /// `/proc` is not mounted, or is of another pid namespace and has other numbers for processes.
    pub fn current() -> io::Result<Self> {
        let owner = Owner::current()?;
        if !proc::is_own() {
            return Err(io::Error::other("/proc is of another pid namespace"));
        }
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
        let Owner { pid, namespace, .. } = self.owner;
        format!("{pid}-{namespace}-{}", self.started)
    }

    /// The reverse.
    #[must_use]
    pub fn from_argument(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (pid, namespace, started) = (parts.next()?, parts.next()?, parts.next()?);
        let started = number(started)?;
        let owner = Owner::new(number(pid)?, number(namespace)?, started);
        parts.next().is_none().then_some(Self { owner, started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        pid: 12,
        namespace: 4_026_531_836,
        start: 77,
    };

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(OWNER.name(0), "isobench-12-4026531836-77-0");
        assert_ne!(OWNER.new_name(), OWNER.new_name());
        assert_eq!(Owner::of(&OWNER.name(u64::MAX)), Some(OWNER));
        for foreign in [
            "isobench",
            "isobench-12",
            "isobench-12-0",
            "isobench-12-1-0",
            "isobench-x-1-1-1",
            "isobench-1-1-1-",
            "isobench-1-1-1-1-1",
            "isobench-01-1-1-1",
            "isobench-+1-1-1-1",
            "isobench-4294967296-1-1-1",
            "isobench-1-1-262144-1",
            "isobench-1-1-1-18446744073709551616",
            " isobench-1-1-1-1",
            "docker-1-2-3-4",
        ] {
            assert_eq!(Owner::of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_interface_has_an_owner_in_fifteen_bytes() {
        let largest = Owner {
            pid: (1 << 22) - 1,
            namespace: u64::from(u32::MAX),
            start: (1 << START_BITS) - 1,
        };
        for owner in [OWNER, OWNER.later(), largest, largest.later()] {
            for number in [0, 1, 63] {
                let name = owner.link_name(number);
                assert_eq!(name.len(), 15, "{name}");
                assert_eq!(Owner::of_link(&name), Some(owner), "{name}");
            }
        }
        assert_ne!(OWNER.link_name(0), OWNER.link_name(1));
        assert_ne!(OWNER.link_name(0), OWNER.later().link_name(0));
        for foreign in ["lo", "ib0", "ib00000000000000", "ib0000000000.00"] {
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
            start: 0,
        };
        assert!(nobody(own.namespace).is_gone(own));
        assert!(!nobody(own.namespace + 1).is_gone(own));
        // Oneself, and what no process can have.
        for pid in [own.pid, 0, u32::MAX] {
            assert!(!Owner { pid, ..own }.is_gone(own), "{pid}");
        }
    }

    /// What a dead harness left is not the living process's that has its id now.
    #[test]
    fn who_has_the_id_of_a_dead_harness_is_told_from_it() {
        let own = Owner::current().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let living = Owner::new(child.id(), own.namespace, started(child.id()).unwrap());
        assert!(!living.is_gone(own));
        let dead = Owner::new(child.id(), own.namespace, u64::MAX - living.start);
        assert!(dead.is_gone(own) && own.later().is_gone(own));
        // In another namespace, or with a clock of its own, it cannot be told.
        let elsewhere = Owner {
            namespace: own.namespace + 1,
            ..dead
        };
        assert!(!elsewhere.is_gone(own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(living.is_gone(own));
    }

    const INNER: &str = "ISOBENCH_TEST_INNER";

    /// Runs a test once more below `unshare`; whether that could be done.
    fn again(test: &str, namespaces: &[&str]) {
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--fork"])
            .args(namespaces)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INNER, "1")
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare:") => {
                println!("skipped: {test}: no such namespace can be made here");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Where `/proc` has other numbers, whoever has ours there says nothing about us.
    #[test]
    fn a_foreign_proc_makes_nobody_dead() {
        if std::env::var_os(INNER).is_none() {
            return again("owner::tests::a_foreign_proc_makes_nobody_dead", &["--pid"]);
        }
        let own = Owner::current().unwrap();
        assert_eq!(own.pid, 1);
        assert_ne!(started(1), Some(own.start), "another process 1");
        assert!(!own.is_gone(own) && !own.later().is_gone(own));
        assert!(Harness::current().is_err());
    }

    /// By a clock of its own a living harness's start is another one.
    #[test]
    fn a_clock_of_its_own_makes_nobody_dead() {
        let test = "owner::tests::a_clock_of_its_own_makes_nobody_dead";
        if std::env::var_os(INNER).is_none() {
            let clock = ["--time", "--boottime", "1000000"];
            return again(test, &clock);
        }
        let own = Owner::current().unwrap();
        // Whoever runs `unshare` lives and has the host's clock.
        let outside = std::os::unix::process::parent_id();
        let host = fs::metadata(format!("/proc/{outside}/ns/time"))
            .unwrap()
            .ino();
        assert_ne!(fs::metadata("/proc/self/ns/time").unwrap().ino(), host);
        let by_its_own = started(outside).unwrap() - 1_000_000 * 100;
        let harness = Owner::new(outside, own.namespace, by_its_own);
        assert_ne!(low(started(outside).unwrap(), START_BITS), harness.start);
        assert!(!harness.is_gone(own));
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
}
