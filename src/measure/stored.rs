//! A stored run with its estimates: those it was sealed with, or new ones from its trials where
//! the harness was killed before it could write any.

use std::path::{Path, PathBuf};

use super::injection::VARIABLE;
use super::ladder::Climb;
use super::samples::Samples;
use super::summary::{Summary, summarise};
use crate::backend::configuration::{Configuration, ConfigurationError};
use crate::store::document::{Run, Status};
use crate::store::read::{Head, OnDisk, read, read_head};
use crate::store::read_error::{ReadError, Refusal};
use crate::store::read_trials::{MOST_STREAMED_BYTES, each};
use crate::store::record::Record;
use crate::workload::{Profile, Task, Workload};

/// `ended_early` of a run whose end was never written: killed, or still running.
pub const RUNNING: &str = "running";

/// A run that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The folder.
    pub folder: PathBuf,
    /// The document, with estimates.
    pub run: Run,
    /// The trials; `None` where only a `run.json` was kept.
    pub records: Option<Vec<Record>>,
    /// The number of the last line of `trials.jsonl`, if it was cut off and left out.
    pub cut_off: Option<u64>,
}

impl Stored {
    /// Whether the harness was killed, or is still running.
    #[must_use]
    pub fn is_unsealed(&self) -> bool {
        self.run.ended_early.as_deref() == Some(RUNNING)
    }

    /// What a reader must know about how this run was stored.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(injected(&self.run));
        if self.is_unsealed() {
            notes.push(
                "The run was killed, or is still running: estimates were made again from the \
                 trials it had finished."
                    .to_owned(),
            );
        }
        if let Some(line) = self.cut_off {
            notes.push(format!(
                "The last line of trials.jsonl ({line}) is cut off and was left out."
            ));
        }
        notes
    }
}

/// What must stand beside every number of a run into which something was put.
#[must_use]
pub fn injected(run: &Run) -> Option<String> {
    (!run.injected.is_empty()).then(|| {
        format!(
            "This is a test of a gate and no measurement: {VARIABLE} put in {}.",
            run.injected.join(", ")
        )
    })
}

/// Reads a run: its folder, or the `run.json` in it.
///
/// # Errors
/// See [`ReadError`]. Also where `run.json` and `trials.jsonl` do not belong together.
pub fn load(path: &Path) -> Result<Stored, ReadError> {
    let OnDisk {
        folder,
        mut run,
        trials,
    } = read(path)?;
    let refused = |refusal| ReadError::Field {
        path: folder.join("run.json"),
        line: None,
        refusal,
    };
    let unsealed = run.ended_early.as_deref() == Some(RUNNING);
    let Some(trials) = trials else {
        if unsealed {
            let problem = "\"running\", and there is no trials.jsonl to make estimates from";
            return Err(refused(Refusal::new("ended_early", problem)));
        }
        return Ok(Stored {
            folder,
            run,
            records: None,
            cut_off: None,
        });
    };
    belong(&run, &trials.records).map_err(refused)?;
    if unsealed {
        let configurations = configurations(&run).map_err(refused)?;
        let summary = summarise(&trials.records, &tasks(&trials.records), &configurations);
        adopt(&mut run, summary);
        if let Some(known) = &run.ladder {
            let refused_top = |problem: String| refused(Refusal::new("ladder.top", problem));
            let ladder = Climb::of_run(known, &configurations)
                .ok_or_else(|| refused_top(format!("{} is not the top of this run", known.top)))?;
            run.ladder = Some(ladder.estimate(&trials.records));
        }
    }
    Ok(Stored {
        folder,
        run,
        records: Some(trials.records),
        cut_off: trials.cut_off,
    })
}

/// Reads a run record by record, each handed to `take`. Of a sealed one each is let go then, so that a
/// million of them fit. Whether there were any to read: else only a `run.json` was kept.
///
/// # Errors
/// See [`load`].
pub fn load_each(path: &Path, take: &mut dyn FnMut(&Record)) -> Result<(Stored, bool), ReadError> {
    let Head { folder, run, lines } = read_head(path)?;
    let (Some(lines), true) = (lines, run.ended_early.as_deref() != Some(RUNNING)) else {
        let mut stored = load(path)?;
        let records = stored.records.take();
        records.iter().flatten().for_each(take);
        return Ok((stored, records.is_some()));
    };
    let refused = |refusal| ReadError::Field {
        path: folder.join("run.json"),
        line: None,
        refusal,
    };
    let mut found = Found::of(&run);
    let cut_off = each(&lines, MOST_STREAMED_BYTES, &mut |record| {
        found.add(&run, &record).map_err(refused)?;
        take(&record);
        Ok(())
    })?;
    found.agrees(&run).map_err(refused)?;
    let stored = Stored {
        folder,
        run,
        records: None,
        cut_off,
    };
    Ok((stored, true))
}

