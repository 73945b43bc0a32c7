//! What a comparison of two runs says, and by which rule.

use serde::Serialize;

use crate::metric::{Better, Metric, Unit};
use crate::workload::{Task, Workload};

/// Name and version of the comparison's JSON.
pub const SCHEMA: &str = "isobench.compare/1";
/// What every ratio is to.
pub const REFERENCE: &str = "process";

/// Which metrics a threshold is for; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Configuration id.
    pub backend: Option<String>,
    /// Task id.
    pub workload: Option<String>,
    /// Metric name.
    pub metric: Option<String>,
}

impl Scope {
    /// How much it asks for where it fits; the more, the more specific.
    fn fit(&self, backend: &str, workload: &str, metric: &str) -> Option<usize> {
        let asked = [
            (&self.backend, backend),
            (&self.workload, workload),
            (&self.metric, metric),
        ];
        let asked = asked
            .iter()
            .filter_map(|(a, is)| Some((a.as_deref()?, *is)));
        let mut count = 0;
        for (wanted, is) in asked {
            if wanted != is {
                return None;
            }
            count += 1;
        }
        Some(count)
    }
}

/// What a change must be to count.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Corrected p-values at or above this prove nothing.
    pub alpha: f64,
    /// Smallest relative change that counts, for all metrics; `None` is what the
    /// [`threshold`] says.
    pub threshold: Option<f64>,
    /// The same for some metrics, where `threshold` is `None`: the most specific scope holds.
    pub scopes: Vec<(Scope, f64)>,
    /// Largest share of trials that gave no number.
    pub most_failed: f64,
    /// Largest factor between the reference's own medians in the two runs. Below it, a change must be larger
    /// than that factor.
    pub most_moved: f64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            threshold: None,
            scopes: Vec::new(),
            most_failed: 0.05,
            most_moved: 1.5,
        }
    }
}

impl Rule {
    /// The smallest relative change of a metric that counts; `default` where the rule has none.
    #[must_use]
    pub fn threshold_of(&self, backend: &str, workload: &str, metric: &str, default: f64) -> f64 {
        let fitting = self.scopes.iter().filter_map(|(scope, threshold)| {
            Some((scope.fit(backend, workload, metric)?, *threshold))
        });
        let scoped = fitting.max_by_key(|(specific, _)| *specific);
        self.threshold
            .or(scoped.map(|(_, threshold)| threshold))
            .unwrap_or(default)
    }
}

/// The smallest relative change that counts by default.
///
/// 10 % where one launch differs from the next by more than the work does: the times of a launch,
/// which are made of scheduling; bandwidth and latency of memory beyond the first-level cache, which
/// depend on the physical pages a launch happens to get; the crossing, which is too short to average
/// over anything. 5 % for all else.
#[must_use]
pub fn threshold(task: &Task, metric: &Metric) -> f64 {
    /// A first-level data cache, or a little more.
    const FIRST_LEVEL: u64 = 64 << 10;
    let of_launch = matches!(
        metric.name,
        "startup" | "ready" | "reply" | "total" | "teardown"
    );
    let by_chance = match task.workload {
        Workload::Chase => task.size > FIRST_LEVEL,
        Workload::Triad | Workload::Crossing => true,
        _ => false,
    };
    if of_launch || by_chance { 0.10 } else { 0.05 }
}

/// The word, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Significantly worse, and by more than the threshold.
    Worse,
    /// The data does not say. Never a pass.
    Inconclusive,
    /// Significantly better, and by more than the threshold.
    Better,
    /// No change that matters.
    Same,
}

impl Word {
    /// Every word, worst first.
    pub const ALL: [Self; 4] = [Self::Worse, Self::Inconclusive, Self::Better, Self::Same];

    /// Spelling everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Inconclusive => "inconclusive",
            Self::Better => "better",
            Self::Same => "same",
        }
    }
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// In a word or two.
    pub short: &'static str,
    /// In words.
    pub words: String,
}

/// One of the two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Id.
    pub id: String,
    /// Start.
    pub started: String,
    /// Profile.
    pub profile: String,
    /// The program that measured, or of a runtime the program that was measured: name and version.
    pub tool: String,
    /// Why it ended early, if it did.
    pub ended_early: Option<String>,
}

