//! One trial, instant by instant, as text of at most 80 columns.

use super::boundary::words;
use super::format::quantity;
use super::terminal::wrap;
use crate::measure::explain::Explanation;
use crate::metric::{Nanos, Unit};

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
