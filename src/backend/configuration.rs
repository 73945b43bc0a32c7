//! A backend with its options, as it is named on the command line and in results.

use std::fmt;
use std::str::FromStr;

use super::container::options::{OptionError, Options};
use super::engine::kind::{EngineKind, EngineOptionError};
use super::linux_vm::options::{Savings, SavingsError};

/// A way to run the payload. The order is the order of reports, reference first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Configuration {
    /// fork+exec: the reference for every ratio.
    Process,
    /// The project's own launcher.
    Container(Options),
    /// The project's own VMM, no guest operating system.
    MicroVm(MicroVmKind),
    /// The project's own VMM, with a Linux kernel in it.
    LinuxVm(Savings),
    /// Somebody else's.
    Engine(EngineKind),
}

/// How a micro-VM comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MicroVmKind {
    /// Started anew for each trial, by a VMM inside the harness.
    Cold,
    /// Started anew for each trial, by a VMM that is a confined process of its own.
    Jailed,
    /// Copied from a snapshot for each trial.
    Snapshot,
    /// Kept, and given its snapshot's state for each trial.
    Pool,
}

impl MicroVmKind {
    /// Every kind, the plain one first.
    pub const ALL: [Self; 4] = [Self::Cold, Self::Jailed, Self::Snapshot, Self::Pool];

    /// Spelling behind the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Jailed => "jailed",
            Self::Snapshot => "snapshot",
            Self::Pool => "pool",
        }
    }

    fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| ConfigurationError::MicroVm(text.to_owned()))
    }
}

/// Why a name is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// No such backend.
    #[error("there is no backend {0:?}; expected one of {known}", known = Configuration::backends().join(", "))]
    Backend(String),
    /// A backend that takes no options got some.
    #[error("{0} takes no options")]
    NoOptions(&'static str),
    /// Not a kind of `microvm`.
    #[error("microvm: there is no kind {0:?}; expected one of {known}", known = MicroVmKind::ALL.map(MicroVmKind::name).join(", "))]
    MicroVm(String),
    /// An option of `container`.
    #[error("container: {0}")]
    Container(#[from] OptionError),
    /// An option of `linux-vm`.
    #[error("linux-vm: {0}")]
    LinuxVm(#[from] SavingsError),
    /// An option of an engine.
    #[error(transparent)]
    Engine(#[from] EngineOptionError),
}

impl Configuration {
    /// Names of the project's own backends, reference first.
    const OWN: [&str; 4] = ["process", "container", "microvm", "linux-vm"];

    /// Names of the backends that are built in, reference first.
    #[must_use]
    pub fn backends() -> Vec<&'static str> {
        [&Self::OWN[..], &EngineKind::NAMES].concat()
    }

    /// Every configuration that `run` takes by default, reference first.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        vec![Self::Process, Self::container(), Self::microvm()]
    }

    /// Every kind of backend once, with its default options, reference first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Process, Self::container()];
        all.extend(MicroVmKind::ALL.map(Self::MicroVm));
        all.push(Self::LinuxVm(Savings::NONE));
        all.extend(EngineKind::BUILT_IN.map(Self::Engine));
        all
    }

    /// `container` with its default options.
    #[must_use]
    pub fn container() -> Self {
        Self::Container(Options::default())
    }

    /// `microvm` as it is started anew for each trial.
    #[must_use]
    pub const fn microvm() -> Self {
        Self::MicroVm(MicroVmKind::Cold)
    }

    /// A user's own, by its name.
    #[must_use]
    pub fn own(name: &str) -> Self {
        Self::Engine(EngineKind::Own(name.to_owned()))
    }

    /// Id in results: the backend and the shortest spelling of its options.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// One sentence for `list`.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Process => "fork+exec of the payload: the reference for every ratio",
            Self::Container(_) => {
                "own launcher: pid, net, ipc, mnt, uts, cgroup (and user) namespaces, fresh root, \
                 cgroup limits, no capabilities, seccomp"
            }
            Self::MicroVm(MicroVmKind::Cold) => {
                "own VMM on KVM: no firmware, no guest OS, the payload at CPL 3"
            }
            Self::MicroVm(MicroVmKind::Jailed) => {
                "the same VMM as a process of its own: namespaces, empty root, no capabilities, \
                 seccomp"
            }
            Self::MicroVm(MicroVmKind::Snapshot) => {
                "a copy-on-write copy of a micro-VM that was taken when its payload was ready: a \
                 copy, not a boot"
            }
            Self::MicroVm(MicroVmKind::Pool) => {
                "one micro-VM kept, its memory and registers given back their snapshot's state at \
                 the start of each trial"
            }
            Self::LinuxVm(_) => {
                "own VMM on hardware KVM boots a Linux kernel (--kernel, else the newest in /boot) \
                 with the payload as /init; not part of the default"
            }
            Self::Engine(kind) => kind.describe(),
        }
    }
}

