//! The isolation table: a row a fact, a column a configuration, a verdict in each cell.

use crate::store::document::{IsolationFact, Run, Verdict};
use crate::workload::facts;

/// The table, laid out by the renderers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Configuration ids.
    pub columns: Vec<String>,
    /// Headings, each with its rows; empty where no configuration was asked.
    pub groups: Vec<Group>,
    /// What the marks mean.
    pub legend: Vec<String>,
}

/// Rows under one heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are about.
    pub heading: String,
    /// A name, and a cell for each column.
    pub rows: Vec<(String, Vec<String>)>,
}

/// Stands behind a verdict that was had with the filter off.
const GUARDED: &str = "†";

/// More facts than this are not listed in a sentence.
const LISTED: usize = 15;

/// Builds the table of a run.
#[must_use]
pub fn table(run: &Run) -> Isolation {
    if run.isolation.is_empty() {
        return Isolation::default();
    }
    let columns = asked(run);
    let mut groups: Vec<Group> = Vec::new();
    for (_, fact) in facts::all() {
        let cells = columns
            .iter()
            .map(|id| cell(find(run, id, fact.name), &fact));
        let row = (fact.name.to_owned(), cells.collect());
        match groups
            .last_mut()
            .filter(|group| group.heading == fact.group)
        {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                heading: fact.group.to_owned(),
                rows: vec![row],
            }),
        }
    }
    let mut legend = vec![
        "shared: the host's; own: not the host's; limited: less than the host's; hidden: the host \
         has it; denied: refused; absent: there is none. Every cell's evidence is in run.json."
            .to_owned(),
    ];
    if run.isolation.iter().any(|fact| fact.guarded) {
        legend.push(format!(
            "{GUARDED} its seccomp filter ends a payload that asks; told with the filter off."
        ));
    }
    Isolation {
        columns: columns.into_iter().map(str::to_owned).collect(),
        groups,
        legend,
    }
}

/// The configurations that were asked, in the run's order.
fn asked(run: &Run) -> Vec<&str> {
    let ids = run.backends.iter().map(|b| b.id.as_str());
    ids.filter(|id| run.isolation.iter().any(|fact| fact.backend == *id))
        .collect()
}

fn find<'a>(run: &'a Run, id: &str, name: &str) -> Option<&'a IsolationFact> {
    run.isolation
        .iter()
        .find(|fact| fact.backend == id && fact.fact == name)
}

/// A verdict; of what is counted, the number.
fn cell(found: Option<&IsolationFact>, fact: &facts::Fact) -> String {
    let Some(found) = found else {
        return "–".to_owned();
    };
    let verdict = found.verdict.name();
    if found.guarded {
        format!("{verdict} {GUARDED}")
    } else if facts::is_count(fact.name) && found.verdict != Verdict::Absent {
        found.value.clone()
    } else {
        verdict.to_owned()
    }
}

/// A sentence per configuration: what it shares with the host.
#[must_use]
pub fn sentences(run: &Run) -> Vec<String> {
    let ids = asked(run);
    // Of the bare process everything is the host's.
    let others = ids.into_iter().filter(|id| *id != "process");
    others.map(|id| sentence(run, id)).collect()
}

fn sentence(run: &Run, id: &str) -> String {
    let of_questions = |fact: &&IsolationFact| {
        fact.backend == id && facts::CALLS.iter().all(|call| call.name != fact.fact)
    };
    let all: Vec<&IsolationFact> = run.isolation.iter().filter(of_questions).collect();
    let shared: Vec<&str> = all
        .iter()
        .filter(|fact| fact.verdict == Verdict::Shared)
        .map(|fact| fact.fact.as_str())
        .collect();
    let names = if shared.is_empty() {
        "nothing".to_owned()
    } else if shared.len() > LISTED {
        format!("{} of {} facts", shared.len(), all.len())
    } else {
        shared.join(", ")
    };
    let calls = find(run, id, facts::CALLS[0].name).map(|own| {
        let of = find(run, "process", facts::CALLS[0].name);
        match (own.verdict, of) {
            (Verdict::Absent, _) => "it has no kernel to ask".to_owned(),
            (_, None) => format!("{} system calls are let through", own.value),
            (_, Some(of)) => format!("{} of {} system calls are let through", own.value, of.value),
        }
    });
    let calls = calls.map(|calls| format!("; {calls}"));
    format!(
        "{id} shares with the host: {names}{}.",
        calls.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(verdict: Verdict, guarded: bool) -> IsolationFact {
        IsolationFact {
            backend: "container".to_owned(),
            fact: "host name".to_owned(),
            verdict,
            guarded,
            value: "8".to_owned(),
            evidence: "e".to_owned(),
        }
    }

    #[test]
    fn a_cell_is_a_verdict_or_a_count() {
        let name = facts::named("host name").unwrap();
        assert_eq!(cell(None, &name), "–");
        assert_eq!(cell(Some(&fact(Verdict::Own, false)), &name), "own");
        assert_eq!(cell(Some(&fact(Verdict::Own, true)), &name), "own †");
        let calls = facts::CALLS[0];
        assert_eq!(cell(Some(&fact(Verdict::Limited, false)), &calls), "8");
        assert_eq!(cell(Some(&fact(Verdict::Absent, false)), &calls), "absent");
    }
}
