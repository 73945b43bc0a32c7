//! `isobench compare`: two stored runs, one verdict per metric.

use std::io::Write;
use std::path::Path;

use crate::cli::args::CompareArgs;
use crate::cli::compare_plan::{ComparePlan, validate};
use crate::cli::error::CliError;
use crate::cli::gate_file;
use crate::cli::output::print;
use crate::cli::reference::{Found, resolve};
use crate::cli::render;
use crate::measure::compare::{Comparable, compare as judge};
use crate::measure::comparison::{Rule, Word};

/// Reads both runs, judges, prints; with the gate, the verdict is the exit status.
pub fn compare(args: &CompareArgs) -> Result<u8, CliError> {
    let ComparePlan {
        base,
        head,
        threshold,
        config,
        gate,
        lenient,
        format,
    } = validate(args)?;
    let rule = Rule {
        threshold,
        ..gate_file::rule(config.as_deref())?
    };
    let base = match resolve("BASE", &base) {
        // Only a baseline that is not there: one that is broken, or of other bytes, is still an error.
        Err(absent @ CliError::Absent { .. }) if lenient => {
            absent.report();
            let mut err = anstream::stderr().lock();
            // Nothing is left to be done if standard error is closed.
            let _ = writeln!(
                err,
                "isobench: nothing to compare with, and --baseline-lenient: passed"
            );
            return Ok(0);
        }
        base => base?,
    };
    let (base, head) = both(&base, &head);
    let (base, head) = (base?, head?);
    let comparison = judge(&base, &head, &rule)?;
    let mut notes = Vec::new();
    for (name, run) in [("BASE", &base), ("HEAD", &head)] {
        notes.extend(run.notes.iter().map(|note| format!("{name}: {note}")));
    }
    print(render::comparison(format, &comparison, &notes)?)?;
    Ok(match comparison.verdict {
        _ if !gate => 0,
        Word::Worse => 1,
        Word::Inconclusive => 5,
        Word::Better | Word::Same => 0,
    })
}

/// Reads both sides at once: nearly all the time of a comparison goes there.
fn both(base: &Found, head: &Path) -> (Result<Comparable, CliError>, Result<Comparable, CliError>) {
    std::thread::scope(|scope| {
        let base = scope.spawn(|| base.read("BASE"));
        let head = resolve("HEAD", head).and_then(|head| head.read("HEAD"));
        let base = base.join();
        (
            base.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            head,
        )
    })
}
