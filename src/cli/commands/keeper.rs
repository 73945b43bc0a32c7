//! What a run records, kept as it happens.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::measure::session::{Observer, RunError};
use crate::store::folder::Folder;
use crate::store::record::Record;

/// Keeps each record on disk and in memory, and shows how far the run is.
pub(super) struct Keeper {
    pub folder: Folder,
    pub records: Vec<Record>,
    pub bar: ProgressBar,
}

impl Keeper {
    pub fn new(folder: Folder) -> Self {
        // Drawn from this thread only, when a trial ends: a ticking thread would disturb trials.
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(4)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self {
            folder,
            records: Vec::new(),
            bar,
        }
    }
}

impl Observer for Keeper {
    fn record(&mut self, record: Record) -> Result<(), RunError> {
        self.folder.append(&record)?;
        self.records.push(record);
        Ok(())
    }

    fn progress(&mut self, done: u64, planned: u64, next: &str) {
        self.bar.set_length(planned);
        self.bar.set_position(done);
        self.bar.set_message(next.to_owned());
    }
}
