//! Which engine, with its options: the part of a configuration's name.

use std::fmt;
use std::time::Duration;

use crate::metric::Bytes;

/// Somebody else's way to run the payload. The order is the order of reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineKind {
    /// An OCI runtime, called as such.
    Oci(OciRuntime, Lifecycle),
    /// bubblewrap.
    Bwrap,
    /// podman, with its monitor.
    Podman,
    /// systemd-nspawn.
    Nspawn,
    /// containerd, its shim and runc.
    Containerd,
    /// containerd as Kubernetes' kubelet uses it.
    Cri,
    /// dockerd, by its API.
    Dockerd(EngineNetwork),
    /// docker's command line in front of dockerd.
    Docker(EngineNetwork),
    /// QEMU.
    Qemu(QemuMachine),
    /// Firecracker.
    Firecracker,
    /// Cloud Hypervisor.
    CloudHypervisor,
    /// A user's own (`[[backend]]` in `isobench.toml`), by its name.
    Own(String),
}

/// A runtime of the OCI's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OciRuntime {
    /// In C.
    Crun,
    /// In Go, the reference.
    Runc,
    /// In Rust.
    Youki,
}

/// How an OCI runtime is asked for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lifecycle {
    /// `create`, `start`, `delete`: as shims do it.
    Steps,
    /// `run`: all in one command, which stays until the payload ends.
    Run,
}

/// What a container of a daemon is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineNetwork {
    /// Its own loopback.
    None,
    /// The daemon's bridge.
    Bridge,
}

/// What QEMU emulates, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QemuMachine {
    /// A PC with firmware, every instruction emulated. (The microvm has no clock that
    /// a kernel could tell the time-stamp counter's rate by, other than KVM's.)
    Tcg,
    /// A small machine with little firmware, on KVM.
    Microvm,
    /// A PC with firmware, on KVM.
    Pc,
}

impl EngineKind {
    /// Every engine that is built in, with its default options first.
    pub const BUILT_IN: [Self; 17] = [
        Self::Oci(OciRuntime::Crun, Lifecycle::Steps),
        Self::Oci(OciRuntime::Runc, Lifecycle::Steps),
        Self::Oci(OciRuntime::Youki, Lifecycle::Steps),
        Self::Bwrap,
        Self::Podman,
        Self::Nspawn,
        Self::Containerd,
        Self::Cri,
        Self::Dockerd(EngineNetwork::None),
        Self::Dockerd(EngineNetwork::Bridge),
        Self::Docker(EngineNetwork::None),
        Self::Docker(EngineNetwork::Bridge),
        Self::Qemu(QemuMachine::Tcg),
        Self::Qemu(QemuMachine::Microvm),
        Self::Qemu(QemuMachine::Pc),
        Self::Firecracker,
        Self::CloudHypervisor,
    ];

    /// Names without options, as they are listed.
    pub const NAMES: [&str; 13] = [
        "crun",
        "runc",
        "youki",
        "bwrap",
        "podman",
        "nspawn",
        "containerd",
        "cri",
        "dockerd",
        "docker",
        "qemu",
        "firecracker",
        "cloud-hypervisor",
    ];

