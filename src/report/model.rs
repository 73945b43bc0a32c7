//! The view model: everything a report says, as text in its place. Renderers lay it out and do no
//! arithmetic.

use super::isolation::{self, Isolation};
use super::ladder::{self, LadderView};
use super::{balance, boundary, facts, findings, format, stack};
use crate::measure::ladder::stack::NAME;
use crate::metric::{Better, CATALOGUE, Metric, Unit};
use crate::store::document::{MetricResult, RatioResult, Run, Status};

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// One line: what ran where.
    pub title: String,
    /// Facts about host, payload and schedule, `name: value`.
    pub facts: Vec<(String, String)>,
    /// Metrics, each with a row per configuration.
    pub groups: Vec<Group>,
    /// Memory of one more idle instance, from both sides.
    pub memory: Vec<Sheet>,
    /// What crosses each payload's boundary.
    pub boundary: Boundary,
    /// Where the start goes, per configuration.
    pub phases: Vec<Breakdown>,
    /// What each mechanism costs, if that was asked for.
    pub ladder: Option<LadderView>,
    /// What each configuration lets its payload see and reach.
    pub isolation: Isolation,
    /// One plain sentence per finding.
    pub findings: Vec<String>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// One metric of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Task and metric, e.g. `noop · startup`.
    pub heading: String,
    /// `lower is better` or `higher is better`.
    pub direction: &'static str,
    /// A row per configuration.
    pub rows: Vec<Row>,
}

/// One configuration's estimate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// Median.
    pub median: String,
    /// 95 % interval of the median, in the median's unit.
    pub interval: String,
    /// Ratio to `process` with its interval.
    pub to_process: String,
    /// Ratio to `container` with its interval.
    pub to_container: String,
    /// Samples.
    pub samples: String,
}

/// Balance sheets side by side, as many as fit a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Configuration ids, one a column.
    pub backends: Vec<String>,
    /// What a row is, and a cell for each column.
    pub rows: Vec<(String, Vec<String>)>,
}

/// Crossings of the payload's boundary: a row per task, a column per configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Configuration ids.
    pub columns: Vec<String>,
    /// Task id, and a cell for each column.
    pub rows: Vec<(String, Vec<String>)>,
    /// Task id, configuration id, and every count in words.
    pub details: Vec<[String; 3]>,
    /// How it was counted.
    pub legend: &'static str,
}

/// The phases of one configuration's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    /// Configuration id.
    pub backend: String,
    /// What is broken down: `startup` or `teardown`.
    pub metric: String,
    /// Phase and median, in the order they happen, `unaccounted` last.
    pub phases: Vec<(String, String)>,
}

/// Builds the view of a run.
#[must_use]
pub fn view(run: &Run) -> View {
    View {
        title: title(run),
        facts: facts::facts(run),
        groups: groups(run),
        memory: match &run.ladder {
            Some(_) => Vec::new(),
            None => balance::sheets(run),
        },
        boundary: boundary::table(run),
        phases: breakdowns(run),
        ladder: run
            .ladder
            .as_ref()
            .map(|ladder| match ladder.name.as_str() {
                NAME => stack::view(ladder, &run.backends),
                _ => ladder::view(ladder),
            }),
        isolation: isolation::table(run),
        findings: match &run.ladder {
            // A sentence for each of some forty containers would hide the ladder's own.
            Some(_) => Vec::new(),
            None => [findings::sentences(run), isolation::sentences(run)].concat(),
        },
        notes: notes(run),
    }
}

fn title(run: &Run) -> String {
    let measured: Vec<&str> = run
        .backends
        .iter()
        .filter(|b| b.status == Status::Measured)
        .map(|b| b.id.as_str())
        .collect();
    if let Some(ladder) = &run.ladder {
        return format!(
            "isobench {}: the {} ladder, {} configurations, the same bytes",
            run.profile,
            ladder.name,
            measured.len()
        );
    }
    if measured.is_empty() {
        return format!("isobench {}: nothing was measured", run.profile);
    }
    format!(
        "isobench {}: {}, the same bytes",
        run.profile,
        measured.join(", ")
    )
}

