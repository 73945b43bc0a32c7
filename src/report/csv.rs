//! The estimates as CSV (RFC 4180).

use std::fmt::Write;

use crate::store::document::Run;

/// A header and one line per estimate, in base units, unrounded.
#[must_use]
pub fn render(run: &Run) -> String {
    let mut out =
        String::from("backend,workload,metric,unit,better,n,median,ci95_low,ci95_high,p99,min\r\n");
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
            "{},{},{},{},{better},{},{},{low},{high},{},{}\r\n",
            m.backend,
            m.workload,
            m.metric,
            m.unit,
            m.n,
            m.median,
            m.p99.map(|v| v.to_string()).unwrap_or_default(),
            m.min
        );
    }
    out
}
