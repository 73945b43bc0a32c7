//! `isobench report`: a stored run, shown again.

use std::io::Write;

use crate::cli::args::{Format, ReportArgs};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::render;
use crate::measure::stored::load;
use crate::report::model;

/// Reads a run and prints it.
pub fn report(args: &ReportArgs) -> Result<u8, CliError> {
    let stored = load(&args.run)?;
    let mut view = model::view(&stored.run);
    view.notes.extend(stored.notes());
    print(render::run(args.format, &stored.run, &view))?;
    // Formats without room for sentences still do not hide how the run was stored.
    if !matches!(args.format, Format::Human | Format::Markdown) {
        let mut err = anstream::stderr().lock();
        for note in stored.notes() {
            // A closed standard error costs nothing: the result is printed.
            let _ = writeln!(err, "isobench: {note}");
        }
    }
    Ok(0)
}