impl FromStr for Configuration {
    type Err = ConfigurationError;

    fn from_str(text: &str) -> Result<Self, ConfigurationError> {
        let (backend, options) = text
            .split_once(':')
            .map_or((text, None), |(backend, options)| (backend, Some(options)));
        let plain = |configuration, name| match options {
            None => Ok(configuration),
            Some(_) => Err(ConfigurationError::NoOptions(name)),
        };
        match backend {
            "process" => plain(Self::Process, "process"),
            "microvm" => Ok(Self::MicroVm(
                options.map_or(Ok(MicroVmKind::Cold), MicroVmKind::parse)?,
            )),
            "container" => Ok(Self::Container(
                options.map_or_else(|| Ok(Options::default()), Options::parse)?,
            )),
            "linux-vm" => Ok(Self::LinuxVm(
                options.map_or(Ok(Savings::NONE), Savings::parse)?,
            )),
            other => EngineKind::parse(other, options)?
                .map(Self::Engine)
                .ok_or_else(|| ConfigurationError::Backend(other.to_owned())),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process"),
            Self::Container(options) => write!(f, "container{options}"),
            Self::MicroVm(MicroVmKind::Cold) => f.write_str("microvm"),
            Self::MicroVm(kind) => write!(f, "microvm:{}", kind.name()),
            Self::LinuxVm(savings) => write!(f, "linux-vm{savings}"),
            Self::Engine(kind) => kind.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        for name in [
            "process",
            "container",
            "container:none",
            "container:ns=pid+net",
            "container:without=net",
            "container:with=user+time",
            "microvm",
            "microvm:jailed",
            "microvm:snapshot",
            "microvm:pool",
            "linux-vm",
            "linux-vm:lean",
            "linux-vm:save=quiet+pci",
            "linux-vm:keep=console",
            "crun",
            "runc:run",
            "dockerd:network=bridge",
            "docker",
            "qemu:tcg",
        ] {
            let configuration: Configuration = name.parse().unwrap();
            assert_eq!(configuration.id(), name);
        }
        assert_eq!("microvm:cold".parse(), Ok(Configuration::microvm()));
        let same: Configuration = "container:only=pid".parse().unwrap();
        assert_eq!(same.id(), "container:ns=pid");
    }

    /// What is listed and examined can be asked for, and leaves nothing out that a run takes by itself.
    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let all = Configuration::all();
        let ids: Vec<String> = all.iter().map(Configuration::id).collect();
        let expected = [
            "process",
            "container",
            "microvm",
            "microvm:jailed",
            "microvm:snapshot",
            "microvm:pool",
            "linux-vm",
            "crun",
            "runc",
            "youki",
            "bwrap",
            "podman",
            "nspawn",
            "containerd",
            "cri",
            "dockerd",
            "dockerd:network=bridge",
            "docker",
            "docker:network=bridge",
            "qemu:tcg",
            "qemu:microvm",
            "qemu:pc",
            "firecracker",
            "cloud-hypervisor",
        ];
        assert_eq!(ids, expected);
        assert!(all.iter().is_sorted());
        assert!(
            Configuration::defaults()
                .iter()
                .all(|one| all.contains(one))
        );
        for configuration in &all {
            assert_eq!(configuration.id().parse().as_ref(), Ok(configuration));
        }
        let is_of = |id: &String, name| id.split(':').next() == Some(name);
        let named = |name| ids.iter().any(|id| is_of(id, name));
        assert!(Configuration::backends().into_iter().all(named));
    }

    #[test]
    fn a_wrong_name_is_refused() {
        for (name, says) in [
            ("processs", "no backend \"processs\""),
            ("", "no backend \"\""),
            ("process:none", "process takes no options"),
            ("microvm:", "microvm: there is no kind \"\""),
            (
                "microvm:hot",
                "expected one of cold, jailed, snapshot, pool",
            ),
            ("linux-vm:fat", "linux-vm: there is no option \"fat\""),
            ("linux-vm:save=x", "linux-vm: there is no saving \"x\""),
            ("container:", "container: there is no option \"\""),
            (
                "runc:fast",
                "runc: there is no option \"fast\"; expected run",
            ),
            ("bwrap:run", "bwrap: there is no option \"run\""),
            ("qemu", "expected tcg, microvm or pc"),
            ("docker:network=host", "docker: there is no option"),
        ] {
            let error = name.parse::<Configuration>().unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
    }
}
