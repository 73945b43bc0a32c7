//! Why a stored run was refused.

use std::io;
use std::path::PathBuf;

/// A stored run cannot be read, or is not one. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A FIFO, a device, a folder where a file is expected.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// More than is ever read.
    #[error("{path}: more than {most} bytes{}", at(*.line))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The line, if one line is too long.
        line: Option<u64>,
        /// The limit.
        most: u64,
    },
    /// Not UTF-8 text.
    #[error("{path}: {problem}{}; expected UTF-8 without a byte-order mark", at(*.line))]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The line, if the text began well.
        line: Option<u64>,
        /// What it is instead.
        problem: &'static str,
    },
    /// Written by a later program.
    #[error("{path}: schema: {found:?} is newer than this program, which reads {expected:?}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema it names.
        found: String,
        /// The one that is read.
        expected: &'static str,
    },
    /// A field is missing, unknown, of the wrong type or outside what it can be.
    #[error("{path}{}: {refusal}", at(*.line))]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, in `trials.jsonl`.
        line: Option<u64>,
        /// The field and what is wrong with it.
        refusal: Refusal,
    },
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if .field.is_empty() { String::new() } else { format!("{}: ", .field) })]
pub struct Refusal {
    /// The field, e.g. `metrics[3].unit`; empty where the problem names it.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl Refusal {
    /// Refuses a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::NotAFile(_) => {
                "name the folder that `isobench run --out DIR` wrote, the run.json in it, or a baseline"
            }
            Self::Newer { .. } => "read it with the program that wrote it, or a later one",
            _ => "measure again; a file that was changed or damaged is no evidence",
        }
    }
}

fn at(line: Option<u64>) -> String {
    line.map(|line| format!(" (line {line})"))
        .unwrap_or_default()
}
