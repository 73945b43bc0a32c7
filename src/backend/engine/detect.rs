//! Is an engine's program there, and which version is it?

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{Invocation, Patience};
use super::tail::one_line;
use super::{EngineFacts, EngineKind};
use crate::backend::Unavailable;
use crate::backend::child::Deadline;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program on the search path, with what it says about itself.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// The first line of its answer to `--version`.
    pub version: String,
}

impl Found {
    /// Looks for an engine's program on the search path and in the folders of the system's own programs,
    /// and asks it for its version.
    ///
    /// # Errors
    /// It is not there, or it does not answer.
    pub fn engine(kind: &EngineKind) -> Result<Self, Unavailable> {
        Self::asked(path_of(kind)?, |asked| asked)
    }

    /// Looks for a program that an engine needs, in the same way.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub fn program(name: &str, remedy: &str) -> Result<Self, Unavailable> {
        let path = on_path(name).ok_or_else(|| Unavailable {
            reason: format!("{name} is not on the path"),
            remedy: remedy.to_owned(),
        })?;
        Self::asked(path, |asked| asked)
    }

    /// A program at this path, asked for its version by a command that `with` makes of the plain one.
    ///
    /// # Errors
    /// It does not answer.
    pub fn asked(
        path: PathBuf,
        with: impl FnOnce(Invocation) -> Invocation,
    ) -> Result<Self, Unavailable> {
        let asked = with(Invocation::of(&path)).with(["--version"]);
        let answer = asked
            .run(Patience::until(Deadline::after(PATIENCE)))
            .map_err(|failure| Unavailable {
                reason: format!("found {}, but {failure}", path.display()),
                remedy: format!("{} --version should print its version", path.display()),
            })?;
        let first = answer.split(|byte| *byte == b'\n').next();
        let version = one_line(first.unwrap_or_default());
        Ok(Self { path, version })
    }

    /// Cannot run here, although it was found.
    #[must_use]
    pub fn unusable(&self, why: &str, remedy: &str) -> Unavailable {
        Unavailable {
            reason: format!(
                "found {} ({}), but {why}",
                self.path.display(),
                self.version
            ),
            remedy: remedy.to_owned(),
        }
    }

    /// As [`Self::unusable`], for what something that it needs says.
    #[must_use]
    pub fn but(&self, why: Unavailable) -> Unavailable {
        self.unusable(&why.reason, &why.remedy)
    }

    /// What goes into the result.
    #[must_use]
    pub fn facts(&self, differences: &[impl ToString]) -> EngineFacts {
        EngineFacts {
            program: self.path.display().to_string(),
            version: self.version.clone(),
            differences: differences.iter().map(ToString::to_string).collect(),
        }
    }

    /// A command of it.
    #[must_use]
    pub fn command(&self) -> Invocation {
        Invocation::of(&self.path)
    }
}

/// Where an engine's program is.
///
/// # Errors
/// It is not on the path; where it comes from.
pub fn path_of(kind: &EngineKind) -> Result<PathBuf, Unavailable> {
    let (program, remedy) = kind.program().unwrap_or((kind.name(), "see isobench.toml"));
    on_path(program).ok_or_else(|| Unavailable {
        reason: format!("{program} is not on the path"),
        remedy: remedy.to_owned(),
    })
}

/// Where a program is: on the search path, or where an ordinary user's path does not look. Parts of the
/// path that are relative or empty would mean another program in every folder, and are left out.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders.chain(system).find_map(|folder| {
        let file = folder.join(program);
        is_executable(&file).then_some(file)
    })
}

/// Whether it is a file that somebody may execute.
pub fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
