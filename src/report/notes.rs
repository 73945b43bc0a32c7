//! What a reader must know beside the numbers: what is missing, wide, blurred or disturbed.

use super::model::missing;
use super::{balance, boundary, findings, format, stack};
use crate::store::document::{BackendResult, RatioResult, Run, Status};

/// What stands behind a ratio whose interval is wider than the profile's target: the budget was
/// spent first.
const WIDE: &str = "~";

pub(super) fn mark(run: &Run, ratio: &RatioResult) -> &'static str {
    let half_width = ratio.ci95.map(|[low, high]| (high / low).sqrt() - 1.0);
    match (half_width, run.target) {
        (Some(half_width), Some(target)) if half_width > target => WIDE,
        _ => "",
    }
}

/// Somebody else's program, and how what it makes differs from `container`.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// In full.
    pub sentence: String,
    /// For a screen: the configuration, and in how many points it differs.
    pub brief: String,
}

/// The engines of a run.
pub(super) fn engines(run: &Run) -> Vec<Engine> {
    let of = |backend: &BackendResult| {
        let engine = backend.engine.as_ref()?;
        let count = engine.differences.len();
        Some(Engine {
            sentence: format!(
                "{} is {} ({}). Unlike container: {}.",
                backend.id,
                engine.program,
                engine.version,
                engine.differences.join("; ")
            ),
            brief: format!("{} ({count})", backend.id),
        })
    };
    run.backends.iter().filter_map(of).collect()
}

/// The notes of a run.
pub(super) fn notes(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &run.inconclusive {
        notes.push(format!("Inconclusive: {why}."));
    }
    let wide = run
        .ratios
        .iter()
        .filter(|r| !mark(run, r).is_empty())
        .count();
    if let Some(target) = run.target
        && wide > 0
    {
        notes.push(format!(
            "{WIDE} marks {wide} of {} ratios: the budget was spent before their interval was within \
             ±{} %.",
            run.ratios.len(),
            format::significant(target * 100.0)
        ));
    }
    let samples: u64 = run.metrics.iter().map(|m| m.n).sum();
    let severe: u64 = run.metrics.iter().map(|m| m.outliers.severe).sum();
    if severe > 0 {
        notes.push(format!(
            "{severe} of {samples} values lie beyond Tukey's outer fences; they are kept (outliers in \
             run.json)."
        ));
    }
    let blurred: u64 = run.metrics.iter().map(|m| m.blurred).sum();
    if blurred > 0 {
        notes.push(format!(
            "{blurred} readings are known to no better than 1 % of their value (clock_bound in \
             trials.jsonl)."
        ));
    }
    if run.ladder.is_none() {
        notes.extend(balance::notes(run));
    }
    let copies: Vec<&str> = run
        .backends
        .iter()
        .filter(|b| b.status == Status::Measured && findings::is_copy(&b.id))
        .map(|b| b.id.as_str())
        .collect();
    if !copies.is_empty() {
        notes.push(format!(
            "{}: each start is a copy of a payload that had said that it is ready, and no boot: \
             startup is the time to its first instruction after that; what it saves is in the first \
             reply (noop: ready; warm: reply).",
            copies.join(", ")
        ));
    }
    notes.extend(boundary::notes(run));
    for missing in missing(run) {
        let remedy = missing.remedy.map(|r| format!(" To change it: {r}"));
        notes.push(format!(
            "{} {}: {}.{}",
            missing.backend,
            missing.what,
            missing.reason,
            remedy.unwrap_or_default()
        ));
    }
    for backend in &run.backends {
        match backend.status {
            Status::Measured if backend.failures > 0 => notes.push(format!(
                "{}: {} of {} trials failed and count for nothing; see trials.jsonl.{}",
                backend.id,
                backend.failures,
                backend.trials,
                backend
                    .reason
                    .as_deref()
                    .map(|r| format!(" First: {r}."))
                    .unwrap_or_default()
            )),
            _ => {}
        }
        if backend.tainted > 0 && run.ladder.is_none() {
            notes.push(format!(
                "{}: {} of {} trials were disturbed from outside and are not estimated from.",
                backend.id, backend.tainted, backend.trials
            ));
        }
        // Of a ladder it is a finding.
        if !backend.daemons.is_empty() && run.ladder.is_none() {
            let daemons = stack::resident(&backend.daemons).join(", ");
            notes.push(format!(
                "{} stands in front of daemons that run whether or not there is an instance (PSS at the \
                 end of the run): {daemons}.",
                backend.id
            ));
        }
        for limitation in &backend.limitations {
            notes.push(format!("{} ran without {limitation}", backend.id));
        }
    }
    let tainted: u64 = run.backends.iter().map(|b| b.tainted).sum();
    if run.ladder.is_some() && tainted > 0 {
        let trials: u64 = run.backends.iter().map(|b| b.trials).sum();
        notes.push(format!(
            "{tainted} of {trials} trials were disturbed from outside and are not estimated from."
        ));
    }
    for change in &run.host.noise.changed {
        notes.push(format!(
            "A setting of the host changed during the run: {change}."
        ));
    }
    if run.host.kvm == "software" {
        notes.push(
            "KVM here is software (no SVM, no VMX): micro-VM figures hold for this kind of host \
             only."
                .to_owned(),
        );
    }
    match run.ended_early.as_deref() {
        Some("max-time") => notes.push(
            "The time budget ended the run before all blocks were done; what is shown is balanced \
             between configurations."
                .to_owned(),
        ),
        // Who read the run back says so.
        Some("running") => {}
        Some(_) => notes.push("The run was interrupted; what was measured is shown.".to_owned()),
        None => {}
    }
    notes
}
