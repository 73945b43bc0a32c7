//! How the guest's time-stamp counter maps to the host's. Nothing is assumed: every message is a
//! witness, since the guest read its counter after the host let it run and before it came back.

use crate::metric::Ticks;
use crate::trial::{ClockMap, ClockSource};

/// The offsets (`host = guest + offset`, wrapping) that no witness contradicts: one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brackets {
    interval: Interval,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Interval {
    /// No witness yet.
    #[default]
    Unknown,
    /// Offsets `start ..= start + width`, wrapping.
    Within { start: u64, width: u64 },
    /// The witnesses contradict each other.
    Empty,
}

/// The witnesses contradict each other: some reading cannot have been taken when the guest ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest's readings fit no offset: one was not taken while the guest ran")]
pub struct Contradiction;

impl Brackets {
    /// Takes in one witness: the guest read `guest` between the host's `before` and `after`.
    pub fn witness(&mut self, before: Ticks, guest: u64, after: Ticks) {
        let Ok(span) = u64::try_from(after - before) else {
            self.interval = Interval::Empty;
            return;
        };
        let low = before.0.wrapping_sub(guest);
        self.interval = match self.interval {
            Interval::Empty => Interval::Empty,
            Interval::Unknown => Interval::Within {
                start: low,
                width: span,
            },
            Interval::Within { start, width } => {
                // Both intervals relative to `start`; signed, since the counters may wrap.
                let shift = i128::from(low.wrapping_sub(start).cast_signed());
                let from = shift.max(0);
                let to = (shift + i128::from(span)).min(i128::from(width));
                match (u64::try_from(from), u64::try_from(to - from)) {
                    (Ok(from), Ok(width)) => Interval::Within {
                        start: start.wrapping_add(from),
                        width,
                    },
                    _ => Interval::Empty,
                }
            }
        };
    }

    fn fits(self, offset: u64) -> bool {
        match self.interval {
            Interval::Within { start, width } => offset.wrapping_sub(start) <= width,
            Interval::Unknown | Interval::Empty => false,
        }
    }

    /// Decides. Candidates are the offset that KVM reports (`read_back`: guest − host, so the map
    /// adds its negative) and 0 (a KVM that lets RDTSC through to the host's own counter). A
    /// single candidate that every witness admits is exact; two different ones, or none, leave the
    /// middle of the interval, with half its width as the bound.
    ///
    /// # Errors
    /// The witnesses contradict each other, or there is none.
    pub fn decide(self, read_back: Option<u64>) -> Result<ClockMap, Contradiction> {
        let Interval::Within { start, width } = self.interval else {
            return Err(Contradiction);
        };
        let exact = |offset, source| ClockMap {
            offset,
            bound: 0,
            source,
        };
        let reported = read_back
            .map(u64::wrapping_neg)
            .filter(|&offset| self.fits(offset));
        Ok(match (reported, self.fits(0)) {
            (Some(offset), false) => exact(offset, ClockSource::ReadBack),
            (Some(0), true) => exact(0, ClockSource::ReadBack),
            (None, true) => exact(0, ClockSource::Same),
            (Some(_), true) | (None, false) => ClockMap {
                offset: start.wrapping_add(width / 2),
                bound: width.div_ceil(2),
                source: ClockSource::Bracketed,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brackets(witnesses: &[(u64, u64, u64)]) -> Brackets {
        let mut brackets = Brackets::default();
        for &(before, guest, after) in witnesses {
            brackets.witness(Ticks(before), guest, Ticks(after));
        }
        brackets
    }

    #[test]
    fn the_hosts_own_counter() {
        let all = brackets(&[(1000, 1100, 1200), (2000, 2001, 2500)]);
        // Software KVM: the reported offset is not what RDTSC shows.
        for read_back in [None, Some(0u64.wrapping_sub(900_000))] {
            let map = all.decide(read_back).unwrap();
            assert_eq!((map.offset, map.bound), (0, 0));
            assert_eq!(map.source, ClockSource::Same);
        }
    }

    #[test]
    fn the_reported_offset() {
        // guest = host − 1_000_000, reported as such.
        let all = brackets(&[(1_000_100, 150, 1_000_200), (1_000_300, 301, 1_000_400)]);
        let map = all.decide(Some(0u64.wrapping_sub(1_000_000))).unwrap();
        assert_eq!((map.offset, map.bound), (1_000_000, 0));
        assert_eq!(map.source, ClockSource::ReadBack);
        assert_eq!(map.host(150), Ticks(1_000_150));
    }

    #[test]
    fn two_candidates_or_none_leave_the_middle() {
        let near = brackets(&[(1000, 1000, 1100)]);
        let map = near.decide(Some(0u64.wrapping_sub(50))).unwrap();
        assert_eq!(map.source, ClockSource::Bracketed);
        assert_eq!((map.offset, map.bound), (50, 50));
        let none = brackets(&[(5000, 10, 5101)]);
        let map = none.decide(Some(7)).unwrap();
        assert_eq!((map.offset, map.bound), (4990 + 50, 51));
        assert_eq!(map.source, ClockSource::Bracketed);
    }

    #[test]
    fn contradictions_and_silence_are_errors() {
        assert_eq!(brackets(&[]).decide(None), Err(Contradiction));
        // The second reading lies before the first one's bracket.
        let forged = brackets(&[(1000, 1100, 1200), (2000, 0, 2100)]);
        assert_eq!(forged.decide(None), Err(Contradiction));
        assert_eq!(forged.decide(Some(0)), Err(Contradiction));
        assert_eq!(brackets(&[(10, 5, 9)]).decide(None), Err(Contradiction));
    }

    proptest! {
        /// Whatever the true offset, it is never excluded, and the bound always covers it.
        #[test]
        fn truth_is_inside(
            offset in any::<u64>(),
            start in any::<u64>(),
            steps in prop::collection::vec((0u64..1 << 40, 0u64..1 << 40, 0u64..1 << 40), 1..20),
        ) {
            let mut host = start;
            let mut brackets = Brackets::default();
            for (idle, early, late) in steps {
                let before = host.wrapping_add(idle);
                let guest = before.wrapping_add(early).wrapping_sub(offset);
                host = before.wrapping_add(early).wrapping_add(late);
                brackets.witness(Ticks(before), guest, Ticks(host));
            }
            let exact = brackets.decide(Some(offset.wrapping_neg())).unwrap();
            if exact.source == ClockSource::ReadBack {
                prop_assert_eq!(exact.offset, offset);
            }
            let map = brackets.decide(None).unwrap();
            if map.source == ClockSource::Bracketed {
                let error = map.offset.wrapping_sub(offset).cast_signed().unsigned_abs();
                prop_assert!(error <= map.bound);
            }
        }
    }
}
