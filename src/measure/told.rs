//! A daemon's own instants on the harness's clock. The daemon's is CLOCK_REALTIME, read beside the counter
//! before `t0` and after `t5`: a straight line through the two readings is the map between them.
//!
//! How far is it off? A wall clock that is not set runs at most 500 ppm from the raw one (adjtimex(2)). Between
//! two readings that it must pass through, a clock that changes its rate within ±s strays at most s·L/2 from
//! the straight line over a length L: all the way at +s to the middle and back at −s; on the counter, by whose
//! length L is measured, s·L/2(1−s). With it come half of the wider reading, and the skew between CPUs.

use crate::measure::clock::Clock;
use crate::metric::{Nanos, Ticks};
use crate::store::record::{InstantRecord, ToldRecord};
use crate::told::{Event, Known, Said, Told, Untold, WallReading};
use crate::trial::Instants;

/// Largest rate of a wall clock that is slewed, against the raw one.
const SLEW: f64 = 500e-6;

/// What is kept of it.
pub(super) fn record(told: &Told, instants: &Instants, clock: &Clock) -> ToldRecord {
    let placed = told.said.clone().and_then(|said| {
        in_order(&said.events, told.known)?;
        place(&said, told.known, instants, clock)
    });
    let nothing = ToldRecord {
        by: told.by.to_owned(),
        events: Vec::new(),
        bound: None,
        missing: Vec::new(),
        absent: None,
    };
    let (events, bound) = match placed {
        Ok(placed) => placed,
        Err(untold) => {
            return ToldRecord {
                absent: Some(untold.to_string()),
                ..nothing
            };
        }
    };
    let is_told = |known: &&Known| events.iter().any(|event| event.name == known.name);
    let missing = told.known.iter().filter(|known| !is_told(known));
    let missing = missing.map(|known| known.name.to_owned()).collect();
    ToldRecord {
        events,
        bound: Some(bound),
        missing,
        ..nothing
    }
}

/// By the daemon's own clock, without any bound.
fn in_order(events: &[Event], known: &[Known]) -> Result<(), Untold> {
    let at = |name: &str| events.iter().find(|event| event.name == name);
    for one in known {
        if let (Some(event), Some(first)) = (at(one.name), one.follows.and_then(at))
            && event.wall < first.wall
        {
            return Err(Untold::Order {
                event: event.name,
                before: first.name,
            });
        }
    }
    Ok(())
}

/// Events on the harness's clock, in order, and how far they may be off.
fn place(
    said: &Said,
    known: &[Known],
    instants: &Instants,
    clock: &Clock,
) -> Result<(Vec<InstantRecord>, Nanos), Untold> {
    let map = Map::through(said.around, clock)?;
    let mut events = Vec::new();
    for event in &said.events {
        let at = map.counter(event.wall);
        if let Some(known) = known.iter().find(|known| known.name == event.name) {
            let early = clock.between(at, known.from.of(instants));
            let late = clock.between(known.to.of(instants), at);
            for (side, instant, by) in [("before", known.from, early), ("behind", known.to, late)] {
                if by > map.bound {
                    return Err(Untold::Misplaced {
                        event: event.name,
                        by,
                        side,
                        instant,
                        bound: map.bound,
                    });
                }
            }
        }
        events.push(InstantRecord {
            name: event.name.to_owned(),
            at: clock.between(instants.t0, at),
        });
    }
    events.sort_by_key(|event| event.at);
    Ok((events, map.bound))
}

/// From the wall clock to the counter.
#[derive(Clone, Copy, Debug)]
struct Map {
    first: WallReading,
    /// Between the two readings.
    ticks: i64,
    /// The same on the wall clock, more than 0.
    wall: i64,
    /// How far a mapped time may be off.
    bound: Nanos,
}

impl Map {
    /// # Errors
    /// [`Untold::ClockSet`].
    fn through([first, last]: [WallReading; 2], clock: &Clock) -> Result<Self, Untold> {
        let ticks = last.ticks - first.ticks;
        let wall = last.wall.saturating_sub(first.wall);
        let nanos = |ticks: u64| clock.nanos(i64::try_from(ticks).unwrap_or(i64::MAX)).0;
        let passed = clock.nanos(ticks).0;
        let moved = wall.saturating_sub(passed);
        let rate = SLEW + clock.hz_error;
        let read = nanos(first.bound).saturating_add(nanos(last.bound));
        // Each reading and each conversion is rounded to a nanosecond.
        let allowed = (passed as f64 * rate).ceil() as i64 + read + nanos(clock.skew) + 2;
        if ticks <= 0 || wall <= 0 || moved.saturating_abs() > allowed {
            return Err(Untold::ClockSet(Nanos(moved)));
        }
        let strayed = (passed as f64 * SLEW / 2.0 / (1.0 - SLEW)).ceil() as i64;
        let reading = nanos(first.bound.max(last.bound));
        Ok(Self {
            first,
            ticks,
            wall,
            // A step smaller than what slewing may do looks like slewing.
            bound: Nanos(strayed.max(moved.saturating_abs()) + reading + nanos(clock.skew) + 2),
        })
    }

    fn counter(self, wall: i64) -> Ticks {
        let after = i128::from(wall) - i128::from(self.first.wall);
        let ticks = after * i128::from(self.ticks) / i128::from(self.wall);
        // What is absurd stays so: it lies outside of any trial.
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        Ticks(self.first.ticks.0.wrapping_add_signed(ticks))
    }
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
