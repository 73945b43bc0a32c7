//! From a ratio and a p-value to a word.

use super::error::{StatsError, check_open_unit};
use super::paired::Ratio;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A time, a footprint.
    LowerIsBetter,
    /// A rate.
    HigherIsBetter,
}

/// What is known about one comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Candidate over reference.
    pub ratio: Ratio,
    /// The p-value after the family's correction ([`holm`](super::holm::holm)).
    pub p: f64,
    /// The relative effect that this data could have shown
    /// ([`Detectable::relative`](super::power::Detectable)).
    pub detectable: f64,
    /// Trials excluded because the machine disturbed them.
    pub tainted: usize,
    /// All trials, tainted ones included.
    pub trials: usize,
}

/// What is asked of the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Corrected p-values at or above this prove nothing.
    pub alpha: f64,
    /// The smallest relative change that matters: 0.05 is a ratio beyond 1.05 or below 1/1.05.
    pub threshold: f64,
    /// Fewest pairs.
    pub min_pairs: usize,
    /// Widest relative half-width ([`Ratio::relative_half_width`]) of an interval that touches the
    /// region in question.
    pub max_half_width: f64,
    /// Largest share of tainted trials.
    pub max_tainted: f64,
    /// Whether the whole interval must lie beyond the threshold, not the ratio alone.
    pub whole_interval: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            threshold: 0.05,
            min_pairs: 20,
            max_half_width: 0.05,
            max_tainted: 0.05,
            whole_interval: false,
        }
    }
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// Too few pairs.
    TooFewPairs {
        /// How many there are.
        have: usize,
        /// How many the policy asks for.
        need: usize,
    },
    /// The machine disturbed too many trials.
    Tainted {
        /// The share of trials that were disturbed.
        share: f64,
    },
    /// The interval is too wide to tell whether the change matters.
    TooWide {
        /// Its relative half-width.
        half_width: f64,
    },
    /// The effect is above the threshold, but chance explains it.
    NotSignificant,
    /// The effect is above the threshold and no chance, but the interval reaches below the threshold.
    NotBeyond {
        /// The smallest relative change, up or down, that the interval holds.
        nearest: f64,
    },
    /// No change above the threshold was shown, but the interval does not rule one out.
    NotExcluded {
        /// The largest relative change, up or down, that the interval holds.
        furthest: f64,
    },
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Changed for the better: significantly, and by more than the threshold.
    Better,
    /// Changed for the worse: significantly, and by more than the threshold.
    Worse,
    /// No change that matters: the interval lies inside the threshold on both sides.
    Same {
        /// The relative effect that could have been seen.
        detectable: f64,
    },
    /// The data does not say. Never a pass.
    Inconclusive(Doubt),
}

/// Judges one comparison.
///
/// In this order: too few pairs, then too many tainted trials, are inconclusive. An interval wider
/// than the policy allows is inconclusive unless all of it lies beyond the threshold on one side:
/// "30 to 50 times" is imprecise, but no doubt about the word. *Better* and *worse* then need both
/// `p < alpha` and `|ln ratio| > ln(1 + threshold)`: a test alone calls trifles changes when there
/// is much data, a threshold alone calls noise a change when there is little. An effect above the
/// threshold without significance is inconclusive. Where the policy asks for the whole interval, an
/// effect above the threshold whose interval reaches below it is inconclusive too: a minimum-effect test
/// at 2.5 % (Murphy & Myors 1999), the counterpart of the test for *same*. *Same* is a claim too, and is tested as one: the
/// whole interval must lie within the threshold, which for a 95 % interval is a pair of one-sided
/// tests at 2.5 %, each against a change as large as the threshold. That a test found nothing is not
/// enough, however much power it had. No correction is needed for calling many metrics the same
/// together, since all must pass (intersection–union; Berger & Hsu 1996, *Bioequivalence Trials,
/// Intersection-Union Tests and Equivalence Confidence Sets*). Logarithms make the threshold
/// symmetric. Sources: Schuirmann (1987), *A Comparison of the Two One-Sided Tests Procedure and the
/// Power Approach for Assessing the Equivalence of Average Bioavailability*; for asking for size and
/// significance, Kalibera & Jones (2013), *Rigorous Benchmarking in Reasonable Time*.
///
/// # Errors
/// [`StatsError::Parameter`] for evidence or a policy outside its range: NaN, a `p` outside [0, 1],
/// a ratio or interval that is not positive, finite and in order, more tainted trials than trials.
pub fn judge(
    evidence: &Evidence,
    direction: Direction,
    policy: &Policy,
) -> Result<Verdict, StatsError> {
    check(evidence, policy)?;
    let Evidence {
        ratio,
        p,
        detectable,
        tainted,
        trials,
    } = *evidence;
    let doubt = |d| Ok(Verdict::Inconclusive(d));
    if ratio.pairs < policy.min_pairs {
        return doubt(Doubt::TooFewPairs {
            have: ratio.pairs,
            need: policy.min_pairs,
        });
    }
    let share = if tainted == 0 {
        0.0
    } else {
        tainted as f64 / trials as f64
    };
    if share > policy.max_tainted {
        return doubt(Doubt::Tainted { share });
    }
    let limit = policy.threshold.ln_1p();
    let beyond = ratio.low.ln() > limit || ratio.high.ln() < -limit;
    let half_width = ratio.relative_half_width();
    if half_width > policy.max_half_width && !beyond {
        return doubt(Doubt::TooWide { half_width });
    }
    let effect = ratio.ratio.ln();
    let significant = p < policy.alpha;
    if effect.abs() > limit {
        let grew = effect > 0.0;
        if significant && policy.whole_interval && !beyond {
            let near = if grew { ratio.low } else { ratio.high.recip() };
            let nearest = (near - 1.0).max(0.0);
            return doubt(Doubt::NotBeyond { nearest });
        }
        return match (significant, direction) {
            (false, _) => doubt(Doubt::NotSignificant),
            (true, Direction::LowerIsBetter) if grew => Ok(Verdict::Worse),
            (true, Direction::HigherIsBetter) if !grew => Ok(Verdict::Worse),
            (true, _) => Ok(Verdict::Better),
        };
    }
    let furthest = ratio.high.ln().max(-ratio.low.ln());
    if furthest > limit {
        let furthest = furthest.exp_m1();
        return doubt(Doubt::NotExcluded { furthest });
    }
    Ok(Verdict::Same { detectable })
}

