//! `isobench report`: stored runs, shown again.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::args::{Format, ReportArgs};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::render;
use crate::measure::samples::Samples;
use crate::measure::stored::{Stored, load_samples};
use crate::report::files::{self, Wanted, Written};
use crate::report::model::View;
use crate::report::{model, together};
use crate::store::folder::FolderError;

/// Reads runs and prints them, or writes them as files.
pub fn report(args: &ReportArgs) -> Result<u8, CliError> {
    let wanted = Wanted {
        markdown: args.markdown,
        html: args.html || args.open,
        pictures: args.png,
    };
    if args.runs.len() > together::MOST {
        let problem = format!("{} runs; at most {}", args.runs.len(), together::MOST);
        return Err(CliError::usage("RUN", problem, None));
    }
    let files = wanted != Wanted::default();
    let single = args.runs.len() == 1;
    if files && !single && args.out.is_none() {
        let hint = Some("--out DIR".to_owned());
        let problem = "several runs have no folder of their own to write to";
        return Err(CliError::usage("--out", problem, hint));
    }
    if !single && !matches!(args.format, Format::Human | Format::Markdown) {
        let problem = "only human and markdown are of several runs";
        return Err(CliError::usage(
            "--format",
            problem,
            Some("--format human".to_owned()),
        ));
    }
    let (mut stored, mut views) = (Vec::new(), Vec::new());
    for run in &args.runs {
        let (one, samples) = load_samples(run)?;
        views.push(view(&one, samples.as_ref()));
        stored.push(one);
    }
    let view = match (&stored[..], views.pop()) {
        ([_], Some(only)) => only,
        (_, last) => {
            views.extend(last);
            together::together(stored.iter().map(|s| &s.run).zip(views).collect())
        }
    };
    if files {
        let own = stored.first().map(|s| s.folder.as_path());
        let folder = args.out.as_deref().or(own).unwrap_or(Path::new("."));
        let view = located(view, &stored, folder);
        return write(folder, &view, wanted, args.open);
    }
    show(args.format, &stored, &view)
}

fn view(stored: &Stored, samples: Option<&Samples>) -> View {
    let mut view = model::view(&stored.run, samples);
    view.notes.extend(stored.notes());
    view
}

/// A report that does not lie beside its run says where that is.
fn located(mut view: View, stored: &[Stored], folder: &Path) -> View {
    if let [one] = stored
        && same_file(&one.folder, folder)
    {
        return view;
    }
    let whole = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let of = |s: &Stored| {
        let address = whole(&s.folder).display().to_string();
        (address, format!("run {}", s.run.id))
    };
    view.sources = stored.iter().map(of).collect();
    view
}

fn same_file(a: &Path, b: &Path) -> bool {
    let whole = std::fs::canonicalize;
    matches!((whole(a), whole(b)), (Ok(a), Ok(b)) if a == b)
}

/// Writes files and says which.
fn write(folder: &Path, view: &View, wanted: Wanted, open: bool) -> Result<u8, CliError> {
    std::fs::create_dir_all(folder).map_err(|cause| {
        let path = folder.to_owned();
        CliError::Output(FolderError::Unusable { path, cause })
    })?;
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

fn show(format: Format, stored: &[Stored], view: &View) -> Result<u8, CliError> {
    let run = stored.first().map(|s| &s.run);
    print(run.map_or_else(String::new, |run| render::run(format, run, view)))?;
    // Formats without room for sentences still do not hide how the run was stored.
    if !matches!(format, Format::Human | Format::Markdown) {
        let mut err = anstream::stderr().lock();
        for note in stored.iter().flat_map(Stored::notes) {
            // A closed standard error costs nothing: the result is printed.
            let _ = writeln!(err, "isobench: {note}");
        }
    }
    Ok(0)
}
