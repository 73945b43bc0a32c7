//! `isobench history`: what was measured so far, and how it moved.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::args::{HistoryArgs, HistoryCommand, HistoryFormat};
use crate::cli::error::CliError;
use crate::cli::history_plan::{database, filter, forget};
use crate::cli::output::print;
use crate::measure::stored::load;
use crate::measure::trend::{MOST_RUNS, Trends, trends};
use crate::report::format::printable;
use crate::report::history::{csv, terminal};
use crate::report::trends as page;
use crate::store::folder::{publish, to_pretty_json};
use crate::store::history::{Document, Entry, Filter, History, is_document, read_document};

/// Name and version of what `history --format json` prints.
const SCHEMA: &str = "isobench.trends/1";
/// How many runs trends are looked for in: they take those of one host, and a few more are there so
/// that others do not shorten them.
const NEWEST: usize = 2 * MOST_RUNS;

/// Lists, takes in, writes out or forgets.
pub fn history(args: &HistoryArgs) -> Result<u8, CliError> {
    let path = database(args.db.as_deref())?;
    match &args.command {
        None => show(&path, args),
        Some(HistoryCommand::Import { paths }) => import(&path, paths),
        Some(HistoryCommand::Export) => {
            let history = History::open(&path)?;
            let runs = history.entries(&Filter::default(), usize::MAX)?;
            print(to_pretty_json(&Document::of(runs)))?;
            Ok(0)
        }
        Some(HistoryCommand::Prune { keep, before }) => {
            let what = forget(keep.as_deref(), before.as_deref())?;
            let gone = History::open(&path)?.prune(&what)?;
            print(format!("{gone} {} forgotten\n", runs(gone)))?;
            Ok(0)
        }
    }
}

const fn runs(n: usize) -> &'static str {
    if n == 1 { "run" } else { "runs" }
}

fn show(path: &Path, args: &HistoryArgs) -> Result<u8, CliError> {
    let filter = filter(args)?;
    let history = History::open(path)?;
    let most = match args.format {
        HistoryFormat::Csv => usize::MAX,
        HistoryFormat::Human | HistoryFormat::Json => NEWEST,
    };
    let runs = history.entries(&filter, most)?;
    if let Some(page) = &args.html {
        return write_page(page, &runs);
    }
    let text = match args.format {
        HistoryFormat::Csv => csv(&runs),
        HistoryFormat::Human => {
            let newest = &runs[..runs.len().min(NEWEST)];
            printable(&terminal(&runs, &trends(newest)?))
        }
        HistoryFormat::Json => {
            let trends = trends(&runs[..runs.len().min(NEWEST)])?;
            to_pretty_json(&View {
                schema: SCHEMA,
                runs: runs.into_iter().map(without_estimates).collect(),
                trends,
            })
        }
    };
    print(text)?;
    Ok(0)
}

/// Writes the page and says where it is.
fn write_page(path: &Path, runs: &[Entry]) -> Result<u8, CliError> {
    let trends = trends(&runs[..runs.len().min(NEWEST)])?;
    let page = page::render(runs, &trends).map_err(|error| CliError::Files(error.into()))?;
    publish(path, page.as_bytes()).map_err(|error| CliError::Keep("--html", error))?;
    print(format!(
        "{:<40} trends with charts, for a browser\n",
        path.display()
    ))?;
    Ok(0)
}

/// What `--format json` prints.
#[derive(Serialize)]
struct View {
    schema: &'static str,
    runs: Vec<Entry>,
    #[serde(flatten)]
    trends: Trends,
}

fn without_estimates(entry: Entry) -> Entry {
    Entry {
        estimates: Vec::new(),
        ..entry
    }
}

/// Reads everything first, so that one bad file takes in nothing.
fn import(path: &Path, paths: &[PathBuf]) -> Result<u8, CliError> {
    let mut entries = Vec::new();
    for source in paths {
        if source.is_file() && is_document(source)? {
            entries.extend(read_document(source)?.runs);
            continue;
        }
        let stored = load(source)?;
        if let Some(what) = stored.run.injected.first() {
            let problem = format!("{}: ISOBENCH_INJECT put in {what}", source.display());
            return Err(CliError::usage("PATH", problem, None));
        }
        entries.push(Entry::of(&stored.run, Some(&stored.folder)));
    }
    let all = entries.len();
    let added = History::open(path)?.record_all(&entries)?;
    let known = all - added;
    print(format!(
        "{added} {} taken in, {known} known already\n",
        runs(added)
    ))?;
    Ok(0)
}
