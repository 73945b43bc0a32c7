//! A history: its runs, and every metric's way through them.

use std::fmt::Write;

use super::format::{fit, quantity, significant};
use super::terminal::wrap;
use crate::measure::trend::{Change, Trend, Trends};
use crate::store::history::Entry;

/// The eight heights of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Most values of a sparkline; the newest are shown.
const WIDTH: usize = 28;

/// At most 80 columns: a line a run, the newest first; a line a metric with its sparkline, the
/// oldest left, and a line under it for every change.
#[must_use]
pub fn terminal(runs: &[Entry], trends: &Trends) -> String {
    let mut out = String::new();
    if runs.is_empty() {
        return "No run in this history fits.\n".to_owned();
    }
    let _ = writeln!(
        out,
        "{:17} {:24} {:7} {:9} branch",
        "started", "run", "profile", "commit"
    );
    for run in runs {
        let commit = run.project.as_ref().map_or_else(
            || "–".to_owned(),
            |p| {
                let modified = if p.modified == Some(true) { "*" } else { "" };
                format!("{}{modified}", short(&p.commit))
            },
        );
        let branch = run.project.as_ref().and_then(|p| p.branch.as_deref());
        let flag = match (&run.ended_early, &run.inconclusive) {
            (Some(why), _) => format!(" ({why})"),
            (None, Some(_)) => " (inconclusive)".to_owned(),
            (None, None) => String::new(),
        };
        let line = format!(
            "{:17} {:24} {:7} {commit:9} {}{flag}",
            minute(&run.started),
            fit(&run.id, 24),
            fit(&run.profile, 7),
            branch.unwrap_or("–")
        );
        let _ = writeln!(out, "{}", fit(&line, 80));
    }
    if trends.trends.is_empty() {
        return out;
    }
    let title = format!(
        "Trends over {} of them, the oldest left{}; × is to process in the same blocks, a bar │ a \
         change (E-divisive, permutation test at 1 %).",
        trends.through,
        left_out(trends)
    );
    let _ = write!(out, "\n{}", wrap(&title, 80, 0));
    for trend in &trends.trends {
        let name = format!("{} {} {}", trend.backend, trend.workload, trend.metric);
        let _ = writeln!(
            out,
            "{:36} {:WIDTH$} {:>13}",
            fit(&name, 36),
            sparkline(trend),
            last(trend)
        );
        for change in &trend.changes {
            let _ = writeln!(out, "{}", fit(&changed(trend, change), 80));
        }
    }
    out
}

pub(super) fn left_out(trends: &Trends) -> String {
    let mut parts = Vec::new();
    if trends.foreign > 0 {
        parts.push(format!("{} of another host or payload", trends.foreign));
    }
    if trends.doubtful > 0 {
        parts.push(format!("{} cut short or disturbed", trends.doubtful));
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!(" (left out: {})", parts.join(", "))
    }
}

fn last(trend: &Trend) -> String {
    let last = trend.values.last();
    last.map_or_else(String::new, |point| value(trend, point.value))
}

/// A value of a trend: how many times the reference's, or in its unit.
pub(super) fn value(trend: &Trend, value: f64) -> String {
    if trend.relative {
        format!("{} ×", significant(value))
    } else {
        quantity(value, trend.unit)
    }
}

fn changed(trend: &Trend, change: &Change) -> String {
    let since = since(change);
    format!("  {} since {since}", how_much(trend, change))
}

/// `worse +20.1 %`; of nothing there is no share: `worse, from 0 B to 4.00 KiB`.
pub(super) fn how_much(trend: &Trend, change: &Change) -> String {
    let word = if change.worse { "worse" } else { "better" };
    if change.before > 0.0 {
        let percent = (change.after / change.before - 1.0) * 100.0;
        format!("{word} {percent:+.1} %")
    } else {
        let [before, after] = [change.before, change.after].map(|v| value(trend, v));
        format!("{word}, from {before} to {after}")
    }
}

/// The first run behind a change: when, of which commit, which.
pub(super) fn since(change: &Change) -> String {
    let commit = change.commit.as_deref();
    let commit = commit.map_or_else(String::new, |commit| format!(", commit {}", short(commit)));
    format!("{}{commit}, run {}", minute(&change.started), change.run)
}

