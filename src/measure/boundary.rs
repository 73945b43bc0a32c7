//! What crosses the boundary of a payload: counted in a launch of its own for each task and
//! configuration, because counting system calls slows them down. Nothing of it is timed.

use super::check;
use super::session::{Observer, Opened, RunError};
use crate::exits::Crossings;
use crate::store::document::{Crossed, CrossingCount, KvmCounter};
use crate::store::record::{BoundaryRecord, FailureRecord, Record};
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::Answer;

/// Counts one task on every configuration that can tell, as long as there is time. `None` is an
/// interrupt.
///
/// # Errors
/// A record cannot be kept. What cannot be counted is a record with a failure.
pub(super) fn count(
    opened: &mut [Opened],
    (launch, answer, image): (&Launch, Answer, u64),
    in_time: impl Fn() -> bool,
    observer: &mut dyn Observer,
) -> Result<Option<()>, RunError> {
    for Opened {
        configuration,
        backend,
    } in opened
    {
        let Ok(backend) = backend else { continue };
        if interrupt::requested().is_some() {
            return Ok(None);
        }
        observer.progress(0, 0, &format!("{configuration} {}: counted", launch.task));
        let counted = in_time().then(|| {
            backend.count(launch).and_then(|counted| {
                if let Some(counted) = &counted {
                    check::answered(&counted.report, answer, image)?;
                }
                Ok(counted)
            })
        });
        let (crossed, failure) = match counted {
            None => (None, Some(no_time())),
            Some(Ok(None)) => continue,
            Some(Ok(Some(counted))) => (Some(crossed(&counted)), None),
            Some(Err(Failure::Interrupted)) => return Ok(None),
            Some(Err(failure)) => (None, Some(FailureRecord::from(&failure))),
        };
        observer.record(Record::Boundary(Box::new(BoundaryRecord {
            backend: configuration.id(),
            workload: launch.task.to_string(),
            crossed,
            failure,
        })))?;
    }
    Ok(Some(()))
}

fn no_time() -> FailureRecord {
    FailureRecord {
        kind: "max-time".to_owned(),
        message: "its share of the run's time was spent".to_owned(),
    }
}

/// The counts as they are kept.
#[must_use]
pub fn crossed(counted: &Crossings) -> Crossed {
    let counts = counted.counts.iter();
    Crossed {
        by: counted.boundary.name().to_owned(),
        total: counts
            .clone()
            .fold(0, |sum, (_, _, count)| sum.saturating_add(*count)),
        counts: counts
            .map(|(stage, what, count)| CrossingCount {
                stage: stage.name().to_owned(),
                what: what.clone(),
                count: *count,
            })
            .collect(),
        kvm: counted
            .kvm
            .iter()
            .map(|(name, value)| KvmCounter {
                name: name.clone(),
                value: *value,
            })
            .collect(),
    }
}
