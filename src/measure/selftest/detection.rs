//! Delays of known size: how often are they found?

use std::fmt;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::finding::{Check, Rate, Target};
use super::gate::{Judged, MetricPairs, evidence};
use super::inject::Delayed;
pub use super::inject::Place;
use super::lanes::Track;
use super::{Budget, Open, Stop};
use crate::backend::Backend;
use crate::metric::{Metric, STARTUP, TEARDOWN, Ticks};
use crate::stats::quantile::median;
use crate::stats::{Sample, StatsError, Verdict};

/// Pairs of undelayed trials before the first comparison, for the size of its delay.
const SIZING: u32 = 200;

/// A delay, and what is claimed about finding it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// Where it lies.
    pub place: Place,
    /// Its size as a share of the median of what it is added to.
    pub share: f64,
    /// Pairs of a comparison.
    pub pairs: u32,
    /// The share of comparisons that must find it, if anything is claimed.
    pub target: Option<f64>,
}

impl Delay {
    /// The metric it is looked for in.
    #[must_use]
    pub const fn metric(&self) -> Metric {
        match self.place {
            Place::Startup => STARTUP,
            Place::Teardown => TEARDOWN,
        }
    }

    /// The threshold it is looked for with: half of it. A gate that ignores effects up to 5 % is
    /// right to ignore one of 5 %.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.share / 2.0
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} +{} %", self.metric().name, self.share * 100.0)
    }
}

/// Puts the delay into one of two lanes, again and again, and counts the comparisons in which the
/// gate calls the metric it belongs to worse.
///
/// Both lanes are wrapped alike; only the delay differs. Its size is the share of the reference's
/// median in the comparison before (for the first: in as many trials of their own), so the
/// machine's drift hardly changes what share it is. Comparisons have disjoint trials.
///
/// # Errors
/// A trial that fails, or an interruption.
pub fn check(
    track: &Track<'_>,
    delay: Delay,
    open: &mut Open<'_>,
    budget: Budget,
    seed: u64,
) -> Result<Check, Stop> {
    check_by(track, delay, open, budget, seed, crate::sys::clock::now)
}

/// [`check`] with the counter that the wait is measured by.
fn check_by<C: Fn() -> Ticks + Clone + 'static>(
    track: &Track<'_>,
    delay: Delay,
    open: &mut Open<'_>,
    budget: Budget,
    seed: u64,
    now: C,
) -> Result<Check, Stop> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let mut race = |pairs, ticks| -> Result<Vec<MetricPairs>, Stop> {
        let mut lane = |ticks| -> Result<Box<dyn Backend>, Stop> {
            Ok(Box::new(Delayed::with_clock(
                open()?,
                delay.place,
                ticks,
                now.clone(),
            )))
        };
        let mut lanes = [lane(0)?, lane(ticks)?];
        track.race(&mut lanes, pairs, seeds.next_u64())
    };
    let mut typical = reference_median(&race(SIZING, 0)?, delay.metric())?;
    let mut shares = Vec::new();
    let (mut found, mut doubts) = (0, 0);
    let begun = Instant::now();
    while budget.allows(shares.len() as u32, begun) {
        let size = delay.share * typical;
        let family = race(delay.pairs, track.ticks(size))?;
        typical = reference_median(&family, delay.metric())?;
        shares.push(size / typical);
        match word(&evidence(&family, seed ^ shares.len() as u64)?, delay)? {
            Some(Verdict::Worse) => found += 1,
            Some(Verdict::Inconclusive(_)) | None => doubts += 1,
            Some(Verdict::Better | Verdict::Same { .. }) => {}
        }
    }
    let rate = Rate {
        target: delay.target.map(Target::AtLeast),
        pairs: delay.pairs,
        threshold: delay.threshold(),
        inconclusive: doubts,
        injected: Some(median(&Sample::new(shares.clone())?)),
        ..Rate::of(found, shares.len() as u64)?
    };
    Ok(Check::rate("injected delays", delay.to_string(), rate)?)
}

/// The word for the metric that the delay belongs to.
fn word(judged: &[Judged], delay: Delay) -> Result<Option<Verdict>, StatsError> {
    let its = judged.iter().find(|j| j.metric == delay.metric());
    its.map(|judged| judged.word(delay.threshold())).transpose()
}

/// Median of a metric in the reference lane.
fn reference_median(family: &[MetricPairs], metric: Metric) -> Result<f64, StatsError> {
    let its = family.iter().filter(|(m, _)| *m == metric);
    let values: Vec<f64> = its
        .flat_map(|(_, pairs)| pairs.iter().map(|p| p.0))
        .collect();
    Ok(median(&Sample::new(values)?))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, World};
    use super::super::finding::{Finding, Outcome};
    use super::*;
    use std::time::Duration;

    fn rate_of(place: Place, share: f64) -> (Outcome, Rate) {
        let world = World::new(9);
        let clock = world.ruler();
        let track = Track::new(&clock).unwrap();
        let delay = Delay {
            place,
            share,
            pairs: 400,
            target: Some(0.9),
        };
        let budget = Budget {
            comparisons: 8,
            time: Duration::from_secs(3600),
        };
        let mut open = || Ok(Box::new(Fake::noisy(&world)) as _);
        let check = check_by(&track, delay, &mut open, budget, 4, world.clock()).unwrap();
        let Finding::Rate(rate) = check.finding else {
            panic!("a delay gives a rate");
        };
        (check.outcome, rate)
    }

    #[test]
    fn a_delay_is_found_where_it_was_put() {
        for place in [Place::Startup, Place::Teardown] {
            let (outcome, rate) = rate_of(place, 0.1);
            assert_eq!((rate.hits, rate.comparisons), (8, 8), "{place:?}");
            assert_eq!(outcome, Outcome::Pass);
            let share = rate.injected.unwrap();
            assert!((0.09..0.11).contains(&share), "{share}");
        }
    }

    #[test]
    fn what_is_too_small_for_the_data_is_not_claimed() {
        // One part in a thousand, looked for with 400 pairs.
        let (outcome, rate) = rate_of(Place::Startup, 0.001);
        assert_eq!(outcome, Outcome::Inconclusive, "{rate:?}");
        assert_eq!((rate.hits, rate.inconclusive), (0, 8));
    }

    #[test]
    fn a_delay_has_a_name_and_half_its_size_as_threshold() {
        let delay = Delay {
            place: Place::Teardown,
            share: 0.05,
            pairs: 800,
            target: None,
        };
        assert_eq!(delay.to_string(), "teardown +5 %");
        assert_eq!(delay.threshold(), 0.025);
    }
}
