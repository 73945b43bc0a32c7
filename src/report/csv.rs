//! The estimates and facts as CSV (RFC 4180).

use std::fmt::Write;

use super::history::quoted;
use crate::store::document::Run;
use crate::workload::Workload;

/// A header, one line per estimate, in base units, unrounded, and one per isolation fact, as metric of
/// `probe`.
#[must_use]
pub fn render(run: &Run) -> String {
    let mut out = String::from(
        "backend,workload,metric,unit,better,n,median,ci95_low,ci95_high,p99,min,verdict,value\r\n",
    );
    for m in &run.metrics {
        let [low, high] = m.ci95.map_or([String::new(), String::new()], |ci| {
            ci.map(|v| v.to_string())
        });
        let better = match m.better {
            crate::metric::Better::Lower => "lower",
            crate::metric::Better::Higher => "higher",
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{},{},{},{},{better},{},{},{low},{high},{},{},,\r\n",
            quoted(&m.backend),
            quoted(&m.workload),
            m.metric,
            m.unit,
            m.n,
            m.median,
            m.p99.map(|v| v.to_string()).unwrap_or_default(),
            m.min
        );
    }
    for fact in &run.isolation {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{},{},{},,,,,,,,,{},{}\r\n",
            quoted(&fact.backend),
            Workload::Probe.name(),
            quoted(&fact.fact),
            fact.verdict.name(),
            quoted(&fact.value)
        );
    }
    out
}
