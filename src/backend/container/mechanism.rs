//! What a container is made of: namespaces and other mechanisms, each with a name of its own.

use std::fmt;

/// One namespace (namespaces(7)) or mechanism that a container may have or lack. The order is the
/// order of the namespace ladder: the user namespace first, because the kernel makes it first and
/// it owns all others; a mechanism stands behind those it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// User namespace (user_namespaces(7)) with exactly one uid and one gid mapped.
    User,
    /// Pid namespace (pid_namespaces(7)).
    Pid,
    /// Network namespace (network_namespaces(7)), its interface `lo` down.
    Net,
    /// SysV IPC and POSIX message queues (ipc_namespaces(7)).
    Ipc,
    /// Mount namespace (mount_namespaces(7)), a copy of the host's mounts.
    Mnt,
    /// Host and domain name (uts_namespaces(7)).
    Uts,
    /// Cgroup namespace (cgroup_namespaces(7)).
    CgroupNs,
    /// Time namespace (time_namespaces(7)), its clocks set back to 0.
    Time,
    /// The interface `lo` up.
    Loopback,
    /// A fresh root with pivot_root(2), `/proc` and `/dev`.
    Rootfs,
    /// A control group of its own with limits on memory and tasks (cgroups(7)).
    Cgroup,
    /// A limit on the group's processor time.
    Cpu,
    /// Five empty capability sets, and an id that owns nothing (capabilities(7)).
    Capabilities,
    /// A seccomp filter with an allowlist (seccomp(2)).
    Seccomp,
    /// A pair of virtual interfaces (veth(4)): `eth0` with an address, and its other end in a bridge
    /// of the host.
    Veth,
}

impl Mechanism {
    /// All, in the ladder's order.
    pub const ALL: [Self; 15] = [
        Self::User,
        Self::Pid,
        Self::Net,
        Self::Ipc,
        Self::Mnt,
        Self::Uts,
        Self::CgroupNs,
        Self::Time,
        Self::Loopback,
        Self::Rootfs,
        Self::Cgroup,
        Self::Cpu,
        Self::Capabilities,
        Self::Seccomp,
        Self::Veth,
    ];

    /// Name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Mnt => "mnt",
            Self::Uts => "uts",
            Self::CgroupNs => "cgroupns",
            Self::Time => "time",
            Self::Loopback => "loopback",
            Self::Rootfs => "rootfs",
            Self::Cgroup => "cgroup",
            Self::Cpu => "cpu",
            Self::Capabilities => "capabilities",
            Self::Seccomp => "seccomp",
            Self::Veth => "veth",
        }
    }

    /// The mechanism with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Its `CLONE_NEW*` flag, if it is a namespace.
    #[must_use]
    pub const fn namespace(self) -> Option<u64> {
        Some(match self {
            Self::User => libc::CLONE_NEWUSER as u64,
            Self::Pid => libc::CLONE_NEWPID as u64,
            Self::Net => libc::CLONE_NEWNET as u64,
            Self::Ipc => libc::CLONE_NEWIPC as u64,
            Self::Mnt => libc::CLONE_NEWNS as u64,
            Self::Uts => libc::CLONE_NEWUTS as u64,
            Self::CgroupNs => libc::CLONE_NEWCGROUP as u64,
            Self::Time => libc::CLONE_NEWTIME as u64,
            _ => return None,
        })
    }

    /// What it cannot be had without: changing the host's root, the host's `lo` or the limits of the
    /// harness's own group is out of the question.
    #[must_use]
    pub const fn needs(self) -> Option<Self> {
        match self {
            Self::Loopback | Self::Veth => Some(Self::Net),
            Self::Rootfs => Some(Self::Mnt),
            Self::Cpu => Some(Self::Cgroup),
            _ => None,
        }
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// None.
    pub const NONE: Self = Self(0);

    /// What `container` has where nothing else is asked for: all but
    /// * the user namespace, which root does not need and everybody else gets,
    /// * the time namespace, which engines leave out,
    /// * the limit on processor time, which on cgroup v1 takes a directory more,
    /// * the pair of interfaces, which takes root and costs more than all else together.
    pub const DEFAULT: Self = Self(
        ((1 << Mechanism::ALL.len()) - 1)
            & !(1 << Mechanism::User as u16)
            & !(1 << Mechanism::Time as u16)
            & !(1 << Mechanism::Cpu as u16)
            & !(1 << Mechanism::Veth as u16),
    );

    /// These, with what each cannot be had without.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = Mechanism>) -> Self {
        all.into_iter().fold(Self::NONE, Self::with)
    }

    /// With one more, and what it needs.
    #[must_use]
    pub fn with(self, one: Mechanism) -> Self {
        let needed = one.needs().map_or(0, |other| 1 << other as u16);
        Self(self.0 | 1 << one as u16 | needed)
    }

    /// Without one, and without what needs it.
    #[must_use]
    pub fn without(self, one: Mechanism) -> Self {
        let kept = |m: &Mechanism| *m != one && m.needs() != Some(one);
        Self(
            self.iter()
                .filter(kept)
                .fold(0, |set, m| set | 1 << m as u16),
        )
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, one: Mechanism) -> bool {
        self.0 & 1 << one as u16 != 0
    }

    /// In the ladder's order.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |m| self.has(*m))
    }
}

impl fmt::Display for Mechanisms {
    /// `pid+net`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mechanism) in self.iter().enumerate() {
            let plus = if index > 0 { "+" } else { "" };
            write!(f, "{plus}{}", mechanism.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_without_what_it_needs() {
        for one in Mechanism::ALL {
            let only = Mechanisms::of([one]);
            assert!(only.has(one) && one.needs().is_none_or(|other| only.has(other)));
            let rest = Mechanisms::of(Mechanism::ALL).without(one);
            assert!(!rest.has(one) && rest.iter().all(|m| m.needs() != Some(one)));
            assert_eq!(Mechanism::from_name(one.name()), Some(one));
        }
    }

    #[test]
    fn what_is_needed_stands_before() {
        assert!(Mechanism::ALL.is_sorted());
        assert!(
            Mechanism::ALL
                .into_iter()
                .all(|m| m.needs().is_none_or(|n| n < m))
        );
    }

    #[test]
    fn the_default_lacks_four() {
        let lacking: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|m| !Mechanisms::DEFAULT.has(*m))
            .collect();
        use Mechanism::{Cpu, Time, User, Veth};
        assert_eq!(lacking, [User, Time, Cpu, Veth]);
        assert_eq!(
            Mechanisms::of([Mechanism::Rootfs]).to_string(),
            "mnt+rootfs"
        );
    }
}
