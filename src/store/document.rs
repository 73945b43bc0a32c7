//! `run.json`, schema `isobench.run/1`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::fingerprint::Host;
use crate::metric::{Better, Unit};

/// Name and version of the schema.
pub const SCHEMA: &str = "isobench.run/1";

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: String,
    /// Unique id: start time and process.
    pub id: String,
    /// Start, RFC 3339, UTC.
    pub started: String,
    /// Whether everything planned was measured.
    pub complete: bool,
    /// Why not, if not: `interrupted` or `max-time`; `running`, without estimates, until the run
    /// ends, and for ever if it is killed.
    pub ended_early: Option<String>,
    /// Why no verdict should rest on this run (more than 5 % of its trials were disturbed, or the
    /// clock drifted); absent where nothing speaks against it.
    pub inconclusive: Option<String>,
    /// Relative half-width at which an interval counted as narrow; absent where a number of blocks
    /// was asked for.
    pub target: Option<f64>,
    /// Seed of the schedule.
    pub seed: u64,
    /// Profile.
    pub profile: String,
    /// What measured.
    pub tool: Tool,
    /// What was run.
    pub payload: Payload,
    /// Where.
    pub host: Host,
    /// Every configuration asked for, with what became of it.
    pub backends: Vec<BackendResult>,
    /// Estimates.
    pub metrics: Vec<MetricResult>,
    /// Paired ratios.
    pub ratios: Vec<RatioResult>,
    /// Isolation facts.
    pub isolation: Vec<IsolationFact>,
    /// What each mechanism costs; only of `run --ladder`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ladder: Option<LadderResult>,
}

/// This program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Version.
    pub version: String,
    /// Commit it was built from, or `unknown`.
    pub commit: String,
}

/// The payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// SHA-256 of the ELF file.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At least one trial gave a number.
    Measured,
    /// It cannot run here.
    Skipped,
    /// It was tried, failed, and gave no number.
    Failed,
    /// Nothing failed, but there is no number: the run ended before the first, or every trial was
    /// disturbed from outside.
    Unmeasured,
}

/// A configuration and its trials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendResult {
    /// Configuration id.
    pub id: String,
    /// What became of it.
    pub status: Status,
    /// Why it was skipped, failed or was not measured.
    pub reason: Option<String>,
    /// What would change that.
    pub remedy: Option<String>,
    /// Mechanisms it had to do without on this host.
    pub limitations: Vec<String>,
    /// Trials run, without warm-up.
    pub trials: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that were disturbed from outside and are not estimated from.
    pub tainted: u64,
}

/// An estimate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricResult {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// Unit.
    pub unit: Unit,
    /// Direction.
    pub better: Better,
    /// Samples.
    pub n: u64,
    /// Median.
    pub median: f64,
    /// 95 % interval of the median; absent with too few samples.
    pub ci95: Option<[f64; 2]>,
    /// 99th percentile; absent with fewer than 100 samples.
    pub p99: Option<f64>,
    /// Smallest sample.
    pub min: f64,
    /// Samples whose clock bound exceeds 1 % of their value.
    pub blurred: u64,
    /// For `startup` and `teardown`: median of each phase, `unaccounted` last.
    pub phases: Vec<PhaseResult>,
}

/// Median length of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseResult {
    /// System call, ioctl or step.
    pub name: String,
    /// Median in nanoseconds.
    pub median: f64,
}

/// A ratio of two configurations, from trials paired in blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RatioResult {
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// Numerator.
    pub backend: String,
    /// Denominator.
    pub reference: String,
    /// Median of the ratios inside blocks.
    pub ratio: f64,
    /// Its 95 % interval; absent with too few pairs.
    pub ci95: Option<[f64; 2]>,
    /// Blocks in which both gave a number.
    pub pairs: u64,
}

/// What a configuration lets the payload see or reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IsolationFact {
    /// Configuration id.
    pub backend: String,
    /// Name of the fact (`isobench list facts`).
    pub fact: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// Whether the configuration's seccomp filter ends a payload that asks; then verdict and value
    /// are those of the same configuration without the filter.
    pub guarded: bool,
    /// What the payload found.
    pub value: String,
    /// How it was asked, what was found, and what the harness sees.
    pub evidence: String,
}

/// Whose is what the payload sees or reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The host's.
    Shared,
    /// Its own.
    Own,
    /// A part of the host's, or less than a bare process has.
    Limited,
    /// The host has it, and it cannot be seen.
    Hidden,
    /// Asking or reaching is refused.
    Denied,
    /// There is none.
    Absent,
}

impl Verdict {
    /// Spelling in tables and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
            Self::Limited => "limited",
            Self::Hidden => "hidden",
            Self::Denied => "denied",
            Self::Absent => "absent",
        }
    }
}

/// A ladder: what each rung costs (docs/method.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderResult {
    /// Which: `namespaces`.
    pub name: String,
    /// Id of the configuration below the first rung.
    pub base: String,
    /// Id of the configuration with all rungs.
    pub top: String,
    /// Every rung, once for each metric, in the ladder's order.
    pub rungs: Vec<RungResult>,
    /// All rungs together, once for each metric.
    pub totals: Vec<TotalResult>,
    /// The kernel's deferred clean-up.
    pub debts: Vec<DebtResult>,
}

/// One rung in one metric; a side whose configurations did not both run is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RungResult {
    /// Namespace or mechanism.
    pub mechanism: String,
    /// Metric name: `startup` or `teardown`.
    pub metric: String,
    /// On top of the rungs before it.
    pub added: Option<DifferenceResult>,
    /// By itself, with what it needs.
    pub alone: Option<DifferenceResult>,
    /// Everything, less everything without it.
    pub left_out: Option<DifferenceResult>,
    /// `added` − `alone`; its interval holds at 95 % for all rungs of the metric together.
    pub interaction: Option<DifferenceResult>,
}

/// All rungs of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TotalResult {
    /// Metric name.
    pub metric: String,
    /// `top` − `base`.
    pub together: DifferenceResult,
    /// `together`, less the sum of every rung alone: from the containers' medians, with a bootstrap
    /// over blocks.
    pub unexplained: DifferenceResult,
}

/// Processor time that the host spent for one launch outside of the harness and its children,
/// beyond what it spends for one of the ladder's base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DebtResult {
    /// Configuration id.
    pub backend: String,
    /// A launch, in nanoseconds of processor time.
    pub more: DifferenceResult,
    /// Where the host's processor time was read.
    pub source: String,
}

/// A paired difference in nanoseconds: Hodges–Lehmann with Wilcoxon's interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DifferenceResult {
    /// Centre.
    pub difference: f64,
    /// Its interval; absent with too few pairs.
    pub ci95: Option<[f64; 2]>,
    /// Blocks that have both sides.
    pub pairs: u64,
}
