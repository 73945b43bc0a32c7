//! A delay of known size inside a trial: the switch with which the ruler is tested.
//!
//! The self-test wraps backends in it, and so does `ISOBENCH_INJECT` ([`crate::measure::injection`]),
//! whose runs say so.

use crate::backend::Backend;
use crate::backend::wrapper::Wrapper;
use crate::metric::Ticks;
use crate::sys::clock;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, Phase};

/// Where the delay lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between `t0` and `t1`: part of startup, ready and total.
    Startup,
    /// Between `t4` and `t5`: part of teardown.
    Teardown,
}

impl Place {
    /// The metric it is part of.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Teardown => "teardown",
        }
    }
}

/// A backend that is slower by a busy wait of a fixed number of ticks.
///
/// For [`Place::Startup`] it takes `t0` itself, waits, and only then lets the inner backend begin;
/// for [`Place::Teardown`] it waits once the inner backend is done, and takes `t5` itself. So the
/// wait is real time inside the measured interval, and the few hundred nanoseconds that the inner
/// backend spends outside its own `t0..t5` come in as well: the lane it is compared with is to be
/// wrapped too, with a delay of 0, which makes the wait the only difference.
pub struct Delayed<C = fn() -> Ticks> {
    inner: Box<dyn Backend>,
    place: Place,
    ticks: u64,
    now: C,
}

impl Delayed {
    /// Wraps a backend.
    #[must_use]
    pub fn new(inner: Box<dyn Backend>, place: Place, ticks: u64) -> Self {
        Self::with_clock(inner, place, ticks, clock::now)
    }
}

impl<C: Fn() -> Ticks> Delayed<C> {
    /// As [`Self::new`], on a counter of one's own.
    pub const fn with_clock(inner: Box<dyn Backend>, place: Place, ticks: u64, now: C) -> Self {
        Self {
            inner,
            place,
            ticks,
            now,
        }
    }

    /// Waits; hands back first and last reading.
    fn wait(&self) -> Phase {
        let start = (self.now)();
        let wanted = self.ticks.cast_signed();
        let mut end = start;
        while end - start < wanted {
            std::hint::spin_loop();
            end = (self.now)();
        }
        Phase {
            name: "injected",
            start,
            end,
        }
    }
}

impl<C: Fn() -> Ticks> Wrapper for Delayed<C> {
    fn inner(&self) -> &dyn Backend {
        self.inner.as_ref()
    }

    fn inner_mut(&mut self) -> &mut dyn Backend {
        self.inner.as_mut()
    }

    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        match self.place {
            Place::Startup => {
                let waited = self.wait();
                let mut seen = self.inner.hear(launch, answers)?;
                seen.instants.t0 = waited.start;
                seen.phases.insert(0, waited);
                Ok(seen)
            }
            Place::Teardown => {
                let mut seen = self.inner.hear(launch, answers)?;
                let waited = self.wait();
                seen.instants.t5 = waited.end;
                seen.teardown.push(waited);
                Ok(seen)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, World, launch};
    use super::*;

    #[test]
    fn a_delay_lies_inside_the_interval_it_belongs_to() {
        let plain = Fake::calm(&World::new(1)).trial(&launch()).unwrap();
        let (t, d) = (plain.instants, 5_000);
        let spans = |i: crate::trial::Instants| [i.t1 - i.t0, i.t4 - i.t0, i.t5 - i.t4];
        for place in [Place::Startup, Place::Teardown] {
            let world = World::new(1);
            let inner = Box::new(Fake::calm(&world));
            let mut delayed = Delayed::with_clock(inner, place, d, world.clock());
            let seen = delayed.trial(&launch()).unwrap();
            let [startup, total, teardown] = spans(seen.instants);
            let [startup0, total0, teardown0] = spans(t);
            // The wait ends up to a reading late; the fake spends 500 ticks before its t0.
            let longer = d.cast_signed()..d.cast_signed() + 700;
            match place {
                Place::Startup => {
                    assert!(longer.contains(&(startup - startup0)), "{startup}");
                    assert!(longer.contains(&(total - total0)));
                    assert_eq!(teardown, teardown0);
                    assert_eq!(seen.phases[0].name, "injected");
                    assert_eq!(seen.phases[0].start, seen.instants.t0);
                }
                Place::Teardown => {
                    assert_eq!([startup, total], [startup0, total0]);
                    assert!(longer.contains(&(teardown - teardown0)), "{teardown}");
                    assert_eq!(seen.teardown.last().unwrap().end, seen.instants.t5);
                }
            }
        }
    }

    #[test]
    fn no_delay_moves_the_ends_only_by_what_lies_outside() {
        let world = World::new(1);
        let mut wrapped = Delayed::with_clock(
            Box::new(Fake::calm(&world)),
            Place::Startup,
            0,
            world.clock(),
        );
        let seen = wrapped.trial(&launch()).unwrap();
        let waited = seen.phases[0];
        assert_eq!(waited.start, waited.end);
        assert_eq!(seen.instants.t0, waited.start);
    }

    #[test]
    fn the_counter_may_wrap_around_while_waiting() {
        let world = World::at(u64::MAX - 1_000);
        let mut delayed = Delayed::with_clock(
            Box::new(Fake::calm(&world)),
            Place::Startup,
            5_000,
            world.clock(),
        );
        let seen = delayed.trial(&launch()).unwrap();
        assert!(seen.instants.t1 - seen.instants.t0 >= 5_000);
    }
}
