//! One trial, instant by instant, as text of at most 80 columns.

use super::boundary::words;
use super::format::quantity;
use super::terminal::wrap;
use crate::measure::explain::Explanation;
use crate::metric::{Nanos, Unit};
use crate::store::record::ToldRecord;

/// How well a daemon's own instants are known, and which are not.
fn account(told: &ToldRecord) -> String {
    let by = &told.by;
    let known = match (&told.absent, told.bound) {
        (Some(why), _) => return format!("events of {by}: none, because {why}"),
        (None, Some(bound)) => quantity(bound.0 as f64, Unit::Nanoseconds),
        (None, None) => return format!("events of {by}: none"),
    };
    let mut out = format!("events of {by}: as it dates them itself, ±{known}");
    if !told.missing.is_empty() {
        out.push_str(&format!("; not told: {}", told.missing.join(", ")));
    }
    out
}

/// Lays one trial out.
#[must_use]
pub fn render(heading: &str, trial: &Explanation) -> String {
    let time = |ns: Nanos| quantity(ns.0 as f64, Unit::Nanoseconds);
    let mut out = format!("{heading}\n{:>11} {:>11}\n", "at", "takes");
    for line in &trial.lines {
        let takes = line.takes.map(time).unwrap_or_default();
        let text = format!("{:>11} {takes:>11}  {}", time(line.at), line.what);
        out.push_str(&wrap(text.trim_end(), 80, 25));
    }
    let unaccounted = time(trial.unaccounted);
    out.push_str(&format!("  {unaccounted} of t0..t1 are in no phase\n"));
    if let Some(told) = &trial.told {
        out.push_str(&wrap(&format!("  {}", account(told)), 80, 4));
    }
    if let Some(crossed) = &trial.crossed {
        let when = if trial.same_launch {
            "in this launch"
        } else {
            "in a second launch under ptrace(2), whose times are not shown"
        };
        out.push_str(&wrap(&format!("  {}", words(crossed)), 80, 4));
        out.push_str(&wrap(&format!("  counted {when}"), 80, 4));
        let kvm = crossed
            .kvm
            .iter()
            .map(|c| format!("{} {}", c.name, c.value));
        let kvm: Vec<String> = kvm.collect();
        if !kvm.is_empty() {
            let line = format!("  KVM's own counters: {}", kvm.join(", "));
            out.push_str(&wrap(&line, 80, 4));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::explain::Line;

    fn told(bound: Option<i64>, missing: &[&str], absent: Option<&str>) -> String {
        let told = ToldRecord {
            by: "dockerd".to_owned(),
            events: Vec::new(),
            bound: bound.map(Nanos),
            missing: missing.iter().map(|&name| name.to_owned()).collect(),
            absent: absent.map(str::to_owned),
        };
        let line = Line {
            at: Nanos(1_000_000),
            takes: None,
            what: "event of dockerd: create".to_owned(),
        };
        let trial = Explanation {
            lines: vec![line],
            unaccounted: Nanos(5),
            crossed: None,
            same_launch: false,
            told: Some(told),
        };
        render("dockerd", &trial)
    }

    /// What is not known is said, and what is known with how well.
    #[test]
    fn a_daemons_own_instants_are_told_with_their_bound_or_why_not() {
        let known = told(Some(120_000), &["die", "destroy"], None);
        assert!(
            known.contains("1.00 ms              event of dockerd: create\n"),
            "{known}"
        );
        assert!(
            known.ends_with("as it dates them itself, ±120 µs; not told: die, destroy\n"),
            "{known}"
        );
        let unknown = told(None, &[], Some("the wall clock moved"));
        assert!(
            unknown.ends_with("  events of dockerd: none, because the wall clock moved\n"),
            "{unknown}"
        );
    }
}
