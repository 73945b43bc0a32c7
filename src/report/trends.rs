//! A history as one HTML page: what has changed, where every metric stands now, its way through the
//! runs, and the runs. No network, readable without JavaScript, in light, dark and print.

use std::collections::HashMap;

use askama::Template;

use super::chart::scene::Tip;
use super::chart::trend::{Change as Mark, Row, Stretch, Trend as Picture};
use super::chart::{Chart, Data, Shown};
use super::figure::Figure;
use super::history::{how_much, left_out, minute, short, since, value};
use super::page::{self, Choice, SCRIPT, choices, style};
use crate::host::project::Project;
use crate::measure::trend::{Change, Trend, Trends};
use crate::metric::Better;
use crate::store::history::Entry;

/// The page.
#[derive(Template)]
#[template(path = "trends.html")]
struct Page<'a> {
    style: String,
    script: &'static str,
    heading: String,
    title: String,
    /// What is left out, and why.
    left_out: String,
    changes: Vec<Found<'a>>,
    worse: usize,
    charts: Vec<page::Picture<'a>>,
    rows: Vec<Now<'a>>,
    host: Vec<(&'static str, &'a str)>,
    runs: &'a [Entry],
    backends: Vec<Choice<'a>>,
    workloads: Vec<Choice<'a>>,
}

/// A change, as the page begins with it.
struct Found<'a> {
    trend: &'a Trend,
    /// Name of its chart.
    chart: String,
    change: &'a Change,
    figure: Figure,
}

/// Where a metric stands.
struct Now<'a> {
    trend: &'a Trend,
    chart: String,
    last: Figure,
    /// Against the runs before its last change; against nothing where there is none.
    change: Figure,
    /// Class of the change.
    class: &'static str,
    n: usize,
}

/// Lays the page out. `runs` are those listed, the newest first.
///
/// # Errors
/// The template's.
pub fn render(runs: &[Entry], trends: &Trends) -> Result<String, askama::Error> {
    let charts = charts(runs, trends);
    let backends = unique(trends.trends.iter().map(|trend| trend.backend.as_str()));
    let workloads = unique(trends.trends.iter().map(|trend| trend.workload.as_str()));
    let changes = changes(trends);
    let newest = runs.first();
    let page = Page {
        style: style(&backends, &workloads, &charts),
        script: SCRIPT,
        heading: heading(&changes, trends.through),
        title: match (runs.first(), runs.last()) {
            (Some(newest), Some(oldest)) => format!(
                "{} runs, {} to {} UTC",
                runs.len(),
                minute(&oldest.started),
                minute(&newest.started)
            ),
            _ => "no runs".to_owned(),
        },
        left_out: left_out(trends),
        worse: changes.iter().filter(|found| found.change.worse).count(),
        changes,
        charts: charts
            .iter()
            .enumerate()
            // A trend goes through 200 runs at most: every dot is drawn.
            .map(|chart| page::picture(chart, usize::MAX))
            .collect(),
        rows: trends.trends.iter().map(now).collect(),
        host: newest.map_or_else(Vec::new, |run| {
            vec![
                ("CPU", run.cpu.as_str()),
                ("kernel", &run.kernel),
                ("KVM", &run.kvm),
                ("payload", &run.payload),
            ]
        }),
        runs,
        backends: choices(&backends),
        workloads: choices(&workloads),
    };
    page.render()
}