/// Refuses evidence and policies that mean nothing.
fn check(evidence: &Evidence, policy: &Policy) -> Result<(), StatsError> {
    let Evidence {
        ratio,
        p,
        detectable,
        tainted,
        trials,
    } = *evidence;
    check_open_unit("alpha", policy.alpha)?;
    let require = |holds: bool, name, value, range| {
        if holds {
            Ok(())
        } else {
            Err(StatsError::Parameter { name, value, range })
        }
    };
    let positive = |v: f64| v > 0.0 && v.is_finite();
    require((0.0..=1.0).contains(&p), "p", p, "[0, 1]")?;
    require(
        positive(policy.threshold),
        "threshold",
        policy.threshold,
        "(0, ∞)",
    )?;
    require(
        policy.max_half_width >= 0.0,
        "max_half_width",
        policy.max_half_width,
        "[0, ∞]",
    )?;
    require(
        policy.max_tainted >= 0.0,
        "max_tainted",
        policy.max_tainted,
        "[0, 1]",
    )?;
    require(detectable >= 0.0, "detectable", detectable, "[0, ∞]")?;
    require(positive(ratio.ratio), "ratio", ratio.ratio, "(0, ∞)")?;
    require(positive(ratio.low), "low", ratio.low, "(0, ∞)")?;
    require(
        positive(ratio.high) && ratio.high >= ratio.low,
        "high",
        ratio.high,
        "[low, ∞)",
    )?;
    require(tainted <= trials, "tainted", tainted as f64, "[0, trials]")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence(ratio: f64, half_width: f64, p: f64) -> Evidence {
        let (low, high) = (ratio / (1.0 + half_width), ratio * (1.0 + half_width));
        let ratio = Ratio {
            ratio,
            low,
            high,
            coverage: 0.95,
            pairs: 400,
        };
        Evidence {
            ratio,
            p,
            detectable: 0.03,
            tainted: 0,
            trials: 800,
        }
    }

    fn verdict(evidence: Evidence) -> Verdict {
        judge(&evidence, Direction::LowerIsBetter, &Policy::default()).unwrap()
    }

    #[test]
    fn a_change_needs_significance_and_size() {
        assert_eq!(verdict(evidence(1.10, 0.02, 1e-4)), Verdict::Worse);
        assert_eq!(verdict(evidence(0.90, 0.02, 1e-4)), Verdict::Better);
        assert_eq!(
            verdict(evidence(1.02, 0.01, 1e-9)),
            Verdict::Same { detectable: 0.03 }
        );
        let doubt = Verdict::Inconclusive(Doubt::NotSignificant);
        assert_eq!(verdict(evidence(1.10, 0.02, 0.01)), doubt);
        assert_eq!(
            verdict(evidence(1.0, 0.02, 0.7)),
            Verdict::Same { detectable: 0.03 }
        );
    }

    #[test]
    fn too_little_or_too_noisy_is_never_a_pass() {
        let few = {
            let mut e = evidence(1.0, 0.0, 1.0);
            e.ratio.pairs = 19;
            verdict(e)
        };
        let doubt = Doubt::TooFewPairs { have: 19, need: 20 };
        assert_eq!(few, Verdict::Inconclusive(doubt));
        let tainted = Evidence {
            tainted: 41,
            ..evidence(1.5, 0.01, 1e-9)
        };
        let share = 41.0 / 800.0;
        assert_eq!(
            verdict(tainted),
            Verdict::Inconclusive(Doubt::Tainted { share })
        );
        assert_eq!(
            verdict(Evidence {
                tainted: 40,
                ..tainted
            }),
            Verdict::Worse
        );
        let wide = verdict(evidence(1.0, 0.2, 0.5));
        assert!(matches!(wide, Verdict::Inconclusive(Doubt::TooWide { .. })));
        // However often such a test would have found 5 %: 6 % is not ruled out.
        let near = Evidence {
            detectable: 0.01,
            ..evidence(1.04, 0.02, 0.5)
        };
        let Verdict::Inconclusive(Doubt::NotExcluded { furthest }) = verdict(near) else {
            panic!("{:?}", verdict(near));
        };
        assert!((furthest - 0.0608).abs() < 1e-9, "{furthest}");
    }

    #[test]
    fn the_same_is_shown_by_the_interval_not_by_the_power_of_the_test() {
        let mut inside = evidence(1.01, 0.035, 0.5);
        inside.detectable = 0.08;
        assert_eq!(verdict(inside), Verdict::Same { detectable: 0.08 });
        inside.ratio.low = 0.95;
        assert!(matches!(
            verdict(inside),
            Verdict::Inconclusive(Doubt::NotExcluded { .. })
        ));
    }

    #[test]
    fn width_does_not_matter_where_no_end_doubts_the_word() {
        assert_eq!(verdict(evidence(40.0, 0.3, 1e-4)), Verdict::Worse);
        assert_eq!(verdict(evidence(0.02, 0.3, 1e-4)), Verdict::Better);
    }

    #[test]
    fn a_policy_may_ask_for_the_whole_interval() {
        let whole = Policy {
            whole_interval: true,
            ..Policy::default()
        };
        let word = |e: Evidence| judge(&e, Direction::LowerIsBetter, &whole).unwrap();
        assert_eq!(word(evidence(1.10, 0.02, 1e-4)), Verdict::Worse);
        assert_eq!(word(evidence(0.90, 0.02, 1e-4)), Verdict::Better);
        for (ratio, nearest) in [(1.06, 1.06 / 1.02 - 1.0), (1.0 / 1.06, 1.06 / 1.02 - 1.0)] {
            let near = evidence(ratio, 0.02, 1e-4);
            let Verdict::Inconclusive(Doubt::NotBeyond { nearest: found }) = word(near) else {
                panic!("{:?}", word(near));
            };
            assert!((found - nearest).abs() < 1e-9, "{found}");
            assert!(matches!(verdict(near), Verdict::Worse | Verdict::Better));
        }
        // Chance is told first, and what is the same stays the same.
        let doubt = Verdict::Inconclusive(Doubt::NotSignificant);
        assert_eq!(word(evidence(1.06, 0.02, 0.5)), doubt);
        assert_eq!(
            word(evidence(1.01, 0.02, 0.5)),
            Verdict::Same { detectable: 0.03 }
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let good = evidence(1.0, 0.01, 0.5);
        let nan = f64::NAN;
        for bad in [
            Evidence { p: nan, ..good },
            Evidence { p: 1.1, ..good },
            Evidence {
                detectable: nan,
                ..good
            },
            Evidence {
                tainted: 801,
                ..good
            },
            Evidence {
                ratio: Ratio {
                    ratio: nan,
                    ..good.ratio
                },
                ..good
            },
            Evidence {
                ratio: Ratio {
                    low: 0.0,
                    ..good.ratio
                },
                ..good
            },
            Evidence {
                ratio: Ratio {
                    high: 0.5,
                    ..good.ratio
                },
                ..good
            },
        ] {
            assert!(judge(&bad, Direction::LowerIsBetter, &Policy::default()).is_err());
        }
        for bad in [
            Policy {
                alpha: 0.0,
                ..Policy::default()
            },
            Policy {
                threshold: nan,
                ..Policy::default()
            },
            Policy {
                max_half_width: nan,
                ..Policy::default()
            },
            Policy {
                max_tainted: nan,
                ..Policy::default()
            },
        ] {
            assert!(judge(&good, Direction::LowerIsBetter, &bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn mirrored_evidence_gets_the_mirrored_word(
            ratio in 0.01..100.0_f64, half_width in 0.0..0.5_f64, p in 0.0..1.0_f64, detectable in 0.0..0.2_f64,
        ) {
            let e = Evidence { detectable, ..evidence(ratio, half_width, p) };
            let r = e.ratio;
            let mirror = Ratio { ratio: 1.0 / r.ratio, low: 1.0 / r.high, high: 1.0 / r.low, ..r };
            let m = Evidence { ratio: mirror, ..e };
            let policy = Policy::default();
            let of = |e: &Evidence, d| judge(e, d, &policy).unwrap();
            let (here, there) = (of(&e, Direction::LowerIsBetter), of(&m, Direction::HigherIsBetter));
            prop_assert_eq!(std::mem::discriminant(&here), std::mem::discriminant(&there));
            if matches!(here, Verdict::Same { .. }) {
                prop_assert!(r.low >= 1.0 / 1.05 && r.high <= 1.05);
            }
            if matches!(here, Verdict::Better | Verdict::Worse) {
                prop_assert!(p < 0.01 && !(1.0 / 1.05..=1.05).contains(&ratio));
                prop_assert_ne!(here, of(&e, Direction::HigherIsBetter));
            }
        }
    }
}
