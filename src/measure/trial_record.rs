//! What is kept of a trial.

use crate::backend::{Configuration, shortage};
use crate::store::record::{FailureRecord, Measured, Record, TrialRecord};
use crate::trial::Failure;
use crate::workload::Task;

/// A trial as it is recorded; its place is its number, its block's, and whether that warms up.
pub(super) fn trial_record(
    (trial, block, warmup): (u64, u64, bool),
    configuration: &Configuration,
    task: &Task,
    tainted: Vec<String>,
    outcome: Result<Measured, Failure>,
) -> Record {
    let (measured, failure) = match outcome {
        Ok(measured) => (Some(measured), None),
        Err(failure) => (None, Some(FailureRecord::from(&failure))),
    };
    Record::Trial(Box::new(TrialRecord {
        trial,
        block,
        backend: configuration.id(),
        workload: task.to_string(),
        warmup,
        tainted,
        measured,
        failure,
    }))
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        let message = match failure.errno().and_then(shortage) {
            Some(remedy) => format!("{failure}; to fix it: {remedy}"),
            None => failure.to_string(),
        };
        Self {
            kind: failure.kind().to_owned(),
            message,
        }
    }
}
