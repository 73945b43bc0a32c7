//! A backend with its options, as it is named on the command line and in results.

use std::fmt;
use std::str::FromStr;

use super::container::options::{OptionError, Options};

/// A way to run the payload. The order is the order of reports, reference first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Configuration {
    /// fork+exec: the reference for every ratio.
    Process,
    /// The project's own launcher.
    Container(Options),
    /// The project's own VMM, no guest operating system.
    MicroVm,
}

/// Why a name is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// No such backend.
    #[error("there is no backend {0:?}; expected one of {known}", known = Configuration::BACKENDS.join(", "))]
    Backend(String),
    /// A backend that takes no options got some.
    #[error("{0} takes no options")]
    NoOptions(&'static str),
    /// An option of `container`.
    #[error("container: {0}")]
    Container(#[from] OptionError),
}

impl Configuration {
    /// Names of the backends, reference first.
    pub const BACKENDS: [&str; 3] = ["process", "container", "microvm"];

    /// Every configuration that `run` takes by default, reference first.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        vec![Self::Process, Self::container(), Self::MicroVm]
    }

    /// `container` with its default options.
    #[must_use]
    pub fn container() -> Self {
        Self::Container(Options::default())
    }

    /// Id in results: the backend and the shortest spelling of its options.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// One sentence for `list`.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Process => "fork+exec of the payload: the reference for every ratio",
            Self::Container(_) => {
                "own launcher: pid, net, ipc, mnt, uts, cgroup (and user) namespaces, fresh root, \
                 cgroup limits, no capabilities, seccomp"
            }
            Self::MicroVm => "own VMM on KVM: no firmware, no guest OS, the payload at CPL 3",
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
            "microvm" => plain(Self::MicroVm, "microvm"),
            "container" => Ok(Self::Container(
                options.map_or_else(|| Ok(Options::default()), Options::parse)?,
            )),
            other => Err(ConfigurationError::Backend(other.to_owned())),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process"),
            Self::Container(options) => write!(f, "container{options}"),
            Self::MicroVm => f.write_str("microvm"),
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
        ] {
            let configuration: Configuration = name.parse().unwrap();
            assert_eq!(configuration.id(), name);
        }
        let same: Configuration = "container:only=pid".parse().unwrap();
        assert_eq!(same.id(), "container:ns=pid");
    }

    #[test]
    fn a_wrong_name_is_refused() {
        for (name, says) in [
            ("processs", "no backend \"processs\""),
            ("", "no backend \"\""),
            ("process:none", "process takes no options"),
            ("microvm:", "microvm takes no options"),
            ("container:", "container: there is no option \"\""),
        ] {
            let error = name.parse::<Configuration>().unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
    }
}