/// Reads a run for its pictures.
///
/// # Errors
/// See [`load`].
pub fn load_samples(path: &Path) -> Result<(Stored, Option<Samples>), ReadError> {
    let mut samples = Samples::default();
    let (stored, any) = load_each(path, &mut |record| samples.add(record))?;
    Ok((stored, any.then_some(samples)))
}

/// The tasks of trials, in order of appearance.
#[must_use]
pub fn tasks(records: &[Record]) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for record in records {
        let Record::Trial(trial) = record else {
            continue;
        };
        if seen.contains(&trial.workload.as_str()) {
            continue;
        }
        seen.push(&trial.workload);
        // A task that was read back is one task: reading checks it.
        if let Ok(found) = Task::select(&trial.workload, Profile::default())
            && let [task] = found[..]
            && task.workload != Workload::Idle
            && !tasks.contains(&task)
        {
            tasks.push(task);
        }
    }
    tasks
}

/// The configurations of a run, in its order.
fn configurations(run: &Run) -> Result<Vec<Configuration>, Refusal> {
    let known = |(index, id): (usize, &str)| match id.parse() {
        Ok(configuration) => Ok(configuration),
        // A user's own, whose definition is nowhere by now.
        Err(ConfigurationError::Backend(name)) if name == id => Ok(Configuration::own(id)),
        Err(error) => Err(Refusal::new(
            format!("backends[{index}].id"),
            error.to_string(),
        )),
    };
    let ids = run.backends.iter().map(|b| b.id.as_str());
    ids.enumerate().map(known).collect()
}

/// Refuses trials of another run, and trials that were lost after the run was sealed.
fn belong(run: &Run, records: &[Record]) -> Result<(), Refusal> {
    let mut found = Found::of(run);
    records
        .iter()
        .try_for_each(|record| found.add(run, record))?;
    found.agrees(run)
}

/// How many trials of each configuration have been found.
struct Found(Vec<u64>);

impl Found {
    fn of(run: &Run) -> Self {
        Self(vec![0; run.backends.len()])
    }

    fn add(&mut self, run: &Run, record: &Record) -> Result<(), Refusal> {
        let (id, counts) = match record {
            // As in the summary: a warm-up counts only if it failed.
            Record::Trial(t) => (&t.backend, !t.warmup || t.failure.is_some()),
            Record::Memory(m) => (&m.backend, true),
            Record::Burst(b) => (&b.backend, true),
            Record::Probe(p) => (&p.backend, true),
            // A count is no trial.
            Record::Boundary(b) => (&b.backend, false),
        };
        let index = run.backends.iter().position(|b| b.id == *id);
        let Some(found) = index.and_then(|index| self.0.get_mut(index)) else {
            let problem = format!("trials.jsonl has trials of {id:?}, which is not among them");
            return Err(Refusal::new("backends", problem));
        };
        *found += u64::from(counts);
        Ok(())
    }

    fn agrees(&self, run: &Run) -> Result<(), Refusal> {
        if run.ended_early.as_deref() == Some(RUNNING) {
            return Ok(());
        }
        for (index, (backend, found)) in run.backends.iter().zip(&self.0).enumerate() {
            if backend.trials != *found {
                let problem = format!("{}, but trials.jsonl has {found}", backend.trials);
                return Err(Refusal::new(format!("backends[{index}].trials"), problem));
            }
        }
        Ok(())
    }
}

/// Puts new estimates into a document that has none.
fn adopt(run: &mut Run, summary: Summary) {
    for backend in &mut run.backends {
        let measured = summary.knows(&backend.id);
        let count = summary.counts.get(&backend.id).cloned().unwrap_or_default();
        (backend.trials, backend.failures) = (count.trials, count.failures);
        if backend.status == Status::Skipped {
            continue;
        }
        if measured {
            backend.status = Status::Measured;
            backend.reason = count.first_failure;
        } else if count.first_failure.is_some() {
            backend.status = Status::Failed;
            backend.reason = count.first_failure;
        } else {
            backend.status = Status::Unmeasured;
        }
    }
    run.metrics = summary.metrics;
    run.ratios = summary.ratios;
    run.boundary = summary.boundary;
    run.isolation = summary.isolation;
    run.memory = summary.memory;
}
