//! One line a metric through the runs of a history, with the changes marked.

use std::collections::HashMap;
use std::num::NonZero;

use serde::Serialize;

use crate::metric::{Better, Unit};
use crate::stats::change_point::{Policy, change_points};
use crate::stats::quantile::median;
use crate::stats::{Sample, StatsError};
use crate::store::history::{Entry, Estimate};

/// Most runs that a trend goes through.
pub const MOST_RUNS: usize = 200;
/// Seed of the random orders: the same history always has the same changes.
const SEED: u64 = 1;

/// A metric of a configuration over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// Unit of the metric itself.
    pub unit: Unit,
    /// Direction.
    pub better: Better,
    /// Whether values are ratios to `process` in the same blocks; else medians.
    pub relative: bool,
    /// One value a run, the oldest first; runs without the metric are left out.
    pub values: Vec<Point>,
    /// Where it changed.
    pub changes: Vec<Change>,
    /// Median of the values before the first change, between changes, and behind the last.
    pub medians: Vec<f64>,
}

/// A run's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Id of the run.
    pub run: String,
    /// The value.
    pub value: f64,
}

/// A change point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Index of the first value behind it.
    pub index: usize,
    /// Id of that run.
    pub run: String,
    /// Its start.
    pub started: String,
    /// Commit that it was measured from.
    pub commit: Option<String>,
    /// Median of the values up to the change before, and up to the next one.
    pub before: f64,
    /// See `before`.
    pub after: f64,
    /// p-value of the permutation test.
    pub p: f64,
    /// Whether it went the bad way.
    pub worse: bool,
}

/// The trends of runs, with how many runs were left out of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trends {
    /// One a metric.
    pub trends: Vec<Trend>,
    /// Number of runs that they go through.
    pub through: usize,
    /// Runs of another host, kernel, KVM or payload than the newest.
    pub foreign: usize,
    /// Runs that say of themselves that nothing should rest on them, or ended early.
    pub doubtful: usize,
    /// Ids of the runs that they go through, the oldest first.
    #[serde(skip)]
    pub line: Vec<String>,
}

/// Makes trends of runs, the newest first, each with its estimates. Those of the newest run's
/// host and payload count: a line through two machines shows the machines.
///
/// # Errors
/// An estimate that is no number.
pub fn trends(runs: &[Entry]) -> Result<Trends, StatsError> {
    let Some(newest) = runs.first() else {
        return Ok(Trends::default());
    };
    let mut trends = Trends::default();
    let mut line: Vec<&Entry> = Vec::new();
    for run in runs {
        if run.fingerprint() != newest.fingerprint() {
            trends.foreign += 1;
        } else if run.inconclusive.is_some() || run.ended_early.is_some() {
            trends.doubtful += 1;
        } else if line.len() < MOST_RUNS {
            line.push(run);
        }
    }
    line.reverse();
    trends.through = line.len();
    trends.line = line.iter().map(|run| run.id.clone()).collect();
    let Some(last) = line.last() else {
        return Ok(trends);
    };
    let line: Vec<Measured<'_>> = line.iter().copied().map(Measured::of).collect();
    trends.trends = in_parallel(&last.estimates, |of| trend(of, &line))?;
    Ok(trends)
}

/// Looks at each on as many processors as there are, in order: a trend with a change takes some
/// hundred searches through all of its values.
fn in_parallel<T: Sync, R: Send, E: Send>(
    all: &[T],
    look: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = all.len().div_ceil(processors).max(1);
    let look = &look;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(look).collect::<Vec<_>>()))
            .collect();
        let results = threads.into_iter().flat_map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        results.collect()
    })
}

/// A run with its estimates by what they are of.
struct Measured<'a> {
    run: &'a Entry,
    estimates: HashMap<[&'a str; 3], &'a Estimate>,
}

/// What an estimate is of.
fn key(of: &Estimate) -> [&str; 3] {
    [&of.backend, &of.workload, &of.metric]
}

impl<'a> Measured<'a> {
    fn of(run: &'a Entry) -> Self {
        let estimates = run.estimates.iter().map(|e| (key(e), e)).collect();
        Self { run, estimates }
    }
}

