//! Whether the host was quiet enough to be believed, in words.

use super::figure::Figure;
use super::format::significant;
use crate::store::document::Run;

/// How much disturbed a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing beyond its bound.
    Quiet,
    /// Something is; ratios inside blocks still cancel most of it.
    Noisy,
    /// No verdict should rest on this run.
    Inconclusive,
}

/// The verdict with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How much.
    pub level: Level,
    /// `quiet`, `noisy`, `inconclusive`.
    pub word: &'static str,
    /// What was beyond its bound; that nothing was.
    pub reasons: Vec<Figure>,
}

/// CPU time stolen beyond this share disturbs, percent.
const STEAL: f64 = 1.0;
/// Some task waited for a CPU for more than this share of the run, percent. The harness itself makes
/// its children wait for it, so that a quiet host is not at 0.
const PRESSURE: f64 = 25.0;
/// Memory or I/O was waited for, percent.
const STALLED: f64 = 5.0;
/// Share of the CPUs that others kept busy before the run.
const BUSY: f64 = 0.5;

/// Looks at what the host did meanwhile.
#[must_use]
pub fn verdict(run: &Run) -> Verdict {
    let noise = &run.host.noise;
    let mut reasons = Vec::new();
    let mut above = |value: Option<f64>, bound: f64, words: &dyn Fn(&str) -> String| {
        if let Some(value) = value.filter(|value| *value > bound) {
            reasons.push(Figure::new(words(&significant(value)), [value]));
        }
    };
    above(noise.steal_percent, STEAL, &|v| {
        format!("the hypervisor took {v} % of the CPU time")
    });
    above(noise.cpu_pressure_percent, PRESSURE, &|v| {
        format!("some task waited for a CPU {v} % of the time")
    });
    above(noise.memory_pressure_percent, STALLED, &|v| {
        format!("some task waited for memory {v} % of the time")
    });
    above(noise.io_pressure_percent, STALLED, &|v| {
        format!("some task waited for I/O {v} % of the time")
    });
    let busy = BUSY * f64::from(run.host.cpus);
    above(noise.load_before, busy, &|v| {
        format!("the load was {v} before the run began")
    });
    above(noise.throttle_events.map(|n| n as f64), 0.0, &|v| {
        format!("heat throttled the CPUs {v} times")
    });
    above(noise.quota_percent, 0.0, &|v| {
        format!("a CPU quota stopped the harness for {v} % of the run")
    });
    for change in &noise.changed {
        reasons.push(Figure::words(format!("a setting changed: {change}")));
    }
    let (level, word) = if let Some(why) = &run.inconclusive {
        reasons.insert(0, Figure::words(why.clone()));
        (Level::Inconclusive, "inconclusive")
    } else if reasons.is_empty() {
        let quiet = "nothing that the kernel counts was beyond its bound";
        reasons.push(Figure::words(quiet));
        (Level::Quiet, "quiet")
    } else {
        (Level::Noisy, "noisy")
    };
    Verdict {
        level,
        word,
        reasons,
    }
}
