//! What a check found, and the word for it.

use schemars::JsonSchema;
use serde::Serialize;

use super::Stop;
use crate::backend::{Configuration, Unavailable};
use crate::stats::{Interval, StatsError, binomial};
use crate::workload::Profile;

/// Name and version of the document that `selftest --format json` prints.
pub const SCHEMA: &str = "isobench.selftest/1";

/// The whole self-test.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Profile.
    pub profile: String,
    /// Seed of every schedule and every draw.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// The signal that ended it early.
    pub interrupted: Option<i32>,
    /// The word for all checks together.
    pub outcome: Outcome,
    /// In the order they ran.
    pub checks: Vec<Check>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Check {
    /// What it belongs to: `known durations`, `known answers`, `overhead`, `false alarms`,
    /// `injected delays`.
    pub group: &'static str,
    /// What was looked at.
    pub what: String,
    /// The word.
    pub outcome: Outcome,
    /// The numbers.
    pub finding: Finding,
}

/// The word for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The claim holds as far as was looked.
    Pass,
    /// It does not.
    Fail,
    /// Too little data to say.
    Inconclusive,
    /// Nothing is claimed: a number to know.
    Shown,
    /// Could not be looked at here, with the reason.
    Skipped,
}

/// The numbers of a check.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Finding {
    /// Intervals measured with both clocks.
    Durations {
        /// How often.
        repetitions: u32,
        /// The largest difference between the clocks.
        worst_ns: f64,
        /// What was allowed for that one.
        allowed_ns: f64,
    },
    /// Workloads with known answers.
    Answers {
        /// Tasks run.
        tasks: usize,
        /// How many gave the known answer.
        right: usize,
        /// The first that did not, with the reason.
        first_wrong: Option<String>,
    },
    /// A share of comparisons.
    Rate(Rate),
    /// A cost of the harness.
    Cost {
        /// Median.
        median_ns: f64,
        /// 99th percentile.
        p99_ns: f64,
        /// How many were measured.
        n: usize,
    },
    /// Not looked at, or not to its end.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// How often something happened, out of comparisons of disjoint trials.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// How often it happened.
    pub hits: u64,
    /// Out of how many comparisons.
    pub comparisons: u64,
    /// `hits / comparisons`.
    pub rate: f64,
    /// Clopper–Pearson interval of the rate at 95 %.
    pub ci95: [f64; 2],
    /// What is claimed of it.
    pub target: Option<Target>,
    /// Pairs of trials in each comparison.
    pub pairs: u32,
    /// The effect that the gate was told to ignore.
    pub threshold: f64,
    /// Comparisons without a hit in which the gate said "inconclusive" where it was asked.
    pub inconclusive: u64,
    /// For a delay: its median size as a share of what it was added to, within the comparison.
    pub injected: Option<f64>,
}

/// What is claimed of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Rate {
    /// The rate of `hits` out of `comparisons`, with its interval.
    ///
    /// # Errors
    /// No comparison was made.
    pub fn of(hits: u64, comparisons: u64) -> Result<Self, StatsError> {
        let Interval { low, high, .. } = binomial::clopper_pearson(hits, comparisons, 0.95)?;
        Ok(Self {
            hits,
            comparisons,
            rate: hits as f64 / comparisons as f64,
            ci95: [low, high],
            target: None,
            pairs: 0,
            threshold: 0.0,
            inconclusive: 0,
            injected: None,
        })
    }

    /// The word for it: *pass* where the rate meets the target, *fail* where its whole interval
    /// lies on the wrong side, *inconclusive* in between.
    ///
    /// A comparison that the gate called inconclusive did not find the delay, but neither did it
    /// overlook it: the machine was too noisy for so few pairs. It counts against a pass; what
    /// fails the ruler are delays that were called "same" or "better".
    ///
    /// # Errors
    /// More hits and doubts than comparisons.
    pub fn outcome(&self) -> Result<Outcome, StatsError> {
        let (met, refuted) = match self.target {
            None => return Ok(Outcome::Shown),
            Some(Target::AtMost(most)) => (self.rate <= most, self.ci95[0] > most),
            Some(Target::AtLeast(least)) => {
                let not_overlooked = self.hits + self.inconclusive;
                let most = binomial::clopper_pearson(not_overlooked, self.comparisons, 0.95)?.high;
                (self.rate >= least, most < least)
            }
        };
        Ok(match (met, refuted) {
            (true, _) => Outcome::Pass,
            (false, true) => Outcome::Fail,
            (false, false) => Outcome::Inconclusive,
        })
    }
}