fn heading(changes: &[Found<'_>], through: usize) -> String {
    let worse = changes.iter().filter(|found| found.change.worse).count();
    let better = changes.len() - worse;
    let changes = |n: usize| if n == 1 { "change" } else { "changes" };
    match (worse, better) {
        (0, 0) => format!("No metric has changed in {through} runs"),
        (n, 0) => format!("{n} {} for the worse in {through} runs", changes(n)),
        (0, n) => format!("{n} {} for the better in {through} runs", changes(n)),
        (n, better) => {
            let of = changes(n);
            format!("{n} {of} for the worse, {better} for the better in {through} runs")
        }
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

/// Every change, the newest first.
fn changes(trends: &Trends) -> Vec<Found<'_>> {
    let mut all: Vec<Found<'_>> = trends
        .trends
        .iter()
        .flat_map(|trend| trend.changes.iter().map(move |change| (trend, change)))
        .map(|(trend, change)| Found {
            trend,
            chart: name_of(&trend.workload, &trend.metric),
            change,
            figure: Figure::new(
                format!(
                    "{} (median {} before, {} after)",
                    how_much(trend, change),
                    value(trend, change.before),
                    value(trend, change.after)
                ),
                [change.before, change.after],
            ),
        })
        .collect();
    all.sort_by(|a, b| b.change.started.cmp(&a.change.started));
    all
}

fn shown(trend: &Trend, of: f64) -> Shown {
    Shown {
        value: of,
        text: value(trend, of),
        ci95: None,
    }
}

fn now(trend: &Trend) -> Now<'_> {
    let last = trend.values.last().map(|point| point.value);
    let change = trend.changes.last();
    Now {
        trend,
        chart: name_of(&trend.workload, &trend.metric),
        last: last.map_or_else(Figure::default, |last| {
            Figure::new(value(trend, last), [last])
        }),
        change: change.map_or_else(
            || Figure::words("none"),
            |change| {
                let text = format!(
                    "{} since {}",
                    how_much(trend, change),
                    minute(&change.started)
                );
                Figure::new(text, share(change))
            },
        ),
        class: change.map_or(
            "none",
            |change| if change.worse { "worse" } else { "better" },
        ),
        n: trend.values.len(),
    }
}

/// Name of a chart: letters, digits and dashes.
fn name_of(workload: &str, metric: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("trend-{workload}-{metric}")
        .chars()
        .map(plain)
        .collect()
}

/// A chart for each metric of each task, its configurations one below the other.
fn charts(runs: &[Entry], trends: &Trends) -> Vec<Chart> {
    // Trends know their runs by id; a chart has a place for each that any of them goes through.
    let known: HashMap<&str, &Entry> = runs.iter().map(|run| (run.id.as_str(), run)).collect();
    let line: HashMap<&str, usize> = trends
        .line
        .iter()
        .enumerate()
        .map(|(place, id)| (id.as_str(), place))
        .collect();
    let moments = moments(trends.line.iter().map(|id| known.get(id.as_str())));
    let mut charts: Vec<Chart> = Vec::new();
    for trend in &trends.trends {
        let name = name_of(&trend.workload, &trend.metric);
        let row = row(trend, &line);
        let alt = alt(trend);
        match charts.iter_mut().find(|chart| chart.name == name) {
            Some(chart) => {
                chart.alt.push_str(&alt);
                if let Data::Trend(picture) = &mut chart.data {
                    picture.rows.push(row);
                }
            }
            None => charts.push(Chart {
                name,
                title: format!("{} · {}", trend.workload, trend.metric),
                caption: match trend.better {
                    Better::Lower => "Lower is better.".to_owned(),
                    Better::Higher => "Higher is better.".to_owned(),
                },
                alt: format!(
                    "{} {} over {} runs. {alt}",
                    trend.workload,
                    trend.metric,
                    line.len()
                ),
                data: Data::Trend(Picture {
                    workload: trend.workload.clone(),
                    runs: moments.clone(),
                    rows: vec![row],
                }),
            }),
        }
    }
    charts
}

/// When runs were: their days, or their times where all were on one day.
fn moments<'a>(runs: impl Iterator<Item = Option<&'a &'a Entry>>) -> Vec<String> {
    let started = |run: Option<&&Entry>| minute(run.map_or("", |run| &run.started));
    let all: Vec<String> = runs.map(started).collect();
    let day = |moment: &String| moment.split(' ').next().map(str::to_owned);
    let one_day = all.first().and_then(day) == all.last().and_then(day);
    let part = |moment: String| {
        let (day, time) = moment.split_once(' ').unwrap_or((moment.as_str(), ""));
        let part = if one_day { time } else { day };
        part.to_owned()
    };
    all.into_iter().map(part).collect()
}

