//! What a program is that is to be compared: a build of isobench, or an OCI runtime. It is asked for its
//! version, or the user says.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::lane::LaneError;
use crate::backend::engine::detect::{Found, is_executable, on_path};
use crate::backend::engine::kind::OciRuntime;

/// A program with what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The first line of its answer to `--version`.
    pub version: String,
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// isobench, with its own launchers and VMM.
    Isobench,
    /// A runtime that isobench drives.
    Runtime(OciRuntime),
}

impl Subject {
    /// Asks a program what it is; one that `known` names need only answer.
    ///
    /// # Errors
    /// [`LaneError::Start`] where there is no such program, [`LaneError::Unknown`] where it does not say,
    /// or says something else.
    pub fn ask(program: &Path, known: Option<OciRuntime>) -> Result<Self, LaneError> {
        let path = resolve(program).map_err(|cause| LaneError::Start {
            path: program.to_owned(),
            cause,
        })?;
        let unknown = |said: String| LaneError::Unknown {
            path: path.clone(),
            said,
        };
        let answer = Found::asked(path.clone(), |asked| asked);
        let version = answer.map_err(|why| unknown(why.reason))?.version;
        let kind = known.map(Kind::Runtime).or_else(|| Kind::named(&version));
        let kind = kind.ok_or_else(|| unknown(format!("its --version says {version:?}")))?;
        Ok(Self {
            path,
            kind,
            version,
        })
    }
}

impl Kind {
    /// What says this of its version: the name is its first word.
    fn named(version: &str) -> Option<Self> {
        let name = version.split([' ', ':', '-']).next()?;
        if name == env!("CARGO_PKG_NAME") {
            return Some(Self::Isobench);
        }
        let mut runtimes = OciRuntime::ALL.into_iter();
        let found = runtimes.find(|runtime| runtime.name() == name);
        found.map(Self::Runtime)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isobench => env!("CARGO_PKG_NAME"),
            Self::Runtime(runtime) => runtime.name(),
        })
    }
}

/// Where a program is: a path, or a name on the search path, as a shell takes it.
fn resolve(program: &Path) -> io::Result<PathBuf> {
    let as_name = program.to_str().filter(|name| !name.contains('/'));
    if let Some(name) = as_name {
        let found = on_path(name);
        return found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not on the path"));
    }
    let path = std::path::absolute(program)?;
    std::fs::metadata(&path)?;
    if is_executable(&path) {
        Ok(path)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_the_first_word_of_their_version() {
        for (said, kind) in [
            ("isobench 0.1.0", Some(Kind::Isobench)),
            ("crun version 1.21", Some(Kind::Runtime(OciRuntime::Crun))),
            (
                "runc version 1.1.15+ds1",
                Some(Kind::Runtime(OciRuntime::Runc)),
            ),
            (
                "youki version: 0.5.3",
                Some(Kind::Runtime(OciRuntime::Youki)),
            ),
            ("isobenchmark 1", None),
            ("bubblewrap 0.8.0", None),
            ("", None),
        ] {
            assert_eq!(Kind::named(said), kind, "{said}");
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_started() {
        for name in ["./there-is-no-such-program", "there-is-no-such-program"] {
            let refused = Subject::ask(Path::new(name), None).unwrap_err();
            assert!(matches!(refused, LaneError::Start { .. }), "{refused}");
        }
        // A folder may be entered, which is no execution.
        let refused = Subject::ask(Path::new("/tmp/."), None).unwrap_err();
        assert!(matches!(refused, LaneError::Start { .. }), "{refused}");
    }
}
