//! Bencher Metric Format: `{benchmark: {measure: {value, lower_value?, upper_value?}}}`
//! (bencher.dev, "Bencher Metric Format").

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::comparison::Comparison;
use crate::store::document::Run;

/// A metric with its bounds.
#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

type Benchmarks = BTreeMap<String, BTreeMap<String, Metric>>;

/// The medians of a run: a benchmark is a configuration and task, a measure a metric.
#[must_use]
pub fn of_run(run: &Run) -> String {
    let mut all = Benchmarks::new();
    for m in &run.metrics {
        let name = format!("{} {}", m.backend, m.workload);
        let metric = metric(m.median, m.ci95);
        all.entry(name)
            .or_default()
            .insert(m.metric.clone(), metric);
    }
    crate::store::folder::to_pretty_json(&all)
}

/// HEAD over BASE; the measure is named `METRIC-change`. What was not compared has none.
#[must_use]
pub fn of_comparison(c: &Comparison) -> String {
    let mut all = Benchmarks::new();
    for m in &c.metrics {
        if let Some(ratio) = m.ratio {
            let name = format!("{} {}", m.backend, m.workload);
            let measure = format!("{}-change", m.metric);
            let metric = metric(ratio, m.ci95);
            all.entry(name).or_default().insert(measure, metric);
        }
    }
    crate::store::folder::to_pretty_json(&all)
}

fn metric(value: f64, ci95: Option<[f64; 2]>) -> Metric {
    Metric {
        value,
        lower_value: ci95.map(|ci| ci[0]),
        upper_value: ci95.map(|ci| ci[1]),
    }
}