/// A property of the host that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Field of `run.json`.
    pub field: &'static str,
    /// BASE's.
    pub base: String,
    /// HEAD's.
    pub head: String,
}

/// Something that only one of the runs has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Configuration id.
    pub backend: String,
    /// Task id; `None` where the whole configuration is missing.
    pub workload: Option<String>,
    /// Metric name.
    pub metric: Option<&'static str>,
    /// `base` or `head`.
    pub missing_in: &'static str,
}

/// One metric of one configuration, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: &'static str,
    /// Unit of the metric itself.
    pub unit: Unit,
    /// Direction.
    pub better: Better,
    /// The word.
    pub verdict: Word,
    /// Why it is inconclusive.
    pub doubt: Option<Doubt>,
    /// Whether ratios to the reference were compared; memory is compared as it is.
    pub relative: bool,
    /// HEAD over BASE.
    pub ratio: Option<f64>,
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
    /// p-value of the rank-sum test.
    pub p: Option<f64>,
    /// The same after Holm's correction over all metrics of this comparison.
    pub p_corrected: Option<f64>,
    /// Smallest relative change that counts.
    pub threshold: f64,
    /// Relative change that would have been called better or worse with probability 0.9.
    pub detectable: Option<f64>,
    /// Blocks in each run that would probably decide it; absent where it is decided, or more blocks
    /// do not help.
    pub needed: Option<u64>,
    /// Blocks in BASE and HEAD; rounds, for memory.
    pub blocks: [usize; 2],
    /// Batches made of them.
    pub batches: [usize; 2],
    /// Of a metric that is better or worse: the parts whose change goes the same way and is beyond
    /// chance, the largest first. Phases of a start or teardown; accounts, of memory.
    pub parts: Vec<PartChange>,
}

impl Compared {
    /// A metric of which nothing has been said yet.
    pub(super) fn unjudged(
        backend: &str,
        workload: String,
        metric: &Metric,
        threshold: f64,
        doubt: Doubt,
    ) -> Self {
        Self {
            backend: backend.to_owned(),
            workload,
            metric: metric.name,
            unit: metric.unit,
            better: metric.better,
            verdict: Word::Inconclusive,
            doubt: Some(doubt),
            relative: true,
            ratio: None,
            ci95: None,
            p: None,
            p_corrected: None,
            threshold,
            detectable: None,
            needed: None,
            blocks: [0; 2],
            batches: [0; 2],
            parts: Vec::new(),
        }
    }
}

/// What has changed inside a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartChange {
    /// The phase, or the account.
    pub name: String,
    /// HEAD less BASE in the metric's unit, at the speed of HEAD's host.
    pub difference: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// Its share of the whole change; absent where the whole change is none.
    pub share: Option<f64>,
}

/// Two runs, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What HEAD is compared with.
    pub base: Side,
    /// What is judged.
    pub head: Side,
    /// [`REFERENCE`].
    pub reference: &'static str,
    /// Level of the tests.
    pub alpha: f64,
    /// The word for the whole.
    pub verdict: Word,
    /// What was put into a run to test a gate (`ISOBENCH_INJECT`): then nothing here says anything
    /// about HEAD.
    pub injected: Vec<String>,
    /// Where the hosts differ; then every metric is inconclusive.
    pub host: Vec<Difference>,
    /// What only one run has; then the whole is inconclusive at best.
    pub missing: Vec<Missing>,
    /// Every metric that both have, worst first.
    pub metrics: Vec<Compared>,
}

/// The two cannot be compared at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// BASE and HEAD are one run.
    #[error("id: BASE and HEAD are the same run, {0}")]
    SameRun(String),
    /// A field that must be equal is not.
    #[error("{field}: {base} in BASE, but {head} in HEAD")]
    Differs {
        /// Field of `run.json`.
        field: String,
        /// BASE's.
        base: String,
        /// HEAD's.
        head: String,
    },
    /// Ratios need the reference.
    #[error("backends: `{REFERENCE}`, to which all ratios are, was not measured in {0}")]
    NoReference(&'static str),
    /// Only `run.json` was kept.
    #[error("trials.jsonl: missing in {0}, and verdicts are made from trials")]
    NoTrials(&'static str),
}
