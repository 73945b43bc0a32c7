//! A run as the history has it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::project::Project;
use crate::metric::{Better, Unit};
use crate::store::document::Run;

/// The reference that ratios are kept to.
const REFERENCE: &str = "process";

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Unique id.
    pub id: String,
    /// Start, RFC 3339, UTC, to the second.
    pub started: String,
    /// Profile.
    pub profile: String,
    /// Version of isobench.
    pub tool: String,
    /// Commit that it was built from, or `unknown`.
    pub tool_commit: String,
    /// SHA-256 of the payload.
    pub payload: String,
    /// CPU model.
    pub cpu: String,
    /// Kernel release and version.
    pub kernel: String,
    /// KVM kind.
    pub kvm: String,
    /// The checkout that was measured from.
    pub project: Option<Project>,
    /// Why it ended early, if so.
    pub ended_early: Option<String>,
    /// Why no verdict should rest on it, if so.
    pub inconclusive: Option<String>,
    /// Its folder, where it was then.
    pub folder: Option<String>,
    /// Its estimates.
    pub estimates: Vec<Estimate>,
}

/// One estimate of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
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
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
    /// Ratio to `process` in the same blocks.
    pub ratio: Option<f64>,
    /// Its 95 % interval.
    pub ratio_ci95: Option<[f64; 2]>,
}

impl Entry {
    /// What the history keeps of a run. `folder` is made absolute where that is possible.
    #[must_use]
    pub fn of(run: &Run, folder: Option<&Path>) -> Self {
        let absolute = |folder: &Path| std::path::absolute(folder).ok();
        let folder = folder.and_then(absolute);
        let ratio_of = |of: &crate::store::document::MetricResult| {
            run.ratios.iter().find(|r| {
                r.reference == REFERENCE
                    && (&r.backend, &r.workload, &r.metric)
                        == (&of.backend, &of.workload, &of.metric)
            })
        };
        Self {
            id: run.id.clone(),
            started: to_the_second(&run.started),
            profile: run.profile.clone(),
            tool: run.tool.version.clone(),
            tool_commit: run.tool.commit.clone(),
            payload: run.payload.sha256.clone(),
            cpu: run.host.cpu.clone(),
            kernel: run.host.kernel.clone(),
            kvm: run.host.kvm.clone(),
            project: run.project.clone(),
            ended_early: run.ended_early.clone(),
            inconclusive: run.inconclusive.clone(),
            folder: folder.and_then(|folder| Some(folder.to_str()?.to_owned())),
            estimates: run
                .metrics
                .iter()
                .map(|m| {
                    let ratio = ratio_of(m);
                    Estimate {
                        backend: m.backend.clone(),
                        workload: m.workload.clone(),
                        metric: m.metric.clone(),
                        unit: m.unit,
                        better: m.better,
                        n: m.n,
                        median: m.median,
                        ci95: m.ci95,
                        ratio: ratio.map(|r| r.ratio),
                        ratio_ci95: ratio.and_then(|r| r.ci95),
                    }
                })
                .collect(),
        }
    }

    /// What must be equal for two runs to lie on one line: machine, kernel, KVM and payload.
    #[must_use]
    pub fn fingerprint(&self) -> [&str; 4] {
        [&self.cpu, &self.kernel, &self.kvm, &self.payload]
    }
}

/// The same length for every instant, so that they sort as text. What is no instant stays.
#[must_use]
pub fn to_the_second(instant: &str) -> String {
    let parsed = instant.parse::<jiff::Timestamp>();
    parsed.map_or_else(
        |_| instant.to_owned(),
        |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// Spelling in the database.
pub(super) const fn direction(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower",
        Better::Higher => "higher",
    }
}
