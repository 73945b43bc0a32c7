//! `customSmallerIsBetter` and `customBiggerIsBetter` of github-action-benchmark: an array of
//! `{name, unit, value, range?, extra?}` (its README, "Custom benchmarks").
//!
//! The tool knows one direction a file, so each of the two has the metrics of its direction only.

use serde::Serialize;

use crate::measure::comparison::Comparison;
use crate::metric::Better;
use crate::store::document::Run;

/// An entry.
#[derive(Serialize)]
struct Entry {
    name: String,
    unit: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<String>,
}

/// The medians of a run's metrics of one direction.
#[must_use]
pub fn of_run(run: &Run, direction: Better) -> String {
    let entries = run.metrics.iter().filter(|m| m.better == direction);
    let entries = entries.map(|m| Entry {
        name: format!("{} {} {}", m.backend, m.workload, m.metric),
        unit: m.unit.to_string(),
        value: m.median,
        range: m.ci95.map(|[low, high]| format!("{low} – {high}")),
        extra: Some(format!("median of {}; run {}", m.n, run.id)),
    });
    json(entries)
}

/// HEAD over BASE of a comparison's metrics of one direction. What was not compared has no entry.
#[must_use]
pub fn of_comparison(c: &Comparison, direction: Better) -> String {
    let of = c.metrics.iter().filter(|m| m.better == direction);
    let entries = of.filter_map(|m| {
        Some(Entry {
            name: format!("{} {} {}", m.backend, m.workload, m.metric),
            unit: "HEAD/BASE".to_owned(),
            value: m.ratio?,
            range: m.ci95.map(|[low, high]| format!("{low} – {high}")),
            extra: Some(m.verdict.name().to_owned()),
        })
    });
    json(entries)
}

fn json(entries: impl Iterator<Item = Entry>) -> String {
    crate::store::folder::to_pretty_json(&entries.collect::<Vec<_>>())
}
