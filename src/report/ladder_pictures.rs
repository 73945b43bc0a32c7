//! The charts of a ladder.

use super::chart::waterfall::{self, Waterfall};
use super::chart::{Chart, Data, Shown};
use super::format;
use super::ladder::unit_of;
use super::pictures::{file_name, shown};
use crate::metric::{MARGINAL, PRIVATE, Unit};
use crate::store::document::{DifferenceResult, LadderResult, MetricResult};

/// A chart for each metric in which some rung has a number.
pub(super) fn waterfalls(measured: &[MetricResult], ladder: &LadderResult) -> Vec<Chart> {
    let mut metrics: Vec<&str> = Vec::new();
    for rung in &ladder.rungs {
        if !metrics.contains(&rung.metric.as_str()) {
            metrics.push(&rung.metric);
        }
    }
    let charts = metrics
        .into_iter()
        .filter_map(|metric| waterfall(measured, ladder, metric));
    charts.collect()
}

fn waterfall(measured: &[MetricResult], ladder: &LadderResult, metric: &str) -> Option<Chart> {
    let unit = unit_of(metric);
    let difference = |found: &DifferenceResult| Shown {
        value: found.difference,
        text: difference_text(found, unit),
        ci95: found.ci95,
    };
    let rungs: Vec<waterfall::Rung> = ladder
        .rungs
        .iter()
        .filter(|rung| rung.metric == metric)
        .map(|rung| waterfall::Rung {
            name: rung.mechanism.clone(),
            over: rung.over.clone(),
            added: rung.added.as_ref().map(difference),
        })
        .collect();
    rungs.iter().find_map(|rung| rung.added.as_ref())?;
    let base = measured
        .iter()
        .find(|m| m.backend == ladder.base && m.metric == metric);
    let base = base.map(|m| shown(m.median, m.ci95, m.unit));
    let total = ladder.totals.iter().find(|total| total.metric == metric);
    let what = match metric {
        _ if metric == MARGINAL.name => "memory of one more idle instance",
        _ if metric == PRIVATE.name => "private memory of an idle instance",
        _ => metric,
    };
    let alt: Vec<String> = rungs
        .iter()
        .map(|waterfall::Rung { name, over, added }| {
            let text = added.as_ref().map_or("not measured", |added| &added.text);
            let over = over.as_ref().map(|over| format!(" over {over}"));
            format!("{name} {text}{}", over.unwrap_or_default())
        })
        .collect();
    let begins = if rungs.iter().any(|rung| rung.over.is_some()) {
        "Each bar begins where that of the layer that it stands on ends: its paired difference to that \
         layer"
    } else {
        "Each bar begins where the one above it ends: the rung's paired difference to the rungs before \
         it"
    };
    let title = format!(
        "{} ladder: what each rung adds to {what}",
        capital(&ladder.name)
    );
    Some(Chart {
        name: format!("ladder-{}-{metric}", file_name(&ladder.name)),
        caption: format!(
            "{begins}, with its 95 % interval as a line (cut where it leaves the chart); grey cannot be \
             told from nothing. The last bar is everything at once."
        ),
        alt: format!("{title}. From {}: {}.", ladder.base, alt.join("; ")),
        title,
        data: Data::Waterfall(Waterfall {
            unit,
            base: (ladder.base.clone(), base),
            rungs,
            top: (
                ladder.top.clone(),
                total.map(|total| difference(&total.together)),
            ),
            axis: what.to_owned(),
        }),
    })
}

/// `12.3 µs [11.9, 12.8]`.
fn difference_text(found: &DifferenceResult, unit: Unit) -> String {
    let value = format::quantity(found.difference, unit);
    match found.ci95 {
        Some(ends) => {
            let ends = format::interval(ends, found.difference, unit).replace(" – ", ", ");
            format!("{value} [{ends}]")
        }
        None => format!("{value} (too few)"),
    }
}

fn capital(name: &str) -> String {
    // Named in the singular: the ladder of namespaces is the namespace ladder.
    let name = name.strip_suffix('s').unwrap_or(name);
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::document::RungResult;

    fn rung(mechanism: &str, metric: &str, over: &str, added: f64) -> RungResult {
        RungResult {
            mechanism: mechanism.to_owned(),
            metric: metric.to_owned(),
            over: Some(over.to_owned()),
            added: Some(DifferenceResult {
                difference: added,
                ci95: None,
                pairs: 9,
            }),
            alone: None,
            left_out: None,
            interaction: None,
        }
    }

    #[test]
    fn each_metric_of_a_ladder_is_drawn_in_its_own_unit() {
        let ladder = LadderResult {
            name: "docker".to_owned(),
            base: "process".to_owned(),
            top: "docker".to_owned(),
            rungs: vec![
                rung("runc", "startup", "process", 5e7),
                rung("runc", "private", "process", f64::from(8 << 20)),
                rung("podman", "private", "runc", f64::from(2 << 20)),
            ],
            totals: Vec::new(),
            debts: Vec::new(),
        };
        let charts = waterfalls(&[], &ladder);
        let told: Vec<(&str, Unit)> = charts
            .iter()
            .map(|chart| match &chart.data {
                Data::Waterfall(data) => (chart.alt.as_str(), data.unit),
                other => panic!("{other:?}"),
            })
            .collect();
        let [(startup, Unit::Nanoseconds), (private, Unit::Bytes)] = told[..] else {
            panic!("{told:?}");
        };
        assert!(startup.contains("runc 50.0 ms"), "{startup}");
        assert!(private.contains("runc 8.00 MiB"), "{private}");
        assert!(
            private.contains("podman 2.00 MiB (too few) over runc"),
            "{private}"
        );
    }
}