/// The newest values as bars between their smallest and largest, `│` before a change.
fn sparkline(trend: &Trend) -> String {
    let values: Vec<f64> = trend.values.iter().map(|p| p.value).collect();
    let marks: Vec<usize> = trend.changes.iter().map(|c| c.index).collect();
    let mut room = WIDTH;
    let mut from = values.len();
    while from > 0 {
        let needs = 1 + usize::from(marks.contains(&(from - 1)));
        if needs > room {
            break;
        }
        room -= needs;
        from -= 1;
    }
    let shown = &values[from..];
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut line = String::new();
    for (index, value) in shown.iter().enumerate() {
        if marks.contains(&(from + index)) {
            line.push('│');
        }
        // A line without any height lies in the middle.
        let height = if high > low {
            (value - low) / (high - low)
        } else {
            0.5
        };
        line.push(BARS[((height * 7.0).round() as usize).min(7)]);
    }
    line
}

pub(super) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// `2026-11-29 01:40`.
pub(super) fn minute(started: &str) -> String {
    started.get(..16).unwrap_or(started).replace('T', " ")
}

/// One line a run and estimate (RFC 4180), in base units, unrounded.
#[must_use]
pub fn csv(runs: &[Entry]) -> String {
    let mut out = String::from(
        "run,started,profile,commit,branch,backend,workload,metric,unit,n,median,ci95_low,\
         ci95_high,ratio,ratio_low,ratio_high\r\n",
    );
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for run in runs {
        let project = run.project.as_ref();
        let commit = project.map(|p| p.commit.as_str()).unwrap_or_default();
        let branch = project
            .and_then(|p| p.branch.as_deref())
            .unwrap_or_default();
        for e in &run.estimates {
            let ends = |ci: Option<[f64; 2]>| ci.map_or([None, None], |ci| ci.map(Some));
            let ([low, high], [ratio_low, ratio_high]) = (ends(e.ci95), ends(e.ratio_ci95));
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
                quoted(&run.id),
                run.started,
                quoted(&run.profile),
                commit,
                quoted(branch),
                quoted(&e.backend),
                quoted(&e.workload),
                quoted(&e.metric),
                e.unit,
                e.n,
                e.median,
                number(low),
                number(high),
                number(e.ratio),
                number(ratio_low),
                number(ratio_high),
            );
        }
    }
    out
}

/// A field as RFC 4180 wants it.
pub(super) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::trend::Point;
    use crate::metric::{Better, Unit};

    fn trend(values: &[f64], change: Option<usize>) -> Trend {
        let point = |(index, value): (usize, &f64)| Point {
            run: index.to_string(),
            value: *value,
        };
        Trend {
            backend: "container".to_owned(),
            workload: "noop".to_owned(),
            metric: "startup".to_owned(),
            unit: Unit::Nanoseconds,
            better: Better::Lower,
            relative: true,
            values: values.iter().enumerate().map(point).collect(),
            medians: Vec::new(),
            changes: change
                .map(|index| Change {
                    index,
                    run: "r".to_owned(),
                    started: "2026-01-02T03:04:05Z".to_owned(),
                    commit: Some("0123456789".to_owned()),
                    before: 7.0,
                    after: 8.05,
                    p: 0.005,
                    worse: true,
                })
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn bars_go_from_the_smallest_to_the_largest() {
        assert_eq!(sparkline(&trend(&[1.0, 2.0, 3.0, 8.0], Some(3))), "▁▂▃│█");
        assert_eq!(sparkline(&trend(&[5.0, 5.0], None)), "▅▅");
        assert_eq!(sparkline(&trend(&[], None)), "");
        let long: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(sparkline(&trend(&long, Some(90))).chars().count(), WIDTH);
    }

    #[test]
    fn a_change_names_its_commit() {
        let mut trend = trend(&[7.0, 8.0], Some(1));
        let line = changed(&trend, &trend.changes[0]);
        assert_eq!(
            line,
            "  worse +15.0 % since 2026-01-02 03:04, commit 0123456, run r"
        );
        trend.unit = Unit::Bytes;
        trend.relative = false;
        let change = Change {
            before: 0.0,
            after: 4096.0,
            ..trend.changes[0].clone()
        };
        assert_eq!(how_much(&trend, &change), "worse, from 0 B to 4.00 KiB");
    }

    #[test]
    fn a_field_that_needs_quotes_has_them() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
