//! The stack ladder's part of the view: what each layer adds, and a picture of it.

use super::figure::Figure;
use super::format::quantity;
use super::ladder::{LadderTable, LadderView, amount, excludes_zero, unit_of};
use crate::backend::engine::DaemonFacts;
use crate::metric::{PRIVATE, Unit};
use crate::store::document::{BackendResult, LadderResult, RungResult};

/// Columns of a bar.
const BAR: usize = 44;

/// Lays a stack ladder out.
#[must_use]
pub fn view(ladder: &LadderResult, backends: &[BackendResult]) -> LadderView {
    let metrics = ["startup", "teardown", PRIVATE.name];
    LadderView {
        title: format!(
            "Stack ladder: what each layer adds, from {} to {}",
            ladder.base, ladder.top
        ),
        legend: vec![
            format!(
                "added: over the layer that it stands on; in all: over {}. Paired differences inside \
                 blocks, with their 95 % intervals. podman and cri stand beside the way up.",
                ladder.base
            ),
            "memory: private memory of one idle instance: payload, shim, monitor, client (what ending \
             it would give back); daemons are counted below. docker's memory has its client in it, \
             which stays until the container ends."
                .to_owned(),
        ],
        columns: ["on", "added", "in all"],
        tables: metrics.iter().filter_map(|m| table(ladder, m)).collect(),
        debts: Vec::new(),
        debts_title: String::new(),
        findings: findings(ladder, backends),
    }
}

fn table(ladder: &LadderResult, metric: &str) -> Option<LadderTable> {
    let (heading, unit) = if metric == PRIVATE.name {
        ("memory (MiB)".to_owned(), 1024.0 * 1024.0)
    } else {
        (format!("{metric} (ms)"), 1e6)
    };
    let rungs: Vec<&RungResult> = ladder.rungs.iter().filter(|r| r.metric == metric).collect();
    rungs.iter().find_map(|rung| rung.added.as_ref())?;
    let rows = rungs
        .iter()
        .map(|rung| {
            [
                Figure::words(rung.mechanism.clone()),
                Figure::words(rung.over.clone().unwrap_or_default()),
                amount(rung.added.as_ref(), unit),
                amount(rung.alone.as_ref(), unit),
            ]
        })
        .collect();
    Some(LadderTable {
        heading,
        rows,
        picture: picture(&rungs, unit_of(metric)),
    })
}

/// A waterfall: each bar begins where the layer below it ends. `▒` is what it stands on, `█` what it
/// adds, `░` what it takes less.
fn picture(rungs: &[&RungResult], unit: Unit) -> Vec<String> {
    let in_all = |id: &str| {
        let rung = rungs.iter().find(|rung| rung.mechanism == id)?;
        Some(rung.alone.as_ref()?.difference)
    };
    let ends = rungs.iter().filter_map(|rung| in_all(&rung.mechanism));
    let longest = ends.fold(0.0, f64::max);
    if longest <= 0.0 {
        return Vec::new();
    }
    let column = |value: f64| {
        let share = (value / longest).clamp(0.0, 1.0);
        // At most BAR: the share is at most 1.
        (share * BAR as f64).round() as usize
    };
    rungs
        .iter()
        .filter_map(|rung| {
            let end = in_all(&rung.mechanism)?;
            // The base itself is where all bars begin.
            let start = rung.over.as_deref().and_then(in_all).unwrap_or(0.0);
            let (from, to) = (column(start), column(end));
            let (low, high) = (from.min(to), from.max(to));
            let mark = if end < start { "░" } else { "█" };
            let width = (high - low).max(usize::from(low < BAR));
            let bar = "▒".repeat(low) + &mark.repeat(width);
            // What the table says, which is a centre of differences and not one of centres.
            let added = rung
                .added
                .as_ref()
                .map_or(end - start, |added| added.difference);
            let sign = if added < 0.0 { "−" } else { "+" };
            let added = quantity(added.abs(), unit);
            let name = &rung.mechanism;
            Some(format!("{name:<11}{bar:<BAR$} {sign}{added}"))
        })
        .collect()
}