fn groups(run: &Run) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for metric in &run.metrics {
        let heading = format!("{} · {}", metric.workload, metric.metric);
        let row = row(run, metric);
        match groups.iter_mut().find(|g| g.heading == heading) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                heading,
                direction: match metric.better {
                    Better::Lower => "lower is better",
                    Better::Higher => "higher is better",
                },
                rows: vec![row],
            }),
        }
    }
    groups
}

fn row(run: &Run, metric: &MetricResult) -> Row {
    let to = |reference: &str| {
        if metric.backend == reference {
            return "1".to_owned();
        }
        run.ratios
            .iter()
            .find(|r| {
                r.workload == metric.workload
                    && r.metric == metric.metric
                    && r.backend == metric.backend
                    && r.reference == reference
            })
            .map_or_else(
                || "–".to_owned(),
                |r| {
                    format!(
                        "{}{}",
                        format::ratio_with_interval(r.ratio, r.ci95),
                        mark(run, r)
                    )
                },
            )
    };
    Row {
        backend: metric.backend.clone(),
        median: format::quantity(metric.median, metric.unit),
        interval: metric.ci95.map_or_else(
            || "too few".to_owned(),
            |ci| format::interval(ci, metric.median, metric.unit),
        ),
        to_process: to("process"),
        to_container: to("container"),
        samples: metric.n.to_string(),
    }
}

/// What stands behind a ratio whose interval is wider than the profile's target: the budget was
/// spent first.
const WIDE: &str = "~";

fn mark(run: &Run, ratio: &RatioResult) -> &'static str {
    let half_width = ratio.ci95.map(|[low, high]| (high / low).sqrt() - 1.0);
    match (half_width, run.target) {
        (Some(half_width), Some(target)) if half_width > target => WIDE,
        _ => "",
    }
}

fn breakdowns(run: &Run) -> Vec<Breakdown> {
    run.metrics
        .iter()
        .filter(|m| !m.phases.is_empty())
        .map(|m| Breakdown {
            backend: m.backend.clone(),
            metric: m.metric.clone(),
            phases: notable(m),
        })
        .collect()
}

/// Phases of at least one percent of the whole, in their order; the smaller ones together.
fn notable(metric: &MetricResult) -> Vec<(String, String)> {
    let least = metric.median * 0.01;
    let text = |ns: f64| format::quantity(ns, Unit::Nanoseconds);
    let (large, small): (Vec<_>, Vec<_>) = metric
        .phases
        .iter()
        .partition(|p| p.median >= least || p.name == "unaccounted");
    let mut phases: Vec<(String, String)> = large
        .iter()
        .map(|p| (p.name.clone(), text(p.median)))
        .collect();
    if let [only] = small[..] {
        phases.insert(
            phases.len().saturating_sub(1),
            (only.name.clone(), text(only.median)),
        );
    } else if !small.is_empty() {
        let sum: f64 = small.iter().map(|p| p.median).sum();
        let at = phases.len().saturating_sub(1);
        phases.insert(at, (format!("{} smaller ones", small.len()), text(sum)));
    }
    phases
}

fn notes(run: &Run) -> Vec<String> {
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
    for backend in &run.backends {
        let because = |what: &str| {
            let reason = backend.reason.as_deref().unwrap_or("no reason recorded");
            let remedy = backend
                .remedy
                .as_deref()
                .map(|r| format!(" To change it: {r}"));
            format!(
                "{} {what}: {reason}.{}",
                backend.id,
                remedy.unwrap_or_default()
            )
        };
        match backend.status {
            Status::Skipped => notes.push(because("was skipped")),
            Status::Failed => notes.push(because("failed")),
            Status::Unmeasured => notes.push(because("was not measured")),
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
            Status::Measured => {}
        }
        if backend.tainted > 0 && run.ladder.is_none() {
            notes.push(format!(
                "{}: {} of {} trials were disturbed from outside and are not estimated from.",
                backend.id, backend.tainted, backend.trials
            ));
        }
        if let Some(engine) = &backend.engine {
            notes.push(format!(
                "{} is {} ({}). Unlike container: {}.",
                backend.id,
                engine.program,
                engine.version,
                engine.differences.join("; ")
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

/// Definition of a metric by name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().find(|m| m.name == name)
}
