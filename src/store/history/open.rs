//! Opening: is this a history, is it whole, and is it of this program's schema?

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{CHECKED, HistoryError};

/// `isob`, in the header of every history (PRAGMA application_id).
const APPLICATION_ID: i64 = 0x6973_6f62;
/// The steps from an empty database to this program's schema; `user_version` counts those done.
pub(super) const MIGRATIONS: [&str; 1] = [include_str!("schema/0001.sql")];
/// The longest wait for somebody else's transaction.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn open(path: &Path) -> Result<Connection, HistoryError> {
    let system = |cause| HistoryError::System {
        path: path.to_owned(),
        cause,
    };
    let bytes = match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(HistoryError::NotAFile(path.to_owned()));
        }
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(system)?;
            }
            0
        }
        Err(error) => return Err(system(error)),
    };
    connect(path, bytes, &MIGRATIONS)
}

fn connect(path: &Path, bytes: u64, migrations: &[&str]) -> Result<Connection, HistoryError> {
    let sql = |cause| HistoryError::of(path, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite resolves the folder itself; what may not be a link is the file.
    let resolved = match path.parent().map(fs::canonicalize) {
        Some(Ok(folder)) if path.file_name().is_some() => {
            folder.join(path.file_name().unwrap_or_default())
        }
        _ => path.to_owned(),
    };
    let mut connection = Connection::open_with_flags(resolved, flags).map_err(sql)?;
    connection.busy_timeout(PATIENCE).map_err(sql)?;
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
    ] {
        connection.set_db_config(setting, on).map_err(sql)?;
    }
    // Nothing is written before it is known what this is.
    let whose = number(&connection, "PRAGMA application_id").map_err(sql)?;
    let objects = number(&connection, "SELECT count(*) FROM sqlite_schema").map_err(sql)?;
    if whose != APPLICATION_ID && (whose != 0 || objects != 0) {
        return Err(HistoryError::Foreign(path.to_owned()));
    }
    let latest = migrations.len() as i64;
    let found = number(&connection, "PRAGMA user_version").map_err(sql)?;
    if found > latest {
        return Err(HistoryError::Newer {
            path: path.to_owned(),
            found,
            latest,
        });
    }
    if found < 0 {
        let what = format!("schema {found}");
        return Err(HistoryError::Damaged {
            path: path.to_owned(),
            what,
        });
    }
    if whose == APPLICATION_ID && bytes <= CHECKED {
        check(&connection, path)?;
    }
    // A file system without shared memory keeps the journal it has; a commit is as durable.
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(sql)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(sql)?;
    connection
        .pragma_update(None, "cell_size_check", true)
        .map_err(sql)?;
    if found < latest {
        migrate(&mut connection, migrations).map_err(sql)?;
    }
    Ok(connection)
}

/// Brings the schema up to date: every missing step, or none.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody else may have done it while this one waited.
    let done = number(&transaction, "PRAGMA user_version")?;
    let missing = migrations
        .iter()
        .enumerate()
        .skip(done.unsigned_abs() as usize);
    for (step, migration) in missing {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

fn check(connection: &Connection, path: &Path) -> Result<(), HistoryError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|cause| HistoryError::of(path, cause))?;
    if said == "ok" {
        return Ok(());
    }
    Err(HistoryError::Damaged {
        path: path.to_owned(),
        what: said,
    })
}

fn number(connection: &Connection, query: &str) -> rusqlite::Result<i64> {
    connection.query_row(query, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER NOT NULL) STRICT;";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y TEXT NOT NULL DEFAULT 'old';";

    #[test]
    fn missing_steps_are_made_up_for_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.db");
        let old = connect(&path, 0, &[FIRST]).unwrap();
        old.execute("INSERT INTO a VALUES (7)", []).unwrap();
        drop(old);
        let new = connect(&path, 1, &[FIRST, SECOND]).unwrap();
        let row: (i64, String) = new
            .query_row("SELECT x, y FROM a", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap();
        assert_eq!(row, (7, "old".to_owned()));
        assert_eq!(number(&new, "PRAGMA user_version").unwrap(), 2);
        // And a program of the first step refuses it.
        let refused = connect(&path, 1, &[FIRST]).unwrap_err();
        let newer = matches!(
            refused,
            HistoryError::Newer {
                found: 2,
                latest: 1,
                ..
            }
        );
        assert!(newer, "{refused}");
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.db");
        drop(connect(&path, 0, &[FIRST]).unwrap());
        let half = "CREATE TABLE b (x) ; CREATE TABLE a (x);";
        assert!(connect(&path, 1, &[FIRST, half]).is_err());
        let still = connect(&path, 1, &[FIRST]).unwrap();
        let tables = number(&still, "SELECT count(*) FROM sqlite_schema").unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_history_is_durable_and_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let open = open(&dir.path().join("h.db")).unwrap();
        let text = |q: &str| open.query_row(q, [], |r| r.get::<_, String>(0)).unwrap();
        assert_eq!(text("PRAGMA journal_mode"), "wal");
        assert_eq!(number(&open, "PRAGMA synchronous").unwrap(), 2);
        assert_eq!(number(&open, "PRAGMA foreign_keys").unwrap(), 1);
        assert_eq!(
            number(&open, "PRAGMA application_id").unwrap(),
            APPLICATION_ID
        );
        // Defensive: the schema cannot be written to by hand.
        open.execute_batch("PRAGMA writable_schema = ON").unwrap();
        assert!(open.execute("DELETE FROM sqlite_schema", []).is_err());
        // Older versions can lose pages when a log is reset (hardening: stores).
        assert!(
            rusqlite::version_number() >= 3_051_003,
            "{}",
            rusqlite::version()
        );
    }
}
