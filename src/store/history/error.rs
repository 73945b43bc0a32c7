//! Why a history cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// The history cannot be opened, read or written. What is there stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A symbolic link, a folder, a FIFO, a device.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// A file, or a database, of something else.
    #[error("{0} is no history of isobench")]
    Foreign(PathBuf),
    /// Written by a later program.
    #[error("{path} has schema {found}, which is newer than this program's {latest}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version of this program.
        latest: i64,
    },
    /// Pages or values that do not fit together.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first thing that is wrong.
        what: String,
    },
    /// Somebody else holds it.
    #[error("{0} is in use by another isobench (waited five seconds)")]
    Busy(PathBuf),
    /// The system refused.
    #[error("cannot use {path}: {cause}")]
    System {
        /// The database, or its folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// SQLite refused.
    #[error("cannot use {path}: {cause}")]
    Sql {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
}

impl HistoryError {
    /// Sorts what SQLite says.
    pub(super) fn of(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(path),
            Some(ErrorCode::NotADatabase) => Self::Foreign(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                what: cause.to_string(),
            },
            _ if matches!(
                cause,
                rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
            ) =>
            {
                Self::Damaged {
                    path,
                    what: cause.to_string(),
                }
            }
            _ => Self::Sql { path, cause },
        }
    }

    /// Whether it is the file that is wrong, and not the moment or the system.
    #[must_use]
    pub const fn is_input(&self) -> bool {
        matches!(
            self,
            Self::NotAFile(_) | Self::Foreign(_) | Self::Newer { .. } | Self::Damaged { .. }
        )
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotAFile(_) | Self::Foreign(_) => {
                "--db with the path of a history, or of a new file"
            }
            Self::Newer { .. } => "read it with the program that wrote it, or a later one",
            Self::Damaged { .. } => {
                "move it away; runs that are still in their folders can be taken in again with \
                 `isobench history import`"
            }
            Self::Busy(_) => "again when the other isobench has ended",
            Self::System { .. } | Self::Sql { .. } => "--db PATH in a place you can write to",
        }
    }
}
