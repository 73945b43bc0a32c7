//! One run or comparison, in the format that was asked for.

use super::args::{CompareFormat, Format};
use super::error::CliError;
use crate::measure::comparison::Comparison;
use crate::metric::Better;
use crate::report::compare::{markdown as table, terminal as lines};
use crate::report::export::{action, bencher, compare_csv, github, junit, openmetrics};
use crate::report::format::printable;
use crate::report::model::View;
use crate::report::{csv, markdown, terminal};
use crate::store::document::Run;
use crate::store::folder::to_pretty_json;

/// A run; `view` is its view.
pub fn run(format: Format, run: &Run, view: &View) -> String {
    match format {
        Format::Human => printable(&terminal::render(view)),
        Format::Json => to_pretty_json(run),
        Format::Markdown => printable(&markdown::render(view)),
        Format::Csv => csv::render(run),
        Format::SmallerIsBetter => action::of_run(run, Better::Lower),
        Format::BiggerIsBetter => action::of_run(run, Better::Higher),
        Format::Bencher => bencher::of_run(run),
        Format::Openmetrics => openmetrics::of_run(run),
    }
}

/// A comparison, with what a reader must know about how its runs were stored.
///
/// # Errors
/// [`CliError::System`] where XML cannot be written.
pub fn comparison(
    format: CompareFormat,
    c: &Comparison,
    notes: &[String],
) -> Result<String, CliError> {
    Ok(match format {
        CompareFormat::Human => printable(&lines(c, notes)),
        CompareFormat::Json => to_pretty_json(c),
        CompareFormat::Markdown => printable(&table(c, notes)),
        CompareFormat::Csv => compare_csv::render(c),
        CompareFormat::Junit => junit::render(c)
            .map_err(|error| CliError::System("write XML", std::io::Error::other(error)))?,
        CompareFormat::Github => github::annotations(c),
        CompareFormat::SmallerIsBetter => action::of_comparison(c, Better::Lower),
        CompareFormat::BiggerIsBetter => action::of_comparison(c, Better::Higher),
        CompareFormat::Bencher => bencher::of_comparison(c),
        CompareFormat::Openmetrics => openmetrics::of_comparison(c),
    })
}
