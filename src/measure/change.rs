//! Has one quantity changed between two runs? From the log-ratios of their blocks to a word.
//!
//! Blocks of one run are not independent of each other ([`batch`](crate::stats::batch)), so each run
//! enters with the medians of its batches; BASE's and HEAD's are two independent samples
//! ([`two_sample`]).

use super::comparison::{PartChange, Rule};
use super::series::Quantity;
use crate::metric::Better;
use crate::stats::batch::batch_medians;
use crate::stats::paired::{Ratio, log_ratios};
use crate::stats::power::called_from;
use crate::stats::quantile::median;
use crate::stats::verdict::{self, Direction, Doubt, Evidence, judge};
use crate::stats::{Sample, StatsError, Verdict, enough, holm, two_sample};

/// Level of the intervals.
const LEVEL: f64 = 0.95;
/// Power at which an effect counts as one that would have been seen.
pub(super) const POWER: f64 = 0.9;
/// Amounts of data beyond this many times what there is are not named: nobody will take them.
const MOST_GROWTH: f64 = 1000.0;

/// The evidence of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// HEAD over BASE, with its 95 % interval.
    pub ratio: Ratio,
    /// p-value of the rank-sum test.
    pub p: f64,
    /// Batches of BASE and HEAD.
    pub batches: [usize; 2],
}

/// Batch medians of the log-ratios, in the order of blocks; nothing where a value is not positive.
#[must_use]
pub fn batches(pairs: &[(f64, f64)]) -> Option<Sample> {
    batch_medians(log_ratios(pairs).ok()?.values()).ok()
}

/// Compares two runs' batches; nothing where there are too few for an interval.
#[must_use]
pub fn change(base: &Sample, head: &Sample) -> Option<Change> {
    let (shift, interval) = two_sample::shift(base, head, LEVEL).ok()?;
    let (ratio, low, high) = (shift.exp(), interval.low.exp(), interval.high.exp());
    let ratio = Ratio {
        ratio,
        low,
        high,
        coverage: interval.coverage,
        pairs: base.n().min(head.n()),
    };
    let p = two_sample::rank_sum(base, head).ok()?;
    (low > 0.0 && high.is_finite()).then_some(Change {
        ratio,
        p,
        batches: [base.n(), head.n()],
    })
}

/// The changes of a family, each with its p-value after Holm's correction over all of them.
///
/// # Errors
/// None that [`change`] leaves possible: a p-value that is none.
pub fn corrected(family: &[Option<Change>]) -> Result<Vec<Option<(Change, f64)>>, StatsError> {
    let raw: Vec<f64> = family.iter().flatten().map(|c| c.p).collect();
    let mut p = holm::holm(&raw)?.into_iter();
    Ok(family
        .iter()
        .map(|change| change.and_then(|c| Some((c, p.next()?))))
        .collect())
}

/// The parts of a changed quantity whose own change goes the same way and is beyond chance at 95 %
/// each, the largest first.
///
/// A part is compared as its share of the reference in the same block, batch by batch like the whole,
/// and told in the metric's unit at HEAD's reference. Its share of the change is over the sum of what
/// the whole gained, read off the medians.
#[must_use]
pub fn explanation(base: &Quantity, head: &Quantity, ratio: Option<f64>) -> Vec<PartChange> {
    let scale = if head.relative {
        head.reference
    } else {
        Some(1.0)
    };
    let (Some(scale), Some(ratio)) = (scale, ratio) else {
        return Vec::new();
    };
    let level = head.batches.as_ref().map(|b| median(b).exp());
    let whole = level.map(|level| level * (1.0 - ratio.recip()) * scale);
    let none = Sample::new(vec![0.0; base.batches.as_ref().map_or(1, Sample::n)]).ok();
    let mut found: Vec<PartChange> = head
        .parts
        .iter()
        .filter_map(|part| {
            let before = base.parts.iter().find(|p| p.name == part.name);
            // A part that BASE has not at all took no time there.
            let before = before.map(|p| &p.batches).or(none.as_ref())?;
            let (shift, ci) = two_sample::shift(before, &part.batches, LEVEL).ok()?;
            let same_way = if ratio > 1.0 {
                ci.low > 0.0
            } else {
                ci.high < 0.0
            };
            same_way.then(|| PartChange {
                name: part.name.clone(),
                difference: shift * scale,
                ci95: [ci.low * scale, ci.high * scale],
                share: whole
                    .map(|whole| shift * scale / whole)
                    .filter(|share| share.is_finite()),
            })
        })
        .collect();
    found.sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
    found
}

