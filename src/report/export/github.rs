//! GitHub annotations: workflow commands on standard output
//! (docs.github.com, "Workflow commands for GitHub Actions").

use std::fmt::Write;

use crate::measure::comparison::{Comparison, Word};
use crate::report::compare::{cause, missing, percent, sentence};

/// Most annotations of a kind that GitHub shows for one step.
const MOST: usize = 10;

/// At most ten annotations, the worst first: `error` for what is worse, `warning` for what is
/// inconclusive or missing, `notice` for the rest in one sentence.
#[must_use]
pub fn annotations(c: &Comparison) -> String {
    let mut all: Vec<(&str, String, String)> = Vec::new();
    for m in &c.metrics {
        let name = format!("{} {} {}", m.backend, m.workload, m.metric);
        let change = m.ratio.map(percent).unwrap_or_default();
        match m.verdict {
            Word::Worse => {
                let cause = cause(m).map(|c| format!(", {c}")).unwrap_or_default();
                let message = format!("HEAD is worse than BASE: {change}{cause}");
                all.push(("error", name, message));
            }
            Word::Inconclusive => {
                let why = m.doubt.as_ref().map(|d| d.words.as_str());
                let message = format!("cannot be decided: {}", why.unwrap_or("no reason"));
                all.push(("warning", name, message));
            }
            Word::Better | Word::Same => {}
        }
    }
    let lost = c.missing.iter();
    all.extend(lost.map(|m| ("warning", m.backend.clone(), missing(m))));
    let left = all.len().saturating_sub(MOST - 1);
    all.truncate(MOST - 1);
    let more = match left {
        0 => String::new(),
        n => format!(" ({n} more annotations are left out)"),
    };
    all.push(("notice", "isobench".to_owned(), sentence(c) + &more));
    let mut out = String::new();
    for (level, title, message) in all {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "::{level} title={}::{}",
            property(&title),
            data(&message)
        );
    }
    out
}

/// The message of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property of a command, in which colons and commas mean something, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_the_runner_is_escaped() {
        assert_eq!(data("100 %\n::error::x\r"), "100 %25%0A::error::x%0D");
        assert_eq!(property("container:ns=pid, x"), "container%3Ans=pid%2C x");
    }
}
