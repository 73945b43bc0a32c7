//! `isobench baseline`: a stored run becomes what others are compared with.

use std::path::Path;

use crate::cli::args::BaselineArgs;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::reference::{Keep, resolve};
use crate::measure::compare::Comparable;
use crate::store::baseline::{Baseline, write};

/// The argument that says where.
const ARGUMENT: &str = "NAME|FILE";

/// Reads the run and writes the baseline.
pub fn baseline(args: &BaselineArgs) -> Result<u8, CliError> {
    let path = Keep::parse(ARGUMENT, &args.keep)?.path(ARGUMENT)?;
    let run = resolve("RUN", &args.run)?.read("RUN")?;
    keep(ARGUMENT, &path, &run)?;
    print(format!("{}\n", path.display()))?;
    Ok(0)
}

/// Writes what is compared of a run.
pub(super) fn keep(flag: &'static str, path: &Path, run: &Comparable) -> Result<(), CliError> {
    if !run.run.injected.is_empty() {
        let problem = "a run into which ISOBENCH_INJECT put something is no baseline";
        return Err(CliError::usage(flag, problem, None));
    }
    write(path, &Baseline::from(run)).map_err(|error| CliError::Keep(flag, error))
}
