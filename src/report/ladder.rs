//! The ladder's part of the view: what each mechanism costs, from three sides.

use super::format::{decimals, quantity};
use crate::metric::Unit;
use crate::store::document::{DifferenceResult, LadderResult, RungResult};

/// A ladder, as text in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderView {
    /// One line: from where to where.
    pub title: String,
    /// How to read the columns.
    pub legend: Vec<String>,
    /// Names of the columns behind the mechanism's.
    pub columns: [&'static str; 3],
    /// One table for each metric.
    pub tables: Vec<LadderTable>,
    /// Configuration and processor time of the kernel's deferred clean-up.
    pub debts: Vec<(String, String)>,
    /// What the debts are.
    pub debts_title: String,
    /// One sentence per finding.
    pub findings: Vec<String>,
}

/// The rungs in one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderTable {
    /// `startup (µs)`.
    pub heading: String,
    /// Mechanism, then the three sides.
    pub rows: Vec<[String; 4]>,
}

/// Stands behind what a mechanism costs on the ladder where it is not what it costs alone.
const DIFFERS: &str = "≠";

/// Lays a ladder out.
#[must_use]
pub fn view(ladder: &LadderResult) -> LadderView {
    let metrics = ["startup", "teardown"];
    let tables = metrics.map(|metric| table(ladder, metric)).into();
    let source = ladder.debts.first().map_or("", |debt| &debt.source);
    LadderView {
        title: format!(
            "Namespace ladder: what each mechanism costs, from {} to {}",
            ladder.base, ladder.top
        ),
        legend: vec![
            "added: on top of the rungs above it; alone: by itself, with what it needs; left out: \
             everything less everything without it (and without what needs it). Paired differences \
             inside blocks, with their 95 % intervals."
                .to_owned(),
            format!(
                "{DIFFERS} what it costs on the ladder is not what it costs alone (95 % for all \
                 rungs together)."
            ),
        ],
        columns: ["added", "alone", "left out"],
        tables,
        debts: ladder
            .debts
            .iter()
            .map(|debt| (debt.backend.clone(), microseconds(Some(&debt.more))))
            .collect(),
        debts_title: format!(
            "Deferred clean-up (µs of processor time that the host spends for one launch outside \
             of the harness and its children, beyond {}'s; {source})",
            ladder.base
        ),
        findings: findings(ladder),
    }
}

fn table(ladder: &LadderResult, metric: &str) -> LadderTable {
    let of_metric = ladder.rungs.iter().filter(|rung| rung.metric == metric);
    let mut rows: Vec<[String; 4]> = of_metric.map(row).collect();
    if let Some(total) = ladder.totals.iter().find(|t| t.metric == metric) {
        let row = |name: &str, value| {
            [
                name.to_owned(),
                microseconds(Some(value)),
                String::new(),
                String::new(),
            ]
        };
        rows.push(row("together", &total.together));
        rows.push(row("unexplained", &total.unexplained));
    }
    LadderTable {
        heading: format!("{metric} (µs)"),
        rows,
    }
}

fn row(rung: &RungResult) -> [String; 4] {
    let mark = if excludes_zero(rung.interaction.as_ref()) {
        format!(" {DIFFERS}")
    } else {
        String::new()
    };
    [
        rung.mechanism.clone(),
        microseconds(rung.added.as_ref()) + &mark,
        microseconds(rung.alone.as_ref()),
        microseconds(rung.left_out.as_ref()),
    ]
}

fn excludes_zero(difference: Option<&DifferenceResult>) -> bool {
    difference
        .and_then(|d| d.ci95)
        .is_some_and(|[low, high]| low > 0.0 || high < 0.0)
}

/// `12.3 [11.9, 12.8]`, in µs.
fn microseconds(difference: Option<&DifferenceResult>) -> String {
    let Some(difference) = difference else {
        return "–".to_owned();
    };
    let us = difference.difference / 1e3;
    let places = decimals(us).min(2);
    match difference.ci95 {
        Some(ci) => {
            let [low, high] = ci.map(|end| end / 1e3);
            format!("{us:.places$} [{low:.places$}, {high:.places$}]")
        }
        None => format!("{us:.places$} (too few)"),
    }
}

fn findings(ladder: &LadderResult) -> Vec<String> {
    let mut said = Vec::new();
    for total in &ladder.totals {
        let rungs = ladder.rungs.iter().filter(|r| r.metric == total.metric);
        let mut costs: Vec<(&str, f64)> = rungs
            .filter_map(|r| Some((r.mechanism.as_str(), r.added.as_ref()?.difference)))
            .collect();
        costs.sort_by(|a, b| b.1.total_cmp(&a.1));
        let time = |ns: f64| quantity(ns, Unit::Nanoseconds);
        let largest: Vec<String> = costs
            .iter()
            .take(3)
            .map(|(name, ns)| format!("{name} {}", time(*ns)))
            .collect();
        let rest = total.unexplained.difference;
        let in_sum = if excludes_zero(Some(&total.unexplained)) {
            let way = if rest < 0.0 { "less" } else { "more" };
            let much = time(rest.abs());
            format!("{much} {way} than the sum of each alone: they do not simply add up")
        } else {
            "as much as the sum of each alone, as far as this run can tell".to_owned()
        };
        said.push(format!(
            "All mechanisms add {} to {}; most of it: {}. Together they cost {in_sum}.",
            time(total.together.difference),
            total.metric,
            largest.join(", ")
        ));
    }
    said
}
