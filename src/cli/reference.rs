//! What BASE, HEAD and RUN name: a run's folder, its `run.json`, a baseline's file, the name of a
//! baseline, the id of a run.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::history_plan::database;
use super::places;
use crate::measure::compare::{Comparable, ComparableError};
use crate::store::baseline;
use crate::store::history::{Filter, History};

/// Where runs go that were given no folder.
pub const REPORTS: &str = "reports";
/// Longest name of a baseline.
const LONGEST: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A run: its folder, or the `run.json` in it.
    Run(PathBuf),
    /// A baseline's file.
    Baseline(PathBuf),
}

/// Where a baseline is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Under this name, in the user's data folder.
    Named(String),
    /// As this file.
    File(PathBuf),
}

impl Keep {
    /// What `--save-baseline` says: a file if it has a slash or ends in `.json`, else a name.
    ///
    /// # Errors
    /// [`CliError::Usage`].
    pub fn parse(flag: &'static str, text: &str) -> Result<Self, CliError> {
        if text.contains('/') || text.ends_with(".json") {
            return if text.ends_with('/') {
                let problem = format!("{text:?} names a folder; expected a file or a name");
                Err(CliError::usage(flag, problem, None))
            } else {
                Ok(Self::File(text.into()))
            };
        }
        if is_name(text) {
            return Ok(Self::Named(text.to_owned()));
        }
        let problem = format!(
            "{text:?} is not a name of 1 to {LONGEST} letters, digits, dots, dashes and underscores"
        );
        let hint = Some(format!("{flag} main, or a file: {flag} ci/baseline.json"));
        Err(CliError::usage(flag, problem, hint))
    }

    /// The file.
    ///
    /// # Errors
    /// [`CliError::Usage`] where the environment names no home.
    pub fn path(&self, flag: &'static str) -> Result<PathBuf, CliError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Named(name) => named(name).ok_or_else(|| {
                let problem = "neither XDG_DATA_HOME nor HOME is an absolute path";
                let hint = Some(format!("{flag} ./baseline.json"));
                CliError::usage(flag, problem, hint)
            }),
        }
    }
}

/// No path can be hidden in a name, and none is hidden by it.
fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

fn named(name: &str) -> Option<PathBuf> {
    Some(places::baselines()?.join(format!("{name}.json")))
}

/// Finds what a name stands for.
///
/// # Errors
/// [`CliError::Absent`] with the places that were looked at; [`CliError::Usage`] where it could be
/// two things; [`CliError::Read`].
pub fn resolve(flag: &'static str, name: &Path) -> Result<Found, CliError> {
    let as_name = name.to_str().filter(|text| is_name(text));
    let baseline = as_name.and_then(named);
    let is_there = baseline.as_ref().is_some_and(|path| path.exists());
    let mut looked = vec![name.to_owned()];
    if let Ok(metadata) = fs::metadata(name) {
        if is_there {
            let problem = format!("{0} is both a path here and a baseline", name.display());
            let hint = Some(format!("./{} for the path", name.display()));
            return Err(CliError::usage(flag, problem, hint));
        }
        return Ok(if metadata.is_file() && baseline::is_one(name)? {
            Found::Baseline(name.to_owned())
        } else {
            Found::Run(name.to_owned())
        });
    }
    if let Some(path) = baseline {
        if is_there {
            return Ok(Found::Baseline(path));
        }
        looked.push(path);
    }
    if as_name.is_some() {
        let run = Path::new(REPORTS).join(name);
        if run.join("run.json").exists() {
            return Ok(Found::Run(run));
        }
        looked.push(run);
        if let Some(folder) = as_name.and_then(in_history) {
            if folder.join("run.json").exists() {
                return Ok(Found::Run(folder));
            }
            looked.push(folder);
        }
    }
    Err(CliError::Absent {
        flag,
        name: name.to_owned(),
        looked,
    })
}

/// The folder of a run by its id, where a history knows it. One that cannot be read knows nothing:
/// the error is then that there is no such run.
fn in_history(id: &str) -> Option<PathBuf> {
    let path = database(None).ok().filter(|path| path.is_file())?;
    let filter = Filter {
        id: Some(id.to_owned()),
        limit: Some(1),
        ..Filter::default()
    };
    let (_, entry) = History::open(&path).ok()?.runs(&filter).ok()?.pop()?;
    entry.folder.map(PathBuf::from)
}

impl Found {
    /// Reads one side of a comparison.
    ///
    /// # Errors
    /// What was found is refused.
    pub fn read(&self, flag: &'static str) -> Result<Comparable, CliError> {
        match self {
            Self::Run(path) => Comparable::read(path, flag).map_err(|refused| match refused {
                ComparableError::Read(error) => error.into(),
                ComparableError::Compare(error) => error.into(),
            }),
            Self::Baseline(path) => Ok(Comparable::from(baseline::read(path)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths_and_paths_no_names() {
        for name in ["main", "v1.2", "a_b-c"] {
            assert_eq!(
                Keep::parse("--save-baseline", name).unwrap(),
                Keep::Named(name.to_owned())
            );
        }
        for file in ["ci/main", "./main", "main.json", "../x"] {
            assert_eq!(
                Keep::parse("--save-baseline", file).unwrap(),
                Keep::File(file.into())
            );
        }
        let long = "a".repeat(LONGEST + 1);
        for bad in ["", ".", "..", ".hidden", "a b", "ä", "dir/", &long] {
            let error = Keep::parse("--save-baseline", bad).unwrap_err();
            assert_eq!(error.status(), 2, "{bad}");
        }
    }
}
