//! A daemon's program, as it is found on this host.

use std::path::PathBuf;

use crate::backend::Unavailable;
use crate::backend::engine::detect::Found;

/// A program and what it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file, no symbolic link.
    pub path: PathBuf,
    /// Its version, without a name before it.
    pub version: String,
}

impl Program {
    /// Looks for it and asks its version.
    ///
    /// # Errors
    /// It is not installed, or cannot say its version.
    pub fn of(name: &str, remedy: &str) -> Result<Self, Unavailable> {
        let found = Found::program(name, remedy)?;
        let version = version(&found.version)
            .ok_or_else(|| found.unusable("that is no version", remedy))?
            .to_owned();
        let path = std::fs::canonicalize(&found.path)
            .map_err(|error| found.unusable(&error.to_string(), remedy))?;
        Ok(Self { path, version })
    }

    /// It is there and cannot be used.
    #[must_use]
    pub fn refused(&self, why: &str) -> Unavailable {
        Unavailable {
            reason: format!(
                "found {} ({}), but {why}",
                self.path.display(),
                self.version
            ),
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
