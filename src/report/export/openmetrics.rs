//! OpenMetrics 1.0 text, for a Prometheus text-file collector or push gateway
//! (the OpenMetrics specification, "Text format" and its ABNF).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::measure::comparison::{Comparison, Word};
use crate::metric::{CATALOGUE, Unit};
use crate::store::document::Run;

/// A run: a gauge a metric, in base units, labelled by configuration, task and statistic.
#[must_use]
pub fn of_run(run: &Run) -> String {
    let mut out = String::new();
    let mut families: BTreeMap<&str, Vec<&crate::store::document::MetricResult>> = BTreeMap::new();
    for m in &run.metrics {
        families.entry(&m.metric).or_default().push(m);
    }
    for (name, metrics) in families {
        let Some(metric) = CATALOGUE.iter().find(|known| known.name == name) else {
            continue;
        };
        let (unit, factor) = base(metric.unit);
        let family = format!("isobench_{name}_{unit}");
        head(&mut out, &family, "gauge", unit, metric.definition);
        for m in metrics {
            let [low, high] = m.ci95.map_or([None, None], |ci| ci.map(Some));
            for (stat, value) in [
                ("median", Some(m.median)),
                ("ci95_low", low),
                ("ci95_high", high),
                ("p99", m.p99),
                ("min", Some(m.min)),
            ] {
                if let Some(value) = value {
                    let labels = [
                        ("backend", m.backend.as_str()),
                        ("workload", &m.workload),
                        ("stat", stat),
                    ];
                    sample(&mut out, &family, &labels, value * factor);
                }
            }
        }
    }
    let _ = writeln!(out, "# TYPE isobench_run info");
    let _ = writeln!(out, "# HELP isobench_run The run that was measured.");
    let commit = run.project.as_ref().map(|p| p.commit.as_str());
    let labels = [
        ("id", run.id.as_str()),
        ("profile", &run.profile),
        ("payload", &run.payload.sha256),
        ("kvm", &run.host.kvm),
        ("commit", commit.unwrap_or("")),
    ];
    sample(&mut out, "isobench_run_info", &labels, 1.0);
    out.push_str("# EOF\n");
    out
}

/// A comparison: the ratio with its interval, and the verdict as a state set.
#[must_use]
pub fn of_comparison(c: &Comparison) -> String {
    let mut out = String::new();
    let family = "isobench_change_ratio";
    let help = "HEAD over BASE, relative to process in the same blocks.";
    head(&mut out, family, "gauge", "ratio", help);
    for m in &c.metrics {
        let [low, high] = m.ci95.map_or([None, None], |ci| ci.map(Some));
        for (stat, value) in [
            ("estimate", m.ratio),
            ("ci95_low", low),
            ("ci95_high", high),
        ] {
            if let Some(value) = value {
                let labels = [
                    ("backend", m.backend.as_str()),
                    ("workload", &m.workload),
                    ("metric", m.metric),
                    ("stat", stat),
                ];
                sample(&mut out, family, &labels, value);
            }
        }
    }
    let family = "isobench_verdict";
    let _ = writeln!(out, "# TYPE {family} stateset");
    let _ = writeln!(out, "# HELP {family} The verdict on HEAD.");
    for m in &c.metrics {
        for word in Word::ALL {
            // A state's label is named as its family is.
            let labels = [
                ("backend", m.backend.as_str()),
                ("workload", &m.workload),
                ("metric", m.metric),
                (family, word.name()),
            ];
            sample(
                &mut out,
                family,
                &labels,
                f64::from(u8::from(word == m.verdict)),
            );
        }
    }
    out.push_str("# EOF\n");
    out
}

// Writing to a String cannot fail, here and below.
fn head(out: &mut String, family: &str, kind: &str, unit: &str, help: &str) {
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(out, "# TYPE {family} {kind}");
    let _ = writeln!(out, "# UNIT {family} {unit}");
    let _ = writeln!(out, "# HELP {family} {}", escaped(&help));
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, text)| format!("{key}=\"{}\"", escaped(text)))
        .collect();
    let _ = writeln!(out, "{name}{{{}}} {value}", labels.join(","));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

/// The base unit of a family's name, and what a value is multiplied by.
const fn base(unit: Unit) -> (&'static str, f64) {
    match unit {
        Unit::Nanoseconds => ("seconds", 1e-9),
        Unit::Bytes => ("bytes", 1.0),
        Unit::BytesPerSecond => ("bytes_per_second", 1.0),
        Unit::FlopPerSecond => ("flop_per_second", 1.0),
        Unit::OpsPerSecond => ("operations_per_second", 1.0),
        Unit::PagesPerSecond => ("pages_per_second", 1.0),
    }
}
