//! A comparison as CSV (RFC 4180).

use std::fmt::Write;

use crate::measure::comparison::Comparison;
use crate::report::history::quoted;

/// A header, one line a metric, unrounded, worst first; one line for whatever only one run has.
#[must_use]
pub fn render(c: &Comparison) -> String {
    let mut out = String::from(
        "backend,workload,metric,unit,verdict,ratio,ci95_low,ci95_high,p_corrected,threshold,\
         detectable,blocks_base,blocks_head,needed,part,part_difference,note\r\n",
    );
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for m in &c.metrics {
        let part = m.parts.first();
        let [low, high] = m.ci95.map_or([None, None], |ci| ci.map(Some));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
            quoted(&m.backend),
            quoted(&m.workload),
            m.metric,
            m.unit,
            m.verdict.name(),
            number(m.ratio),
            number(low),
            number(high),
            number(m.p_corrected),
            m.threshold,
            number(m.detectable),
            m.blocks[0],
            m.blocks[1],
            m.needed.map(|n| n.to_string()).unwrap_or_default(),
            quoted(part.map(|p| p.name.as_str()).unwrap_or_default()),
            number(part.map(|p| p.difference)),
            quoted(
                m.doubt
                    .as_ref()
                    .map(|d| d.words.as_str())
                    .unwrap_or_default()
            ),
        );
    }
    for m in &c.missing {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{},{},{},,inconclusive,,,,,,,,,,,,missing in {}\r\n",
            quoted(&m.backend),
            quoted(m.workload.as_deref().unwrap_or_default()),
            m.metric.unwrap_or_default(),
            m.missing_in.to_uppercase(),
        );
    }
    out
}
