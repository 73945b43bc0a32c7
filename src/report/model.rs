//! The view model: everything a report says, as text in its place. Renderers lay it out and do no
//! arithmetic.

use super::chart::Chart;
use super::figure::Figure;
use super::glance::{self, Glance};
use super::isolation::{self, Isolation};
use super::ladder::{self, LadderView};
use super::noise::{self, Verdict};
use super::notes::{Engine, engines, mark, notes};
use super::{balance, boundary, facts, findings, format, pictures, stack};
use crate::measure::ladder::stack::NAME;
use crate::measure::samples::Samples;
use crate::metric::{Better, CATALOGUE, Metric, Unit};
use crate::store::document::{BackendResult, MetricResult, Run, Status};

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// One line: what ran where.
    pub title: String,
    /// The question that it answers, with place and day.
    pub heading: String,
    /// What stands beside the heading.
    pub badges: Vec<Badge>,
    /// The answer in a row for each configuration; of a ladder, none.
    pub glances: Vec<Glance>,
    /// Whether the host was quiet.
    pub noise: Verdict,
    /// Pictures.
    pub charts: Vec<Chart>,
    /// Configurations that gave no number.
    pub missing: Vec<Missing>,
    /// Files beside the report: address and what they hold.
    pub sources: Vec<(String, String)>,
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
    pub findings: Vec<Figure>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    /// Engines, and how they differ from `container`.
    pub engines: Vec<Engine>,
}

/// A short statement about the whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Badge {
    /// `good`, `fair`, `poor` or `plain`.
    pub class: &'static str,
    /// The statement.
    pub text: String,
}

/// A configuration that gave no number.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// Configuration id.
    pub backend: String,
    /// `was skipped`, `failed`, `was not measured`.
    pub what: &'static str,
    /// Why.
    pub reason: String,
    /// What would change that, if known.
    pub remedy: Option<String>,
}

/// One metric of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Task and metric, e.g. `noop · startup`.
    pub heading: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// `lower is better` or `higher is better`.
    pub direction: &'static str,
    /// A row per configuration.
    pub rows: Vec<Row>,
}

/// One configuration's estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Configuration id.
    pub backend: String,
    /// Median.
    pub median: Figure,
    /// 95 % interval of the median, in the median's unit.
    pub interval: Figure,
    /// Ratio to `process` with its interval.
    pub to_process: Figure,
    /// Ratio to `container` with its interval.
    pub to_container: Figure,
    /// Samples.
    pub samples: Figure,
}

/// Balance sheets side by side, as many as fit a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// Configuration ids, one a column.
    pub backends: Vec<String>,
    /// What a row is, and a cell for each column.
    pub rows: Vec<(String, Vec<Figure>)>,
}

/// Crossings of the payload's boundary: a row per task, a column per configuration.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Breakdown {
    /// Configuration id.
    pub backend: String,
    /// What is broken down: `startup` or `teardown`.
    pub metric: String,
    /// Phase and median, in the order they happen, `unaccounted` last.
    pub phases: Vec<(String, Figure)>,
}

/// Builds the view of a run; without samples (only a `run.json` was kept) it has no picture of them.
#[must_use]
pub fn view(run: &Run, samples: Option<&Samples>) -> View {
    View {
        heading: heading(run),
        badges: badges(run),
        glances: match &run.ladder {
            Some(_) => Vec::new(),
            None => glance::rows(run),
        },
        noise: noise::verdict(run),
        charts: pictures::charts(run, samples),
        missing: missing(run),
        sources: [
            ("run.json", "estimates, ratios, host"),
            ("trials.jsonl", "every trial, in the order they ran"),
        ]
        .map(|(file, what)| (file.to_owned(), what.to_owned()))
        .to_vec(),
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
            None => {
                let shared = isolation::sentences(run).into_iter().map(Figure::words);
                let mut all = findings::sentences(run);
                all.extend(shared);
                all
            }
        },
        notes: notes(run),
        engines: engines(run),
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

fn heading(run: &Run) -> String {
    let day = run.started.split('T').next().unwrap_or_default();
    let what = if run.ladder.is_some() {
        "What each step of isolation costs"
    } else {
        "What isolation costs"
    };
    format!("{what} on {}, {day}", run.host.cpu)
}

fn badges(run: &Run) -> Vec<Badge> {
    let badge = |class, text: String| Badge { class, text };
    let mut badges = Vec::new();
    badges.push(match run.ended_early.as_deref() {
        None => badge("good", "complete".to_owned()),
        Some("max-time") => badge("fair", "ended by its time budget".to_owned()),
        Some(_) => badge("fair", "interrupted".to_owned()),
    });
    let failures: u64 = run.backends.iter().map(|b| b.failures).sum();
    if failures > 0 {
        badges.push(badge("poor", format!("{failures} trials failed")));
    }
    badges.push(badge("plain", format!("profile {}", run.profile)));
    badges.push(badge("plain", format!("KVM {}", run.host.kvm)));
    badges
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
                workload: metric.workload.clone(),
                metric: metric.metric.clone(),
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
            return Figure::words("1");
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
                || Figure::words("–"),
                |r| {
                    let text = format::ratio_with_interval(r.ratio, r.ci95) + mark(run, r);
                    let ends = r.ci95.into_iter().flatten();
                    let values: Vec<f64> = std::iter::once(r.ratio).chain(ends).collect();
                    Figure::new(text, values)
                },
            )
    };
    Row {
        backend: metric.backend.clone(),
        median: Figure::new(
            format::quantity(metric.median, metric.unit),
            [metric.median],
        ),
        interval: metric.ci95.map_or_else(
            || Figure::words("too few"),
            |ci| Figure::new(format::interval(ci, metric.median, metric.unit), ci),
        ),
        to_process: to("process"),
        to_container: to("container"),
        samples: Figure::new(metric.n.to_string(), [metric.n as f64]),
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
fn notable(metric: &MetricResult) -> Vec<(String, Figure)> {
    let least = metric.median * 0.01;
    let text = |ns: f64| Figure::new(format::quantity(ns, Unit::Nanoseconds), [ns]);
    let (large, small): (Vec<_>, Vec<_>) = metric
        .phases
        .iter()
        .partition(|p| p.median >= least || p.name == "unaccounted");
    let mut phases: Vec<(String, Figure)> = large
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
        let values: Vec<f64> = small.iter().map(|p| p.median).collect();
        let text = Figure::new(format::quantity(sum, Unit::Nanoseconds), values);
        phases.insert(at, (format!("{} smaller ones", small.len()), text));
    }
    phases
}

pub(super) fn missing(run: &Run) -> Vec<Missing> {
    let of = |backend: &BackendResult| {
        let what = match backend.status {
            Status::Skipped => "was skipped",
            Status::Failed => "failed",
            Status::Unmeasured => "was not measured",
            Status::Measured => return None,
        };
        let unknown = || "no reason recorded".to_owned();
        Some(Missing {
            backend: backend.id.clone(),
            what,
            reason: backend.reason.clone().unwrap_or_else(unknown),
            remedy: backend.remedy.clone(),
        })
    };
    run.backends.iter().filter_map(of).collect()
}

/// Definition of a metric by name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().find(|m| m.name == name)
}
