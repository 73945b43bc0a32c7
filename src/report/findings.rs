//! One plain sentence per finding.

use super::format::significant;
use crate::metric::Better;
use crate::store::document::{RatioResult, Run};

/// Ratios this close to 1 are called the same, if their interval is too.
const SAME: f64 = 0.05;

/// How the sentences speak of a metric: what the subject does, as a verb phrase, or what of it is
/// compared.
fn phrase(workload: &str, metric: &str) -> Option<String> {
    let name = workload.split('@').next().unwrap_or(workload);
    Some(match (name, metric) {
        ("noop", "startup") => "time to the first instruction".to_owned(),
        ("noop", "teardown") => "clean-up".to_owned(),
        (_, "bandwidth") if name == "sha256" => "hashing (sha256)".to_owned(),
        (_, "flops") => "vectorised arithmetic (matmul)".to_owned(),
        (_, "ops") => "branching code (branch)".to_owned(),
        (_, "bandwidth") => format!("memory bandwidth ({workload})"),
        ("chase", "latency") => format!("dependent loads ({workload})"),
        ("crossing", "latency") => "the crossing to whoever serves it".to_owned(),
        ("clock", "latency") => "reading the clock".to_owned(),
        (_, "pages") => "first touch of memory (fault)".to_owned(),
        ("idle", "marginal") => "memory of one more idle instance".to_owned(),
        _ => return None,
    })
}

/// A sentence for every ratio to `process`, and for the start of everything to `container`.
#[must_use]
pub fn sentences(run: &Run) -> Vec<String> {
    run.ratios
        .iter()
        .filter(|r| {
            let from_reference = r.backend == "process";
            r.reference == "process"
                || (r.reference == "container" && r.metric == "startup" && !from_reference)
        })
        .filter_map(|ratio| sentence(run, ratio))
        .collect()
}

fn sentence(run: &Run, ratio: &RatioResult) -> Option<String> {
    let subject = phrase(&ratio.workload, &ratio.metric)?;
    let better = run
        .metrics
        .iter()
        .find(|m| m.workload == ratio.workload && m.metric == ratio.metric)
        .map(|m| m.better)?;
    let pair = format!("{} against {}: {subject}", ratio.backend, ratio.reference);
    let Some([low, high]) = ratio.ci95 else {
        return Some(format!("{pair}: too few pairs ({}) to say.", ratio.pairs));
    };
    if low > 1.0 - SAME && high < 1.0 + SAME {
        let within = (1.0 - low).abs().max((high - 1.0).abs()) * 100.0;
        return Some(format!(
            "{pair} is the same within {} %.",
            significant(within)
        ));
    }
    if low <= 1.0 && high >= 1.0 {
        return Some(format!(
            "{pair} shows no difference; the interval [{}, {}] leaves room for one.",
            significant(low),
            significant(high)
        ));
    }
    // Told from the larger side, so that every factor is above 1.
    let (more, factor, ends) = if ratio.ratio >= 1.0 {
        (true, ratio.ratio, [low, high])
    } else {
        (false, 1.0 / ratio.ratio, [1.0 / high, 1.0 / low])
    };
    let word = match (ratio.metric.as_str(), more, better) {
        ("marginal", true, _) => "more",
        ("marginal", false, _) => "less",
        (_, true, Better::Lower) | (_, false, Better::Higher) => "slower",
        (_, false, Better::Lower) | (_, true, Better::Higher) => "faster",
    };
    Some(format!(
        "{pair} is {} × {word} [{}, {}].",
        significant(factor),
        significant(ends[0]),
        significant(ends[1])
    ))
}