    /// Name without options: what a failure is said of.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Oci(runtime, _) => runtime.name(),
            Self::Bwrap => "bwrap",
            Self::Podman => "podman",
            Self::Nspawn => "nspawn",
            Self::Containerd => "containerd",
            Self::Cri => "cri",
            Self::Dockerd(_) => "dockerd",
            Self::Docker(_) => "docker",
            Self::Qemu(_) => "qemu",
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Own(name) => name,
        }
    }

    /// One sentence for `list`.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Oci(OciRuntime::Crun, _) => "crun: an OCI bundle, created, started and deleted",
            Self::Oci(OciRuntime::Runc, _) => "runc: the same bundle through the reference runtime",
            Self::Oci(OciRuntime::Youki, _) => "youki: the same bundle through the runtime in Rust",
            Self::Bwrap => "bubblewrap: namespaces and a read-only root, no control group",
            Self::Podman => "podman without a daemon: its monitor conmon and an OCI runtime",
            Self::Nspawn => "systemd-nspawn on a directory",
            Self::Containerd => "containerd, its shim and runc",
            Self::Cri => "containerd by the interface that Kubernetes' kubelet uses",
            Self::Dockerd(_) => "dockerd by its API",
            Self::Docker(_) => "docker's command line in front of dockerd",
            Self::Qemu(QemuMachine::Tcg) => "QEMU emulates every instruction of a Linux guest",
            Self::Qemu(QemuMachine::Microvm) => "QEMU's microvm machine on KVM with a Linux guest",
            Self::Qemu(QemuMachine::Pc) => "QEMU's PC with firmware on KVM with a Linux guest",
            Self::Firecracker => "Firecracker with a Linux guest",
            Self::CloudHypervisor => "Cloud Hypervisor with a Linux guest",
            Self::Own(_) => "a backend of your own, from isobench.toml",
        }
    }

    /// Its program, and where it comes from; `None` for a user's own.
    #[must_use]
    pub const fn program(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Oci(OciRuntime::Crun, _) => ("crun", "apt install crun"),
            Self::Oci(OciRuntime::Runc, _) => ("runc", "apt install runc"),
            Self::Oci(OciRuntime::Youki, _) => (
                "youki",
                "cargo install youki --locked --features v1,seccomp",
            ),
            Self::Bwrap => ("bwrap", "apt install bubblewrap"),
            Self::Podman => ("podman", "apt install podman"),
            Self::Nspawn => ("systemd-nspawn", "apt install systemd-container"),
            Self::Containerd | Self::Cri => ("containerd", "apt install containerd"),
            Self::Dockerd(_) => ("dockerd", "apt install docker.io iptables"),
            Self::Docker(_) => ("docker", "apt install docker.io iptables"),
            Self::Qemu(_) => ("qemu-system-x86_64", "apt install qemu-system-x86"),
            Self::Firecracker => (
                "firecracker",
                "a release of https://github.com/firecracker-microvm/firecracker on the path",
            ),
            Self::CloudHypervisor => (
                "cloud-hypervisor",
                "a release of https://github.com/cloud-hypervisor/cloud-hypervisor on the path",
            ),
            Self::Own(_) => return None,
        })
    }

    /// Memory of one more idle instance, to within a factor of two; only counts are made of it, never a
    /// result.
    #[must_use]
    pub const fn typical_memory(&self) -> Bytes {
        Bytes(match self {
            Self::Oci(_, Lifecycle::Steps) | Self::Bwrap => 512 << 10,
            Self::Oci(_, Lifecycle::Run) | Self::Podman | Self::Nspawn | Self::Own(_) => 4 << 20,
            Self::Containerd | Self::Cri | Self::Dockerd(_) => 8 << 20,
            Self::Docker(_) => 32 << 20,
            Self::Qemu(_) | Self::Firecracker | Self::CloudHypervisor => 96 << 20,
        })
    }

    /// Whether an instance has a kernel of its own to boot.
    #[must_use]
    pub const fn boots(&self) -> bool {
        matches!(
            self,
            Self::Qemu(_) | Self::Firecracker | Self::CloudHypervisor
        )
    }

    /// How long a trial of `noop` takes, to within a factor of two; only time is planned with it.
    #[must_use]
    pub const fn typical_time(&self) -> Duration {
        Duration::from_millis(match self {
            Self::Bwrap => 10,
            Self::Oci(_, _) => 60,
            Self::Nspawn | Self::Own(_) => 150,
            Self::Containerd | Self::Cri => 250,
            Self::Dockerd(_) => 350,
            Self::Docker(_) | Self::Podman => 450,
            Self::Qemu(QemuMachine::Tcg) => 3000,
            Self::Qemu(_) | Self::Firecracker | Self::CloudHypervisor => 500,
        })
    }

    /// Reads a name with its options. `None`: no such engine is built in.
    ///
    /// # Errors
    /// The engine has no such option.
    pub fn parse(name: &str, options: Option<&str>) -> Result<Option<Self>, EngineOptionError> {
        let oci = |runtime| match options {
            None => Ok(Self::Oci(runtime, Lifecycle::Steps)),
            Some("run") => Ok(Self::Oci(runtime, Lifecycle::Run)),
            Some(other) => Err(unknown(name, other, "run")),
        };
        let network = || match options {
            None | Some("network=none") => Ok(EngineNetwork::None),
            Some("network=bridge") => Ok(EngineNetwork::Bridge),
            Some(other) => Err(unknown(name, other, "network=none or network=bridge")),
        };
        let plain = |kind: Self| match options {
            None => Ok(kind),
            Some(other) => Err(unknown(name, other, "no option")),
        };
        Ok(Some(match name {
            "crun" => oci(OciRuntime::Crun)?,
            "runc" => oci(OciRuntime::Runc)?,
            "youki" => oci(OciRuntime::Youki)?,
            "bwrap" => plain(Self::Bwrap)?,
            "podman" => plain(Self::Podman)?,
            "nspawn" => plain(Self::Nspawn)?,
            "containerd" => plain(Self::Containerd)?,
            "cri" => plain(Self::Cri)?,
            "dockerd" => Self::Dockerd(network()?),
            "docker" => Self::Docker(network()?),
            "qemu" => Self::Qemu(match options {
                Some("tcg") => QemuMachine::Tcg,
                Some("microvm") => QemuMachine::Microvm,
                Some("pc") => QemuMachine::Pc,
                other => {
                    return Err(unknown(
                        name,
                        other.unwrap_or_default(),
                        "tcg, microvm or pc",
                    ));
                }
            }),
            "firecracker" => plain(Self::Firecracker)?,
            "cloud-hypervisor" => plain(Self::CloudHypervisor)?,
            _ => return Ok(None),
        }))
    }
}

/// An engine was asked for with an option that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{engine}: there is no option {option:?}; expected {expected}")]
pub struct EngineOptionError {
    engine: String,
    option: String,
    expected: &'static str,
}

fn unknown(engine: &str, option: &str, expected: &'static str) -> EngineOptionError {
    EngineOptionError {
        engine: engine.to_owned(),
        option: option.to_owned(),
        expected,
    }
}

impl OciRuntime {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Crun, Self::Runc, Self::Youki];

    /// Name of the command, too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Youki => "youki",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        f.write_str(match self {
            Self::Oci(_, Lifecycle::Run) => ":run",
            Self::Dockerd(EngineNetwork::Bridge) | Self::Docker(EngineNetwork::Bridge) => {
                ":network=bridge"
            }
            Self::Qemu(QemuMachine::Tcg) => ":tcg",
            Self::Qemu(QemuMachine::Microvm) => ":microvm",
            Self::Qemu(QemuMachine::Pc) => ":pc",
            _ => "",
        })
    }
}
