//! The directory of a run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Run;
use super::record::Record;

/// A directory that is being filled.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    trials: BufWriter<File>,
}

/// The directory cannot be used or written to.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made, or is not a directory that can be written to.
    #[error("cannot write to the output folder {path}: {cause}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It already holds a run.
    #[error("the output folder {0} already holds a run (run.json or trials.jsonl)")]
    Occupied(PathBuf),
    /// What is there is not what would be replaced.
    #[error("{0} is there already and is no baseline")]
    Foreign(PathBuf),
    /// Writing failed on the way.
    #[error("cannot write {path}: {cause}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl Folder {
    /// Makes the directory and opens `trials.jsonl` in it.
    ///
    /// # Errors
    /// [`FolderError::Unusable`] and [`FolderError::Occupied`], before anything is measured.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        let unusable = |cause| FolderError::Unusable {
            path: path.to_owned(),
            cause,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        if path.join("run.json").exists() || path.join("trials.jsonl").exists() {
            return Err(FolderError::Occupied(path.to_owned()));
        }
        let trials = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path.join("trials.jsonl"))
            .map_err(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            trials: BufWriter::new(trials),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line and hands it to the kernel, so that a killed harness loses none.
    ///
    /// # Errors
    /// [`FolderError::Write`].
    pub fn append(&mut self, record: &Record) -> Result<(), FolderError> {
        let write = || -> io::Result<()> {
            serde_json::to_writer(&mut self.trials, record)?;
            self.trials.write_all(b"\n")?;
            self.trials.flush()
        };
        let mut write = write;
        write().map_err(|cause| FolderError::Write {
            path: self.path.join("trials.jsonl"),
            cause,
        })
    }

    /// Writes `run.json` whole or not at all.
    ///
    /// # Errors
    /// [`FolderError::Write`].
    pub fn seal(&mut self, run: &Run) -> Result<(), FolderError> {
        self.trials
            .get_ref()
            .sync_all()
            .map_err(|cause| FolderError::Write {
                path: self.path.join("trials.jsonl"),
                cause,
            })?;
        self.publish("run.json", &to_pretty_json(run))
    }

    /// Writes a file of the run whole or not at all.
    ///
    /// # Errors
    /// [`FolderError::Write`]; the temporary file is removed.
    pub fn publish(&self, name: &str, text: &str) -> Result<(), FolderError> {
        publish(&self.path.join(name), text.as_bytes())
    }
}

/// Writes a file whole or not at all: temporary file in the same directory, fsync, rename, fsync of
/// the directory.
///
/// # Errors
/// [`FolderError::Write`]; the temporary file is removed.
pub fn publish(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        // A run is evidence to be shared; NamedTempFile makes files private.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|cause| FolderError::Write {
        path: path.to_owned(),
        cause,
    })
}

/// Indented JSON with a final newline.
#[must_use]
pub fn to_pretty_json<T: Serialize>(value: &T) -> String {
    // Maps with non-string keys are all that can fail here, and no document has one.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_run_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        drop(Folder::create(dir.path()).unwrap());
        assert!(matches!(
            Folder::create(dir.path()),
            Err(FolderError::Occupied(_))
        ));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = Folder::create(&file).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
