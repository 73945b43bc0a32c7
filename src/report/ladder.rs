//! The ladder's part of the view: what each mechanism costs, from three sides.

use super::figure::Figure;
use super::format::{decimals, quantity};
use crate::metric::{MARGINAL, PRIVATE, Unit};
use crate::store::document::{DifferenceResult, LadderResult, RungResult};

/// A ladder, as text in its place.
#[derive(Clone, Debug, PartialEq)]
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
    pub debts: Vec<(String, Figure)>,
    /// What the debts are.
    pub debts_title: String,
    /// One sentence per finding.
    pub findings: Vec<String>,
}

/// The rungs in one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderTable {
    /// `startup (µs)`.
    pub heading: String,
    /// Mechanism, then the three sides.
    pub rows: Vec<[Figure; 4]>,
    /// Lines of a picture of it.
    pub picture: Vec<String>,
}

/// Stands behind what a mechanism costs on the ladder where it is not what it costs alone.
const DIFFERS: &str = "≠";

/// Lays a ladder out.
#[must_use]
pub fn view(ladder: &LadderResult) -> LadderView {
    let metrics = ["startup", "teardown", MARGINAL.name];
    let tables = metrics.iter().filter_map(|metric| table(ladder, metric));
    let tables = tables.collect();
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
            "memory: of one more idle instance; measured on the way up only.".to_owned(),
        ],
        columns: ["added", "alone", "left out"],
        tables,
        debts: ladder
            .debts
            .iter()
            .map(|debt| (debt.backend.clone(), amount(Some(&debt.more), MICROSECOND)))
            .collect(),
        debts_title: format!(
            "Deferred clean-up (µs of processor time that the host spends for one launch outside \
             of the harness and its children, beyond {}'s; {source})",
            ladder.base
        ),
        findings: findings(ladder),
    }
}

/// A metric in which no rung has a number has no table.
fn table(ladder: &LadderResult, metric: &str) -> Option<LadderTable> {
    let (heading, unit) = if metric == MARGINAL.name {
        ("memory (KiB)".to_owned(), KIBIBYTE)
    } else {
        (format!("{metric} (µs)"), MICROSECOND)
    };
    let of_metric = ladder.rungs.iter().filter(|rung| rung.metric == metric);
    of_metric
        .clone()
        .find_map(|rung| rung.added.as_ref().or(rung.alone.as_ref()))?;
    let mut rows: Vec<[Figure; 4]> = of_metric.map(|rung| row(rung, unit)).collect();
    if let Some(total) = ladder.totals.iter().find(|t| t.metric == metric) {
        let row = |name: &str, value| {
            [
                Figure::words(name),
                amount(Some(value), unit),
                Figure::default(),
                Figure::default(),
            ]
        };
        rows.push(row("together", &total.together));
        if let Some(unexplained) = &total.unexplained {
            rows.push(row("unexplained", unexplained));
        }
    }
    Some(LadderTable {
        heading,
        rows,
        picture: Vec::new(),
    })
}

fn row(rung: &RungResult, unit: f64) -> [Figure; 4] {
    let mark = if excludes_zero(rung.interaction.as_ref()) {
        format!(" {DIFFERS}")
    } else {
        String::new()
    };
    let mut added = amount(rung.added.as_ref(), unit);
    added.text.push_str(&mark);
    [
        Figure::words(rung.mechanism.clone()),
        added,
        amount(rung.alone.as_ref(), unit),
        amount(rung.left_out.as_ref(), unit),
    ]
}

/// What a metric of a ladder is counted in.
pub(super) fn unit_of(metric: &str) -> Unit {
    if metric == MARGINAL.name || metric == PRIVATE.name {
        Unit::Bytes
    } else {
        Unit::Nanoseconds
    }
}

pub(super) fn excludes_zero(difference: Option<&DifferenceResult>) -> bool {
    difference
        .and_then(|d| d.ci95)
        .is_some_and(|[low, high]| low > 0.0 || high < 0.0)
}

/// In nanoseconds.
const MICROSECOND: f64 = 1e3;
/// In bytes.
const KIBIBYTE: f64 = 1024.0;

