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
    /// Memory of one more idle instance: a balance sheet per configuration.
    pub memory: Vec<MemoryBalance>,
    /// Isolation facts.
    pub isolation: Vec<IsolationFact>,
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
    /// It was tried and gave no number.
    Failed,
}

/// A configuration and its trials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendResult {
    /// Configuration id.
    pub id: String,
    /// What became of it.
    pub status: Status,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// What would change that.
    pub remedy: Option<String>,
    /// Mechanisms it had to do without on this host.
    pub limitations: Vec<String>,
    /// Trials run, without warm-up.
    pub trials: u64,
    /// Those of them that failed.
    pub failures: u64,
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

/// What a configuration lets the payload see or reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IsolationFact {
    /// Configuration id.
    pub backend: String,
    /// Fact.
    pub fact: String,
    /// Value.
    pub value: String,
    /// How it is known.
    pub evidence: String,
}