/// What is asked of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Direction of the metric.
    pub better: Better,
    /// Smallest relative change that counts.
    pub threshold: f64,
    /// Whether the whole interval must lie beyond it.
    pub whole_interval: bool,
    /// Level that the strictest test of the family faces.
    pub strictest: f64,
    /// Trials of the run that lost the larger share of them, and those lost.
    pub trials: usize,
    /// See `trials`.
    pub failed: usize,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The word.
    pub verdict: Verdict,
    /// Relative change that would have been called one with probability [`POWER`].
    pub detectable: Option<f64>,
    /// How many times as much data as there is would probably decide, where more data would.
    pub growth: Option<f64>,
}

/// Judges a change by the rule.
///
/// # Errors
/// As [`judge`].
pub fn answer(
    change: &Change,
    corrected: f64,
    question: &Question,
    rule: &Rule,
) -> Result<Answer, StatsError> {
    let Question {
        better,
        threshold,
        whole_interval,
        strictest,
        trials,
        failed,
    } = *question;
    let level = whole_interval.then_some(LEVEL);
    let detectable = called_from(&change.ratio, strictest, (threshold, level), POWER).ok();
    let policy = verdict::Policy {
        alpha: rule.alpha,
        threshold,
        min_pairs: two_sample::needed(strictest),
        max_half_width: threshold,
        max_tainted: rule.most_failed,
        whole_interval,
    };
    let evidence = Evidence {
        ratio: change.ratio,
        p: corrected,
        // An effect too large for a number would certainly have been missed.
        detectable: detectable.unwrap_or(f64::INFINITY),
        tainted: failed,
        trials,
    };
    let direction = match better {
        Better::Lower => Direction::LowerIsBetter,
        Better::Higher => Direction::HigherIsBetter,
    };
    let verdict = judge(&evidence, direction, &policy)?;
    Ok(Answer {
        verdict,
        detectable,
        growth: growth(&verdict, &change.ratio, question),
    })
}

