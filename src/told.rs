//! What an engine's daemon says itself of a trial: its own events, with the times it gives them. Its clock is
//! the host's wall clock, which somebody may set; the two readings around a trial tell
//! (`measure::told`).

use std::fmt;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::metric::{Nanos, Ticks};
use crate::sys::clock::now;
use crate::trial::Instants;

/// The counter and the wall clock at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallReading {
    /// The counter, in the middle of the two readings around that of the wall clock.
    pub ticks: Ticks,
    /// Half of the distance of those two: how far `ticks` may be off.
    pub bound: u64,
    /// CLOCK_REALTIME (clock_gettime(2)), ns since 1970.
    pub wall: i64,
}

impl WallReading {
    /// The narrowest of some readings: microseconds, so never inside a trial.
    ///
    /// # Errors
    /// [`Untold::NoClock`].
    pub fn take() -> Result<Self, Untold> {
        const READINGS: usize = 16;
        let mut best = Self::once()?;
        for _ in 1..READINGS {
            let one = Self::once()?;
            if one.bound < best.bound {
                best = one;
            }
        }
        Ok(best)
    }

    fn once() -> Result<Self, Untold> {
        let before = now();
        let time = clock_gettime(ClockId::CLOCK_REALTIME).map_err(Untold::NoClock)?;
        let width = (now() - before).unsigned_abs();
        Ok(Self {
            ticks: Ticks(before.0.wrapping_add(width / 2)),
            bound: width.div_ceil(2),
            wall: time.tv_sec() * 1_000_000_000 + time.tv_nsec(),
        })
    }
}

/// What a daemon said of one instance.
#[derive(Clone, Debug)]
pub struct Told {
    /// The daemon.
    pub by: &'static str,
    /// What it says of every instance.
    pub known: &'static [Known],
    /// What it said of this one, or why it did not.
    pub said: Result<Said, Untold>,
}

/// Events and what is needed to know when they were.
#[derive(Clone, Debug)]
pub struct Said {
    /// Each at most once.
    pub events: Vec<Event>,
    /// Before `t0` and after `t5`.
    pub around: [WallReading; 2],
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, one of those that are known.
    pub name: &'static str,
    /// When, says the daemon: ns since 1970.
    pub wall: i64,
}

/// An event that every instance has, and what must have caused it and what it must have caused.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Not before this.
    pub from: Named,
    /// Not after this.
    pub to: Named,
    /// Not before this other event.
    pub follows: Option<&'static str>,
}

/// One of the six instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// [`Instants::t0`].
    T0,
    /// [`Instants::t1`].
    T1,
    /// [`Instants::t3`].
    T3,
    /// [`Instants::t4`].
    T4,
    /// [`Instants::t5`].
    T5,
}

impl Named {
    /// When it was.
    #[must_use]
    pub const fn of(self, instants: &Instants) -> Ticks {
        match self {
            Self::T0 => instants.t0,
            Self::T1 => instants.t1,
            Self::T3 => instants.t3,
            Self::T4 => instants.t4,
            Self::T5 => instants.t5,
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::T0 => "t0",
            Self::T1 => "t1",
            Self::T3 => "t3",
            Self::T4 => "t4",
            Self::T5 => "t5",
        })
    }
}

/// Why nothing is known of a daemon's own instants. The trial is as good as any: they are no part of what is
/// measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// The host's clock cannot be read.
    #[error("CLOCK_REALTIME cannot be read: {0}")]
    NoClock(Errno),
    /// The host does not say which kernel it runs.
    #[error("uname: {0}")]
    NoKernel(Errno),
    /// It was asked and did not say.
    #[error("no answer to a request for its events: {0}; its log may say why")]
    Unanswered(String),
    /// What it said are no events.
    #[error("line {line} of its events is none: {problem}; is that socket a dockerd's?")]
    Garbage {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// One instance, one event of a kind.
    #[error("it tells {0:?} twice of one container; somebody else may have used it")]
    Twice(&'static str),
    /// In a virtual machine, behind a socket that is passed on.
    #[error("its kernel is {theirs}, this host's is {ours}: its clock is another one")]
    OtherKernel {
        /// Of the daemon.
        theirs: String,
        /// Of the harness.
        ours: String,
    },
    /// Somebody set the clock meanwhile.
    #[error(
        "the wall clock moved by {} ns against the counter during the trial, beyond the 500 ppm of a clock that \
         is slewed; on a host that measures, time is not to be set, nor slewed faster (chronyc makestep, ntpdate)",
        .0.0
    )]
    ClockSet(Nanos),
    /// In an order that cannot be.
    #[error("{event:?} before {before:?}, by its own clock, which must have been set meanwhile")]
    Order {
        /// The later one.
        event: &'static str,
        /// The one that comes first.
        before: &'static str,
    },
    /// Outside of what must enclose it.
    #[error(
        "{event:?} lies {} ns {side} {instant}, its bound is {} ns: its clock is not the harness's",
        .by.0, .bound.0
    )]
    Misplaced {
        /// What.
        event: &'static str,
        /// By how much.
        by: Nanos,
        /// `before` or `behind`.
        side: &'static str,
        /// Where it should have stopped.
        instant: Named,
        /// How exact its time is.
        bound: Nanos,
    },
}
