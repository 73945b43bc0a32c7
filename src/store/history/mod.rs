//! The history: every run's estimates in one SQLite database, across commits and branches.
//!
//! | promise | how |
//! |---|---|
//! | an acknowledged run is on disk | one transaction a run, WAL, `synchronous=FULL` |
//! | nothing but a history is ever written to | `application_id`; no symlink; regular files only |
//! | older schemas are brought up to date, newer ones refused | `user_version`, one SQL file a step |
//! | damage is said, not spread | `quick_check` on opening, up to [`CHECKED`] bytes; defensive mode |
//! | two at once | at most five seconds of waiting for the other, then [`HistoryError::Busy`] |
//!
//! All SQL is in the files of `schema/` and `query/`.

mod entry;
mod error;
mod estimates;
mod exchange;
mod open;

pub use entry::{Entry, Estimate};
pub use error::HistoryError;
pub use exchange::{Document, SCHEMA, is_document, read_document};

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::host::project::Project;

/// Largest database that is checked page by page whenever it is opened: some tens of milliseconds.
pub const CHECKED: u64 = 32 << 20;

/// An open history.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    path: PathBuf,
}

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With an estimate of this configuration.
    pub backend: Option<String>,
    /// With an estimate of this task.
    pub workload: Option<String>,
    /// With an estimate of this metric.
    pub metric: Option<String>,
    /// Of this branch.
    pub branch: Option<String>,
    /// Begun at this instant or later, RFC 3339 in UTC.
    pub since: Option<String>,
    /// With this id.
    pub id: Option<String>,
    /// At most so many, the newest; `None` is all.
    pub limit: Option<u32>,
}

/// What to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// Runs begun before this instant, RFC 3339 in UTC.
    Before(String),
    /// All but so many, the newest.
    Beyond(u32),
}

impl History {
    /// Opens a history, or makes one; with its folder, where there is none.
    ///
    /// # Errors
    /// See [`HistoryError`]; what is there is left as it is.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let connection = open::open(path)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a run. `false`: it is in already, and stays as it is.
    ///
    /// # Errors
    /// See [`HistoryError`]; then nothing of it is recorded.
    pub fn record(&mut self, entry: &Entry) -> Result<bool, HistoryError> {
        Ok(self.record_all(std::slice::from_ref(entry))? == 1)
    }

    /// Records runs, all or none. How many were not in yet.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_all(&mut self, entries: &[Entry]) -> Result<usize, HistoryError> {
        let path = self.path.clone();
        let sql = |cause| HistoryError::of(&path, cause);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sql)?;
        let mut added = 0;
        for entry in entries {
            if insert(&transaction, entry).map_err(sql)? {
                added += 1;
            }
        }
        transaction.commit().map_err(sql)?;
        Ok(added)
    }

    /// The runs that fit, the newest first, without their estimates.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn runs(&self, filter: &Filter) -> Result<Vec<(i64, Entry)>, HistoryError> {
        let sql = |cause| HistoryError::of(&self.path, cause);
        let mut statement = self
            .connection
            .prepare_cached(include_str!("query/runs.sql"))
            .map_err(sql)?;
        let limit = filter.limit.map_or(-1, i64::from);
        let rows = statement
            .query_map(
                params![
                    filter.branch,
                    filter.since,
                    filter.id,
                    filter.backend,
                    filter.workload,
                    filter.metric,
                    limit
                ],
                run_of,
            )
            .map_err(sql)?;
        rows.collect::<Result<_, _>>().map_err(sql)
    }

    /// The runs that fit, the newest first; the first `most` of them with their estimates that fit.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn entries(&self, filter: &Filter, most: usize) -> Result<Vec<Entry>, HistoryError> {
        let mut runs = self.runs(filter)?;
        estimates::read(&self.connection, filter, runs.iter_mut().take(most))
            .map_err(|cause| HistoryError::of(&self.path, cause))?;
        Ok(runs.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Forgets runs. How many.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn prune(&mut self, what: &Forget) -> Result<usize, HistoryError> {
        let path = self.path.clone();
        let sql = |cause| HistoryError::of(&path, cause);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sql)?;
        let gone = match what {
            Forget::Before(instant) => {
                transaction.execute(include_str!("query/prune_before.sql"), [instant])
            }
            Forget::Beyond(newest) => {
                transaction.execute(include_str!("query/prune_beyond.sql"), [newest])
            }
        }
        .map_err(sql)?;
        transaction
            .execute(include_str!("query/prune_series.sql"), [])
            .map_err(sql)?;
        transaction.commit().map_err(sql)?;
        Ok(gone)
    }
}

fn insert(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    let project = entry.project.as_ref();
    let added = connection
        .prepare_cached(include_str!("query/insert_run.sql"))?
        .execute(params![
            entry.id,
            entry.started,
            entry.profile,
            entry.tool,
            entry.tool_commit,
            entry.payload,
            entry.cpu,
            entry.kernel,
            entry.kvm,
            project.map(|p| &p.commit),
            project.and_then(|p| p.modified),
            project.and_then(|p| p.branch.as_ref()),
            entry.ended_early,
            entry.inconclusive,
            entry.folder,
        ])?;
    if added == 0 {
        return Ok(false);
    }
    let run = connection.last_insert_rowid();
    for estimate in &entry.estimates {
        let series = series(connection, estimate)?;
        let ends = |ci: Option<[f64; 2]>| (ci.map(|ci| ci[0]), ci.map(|ci| ci[1]));
        let ((low, high), (ratio_low, ratio_high)) =
            (ends(estimate.ci95), ends(estimate.ratio_ci95));
        connection
            .prepare_cached(include_str!("query/insert_estimate.sql"))?
            .execute(params![
                series,
                run,
                i64::try_from(estimate.n).unwrap_or(i64::MAX),
                estimate.median,
                low,
                high,
                estimate.ratio,
                ratio_low,
                ratio_high,
            ])?;
    }
    Ok(true)
}

/// The number of a series, which is made where there is none.
fn series(connection: &Connection, of: &Estimate) -> rusqlite::Result<i64> {
    let key = params![of.backend, of.workload, of.metric];
    let find = || {
        connection
            .prepare_cached(include_str!("query/find_series.sql"))?
            .query_row(key, |row| row.get::<_, i64>(0))
            .optional()
    };
    if let Some(number) = find()? {
        return Ok(number);
    }
    connection
        .prepare_cached(include_str!("query/insert_series.sql"))?
        .execute(params![
            of.backend,
            of.workload,
            of.metric,
            of.unit.to_string(),
            entry::direction(of.better),
        ])?;
    Ok(connection.last_insert_rowid())
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<(i64, Entry)> {
    let commit: Option<String> = row.get(10)?;
    let (modified, branch) = (row.get(11)?, row.get(12)?);
    let entry = Entry {
        id: row.get(1)?,
        started: row.get(2)?,
        profile: row.get(3)?,
        tool: row.get(4)?,
        tool_commit: row.get(5)?,
        payload: row.get(6)?,
        cpu: row.get(7)?,
        kernel: row.get(8)?,
        kvm: row.get(9)?,
        project: commit.map(|commit| Project {
            commit,
            modified,
            branch,
        }),
        ended_early: row.get(13)?,
        inconclusive: row.get(14)?,
        folder: row.get(15)?,
        estimates: Vec::new(),
    };
    Ok((row.get(0)?, entry))
}
