//! One trial, instant by instant.

use super::boundary::crossed;
use super::check;
use super::clock::Clock;
use crate::backend::Backend;
use crate::exits::Noted;
use crate::metric::{Nanos, Ticks};
use crate::store::document::Crossed;
use crate::store::record::{Measured, PhaseRecord, ToldRecord};
use crate::trial::{Failure, Launch};
use crate::workload::Answer;

/// Exits told one by one at the beginning and at the end; what lies between is a number.
const HEAD: usize = 24;
/// See [`HEAD`].
const TAIL: usize = 6;

/// A trial as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Everything that happened, in order.
    pub lines: Vec<Line>,
    /// What of `t0..t1` no phase names.
    pub unaccounted: Nanos,
    /// What crossed the boundary, where the backend can tell.
    pub crossed: Option<Crossed>,
    /// Whether that was counted in the same launch; else in a second one.
    pub same_launch: bool,
    /// What the daemon behind the backend says itself, where one was asked; its events are among the lines.
    pub told: Option<ToldRecord>,
}

/// One happening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// After `t0`.
    pub at: Nanos,
    /// How long it took; an instant takes no time.
    pub takes: Option<Nanos>,
    /// What.
    pub what: String,
}

/// Runs one trial and tells it.
///
/// # Errors
/// As a trial's, and as those of [`Backend::count`].
pub fn explain(
    backend: &mut dyn Backend,
    launch: &Launch,
    (answer, image): (Answer, u64),
    clock: &Clock,
) -> Result<Explanation, Failure> {
    let counted = backend.count(launch)?;
    if let Some(counted) = &counted {
        check::answered(&counted.report, answer, image)?;
    }
    let noted = counted.as_ref().map_or(&[][..], |c| &c.noted);
    let same = counted.as_ref().and_then(|c| c.seen.clone());
    let same_launch = same.is_some();
    let seen = match same {
        Some(seen) => seen,
        None => backend.trial(launch)?,
    };
    let measured = check::measured(&seen, &launch.task, answer, image, clock)?;
    let mut lines = phases(&measured.phases);
    lines.extend(exits(noted, seen.instants.t0, clock));
    lines.extend(phases(&measured.teardown));
    lines.extend(instants(&measured));
    lines.extend(measured.told.iter().flat_map(|told| events(told)));
    // Stable: what begins at the same time stays in the order above.
    lines.sort_by_key(|line| line.at);
    Ok(Explanation {
        lines,
        unaccounted: measured.unaccounted,
        crossed: counted.as_ref().map(crossed),
        same_launch,
        told: measured.told.map(|told| *told),
    })
}

fn phases(records: &[PhaseRecord]) -> Vec<Line> {
    records
        .iter()
        .map(|phase| Line {
            at: phase.at,
            takes: Some(phase.ns),
            what: phase.name.clone(),
        })
        .collect()
}

fn instants(m: &Measured) -> [Line; 6] {
    [
        (Nanos(0), "t0  the harness begins"),
        (m.t1, "t1  first instruction of the payload"),
        (m.t2, "t2  the harness has its first message"),
        (m.t3, "t3  the payload's mark: the work is done"),
        (m.t4, "t4  the harness observes the exit"),
        (m.t5, "t5  nothing of the trial is left"),
    ]
    .map(|(at, what)| Line {
        at,
        takes: None,
        what: what.to_owned(),
    })
}

fn events(told: &ToldRecord) -> impl Iterator<Item = Line> + '_ {
    told.events.iter().map(|event| Line {
        at: event.at,
        takes: None,
        what: format!("event of {}: {}", told.by, event.name),
    })
}

fn exits(noted: &[Noted], t0: Ticks, clock: &Clock) -> Vec<Line> {
    let line = |exit: &Noted| Line {
        at: clock.between(t0, exit.entered),
        takes: Some(clock.between(exit.entered, exit.left)),
        what: format!("KVM_RUN, until {}", exit.reason),
    };
    let Some(hidden) = noted.len().checked_sub(HEAD + TAIL).filter(|n| *n > 0) else {
        return noted.iter().map(line).collect();
    };
    let (head, rest) = noted.split_at(HEAD);
    let (between, tail) = rest.split_at(hidden);
    let mut lines: Vec<Line> = head.iter().map(line).collect();
    if let [first, .., last] = between {
        lines.push(Line {
            at: clock.between(t0, first.entered),
            takes: Some(clock.between(first.entered, last.left)),
            what: format!("{hidden} more KVM_RUN (counted below)"),
        });
    }
    lines.extend(tail.iter().map(line));
    lines
}
