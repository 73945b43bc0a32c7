//! `isobench report`: stored runs, shown again.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::args::{Format, ReportArgs};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::measure::samples::Samples;
use crate::measure::stored::{Stored, load};
use crate::report::files::{self, Wanted, Written};
use crate::report::format::printable;
use crate::report::model::View;
use crate::report::{csv, markdown, model, terminal};
use crate::store::folder::to_pretty_json;

/// Reads runs and prints them, or writes them as files.
pub fn report(args: &ReportArgs) -> Result<u8, CliError> {
    let wanted = Wanted {
        markdown: args.markdown,
        html: args.html || args.open,
        pictures: args.png,
    };
    let [run] = &args.runs[..] else {
        return Err(CliError::usage("RUN", "several are not supported yet", None));
    };
    let stored = load(run)?;
    let samples = stored.records.as_deref().map(Samples::of);
    let mut view = model::view(&stored.run, samples.as_ref());
    view.notes.extend(stored.notes());
    if wanted != Wanted::default() {
        let folder = args.out.as_deref().unwrap_or(&stored.folder);
        return write(folder, &view, wanted, args.open);
    }
    show(args.format, &stored, &view)
}

/// Writes files and says which.
fn write(folder: &Path, view: &View, wanted: Wanted, open: bool) -> Result<u8, CliError> {
    let mut written = Vec::new();
    let outcome = files::write(folder, view, wanted, &mut written);
    let mut lines = String::new();
    for Written { path, what } in &written {
        lines.push_str(&format!("{:<40} {what}\n", path.display()));
    }
    print(lines)?;
    outcome.map_err(CliError::Files)?;
    if open {
        show_page(&folder.join("report.html"));
    }
    Ok(0)
}

/// Hands a page to whatever the desktop opens pages with. Where there is nothing, its name has been
/// printed.
fn show_page(page: &Path) {
    let opened = Command::new("xdg-open")
        .arg(page.as_os_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(why) = opened {
        let mut err = anstream::stderr().lock();
        let program = OsStr::new("xdg-open").display();
        // A closed standard error costs nothing: the page is there.
        let _ = writeln!(
            err,
            "isobench: {program} cannot be run ({why}); open {} yourself",
            page.display()
        );
    }
}

fn show(format: Format, stored: &Stored, view: &View) -> Result<u8, CliError> {
    let text = match format {
        Format::Human => printable(&terminal::render(view)),
        Format::Json => to_pretty_json(&stored.run),
        Format::Markdown => printable(&markdown::render(view)),
        Format::Csv => csv::render(&stored.run),
    };
    print(text)?;
    // Formats without room for sentences still do not hide how the run was stored.
    if matches!(format, Format::Json | Format::Csv) {
        let mut err = anstream::stderr().lock();
        for note in stored.notes() {
            // A closed standard error costs nothing: the result is printed.
            let _ = writeln!(err, "isobench: {note}");
        }
    }
    Ok(0)
}