fn findings(ladder: &LadderResult, backends: &[BackendResult]) -> Vec<String> {
    let mut said: Vec<String> = ladder
        .totals
        .iter()
        .map(|total| {
            let unit = unit_of(&total.metric);
            let what = match total.metric.as_str() {
                "startup" => "to the payload's first instruction",
                "teardown" => "to its clean-up",
                _ => "to the private memory of an idle instance",
            };
            let mut costs: Vec<(&str, f64)> = ladder
                .rungs
                .iter()
                .filter(|r| r.metric == total.metric && is_on_the_way(ladder, &r.mechanism))
                .filter_map(|r| Some((r.mechanism.as_str(), r.added.as_ref()?)))
                .filter(|(_, added)| added.difference > 0.0 && excludes_zero(Some(added)))
                .map(|(name, added)| (name, added.difference))
                .collect();
            costs.sort_by(|a, b| b.1.total_cmp(&a.1));
            let parts: Vec<String> = costs
                .iter()
                .take(3)
                .map(|(name, cost)| format!("{name} {}", quantity(*cost, unit)))
                .collect();
            let parts = if parts.is_empty() {
                String::new()
            } else {
                format!("; the largest parts: {}", parts.join(", "))
            };
            if !excludes_zero(Some(&total.together)) {
                return format!(
                    "What all layers up to {} add {what} is not told apart from nothing by this run.",
                    ladder.top
                );
            }
            let all = quantity(total.together.difference, unit);
            format!("All layers up to {} add {all} {what}{parts}.", ladder.top)
        })
        .collect();
    let known = resident(backends.iter().flat_map(|backend| &backend.daemons));
    if !known.is_empty() {
        said.push(format!(
            "Resident whether or not there is an instance (PSS at the end of the run): {}.",
            known.join(", ")
        ));
    }
    said
}

/// Each daemon once, with its memory.
pub(super) fn resident<'a>(daemons: impl IntoIterator<Item = &'a DaemonFacts>) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for daemon in daemons {
        let memory = daemon
            .memory
            .map(|bytes| quantity(bytes.0 as f64, Unit::Bytes));
        let memory = memory.unwrap_or_else(|| "not known".to_owned());
        let text = format!("{} {} {memory}", daemon.name, daemon.version);
        if !known.iter().any(|other| other.starts_with(&daemon.name)) {
            known.push(text);
        }
    }
    known
}

/// Whether a layer is on the way to the top: what it stands on is, and it is what the next stands on.
fn is_on_the_way(ladder: &LadderResult, id: &str) -> bool {
    let over = |id: &str| {
        let rung = ladder.rungs.iter().find(|rung| rung.mechanism == id);
        rung.and_then(|rung| rung.over.clone())
    };
    let mut at = Some(ladder.top.clone());
    // As many steps as there are rungs at most: a stored ladder may be anything.
    for _ in 0..ladder.rungs.len() {
        match at {
            Some(here) if here == id => return true,
            Some(here) => at = over(&here),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::{DifferenceResult, TotalResult};

    const fn known(difference: f64) -> Option<DifferenceResult> {
        Some(DifferenceResult {
            difference,
            ci95: Some([difference - 1.0, difference + 1.0]),
            pairs: 9,
        })
    }

    fn ladder() -> LadderResult {
        let rung = |id: &str, over: &str, added: f64, all: f64| RungResult {
            mechanism: id.to_owned(),
            metric: "startup".to_owned(),
            over: Some(over.to_owned()),
            added: known(added),
            alone: known(all),
            left_out: None,
            interaction: None,
        };
        LadderResult {
            name: "docker".to_owned(),
            base: "process".to_owned(),
            top: "docker".to_owned(),
            rungs: vec![
                rung("runc", "process", 50e6, 50e6),
                rung("docker", "runc", 50e6, 100e6),
                rung("podman", "runc", -25e6, 25e6),
            ],
            totals: vec![TotalResult {
                metric: "startup".to_owned(),
                together: known(100e6).unwrap(),
                unexplained: None,
            }],
            debts: Vec::new(),
        }
    }

    #[test]
    fn bars_begin_where_the_layer_below_ends() {
        let view = view(&ladder(), &[]);
        let picture = &view.tables[0].picture;
        let bar = |line: &str, mark: char| line.chars().filter(|c| *c == mark).count();
        assert_eq!((bar(&picture[0], '▒'), bar(&picture[0], '█')), (0, BAR / 2));
        assert_eq!(
            (bar(&picture[1], '▒'), bar(&picture[1], '█')),
            (BAR / 2, BAR / 2)
        );
        // Less than what it stands on: up to there it is drawn light.
        assert_eq!(
            (bar(&picture[2], '▒'), bar(&picture[2], '░')),
            (BAR / 4, BAR / 4)
        );
        assert!(picture[2].contains('−'), "{picture:?}");
    }

    #[test]
    fn a_whole_that_may_be_nothing_is_no_number() {
        for ci95 in [None, Some([-1e6, 2e6])] {
            let mut ladder = ladder();
            ladder.totals[0].together = DifferenceResult {
                difference: 5e5,
                ci95,
                pairs: 9,
            };
            let said = findings(&ladder, &[]);
            assert!(said[0].contains("not told apart"), "{said:?}");
            assert!(!said[0].contains("500"), "{said:?}");
        }
    }

    #[test]
    fn the_largest_parts_are_those_on_the_way_up() {
        let mut ladder = ladder();
        ladder.rungs[2].added = known(90e6);
        let said = findings(&ladder, &[]);
        assert!(
            said[0].contains("docker 50.0 ms") && !said[0].contains("podman"),
            "{said:?}"
        );
    }
}