impl Outcome {
    /// One failure fails all; one doubt leaves all in doubt.
    #[must_use]
    pub fn of_all(checks: &[Check]) -> Self {
        let any = |word| checks.iter().any(|check| check.outcome == word);
        if any(Self::Fail) {
            Self::Fail
        } else if any(Self::Inconclusive) || !any(Self::Pass) {
            Self::Inconclusive
        } else {
            Self::Pass
        }
    }
}

impl Check {
    /// A check that ended before its time.
    #[must_use]
    pub fn broken(group: &'static str, stop: &Stop) -> Self {
        Self {
            group,
            what: group.to_owned(),
            outcome: Outcome::Fail,
            finding: Finding::Nothing {
                reason: stop.to_string(),
            },
        }
    }

    /// A check that this host does not allow.
    #[must_use]
    pub fn skipped(group: &'static str, configuration: &Configuration, why: &Unavailable) -> Self {
        Self {
            group,
            what: configuration.id(),
            outcome: Outcome::Skipped,
            finding: Finding::Nothing {
                reason: why.reason.clone(),
            },
        }
    }

    /// A rate, judged by its target.
    ///
    /// # Errors
    /// As [`Rate::outcome`].
    pub fn rate(group: &'static str, what: String, rate: Rate) -> Result<Self, StatsError> {
        Ok(Self {
            group,
            what,
            outcome: rate.outcome()?,
            finding: Finding::Rate(rate),
        })
    }
}

impl Report {
    /// A report without checks.
    #[must_use]
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            schema: SCHEMA,
            profile: profile.to_string(),
            seed,
            seconds: 0.0,
            interrupted: None,
            outcome: Outcome::Inconclusive,
            checks: Vec::new(),
        }
    }

    /// Exit status: 0 all hold, 4 one does not, 5 too little data, 128 + signal.
    #[must_use]
    pub fn status(&self) -> u8 {
        match (self.interrupted, self.outcome) {
            (Some(signal), _) => u8::try_from(128 + signal).unwrap_or(130),
            (None, Outcome::Fail) => 4,
            (None, Outcome::Inconclusive) => 5,
            (None, Outcome::Pass | Outcome::Shown | Outcome::Skipped) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_missed_only_where_the_whole_interval_misses_it() {
        let word = |hits, of, target: Target| {
            let mut rate = Rate::of(hits, of).unwrap();
            rate.target = Some(target);
            rate.outcome().unwrap()
        };
        let (few, many) = (Target::AtMost(0.01), Target::AtLeast(0.95));
        assert_eq!(word(0, 12, few), Outcome::Pass);
        assert_eq!(word(1, 12, few), Outcome::Inconclusive);
        assert_eq!(word(12, 100, few), Outcome::Fail);
        assert_eq!(word(19, 20, many), Outcome::Pass);
        assert_eq!(word(18, 20, many), Outcome::Inconclusive);
        assert_eq!(word(5, 20, many), Outcome::Fail);
        assert!(Rate::of(0, 0).is_err());
    }

    #[test]
    fn noise_leaves_a_delay_in_doubt_and_only_overlooking_it_fails() {
        let word = |hits, inconclusive| {
            let rate = Rate {
                inconclusive,
                target: Some(Target::AtLeast(0.95)),
                ..Rate::of(hits, 20).unwrap()
            };
            rate.outcome().unwrap()
        };
        assert_eq!(word(5, 15), Outcome::Inconclusive);
        assert_eq!(word(5, 14), Outcome::Inconclusive);
        assert_eq!(word(5, 0), Outcome::Fail);
        assert_eq!(word(0, 20), Outcome::Inconclusive);
        assert_eq!(word(20, 0), Outcome::Pass);
    }

    #[test]
    fn the_worst_word_counts() {
        let check = |outcome| Check {
            group: "g",
            what: String::new(),
            outcome,
            finding: Finding::Nothing {
                reason: String::new(),
            },
        };
        let all = |words: &[Outcome]| {
            Outcome::of_all(&words.iter().map(|w| check(*w)).collect::<Vec<_>>())
        };
        use Outcome::{Fail, Inconclusive, Pass, Shown, Skipped};
        assert_eq!(all(&[Pass, Shown, Skipped]), Pass);
        assert_eq!(all(&[Pass, Inconclusive]), Inconclusive);
        assert_eq!(all(&[Inconclusive, Fail, Pass]), Fail);
        assert_eq!(all(&[Shown]), Inconclusive);
        assert_eq!(all(&[]), Inconclusive);
    }

    #[test]
    fn status_says_why() {
        let mut report = Report::new(Profile::Smoke, 1);
        assert_eq!(report.status(), 5);
        report.outcome = Outcome::Fail;
        assert_eq!(report.status(), 4);
        report.interrupted = Some(15);
        assert_eq!(report.status(), 143);
        report.interrupted = None;
        report.outcome = Outcome::Pass;
        assert_eq!(report.status(), 0);
    }
}
