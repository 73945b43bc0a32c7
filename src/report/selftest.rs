//! The self-test on a terminal: one row a check, then one sentence.

use super::format::quantity;
use super::terminal::wrap;
use crate::measure::selftest::finding::{Check, Finding, Outcome, Rate, Report, Target};
use crate::metric::Unit;

/// Widths of the columns: what, found, target, word.
const WIDTHS: [usize; 3] = [28, 31, 9];

/// Lays the report out as text of at most 80 columns.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = format!(
        "isobench selftest · profile {} · seed {} · {:.0} s\n",
        report.profile, report.seed, report.seconds
    );
    let mut groups: Vec<&str> = Vec::new();
    for check in &report.checks {
        if !groups.contains(&check.group) {
            groups.push(check.group);
        }
    }
    // Checks of a group need not have been made in a row.
    for group in groups {
        out.push('\n');
        out.push_str(&wrap(&heading(group), 80, 2));
        let checks = report.checks.iter().filter(|check| check.group == group);
        checks.for_each(|check| out.push_str(&row(check)));
    }
    out.push('\n');
    out.push_str(&wrap(&sentence(report), 80, 0));
    out
}

/// What a group of checks does.
fn heading(group: &str) -> String {
    match group {
        "known durations" => {
            "known durations: the time-stamp counter against CLOCK_MONOTONIC_RAW, worst error of \
             each, allowed: 1 % or 50 µs"
        }
        "known answers" => "known answers: digests against the harness's own computation",
        "overhead" => "overhead of the harness: median and 99th percentile",
        "false alarms" => {
            "false alarms: a configuration against itself; share of comparisons in which any \
             metric is called better or worse, with its 95 % interval; each threshold judges the \
             same comparisons, each comparison has trials of its own"
        }
        "injected delays" => {
            "injected delays: a busy wait inside the interval; share of comparisons in which the \
             gate, told to ignore half of it, calls that metric worse"
        }
        "gate: false alarms" => {
            "gate, false alarms: two runs of the same, compared as `compare --gate` does; share of \
             comparisons in which any metric is called better or worse"
        }
        "gate: delays" => {
            "gate, delays: a busy wait inside one phase of one of two lanes in the same blocks; \
             share of comparisons in which the gate, told to ignore half of it, calls the metric worse"
        }
        "gate: phase named" => {
            "gate, phase named: of those, the share whose explanation names that phase first"
        }
        "gate: leaks" => {
            "gate, leaks: idle instances that take more memory than those of the run before; share of \
             comparisons in which the marginal memory is called worse"
        }
        other => other,
    }
    .to_owned()
}

fn row(check: &Check) -> String {
    let (found, target) = match &check.finding {
        Finding::Durations {
            repetitions,
            worst_ns,
            allowed_ns,
        } => (
            format!("{} in {repetitions}", time(*worst_ns)),
            format!("≤ {}", time(*allowed_ns)),
        ),
        Finding::Answers { tasks, right, .. } => (format!("{right} of {tasks}"), "all".to_owned()),
        Finding::Rate(rate) => (found(rate), rate.target.map(target).unwrap_or_default()),
        Finding::Cost {
            median_ns, p99_ns, ..
        } => (
            format!("{}, {}", time(*median_ns), time(*p99_ns)),
            String::new(),
        ),
        Finding::Nothing { .. } => (String::new(), String::new()),
    };
    let what = match &check.finding {
        Finding::Rate(rate) => format!("{}, {} pairs", check.what, rate.pairs),
        _ => check.what.clone(),
    };
    let [a, b, c] = WIDTHS;
    let word = word(check.outcome);
    let line = format!("  {what:<a$} {found:>b$} {target:>c$}  {word}");
    let mut out = format!("{}\n", line.trim_end());
    if let Some(note) = note(&check.finding) {
        out.push_str(&wrap(&format!("    {note}"), 80, 4));
    }
    out
}