/// `12.3 [11.9, 12.8]`, in this unit.
pub(super) fn amount(difference: Option<&DifferenceResult>, unit: f64) -> Figure {
    let Some(difference) = difference else {
        return Figure::words("–");
    };
    let middle = difference.difference / unit;
    let places = decimals(middle).min(2);
    match difference.ci95 {
        Some(ci) => {
            let [low, high] = ci.map(|end| end / unit);
            let text = format!("{middle:.places$} [{low:.places$}, {high:.places$}]");
            Figure::new(text, [difference.difference, ci[0], ci[1]])
        }
        None => {
            let text = format!("{middle:.places$} (too few)");
            Figure::new(text, [difference.difference])
        }
    }
}

fn findings(ladder: &LadderResult) -> Vec<String> {
    let mut said = Vec::new();
    for total in &ladder.totals {
        let rungs = ladder.rungs.iter().filter(|r| r.metric == total.metric);
        // Only what is told apart from nothing is named.
        let mut costs: Vec<(&str, f64)> = rungs
            .filter_map(|r| Some((r.mechanism.as_str(), r.added.as_ref()?)))
            .filter(|(_, added)| added.difference > 0.0 && excludes_zero(Some(added)))
            .map(|(name, added)| (name, added.difference))
            .collect();
        costs.sort_by(|a, b| b.1.total_cmp(&a.1));
        let memory = total.metric == MARGINAL.name;
        let (unit, what) = if memory {
            (Unit::Bytes, "the memory of one more idle instance")
        } else {
            (Unit::Nanoseconds, total.metric.as_str())
        };
        if !excludes_zero(Some(&total.together)) {
            said.push(format!(
                "What all mechanisms add to {what} is not told apart from nothing by this run."
            ));
            continue;
        }
        let amount = |value: f64| quantity(value, unit);
        let largest: Vec<String> = costs
            .iter()
            .take(3)
            .map(|(name, value)| format!("{name} {}", amount(*value)))
            .collect();
        let in_sum = total.unexplained.as_ref().map(|unexplained| {
            let rest = unexplained.difference;
            if excludes_zero(Some(unexplained)) {
                let way = if rest < 0.0 { "less" } else { "more" };
                let much = amount(rest.abs());
                format!(" Together they cost {much} {way} than the sum of each alone: they do not simply add up.")
            } else {
                " Together they cost as much as the sum of each alone, as far as this run can tell."
                    .to_owned()
            }
        });
        let largest = if largest.is_empty() {
            String::new()
        } else {
            format!("; the largest parts: {}", largest.join(", "))
        };
        said.push(format!(
            "All mechanisms together change {what} by {}{largest}.{}",
            amount(total.together.difference),
            in_sum.unwrap_or_default()
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::TotalResult;

    const fn measured(difference: f64, ci95: Option<[f64; 2]>) -> DifferenceResult {
        DifferenceResult {
            difference,
            ci95,
            pairs: 9,
        }
    }

    fn ladder(together: DifferenceResult, rungs: &[(&str, DifferenceResult)]) -> LadderResult {
        let rung = |(name, added): &(&str, DifferenceResult)| RungResult {
            mechanism: (*name).to_owned(),
            metric: "startup".to_owned(),
            over: None,
            added: Some(added.clone()),
            alone: None,
            left_out: None,
            interaction: None,
        };
        LadderResult {
            name: "namespaces".to_owned(),
            base: "container:none".to_owned(),
            top: "container".to_owned(),
            rungs: rungs.iter().map(rung).collect(),
            totals: vec![TotalResult {
                metric: "startup".to_owned(),
                together,
                unexplained: None,
            }],
            debts: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_told_apart_from_nothing_is_named() {
        let rungs = [
            ("pid", measured(9e6, Some([-1e6, 2e7]))),
            ("net", measured(5e5, Some([4e5, 6e5]))),
            ("mnt", measured(8e6, None)),
            ("uts", measured(-7e5, Some([-8e5, -6e5]))),
        ];
        let said = findings(&ladder(measured(1e6, Some([9e5, 2e6])), &rungs));
        assert!(
            said[0].contains("the largest parts: net 500 µs."),
            "{said:?}"
        );
        for together in [measured(1e6, None), measured(1e6, Some([-1.0, 2e6]))] {
            let said = findings(&ladder(together, &rungs));
            assert_eq!(said.len(), 1);
            assert!(said[0].contains("not told apart") && !said[0].contains("net"));
        }
    }
}
