//! How much each profile looks.

use std::time::Duration;

use super::Budget;
use super::detection::{Delay, Place};
use crate::workload::Profile;

/// Repetitions, comparisons and times of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Effort {
    /// How often each known duration is measured.
    pub repetitions: u32,
    /// Blocks with which the harness's own cost is measured.
    pub overhead_blocks: u32,
    /// `process` against itself.
    pub alarms: Budget,
    /// `container` against itself.
    pub container: Budget,
    /// Delays of known size.
    pub delays: Vec<(Delay, Budget)>,
}

impl Effort {
    /// The effort of a profile: smoke stays under 20 s, quick under 3 minutes, full makes 300
    /// comparisons of `process` with itself.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let (repetitions, overhead_blocks) = match profile {
            Profile::Smoke => (3, 200),
            Profile::Quick => (10, 1000),
            Profile::Full => (30, 5000),
        };
        // Most comparisons, most seconds.
        let (alarms, container, ten, five, two) = match profile {
            Profile::Smoke => ((20, 4), (3, 2), (10, 2), (6, 2), (2, 1)),
            Profile::Quick => ((300, 70), (20, 12), (60, 16), (40, 20), (10, 5)),
            Profile::Full => ((300, 1200), (100, 900), (200, 600), (200, 600), (100, 600)),
        };
        let budget = |(comparisons, seconds)| Budget {
            comparisons,
            time: Duration::from_secs(seconds),
        };
        let delay = |place, share, pairs, target| Delay {
            place,
            share,
            pairs,
            target,
        };
        Self {
            repetitions,
            overhead_blocks,
            alarms: budget(alarms),
            container: budget(container),
            delays: vec![
                (delay(Place::Startup, 0.10, 400, Some(0.95)), budget(ten)),
                (delay(Place::Teardown, 0.10, 400, Some(0.95)), budget(ten)),
                (delay(Place::Startup, 0.05, 800, Some(0.90)), budget(five)),
                (delay(Place::Teardown, 0.05, 800, Some(0.90)), budget(five)),
                (delay(Place::Startup, 0.02, 800, None), budget(two)),
            ],
        }
    }

    /// The longest that the checks with a time limit take, the last comparison of each left out.
    #[must_use]
    pub fn time(&self) -> Duration {
        let delays: Duration = self.delays.iter().map(|(_, budget)| budget.time).sum();
        self.alarms.time + self.container.time + delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_keep_their_promise() {
        assert!(Effort::of(Profile::Smoke).time() <= Duration::from_secs(16));
        assert!(Effort::of(Profile::Quick).time() <= Duration::from_secs(160));
        assert_eq!(Effort::of(Profile::Full).alarms.comparisons, 300);
    }
}