/// What a row shows, for those who do not see it.
fn alt(trend: &Trend) -> String {
    let last = trend.values.last().map(|point| value(trend, point.value));
    let mut text = format!("{}: {}", trend.backend, last.unwrap_or_default());
    for change in &trend.changes {
        text.push_str(&format!(
            ", {} since {}",
            how_much(trend, change),
            minute(&change.started)
        ));
    }
    text.push_str(". ");
    text
}

/// What a change is sorted by, where there is something that it is a share of.
fn share(change: &Change) -> Vec<f64> {
    let share = (change.before > 0.0).then(|| change.after / change.before);
    share.into_iter().collect()
}

fn row(trend: &Trend, line: &HashMap<&str, usize>) -> Row {
    let points: Vec<(usize, f64)> = trend
        .values
        .iter()
        .filter_map(|point| Some((*line.get(point.run.as_str())?, point.value)))
        .collect();
    let least = trend
        .values
        .iter()
        .map(|p| p.value)
        .fold(f64::INFINITY, f64::min);
    let most = trend
        .values
        .iter()
        .map(|p| p.value)
        .fold(f64::NEG_INFINITY, f64::max);
    Row {
        backend: trend.backend.clone(),
        stretches: stretches(trend, &points),
        points,
        ends: [shown(trend, least), shown(trend, most)],
        last: shown(trend, trend.values.last().map_or(0.0, |point| point.value)),
    }
}

fn stretches(trend: &Trend, points: &[(usize, f64)]) -> Vec<Stretch> {
    let starts = [0]
        .into_iter()
        .chain(trend.changes.iter().map(|change| change.index));
    let changes = [None].into_iter().chain(trend.changes.iter().map(Some));
    let ends = trend
        .changes
        .iter()
        .map(|change| change.index)
        .chain([points.len()]);
    starts
        .zip(ends)
        .zip(changes)
        .zip(&trend.medians)
        .filter_map(|(((start, end), change), median)| {
            let (first, last) = (points.get(start)?, points.get(end.checked_sub(1)?)?);
            Some(Stretch {
                runs: [first.0, last.0],
                median: shown(trend, *median),
                change: change.map(|change| mark(trend, change)),
            })
        })
        .collect()
}

fn mark(trend: &Trend, change: &Change) -> Mark {
    Mark {
        short: how_much(trend, change),
        tip: Tip {
            text: format!(
                "{}: {} since {}",
                trend.backend,
                how_much(trend, change),
                since(change)
            ),
            values: vec![change.before, change.after],
        },
    }
}

impl Page<'_> {
    /// Class of a configuration's colour.
    fn colours(&self, id: &str) -> String {
        page::colour(id)
    }

    /// The task that a chart is of.
    fn workload<'a>(&self, chart: &'a Chart) -> &'a str {
        match &chart.data {
            Data::Trend(trend) => &trend.workload,
            _ => "",
        }
    }

    /// An instant to the minute.
    fn minute(&self, started: &str) -> String {
        minute(started)
    }

    /// A commit's first digits.
    fn short<'a>(&self, commit: &'a str) -> &'a str {
        short(commit)
    }

    /// The first run behind a change.
    fn since(&self, change: &Change) -> String {
        since(change)
    }

    /// Whether a checkout differed from its commit.
    fn modified(&self, project: &Project) -> bool {
        project.modified == Some(true)
    }

    /// What a run says against itself.
    fn doubt(&self, run: &Entry) -> String {
        let early = run.ended_early.as_deref();
        let said = early.or(run.inconclusive.as_deref());
        said.unwrap_or_default().to_owned()
    }
}
