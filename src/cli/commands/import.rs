//! `isobench import`: another tool's results enter the history.

use std::path::Path;
use std::time::Duration;

use crate::cli::args::ImportArgs;
use crate::cli::error::CliError;
use crate::cli::history_plan::database;
use crate::cli::output::print;
use crate::host::fingerprint::Host;
use crate::host::project;
use crate::measure::clock::Clock;
use crate::store::criterion;
use crate::store::history::History;

/// Reads criterion's results and records them as one run of this host.
pub fn import(args: &ImportArgs) -> Result<u8, CliError> {
    let path = database(args.db.as_deref())?;
    let clock = Clock::calibrate(Duration::from_millis(10))?;
    let host = Host::detect(clock.facts());
    let entry = criterion::read(&args.criterion, &host, project::detect(Path::new(".")))?;
    let benchmarks = entry.estimates.len();
    let new = History::open(&path)?.record(&entry)?;
    let known = if new { "" } else { " (known already)" };
    print(format!("{}: {benchmarks} benchmarks{known}\n", entry.id))?;
    Ok(0)
}