/// What a row leaves open.
fn note(finding: &Finding) -> Option<String> {
    match finding {
        Finding::Answers { first_wrong, .. } => first_wrong.clone(),
        Finding::Nothing { reason } => Some(reason.clone()),
        Finding::Rate(rate) if rate.inconclusive > 0 => Some(format!(
            "{} without a hit left a metric inconclusive",
            rate.inconclusive
        )),
        _ => None,
    }
}

/// `3 of 150: 2.0 % [0.4, 5.7]`.
fn found(rate: &Rate) -> String {
    let [low, high] = rate.ci95.map(percent);
    format!(
        "{} of {}: {} % [{low}, {high}]",
        rate.hits,
        rate.comparisons,
        percent(rate.rate)
    )
}

/// One decimal, but `0` and `100` without.
fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    text.strip_suffix(".0")
        .filter(|whole| matches!(*whole, "0" | "100"))
        .unwrap_or(&text)
        .to_owned()
}

fn target(target: Target) -> String {
    match target {
        Target::AtMost(most) => format!("≤ {} %", most * 100.0),
        Target::AtLeast(least) => format!("≥ {} %", least * 100.0),
    }
}

fn time(nanos: f64) -> String {
    quantity(nanos, Unit::Nanoseconds)
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Inconclusive => "unsure",
        Outcome::Shown => "",
        Outcome::Skipped => "skipped",
    }
}

fn sentence(report: &Report) -> String {
    let of = |outcome| {
        let names = report.checks.iter().filter(|c| c.outcome == outcome);
        let names: Vec<String> = names.map(|c| format!("{} ({})", c.group, c.what)).collect();
        names.join("; ")
    };
    let gate = report.checks.iter().any(|c| c.group.starts_with("gate"));
    match (report.interrupted, report.outcome) {
        (Some(_), _) => "Interrupted: the checks above ended, the others were not made.".to_owned(),
        (None, Outcome::Fail) if gate => format!(
            "The gate does not hold what it promises on this host today: {}.",
            of(Outcome::Fail)
        ),
        (None, Outcome::Fail) => format!(
            "The ruler is not straight on this host today: {}. Do not trust its numbers.",
            of(Outcome::Fail)
        ),
        (None, Outcome::Inconclusive) => format!(
            "Too little data, or too much noise, to say: {}. A larger --profile makes more \
             comparisons.",
            of(Outcome::Inconclusive)
        ),
        (None, _) if gate => "The gate holds on this host today, as far as these comparisons can \
                              tell; each interval says how far that is."
            .to_owned(),
        (None, _) => "The ruler is straight on this host today, as far as these comparisons can \
                      tell; each interval says how far that is."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Profile;

    fn rate(hits: u64, comparisons: u64) -> Finding {
        Finding::Rate(Rate {
            pairs: 400,
            target: Some(Target::AtLeast(0.95)),
            inconclusive: 7,
            ..Rate::of(hits, comparisons).unwrap()
        })
    }

    #[test]
    fn nothing_is_wider_than_a_terminal() {
        let mut report = Report::new(Profile::Quick, u64::MAX);
        for (what, finding) in [
            ("container > 2.5 %", rate(300, 300)),
            ("teardown +10 %", rate(128, 300)),
            (
                "a trial outside t0..t5",
                Finding::Cost {
                    median_ns: 123_456.0,
                    p99_ns: 99_999_999.0,
                    n: 1000,
                },
            ),
            (
                "false alarms",
                Finding::Nothing {
                    reason: "a reason that is long enough to need another line, ".repeat(3),
                },
            ),
        ] {
            report.checks.push(Check {
                group: "false alarms",
                what: what.to_owned(),
                outcome: Outcome::Inconclusive,
                finding,
            });
        }
        let text = render(&report);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.contains("300 of 300: 100 % [98.8, 100]"), "{text}");
        assert!(text.contains("7 without a hit"), "{text}");
    }

    #[test]
    fn the_last_sentence_says_what_to_believe() {
        let mut report = Report::new(Profile::Smoke, 1);
        report.outcome = Outcome::Pass;
        assert!(render(&report).contains("straight"));
        report.outcome = Outcome::Fail;
        assert!(render(&report).contains("not straight"));
        report.interrupted = Some(2);
        assert!(render(&report).contains("Interrupted"));
    }
}
