//! `isobench compare`: two stored runs, one verdict per metric.

use crate::cli::args::{CompareArgs, CompareFormat};
use crate::cli::compare_plan::{ComparePlan, validate};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::measure::compare::compare as judge;
use crate::measure::comparison::Word;
use crate::measure::stored::load;
use crate::report::compare::{markdown, terminal};
use crate::report::format::printable;
use crate::store::folder::to_pretty_json;

/// Reads both runs, judges, prints; with the gate, the verdict is the exit status.
pub fn compare(args: &CompareArgs) -> Result<u8, CliError> {
    let ComparePlan {
        base,
        head,
        rule,
        gate,
        format,
    } = validate(args)?;
    let (base, head) = (load(&base)?, load(&head)?);
    let comparison = judge(&base, &head, &rule)?;
    let mut notes = Vec::new();
    for (name, run) in [("BASE", &base), ("HEAD", &head)] {
        notes.extend(
            run.notes()
                .into_iter()
                .map(|note| format!("{name}: {note}")),
        );
    }
    let text = match format {
        CompareFormat::Human => printable(&terminal(&comparison, &notes)),
        CompareFormat::Json => to_pretty_json(&comparison),
        CompareFormat::Markdown => printable(&markdown(&comparison, &notes)),
    };
    print(text)?;
    Ok(match comparison.verdict {
        _ if !gate => 0,
        Word::Worse => 1,
        Word::Inconclusive => 5,
        Word::Better | Word::Same => 0,
    })
}
