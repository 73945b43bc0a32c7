//! False alarms: a configuration against itself must never be "better" or "worse".

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::finding::{Check, Outcome, Rate, Target};
use super::gate::{Judged, evidence};
use super::lanes::Track;
use super::{Budget, Open, Stop};
use crate::stats::{StatsError, Verdict};

/// Pairs of a comparison: as many as a quick run has.
pub const PAIRS: u32 = 400;
/// The share of comparisons that may raise an alarm.
pub const TARGET: f64 = 0.01;
/// Thresholds that the comparisons are judged with: the gate's own, and those with which delays of
/// 5 % and 2 % are looked for. A smaller threshold is the harder test.
pub const THRESHOLDS: [f64; 3] = [0.05, 0.025, 0.01];
/// The smallest threshold with which finding a delay is claimed.
const SMALLEST_CLAIMED: f64 = 0.025;

/// Compares a configuration with itself, again and again.
///
/// Every comparison opens the backend twice, as a run opens each configuration, and has trials of
/// its own. An alarm is a comparison in which *any* metric is called better or worse.
///
/// # Errors
/// A trial that fails, or an interruption.
pub fn check(
    track: &Track<'_>,
    name: &str,
    open: &mut Open<'_>,
    budget: Budget,
    seed: u64,
) -> Result<Vec<Check>, Stop> {
    let comparisons = compare(track, open, budget, seed)?;
    THRESHOLDS
        .into_iter()
        .map(|threshold| {
            let what = format!("{name} > {} %", threshold * 100.0);
            let mut check = Check::rate("false alarms", what, rate(&comparisons, threshold)?)?;
            if check.outcome == Outcome::Inconclusive && !claimed(budget, threshold) {
                check.outcome = Outcome::Shown;
            }
            Ok(check)
        })
        .collect()
}

/// Whether a doubt about this rate is a doubt about the ruler. Not where a single alarm would
/// already exceed the target (fewer than 100 comparisons planned), nor at a threshold so small that
/// the test alone decides: its own level *is* the target, so chance would leave many self-tests in
/// doubt. Then the rate is only shown; one that is refuted fails in any case.
fn claimed(budget: Budget, threshold: f64) -> bool {
    f64::from(budget.comparisons) * TARGET >= 1.0 && threshold >= SMALLEST_CLAIMED
}

/// The evidence of each comparison.
fn compare(
    track: &Track<'_>,
    open: &mut Open<'_>,
    budget: Budget,
    seed: u64,
) -> Result<Vec<Vec<Judged>>, Stop> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let mut comparisons = Vec::new();
    let begun = Instant::now();
    while budget.allows(comparisons.len() as u32, begun) {
        let mut lanes = [open()?, open()?];
        let family = track.race(&mut lanes, PAIRS, seeds.next_u64())?;
        comparisons.push(evidence(&family, seeds.next_u64())?);
    }
    Ok(comparisons)
}

fn rate(comparisons: &[Vec<Judged>], threshold: f64) -> Result<Rate, StatsError> {
    let (mut alarms, mut doubts) = (0, 0);
    for metrics in comparisons {
        let words = metrics
            .iter()
            .map(|metric| metric.word(threshold))
            .collect::<Result<Vec<_>, _>>()?;
        let changed = |word: &Verdict| matches!(word, Verdict::Better | Verdict::Worse);
        if words.iter().any(changed) {
            alarms += 1;
        } else if words
            .iter()
            .any(|word| matches!(word, Verdict::Inconclusive(_)))
        {
            doubts += 1;
        }
    }
    Ok(Rate {
        target: Some(Target::AtMost(TARGET)),
        pairs: PAIRS,
        threshold,
        inconclusive: doubts,
        ..Rate::of(alarms, comparisons.len() as u64)?
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, World};
    use super::super::finding::Finding;
    use super::*;
    use std::time::Duration;

    const BUDGET: Budget = Budget {
        comparisons: 12,
        time: Duration::from_secs(3600),
    };

    fn rates(checks: &[Check]) -> Vec<&Rate> {
        let rate = |check: &'_ Check| matches!(check.finding, Finding::Rate(_));
        assert!(checks.iter().all(rate));
        let rates = checks.iter().filter_map(|check| match &check.finding {
            Finding::Rate(rate) => Some(rate),
            _ => None,
        });
        rates.collect()
    }

    #[test]
    fn the_same_against_itself_is_silent() {
        let world = World::new(3);
        let clock = world.ruler();
        let track = Track::new(&clock).unwrap();
        let mut open = || Ok(Box::new(Fake::noisy(&world)) as _);
        let checks = check(&track, "fake", &mut open, BUDGET, 5).unwrap();
        for (check, rate) in checks.iter().zip(rates(&checks)) {
            assert_eq!((rate.hits, rate.comparisons), (0, 12), "{check:?}");
            assert_eq!(check.outcome, Outcome::Pass);
        }
    }

    #[test]
    fn lanes_that_differ_are_not() {
        let world = World::new(3);
        let clock = world.ruler();
        let track = Track::new(&clock).unwrap();
        let mut slow = false;
        let mut open = || {
            slow = !slow;
            let factor = if slow { 1.2 } else { 1.0 };
            Ok(Box::new(Fake::noisy(&world).slower(factor)) as _)
        };
        let checks = check(&track, "fake", &mut open, BUDGET, 5).unwrap();
        assert!(checks.iter().all(|check| check.outcome == Outcome::Fail));
        assert_eq!(rates(&checks)[0].hits, 12);
    }

    #[test]
    fn a_trial_that_fails_ends_the_check() {
        let world = World::new(3);
        let clock = world.ruler();
        let track = Track::new(&clock).unwrap();
        let mut open = || Ok(Box::new(Fake::noisy(&world).lying()) as _);
        let stopped = check(&track, "fake", &mut open, BUDGET, 5).unwrap_err();
        assert!(stopped.to_string().contains("wrong answer"), "{stopped}");
    }
}