fn trend(of: &Estimate, line: &[Measured<'_>]) -> Result<Trend, StatsError> {
    let relative = of.ratio.is_some();
    let found: Vec<(&Entry, f64)> = line
        .iter()
        .filter_map(|Measured { run, estimates }| {
            let estimate = estimates.get(&key(of))?;
            let value = if relative {
                estimate.ratio?
            } else {
                estimate.median
            };
            Some((*run, value))
        })
        .collect();
    let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
    let points = change_points(&values, &Policy::default(), SEED)?;
    let starts = points.iter().map(|c| c.index);
    let ends = starts.clone().chain([values.len()]);
    let medians = [0]
        .into_iter()
        .chain(starts)
        .zip(ends)
        .map(|(start, end)| Ok(median(&Sample::new(&values[start..end])?)))
        .collect::<Result<Vec<f64>, StatsError>>()?;
    let mut changes = Vec::new();
    for (point, around) in points.iter().zip(medians.windows(2)) {
        let (before, after) = (around[0], around[1]);
        let run = found[point.index].0;
        changes.push(Change {
            index: point.index,
            run: run.id.clone(),
            started: run.started.clone(),
            commit: run.project.as_ref().map(|p| p.commit.clone()),
            before,
            after,
            p: point.p,
            worse: match of.better {
                Better::Lower => after > before,
                Better::Higher => after < before,
            },
        });
    }
    Ok(Trend {
        backend: of.backend.clone(),
        workload: of.workload.clone(),
        metric: of.metric.clone(),
        unit: of.unit,
        better: of.better,
        relative,
        values: found
            .into_iter()
            .map(|(run, value)| Point {
                run: run.id.clone(),
                value,
            })
            .collect(),
        changes,
        medians,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::project::Project;

    fn entry(number: usize, value: f64) -> Entry {
        let text = |s: &str| s.to_owned();
        Entry {
            id: format!("run-{number}"),
            started: format!("2026-01-01T00:00:{number:02}Z"),
            profile: text("quick"),
            tool: text("0.1.0"),
            tool_commit: text("unknown"),
            payload: "a".repeat(64),
            cpu: text("cpu"),
            kernel: text("6.1"),
            kvm: text("absent"),
            project: Some(Project {
                commit: format!("{number:040x}"),
                modified: None,
                branch: None,
            }),
            ended_early: None,
            inconclusive: None,
            folder: None,
            estimates: vec![Estimate {
                backend: text("container"),
                workload: text("noop"),
                metric: text("startup"),
                unit: Unit::Nanoseconds,
                better: Better::Lower,
                n: 100,
                median: value * 1e5,
                ci95: None,
                ratio: Some(value),
                ratio_ci95: None,
            }],
        }
    }

    /// 24 runs, the newest first, that take 7 and from the 12th on 8 times as long as a process.
    fn history() -> Vec<Entry> {
        let value = |n: usize| if n < 12 { 7.0 } else { 8.0 } + 0.01 * (n * 7 % 5) as f64;
        (0..24).rev().map(|n| entry(n, value(n))).collect()
    }

    #[test]
    fn a_step_is_marked_with_its_run_and_commit() {
        let found = trends(&history()).unwrap();
        let trend = &found.trends[0];
        assert!(trend.relative);
        assert_eq!(trend.values.len(), 24);
        assert_eq!(trend.values[0].run, "run-0");
        let [change] = &trend.changes[..] else {
            panic!("{:?}", trend.changes);
        };
        assert_eq!((change.index, change.run.as_str()), (12, "run-12"));
        assert_eq!(change.commit, Some(format!("{:040x}", 12)));
        assert!(change.worse && change.before < 7.1 && change.after > 7.9);
    }

    #[test]
    fn other_hosts_and_doubtful_runs_are_left_out_and_counted() {
        let mut runs = history();
        runs[3].kernel = "6.2".to_owned();
        runs[4].inconclusive = Some("drift".to_owned());
        runs[5].ended_early = Some("interrupted".to_owned());
        let found = trends(&runs).unwrap();
        assert_eq!((found.through, found.foreign, found.doubtful), (21, 1, 2));
        assert_eq!(found.trends[0].values.len(), 21);
        assert_eq!(trends(&[]).unwrap(), Trends::default());
    }
}
