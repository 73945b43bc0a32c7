//! What became of a run: of each configuration, of the whole, and the exit status.

use crate::cli::error::of_signal;
use crate::measure::clock::ClockError;
use crate::measure::plan::Plan;
use crate::measure::session::{EndedEarly, Opened};
use crate::measure::summary::{Count, Summary};
use crate::store::document::{BackendResult, Run, Status};
use crate::workload::Workload;

/// How a run ended.
pub(super) struct End {
    /// Why before its plan did.
    pub early: Option<String>,
    /// Why nothing should be concluded from it.
    pub inconclusive: Option<String>,
}

/// Largest share of disturbed trials from which something may be concluded.
const MOST_TAINTED: f64 = 0.05;

/// Why nothing should be concluded from a run, if so.
pub(super) fn inconclusive(summary: &Summary, drift: Option<ClockError>) -> Option<String> {
    if let Some(drift) = drift {
        return Some(drift.to_string());
    }
    let trials: u64 = summary.counts.values().map(|count| count.trials).sum();
    let tainted: u64 = summary.counts.values().map(|count| count.tainted).sum();
    (tainted as f64 > trials as f64 * MOST_TAINTED).then(|| {
        format!("{tainted} of {trials} trials were disturbed from outside (more than 5 %)")
    })
}

/// Whether every task and the memory of idle instances came far enough for an interval.
pub(super) fn has_intervals(plan: &Plan, summary: &Summary) -> bool {
    let known = |workload: &str| {
        let mut of = summary
            .metrics
            .iter()
            .filter(|m| m.workload == workload)
            .peekable();
        of.peek().is_some() && of.all(|m| m.ci95.is_some())
    };
    plan.tasks.iter().all(|(task, _)| known(&task.to_string()))
        && (plan.density.is_none() || known(Workload::Idle.name()))
}

/// What became of each configuration.
pub(super) fn backends(
    opened: &[Opened],
    summary: &Summary,
    early: Option<&str>,
) -> Vec<BackendResult> {
    opened
        .iter()
        .map(|o| {
            let id = o.configuration.id();
            let count = summary.counts.get(&id).cloned().unwrap_or_default();
            let Count {
                trials,
                failures,
                tainted,
                first_failure,
            } = count;
            let measured = summary.knows(&id);
            let (status, reason, remedy) = match &o.backend {
                Err(why) => (
                    Status::Skipped,
                    Some(why.reason.clone()),
                    Some(why.remedy.clone()),
                ),
                Ok(_) if measured => (Status::Measured, first_failure, None),
                Ok(_) if first_failure.is_some() => (Status::Failed, first_failure, None),
                Ok(_) => (Status::Unmeasured, Some(unmeasured(early, tainted)), None),
            };
            let limitations = o
                .backend
                .as_ref()
                .map(|b| b.limitations())
                .unwrap_or_default();
            let limitations = limitations.iter().map(ToString::to_string).collect();
            BackendResult {
                id,
                status,
                reason,
                remedy,
                limitations,
                engine: o.backend.as_ref().ok().and_then(|b| b.engine()),
                daemons: o
                    .backend
                    .as_ref()
                    .map_or_else(|_| Vec::new(), |b| b.daemons()),
                guest_kernel: o.backend.as_ref().ok().and_then(|b| b.guest_kernel()),
                trials,
                failures,
                tainted,
            }
        })
        .collect()
}

/// Why there is no number although nothing failed.
fn unmeasured(early: Option<&str>, tainted: u64) -> String {
    let ended = match early {
        _ if tainted > 0 => return format!("all {tainted} trials were disturbed from outside"),
        Some("interrupted") => "the run was interrupted",
        Some("max-time") => "the time was spent",
        _ => "the run ended",
    };
    format!("{ended} before its first trial that counts")
}

/// Exit status of a run.
pub(super) fn status(run: &Run, early: Option<EndedEarly>) -> u8 {
    match early {
        Some(EndedEarly::Interrupted(signal)) => of_signal(signal),
        _ if run
            .backends
            .iter()
            .any(|b| b.status == Status::Failed || b.failures > 0) =>
        {
            4
        }
        _ if run.backends.iter().any(|b| b.status == Status::Unmeasured) => 5,
        _ => 0,
    }
}