/// How many times as much data would probably decide.
///
/// Where no change is shown: so much that runs that do not differ are called the same with
/// probability [`POWER`]; where that is there already, and the change seen lies near the threshold,
/// so much that an interval around it would end before the threshold. Where the change seen is
/// beyond the threshold: so much that a change of that size is found with probability [`POWER`] and, where
/// that is asked for, an interval around it would begin beyond the threshold.
pub(super) fn growth(verdict: &Verdict, ratio: &Ratio, question: &Question) -> Option<f64> {
    let Verdict::Inconclusive(doubt) = verdict else {
        return None;
    };
    let (effect, room) = (ratio.ratio.ln().abs(), question.threshold.ln_1p());
    let (low, high) = (ratio.low.ln(), ratio.high.ln());
    let near = if ratio.ratio > 1.0 { low } else { -high };
    let far = high.max(-low);
    // So much that the interval would begin beyond the threshold, or end before it.
    let clear = || ((effect - near) / (effect - room)).powi(2);
    let inside = || ((far - effect) / (room - effect)).powi(2);
    let factor = match doubt {
        Doubt::TooFewPairs { have, need } => *need as f64 / *have as f64,
        Doubt::Tainted { .. } => return None,
        Doubt::NotSignificant => {
            let found = enough::for_effect(ratio, effect.exp_m1(), question.strictest, POWER);
            let found = found.ok()?;
            if question.whole_interval {
                found.max(clear())
            } else {
                found
            }
        }
        Doubt::NotBeyond { .. } => clear(),
        Doubt::TooWide { .. } | Doubt::NotExcluded { .. } => {
            let none = enough::for_equivalence(ratio, question.threshold, POWER).ok()?;
            if none > 1.0 { none } else { inside() }
        }
    };
    // Not a number, or past all reason, where the change seen lies on the threshold itself.
    (factor < MOST_GROWTH).then_some(factor.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(shift: f64, noise: f64, seed: u64) -> Vec<(f64, f64)> {
        let mut state = seed;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        (0..240)
            .map(|_| {
                (
                    1.0,
                    (shift + noise * (0..6).map(|_| uniform()).sum::<f64>()).exp(),
                )
            })
            .collect()
    }

    fn ask(shift: f64, noise: f64) -> Answer {
        let [base, head] = [run(0.0, noise, 1), run(shift, noise, 2)].map(|r| batches(&r).unwrap());
        let change = change(&base, &head).unwrap();
        let question = Question {
            better: Better::Lower,
            threshold: 0.05,
            whole_interval: true,
            strictest: 0.01,
            trials: 480,
            failed: 0,
        };
        answer(&change, change.p, &question, &Rule::default()).unwrap()
    }

    #[test]
    fn precise_runs_get_a_word_and_imprecise_ones_an_amount() {
        assert!(matches!(ask(0.0, 0.1).verdict, Verdict::Same { .. }));
        assert_eq!(ask(0.1, 0.1).verdict, Verdict::Worse);
        assert_eq!(ask(-0.1, 0.1).verdict, Verdict::Better);
        assert_eq!(ask(0.0, 0.1).growth, None);
        let vague = ask(0.0, 1.0);
        assert!(
            matches!(vague.verdict, Verdict::Inconclusive(_)),
            "{vague:?}"
        );
        // 240 blocks of noise 1/√2: standard error of the difference about 8 %, 1.4 % are asked for.
        let growth = vague.growth.unwrap();
        assert!((15.0..60.0).contains(&growth), "{growth}");
    }

    #[test]
    fn a_change_on_the_threshold_asks_for_more_than_a_precise_run() {
        for distance in [-0.006, -0.002, 0.002, 0.006] {
            let near = ask(0.05_f64.ln_1p() + distance, 0.1);
            let Verdict::Inconclusive(Doubt::NotExcluded { .. } | Doubt::NotBeyond { .. }) =
                near.verdict
            else {
                panic!("{distance}: {near:?}");
            };
            assert!(near.growth.is_none_or(|g| g >= 1.0), "{near:?}");
        }
        assert_eq!(ask(0.05_f64.ln_1p() + 0.03, 0.1).verdict, Verdict::Worse);
    }

    /// Hodges–Lehmann intervals are not symmetric: it is the near end that must move.
    #[test]
    fn what_would_clear_the_threshold_is_counted_from_the_near_end() {
        let ratio = Ratio {
            ratio: 1.07,
            low: 1.045,
            high: 1.075,
            coverage: 0.95,
            pairs: 200,
        };
        let question = Question {
            better: Better::Lower,
            threshold: 0.05,
            whole_interval: true,
            strictest: 0.01,
            trials: 400,
            failed: 0,
        };
        let verdict = Verdict::Inconclusive(Doubt::NotBeyond { nearest: 0.045 });
        let growth = |ratio: Ratio| growth(&verdict, &ratio, &question).unwrap();
        assert!((growth(ratio) - 1.57).abs() < 0.02, "{}", growth(ratio));
        let mirror = Ratio {
            ratio: 1.07_f64.recip(),
            low: 1.075_f64.recip(),
            high: 1.045_f64.recip(),
            ..ratio
        };
        assert!((growth(mirror) - growth(ratio)).abs() < 1e-9);
    }

    #[test]
    fn what_would_have_been_called_a_change_lies_beyond_the_threshold() {
        let told = ask(0.0, 0.1).detectable.unwrap();
        assert!((0.05..0.1).contains(&told), "{told}");
        assert!(ask(0.0, 0.2).detectable.unwrap() > told);
    }

    #[test]
    fn nothing_is_made_of_what_is_not_positive_or_too_little() {
        assert!(batches(&[(1.0, 0.0)]).is_none());
        assert!(batches(&[]).is_none());
        let few = batches(&[(1.0, 2.0); 3]).unwrap();
        assert!(change(&few, &few).is_none());
    }
}
