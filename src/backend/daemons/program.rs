//! Programs of somebody else's, as they are found on this host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backend::Unavailable;

/// Where system programs are that a user's PATH may leave out.
const SYSTEM: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// A program and what it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file, no symbolic link.
    pub path: PathBuf,
    /// Its version, as it prints it.
    pub version: String,
}

impl Program {
    /// Looks for it and asks its version.
    ///
    /// # Errors
    /// It is not installed, or cannot say its version.
    pub fn of(name: &str, remedy: &str) -> Result<Self, Unavailable> {
        let unavailable = |reason| Unavailable {
            reason,
            remedy: remedy.to_owned(),
        };
        let path = find(name).ok_or_else(|| unavailable(format!("{name} is not installed")))?;
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|e| unavailable(format!("{}: {e}", path.display())))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version(&text)
            .ok_or_else(|| unavailable(format!("{name} --version prints no version")))?;
        Ok(Self {
            version: version.to_owned(),
            path,
        })
    }
}

impl Program {
    /// It is there and cannot be used.
    pub(super) fn refused(&self, why: &str) -> Unavailable {
        Unavailable {
            reason: format!("{} ({}): {why}", self.path.display(), self.version),
            remedy: "see the error".to_owned(),
        }
    }
}

/// The first word that begins with a digit, possibly behind a `v`.
fn version(text: &str) -> Option<&str> {
    let is_number = |word: &&str| {
        let word = word.strip_prefix('v').unwrap_or(word);
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
    };
    let found = text.split_whitespace().find(is_number)?;
    Some(found.trim_end_matches(','))
}

/// The file of a program: the first in PATH, else where system programs are.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    let file = folders.find_map(|folder| executable(&folder.join(name)))?;
    std::fs::canonicalize(file).ok()
}

fn executable(file: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let facts = std::fs::metadata(file).ok()?;
    (facts.is_file() && facts.permissions().mode() & 0o111 != 0).then(|| file.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_programs_print_it() {
        for (text, expected) in [
            (
                "Docker version 20.10.24+dfsg1, build 5d6db84",
                "20.10.24+dfsg1",
            ),
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 abc",
                "1.6.20~ds1",
            ),
            (
                "containerd github.com/containerd/containerd/v2 v2.1.0 abc",
                "v2.1.0",
            ),
        ] {
            assert_eq!(version(text), Some(expected));
        }
        assert_eq!(version("no idea"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let refused = Program::of("isobench-no-such-program", "apt").unwrap_err();
        assert!(refused.reason.contains("isobench-no-such-program"));
        assert_eq!(refused.remedy, "apt");
    }
}
