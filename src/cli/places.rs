//! Where isobench keeps what outlives a run: the folders of the XDG Base Directory Specification.

use std::ffi::OsString;
use std::path::PathBuf;

/// Folder of named baselines; `None` where the environment names no home.
#[must_use]
pub fn baselines() -> Option<PathBuf> {
    Some(base("XDG_DATA_HOME", ".local/share", variable)?.join("baselines"))
}

/// The history's database; `None` where the environment names no home.
#[must_use]
pub fn history() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state", variable)?.join("history.db"))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The specification: a path that is not absolute is to be ignored.
fn base(name: &str, default: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let folder = absolute(name).or_else(|| Some(absolute("HOME")?.join(default)))?;
    Some(folder.join("isobench"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_is_ignored() {
        let of = |xdg: &str, home: &str| {
            let (xdg, home) = (xdg.to_owned(), home.to_owned());
            base("XDG_DATA_HOME", ".local/share", move |name| {
                let value = if name == "HOME" { &home } else { &xdg };
                (!value.is_empty()).then(|| value.into())
            })
        };
        assert_eq!(of("/data", "/home/u"), Some("/data/isobench".into()));
        let default = Some("/home/u/.local/share/isobench".into());
        assert_eq!(of("data", "/home/u"), default);
        assert_eq!(of("", "/home/u"), default);
        assert_eq!(of("", "home"), None);
    }
}
