//! `run.json`, schema `isobench.run/1`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::GuestKernel;
use crate::backend::engine::{DaemonFacts, EngineFacts};
use crate::host::fingerprint::Host;
use crate::host::project::Project;
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
    /// The checkout that was measured from, as far as git or a CI service tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project: Option<Project>,
    /// Delays and leaks that were put in to test a gate (`ISOBENCH_INJECT`): such a run is no
    /// measurement.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub injected: Vec<String>,
    /// Every configuration asked for, with what became of it.
    pub backends: Vec<BackendResult>,
    /// Estimates.
    pub metrics: Vec<MetricResult>,
    /// Paired ratios.
    pub ratios: Vec<RatioResult>,
    /// Memory of one more idle instance: a balance sheet per configuration.
    pub memory: Vec<MemoryBalance>,
    /// What crosses the boundary of each payload, counted in one launch outside the timed trials.
    #[serde(default)]
    pub boundary: Vec<BoundaryResult>,
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
    /// The engine, where it is somebody else's, and in what it differs from `container`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub engine: Option<EngineFacts>,
    /// Daemons that run whether or not there is an instance.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub daemons: Vec<DaemonFacts>,
    /// The kernel below the payload, where it is not the host's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guest_kernel: Option<GuestKernel>,
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
    /// Samples that stand apart; flagged, never dropped.
    #[serde(default)]
    pub outliers: Outliers,
    /// For `startup` and `teardown`: median of each phase, `unaccounted` last.
    pub phases: Vec<PhaseResult>,
}

/// Samples beyond Tukey's fences (docs/method.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outliers {
    /// Beyond an inner fence, within the outer ones.
    pub mild: u64,
    /// Beyond an outer fence.
    pub severe: u64,
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

/// The memory of one more idle instance of a configuration, from both sides of the host's ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryBalance {
    /// Configuration id.
    pub backend: String,
    /// Numbers of instances at which memory was read, in the last round.
    pub counts: Vec<u32>,
    /// Rounds that count.
    pub rounds: u64,
    /// What is gone from what was left over: free pages, the CPUs' stock of them, page cache.
    pub total: MemoryLine,
    /// What it went into, account by account.
    pub parts: Vec<MemoryPart>,
    /// Total less all parts, read at the same instants: what no account names.
    pub residual: MemoryLine,
    /// Residual over total; absent where the total is not positive.
    pub residual_share: Option<f64>,
    /// Proportional set size of an instance, bytes.
    pub pss: Option<f64>,
    /// Private user memory of an instance, bytes.
    pub private: Option<f64>,
    /// Growth of the kernel memory that the harness's own control group is charged with; absent
    /// where it has none. On cgroup version 1 the containers' groups are in it.
    pub charged: Option<MemoryLine>,
    /// What an instance's own cgroup is charged with, bytes; absent where it has none.
    pub cgroup_usage: Option<f64>,
    /// The kernel's part of that.
    pub cgroup_kernel: Option<f64>,
    /// Guest memory that the VMM handed out, bytes; absent where there is no guest.
    pub guest_given: Option<f64>,
    /// The resource for lack of which there were fewer instances than planned.
    pub limited_by: Option<String>,
}

/// Growth with each instance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryLine {
    /// Median of the rounds' slopes, bytes an instance.
    pub bytes: f64,
    /// Its 95 % interval; absent with too few rounds.
    pub ci95: Option<[f64; 2]>,
}

/// Growth of one of the host's accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryPart {
    /// `anon`, `shmem`, `slab`, `page_tables`, `sec_page_tables`, `vmalloc`,
    /// `percpu`; `kvm` for what KVM is charged with beyond these.
    pub account: String,
    /// Its growth.
    pub growth: MemoryLine,
}

/// What crossed the boundary of one task's payload on one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundaryResult {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// What was counted.
    pub crossed: Option<Crossed>,
    /// Why nothing was, if so.
    pub reason: Option<String>,
}

/// Counts of one launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Crossed {
    /// What is counted: `system calls` of the payload (under ptrace(2)) or `VM exits` to the VMM.
    pub by: String,
    /// All of them.
    pub total: u64,
    /// How often what crossed in which part of the launch, in the order in which it first did.
    pub counts: Vec<CrossingCount>,
    /// KVM's own counters of the VM and its vCPU that are not 0: what it handles without the VMM.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub kvm: Vec<KvmCounter>,
}

/// How often one thing crossed in one part of a launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossingCount {
    /// `start`: up to the payload's first message; `work`: to its result; `end`: to its end.
    pub stage: String,
    /// The system call, or the reason of the exit with its port or address.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// One of KVM's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvmCounter {
    /// KVM's name for it (`exits`, `pf_taken`, `irq_injections`, …).
    pub name: String,
    /// Its value when the payload had ended.
    pub value: u64,
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
    /// Which: `namespaces`, or `docker` for the stack ladder.
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
    /// Namespace or mechanism; of the stack ladder the configuration.
    pub mechanism: String,
    /// Metric name: `startup`, `teardown` or `marginal`; of the last, only `added` is measured. Of the
    /// stack ladder `startup`, `teardown` or `private`.
    pub metric: String,
    /// Of the stack ladder: the configuration that `added` is on top of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub over: Option<String>,
    /// On top of the rungs before it.
    pub added: Option<DifferenceResult>,
    /// By itself, with what it needs; of the stack ladder on top of the base.
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
    /// over blocks. Absent where no rung was measured alone.
    pub unexplained: Option<DifferenceResult>,
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

/// A paired difference in the metric's unit: Hodges–Lehmann with Wilcoxon's interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DifferenceResult {
    /// Centre.
    pub difference: f64,
    /// Its interval; absent with too few pairs.
    pub ci95: Option<[f64; 2]>,
    /// Blocks, or rounds, that have both sides.
    pub pairs: u64,
}
