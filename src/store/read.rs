//! Reading a stored run: strict, and bounded in time and memory.
//!
//! Whoever hands us a run wants a judgement from it, so a file that is not exactly what this
//! program writes is refused by field instead of being half understood. One thing is tolerated:
//! the last line of `trials.jsonl` may be cut off, because a killed harness leaves it so.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check_run;
use super::document::{Run, SCHEMA};
use super::read_error::{ReadError, Refusal};
use super::read_trials::{Trials, read_trials};

/// Largest `run.json` that is read. A full run's has a hundred KiB.
pub const MOST_RUN_BYTES: u64 = 64 << 20;

/// A run as it lies on disk, each part checked for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct OnDisk {
    /// The folder.
    pub folder: PathBuf,
    /// `run.json`.
    pub run: Run,
    /// `trials.jsonl`; `None` where only a `run.json` was kept.
    pub trials: Option<Trials>,
}

/// Reads a run: its folder, or the `run.json` in it.
///
/// # Errors
/// See [`ReadError`]; the first thing that is wrong.
pub fn read(path: &Path) -> Result<OnDisk, ReadError> {
    let Head { folder, run, lines } = read_head(path)?;
    let trials = lines.map(|lines| read_trials(&lines)).transpose()?;
    Ok(OnDisk {
        folder,
        run,
        trials,
    })
}

/// A run whose trials have not been read yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The folder.
    pub folder: PathBuf,
    /// `run.json`.
    pub run: Run,
    /// Where `trials.jsonl` is; `None` where only a `run.json` was kept.
    pub lines: Option<PathBuf>,
}

/// Reads the `run.json` of a run alone.
///
/// # Errors
/// See [`ReadError`].
pub fn read_head(path: &Path) -> Result<Head, ReadError> {
    let metadata = std::fs::metadata(path).map_err(|cause| ReadError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let (folder, document) = if metadata.is_dir() {
        (path.to_owned(), path.join("run.json"))
    } else {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        (folder, path.to_owned())
    };
    let run = read_run(&document)?;
    let lines = folder.join("trials.jsonl");
    let lines = lines.try_exists().unwrap_or(true).then_some(lines);
    Ok(Head { folder, run, lines })
}

/// Reads and checks a `run.json`.
///
/// # Errors
/// See [`ReadError`].
pub fn read_run(path: &Path) -> Result<Run, ReadError> {
    let run = document(path, MOST_RUN_BYTES, SCHEMA)?;
    check_run::check(&run).map_err(|refusal| ReadError::Field {
        path: path.to_owned(),
        line: None,
        refusal,
    })?;
    Ok(run)
}

/// Reads a document of this schema; what its types allow is still to be checked.
///
/// # Errors
/// See [`ReadError`].
pub(super) fn document<T: DeserializeOwned>(
    path: &Path,
    most: u64,
    expected: &'static str,
) -> Result<T, ReadError> {
    let text = text(path, most)?;
    let field = |refusal| ReadError::Field {
        path: path.to_owned(),
        line: None,
        refusal,
    };
    // The version first: a later one may well have other fields.
    let found = schema(&text, expected).map_err(field)?;
    if found != expected {
        return Err(if is_newer(&found, expected) {
            let path = path.to_owned();
            ReadError::Newer {
                path,
                found,
                expected,
            }
        } else {
            let problem = format!("{found:?} is not {expected:?}");
            field(Refusal::new("schema", problem))
        });
    }
    from_json(&text).map_err(field)
}

/// The schema that a document names, and nothing else of it.
///
/// # Errors
/// See [`ReadError`].
pub(super) fn schema_of(path: &Path, most: u64) -> Result<String, ReadError> {
    schema(&text(path, most)?, SCHEMA).map_err(|refusal| ReadError::Field {
        path: path.to_owned(),
        line: None,
        refusal,
    })
}

/// A whole file as text.
pub(super) fn text(path: &Path, most: u64) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    open(path, most)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| ReadError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
    if bytes.len() as u64 > most {
        return Err(too_large(path, None, most));
    }
    let encoding = |problem| ReadError::Encoding {
        path: path.to_owned(),
        line: None,
        problem,
    };
    if let Some(problem) = foreign(&bytes) {
        return Err(encoding(problem));
    }
    String::from_utf8(bytes).map_err(|_| encoding("bytes that are no text"))
}

/// Opens a regular file of at most `most` bytes. A FIFO must not make the program wait.
pub(super) fn open(path: &Path, most: u64) -> Result<File, ReadError> {
    let unreadable = |cause| ReadError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    if metadata.len() > most {
        return Err(too_large(path, None, most));
    }
    Ok(file)
}

pub(super) fn too_large(path: &Path, line: Option<u64>, most: u64) -> ReadError {
    ReadError::TooLarge {
        path: path.to_owned(),
        line,
        most,
    }
}

/// What the first bytes say about an encoding that is not plain UTF-8. UTF-16 without a mark shows
/// by a zero byte beside the first brace.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("a byte-order mark"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Some("UTF-16 text"),
        _ => None,
    }
}

/// The `schema` field alone; everything else is skipped.
fn schema(text: &str, expected: &str) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Probe {
        schema: Option<String>,
    }
    let probe: Probe = from_json(text)?;
    probe
        .schema
        .ok_or_else(|| Refusal::new("schema", format!("missing; expected {expected:?}")))
}

/// Whether this is our schema with a higher version.
fn is_newer(found: &str, ours: &str) -> bool {
    let version = |schema: &str| {
        let (name, version) = schema.rsplit_once('/')?;
        Some((name.to_owned(), version.parse::<u64>().ok()?))
    };
    match (version(found), version(ours)) {
        (Some((name, found)), Some((ours, version))) => name == ours && found > version,
        _ => false,
    }
}

/// Parses a whole text; an error names the field. Depth is limited by `serde_json` to 128, numbers
/// to what `f64` holds.
pub(super) fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        Refusal::new(field, error.inner().to_string())
    })?;
    json.end()
        .map_err(|error| Refusal::new("", error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_version_of_our_schema_is_newer() {
        for (schema, newer) in [
            ("isobench.run/2", true),
            ("isobench.run/10", true),
            ("isobench.run/0", false),
            ("isobench.run/x", false),
            ("other.run/2", false),
            ("", false),
        ] {
            assert_eq!(is_newer(schema, SCHEMA), newer, "{schema}");
        }
    }
}
