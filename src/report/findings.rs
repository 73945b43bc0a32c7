//! One plain sentence per finding.

use super::figure::Figure;
use super::format::significant;
use crate::backend::{Configuration, MicroVmKind};
use crate::metric::Better;
use crate::store::document::{RatioResult, Run};

/// Ratios this close to 1 are called the same, if their interval is too.
const SAME: f64 = 0.05;

/// Whether a configuration starts from a copy of a payload that was ready.
pub(super) fn is_copy(backend: &str) -> bool {
    matches!(
        backend.parse(),
        Ok(Configuration::MicroVm(
            MicroVmKind::Snapshot | MicroVmKind::Pool
        ))
    )
}

/// How the sentences speak of a metric: what the subject does, as a verb phrase, or what of it is
/// compared.
fn phrase(backend: &str, workload: &str, metric: &str) -> Option<String> {
    let name = workload.split('@').next().unwrap_or(workload);
    Some(match (name, metric) {
        ("noop", "startup") if is_copy(backend) => {
            "time to the copy's first instruction (no boot)".to_owned()
        }
        ("noop", "ready") if is_copy(backend) => "the first reply of noop".to_owned(),
        ("noop", "startup") => "time to the first instruction".to_owned(),
        ("warm", "reply") => format!("the first reply of {workload}"),
        ("noop", "teardown") if backend == "microvm:pool" => "clean-up (the VM stays)".to_owned(),
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

/// What one ratio says.
enum Finding {
    /// The whole interval is close to 1; the distance from 1 of its farther end.
    Same(String, f64),
    /// The interval has 1 in it and more.
    Open(String, [f64; 2]),
    /// A difference, in words.
    Different(String),
    /// No interval.
    TooFew(String, u64),
}

/// For each pair of configurations: a sentence per difference, then one for what is the same and
/// one for what this run cannot tell.
#[must_use]
pub fn sentences(run: &Run) -> Vec<Figure> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for ratio in run.ratios.iter().filter(|r| is_told(r)) {
        let pair = (ratio.backend.as_str(), ratio.reference.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
        .into_iter()
        .flat_map(|(backend, reference)| of_pair(run, backend, reference))
        .collect()
}

/// Everything is told against `process`; starts against `container` too.
fn is_told(ratio: &RatioResult) -> bool {
    let from_reference = ratio.backend == "process";
    ratio.reference == "process"
        || (ratio.reference == "container" && ratio.metric == "startup" && !from_reference)
}

fn of_pair(run: &Run, backend: &str, reference: &str) -> Vec<Figure> {
    let subject = format!("{backend} against {reference}:");
    let (mut said, mut same, mut open, mut few) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut within: f64 = 0.0;
    // The stored numbers behind each of these.
    let (mut of_same, mut of_open, mut of_few) = (Vec::new(), Vec::new(), Vec::new());
    let ratios = run.ratios.iter().filter(|r| is_told(r));
    for ratio in ratios.filter(|r| r.backend == backend && r.reference == reference) {
        match finding(run, ratio) {
            None => {}
            Some(Finding::Different(words)) => {
                let ends = ratio.ci95.into_iter().flatten();
                let values: Vec<f64> = std::iter::once(ratio.ratio).chain(ends).collect();
                said.push(Figure::new(format!("{subject} {words}."), values));
            }
            Some(Finding::Same(what, distance)) => {
                of_same.extend(ratio.ci95.into_iter().flatten());
                within = within.max(distance);
                same.push(what);
            }
            Some(Finding::Open(what, [low, high])) => {
                of_open.extend([low, high]);
                open.push(format!(
                    "{what} [{}, {}]",
                    significant(low),
                    significant(high)
                ));
            }
            Some(Finding::TooFew(what, pairs)) => {
                of_few.push(pairs as f64);
                few.push(format!("{what} ({pairs} pairs)"));
            }
        }
    }
    if !same.is_empty() {
        let percent = significant(within * 100.0);
        let text = format!(
            "{subject} the same within {percent} %: {}.",
            same.join(", ")
        );
        said.push(Figure::new(text, of_same));
    }
    if !open.is_empty() {
        let text = format!(
            "{subject} no difference seen, but the interval leaves room for one: {}.",
            open.join(", ")
        );
        said.push(Figure::new(text, of_open));
    }
    if !few.is_empty() {
        let text = format!("{subject} too few pairs to say: {}.", few.join(", "));
        said.push(Figure::new(text, of_few));
    }
    said
}

fn finding(run: &Run, ratio: &RatioResult) -> Option<Finding> {
    let what = phrase(&ratio.backend, &ratio.workload, &ratio.metric)?;
    let better = run
        .metrics
        .iter()
        .find(|m| m.workload == ratio.workload && m.metric == ratio.metric)
        .map(|m| m.better)?;
    let Some([low, high]) = ratio.ci95 else {
        return Some(Finding::TooFew(what, ratio.pairs));
    };
    if low > 1.0 - SAME && high < 1.0 + SAME {
        return Some(Finding::Same(
            what,
            (1.0 - low).abs().max((high - 1.0).abs()),
        ));
    }
    if low <= 1.0 && high >= 1.0 {
        return Some(Finding::Open(what, [low, high]));
    }
    // Told from the larger side, so that every factor is above 1.
    let (more, factor, ends) = if ratio.ratio >= 1.0 {
        (true, ratio.ratio, [low, high])
    } else {
        (false, 1.0 / ratio.ratio, [1.0 / high, 1.0 / low])
    };
    let word = match (ratio.metric.as_str(), more, better) {
        ("marginal", true, _) => "as much",
        ("marginal", false, _) => "less",
        (_, true, Better::Lower) | (_, false, Better::Higher) => "slower",
        (_, false, Better::Lower) | (_, true, Better::Higher) => "faster",
    };
    Some(Finding::Different(format!(
        "{what} is {} × {word} [{}, {}]",
        significant(factor),
        significant(ends[0]),
        significant(ends[1])
    )))
}
