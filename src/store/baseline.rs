//! A baseline: a run reduced to what a comparison is made from, in one file that can be committed to
//! a repository.
//!
//! ```text
//! { "schema": "isobench.baseline/1",
//!   "run": { a run.json, without facts, crossings and ladders },
//!   "quantities": [
//!     {"backend": …, "workload": …, "metric": …, "blocks": 240, "trials": 480, "failed": 0,
//!      "reference": 152000.0, "batches": [12 numbers], "parts": [{"name": "clone3", "batches": […]}]},
//!     … one line each ] }
//! ```
//!
//! Verdicts are made from at most twelve batch medians of each quantity (docs/method.md, "Two runs"),
//! so that these are what is kept of the trials: a comparison with the baseline says the same, digit
//! by digit, as one with the run itself. Reading is as strict as that of a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check_run;
use super::check_trial::{check_name, check_task};
use super::document::Run;
use super::folder::{FolderError, publish};
use super::read::{document, schema_of};
use super::read_error::{ReadError, Refusal};
use crate::metric::CATALOGUE;
use crate::stats::batch::BATCHES;

/// Name and version of the schema.
pub const SCHEMA: &str = "isobench.baseline/1";
/// Largest file that is read. A full run's has some hundred KiB.
const MOST_BYTES: u64 = 16 << 20;
/// Most parts of a quantity: more than any start has phases.
const MOST_PARTS: usize = 200;
/// Largest logarithm of a ratio: e⁷⁰⁰ is about what an `f64` holds.
const MOST_LOG: f64 = 700.0;
/// Largest number of any other kind.
const MOST: f64 = 1e18;

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run's document.
    pub run: Run,
    /// What is compared.
    pub quantities: Vec<BaselineQuantity>,
}

/// One metric of one configuration and task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineQuantity {
    /// Configuration id.
    pub backend: String,
    /// Task id.
    pub workload: String,
    /// Metric name.
    pub metric: String,
    /// Blocks that have both it and the reference.
    pub blocks: usize,
    /// Trials of both, warm-up excluded.
    pub trials: usize,
    /// Those of them without a number.
    pub failed: usize,
    /// Median of the reference's own values, in the metric's unit.
    pub reference: Option<f64>,
    /// Batch medians of ln(value / reference in the same block); of ln(value) for memory.
    pub batches: Vec<f64>,
    /// Parts of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parts: Vec<BaselinePart>,
}

/// A phase, or an account of memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselinePart {
    /// Its name.
    pub name: String,
    /// Batch medians of its share of the reference; of its bytes for memory.
    pub batches: Vec<f64>,
}

impl Baseline {
    /// As a file: one line a quantity, so that a repository's history stays readable.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines: Vec<String> = self.quantities.iter().map(json).collect();
        format!(
            "{{\"schema\": {},\n\"run\": {},\n\"quantities\": [\n{}\n]}}\n",
            json(&self.schema),
            json(&self.run),
            lines.join(",\n")
        )
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Maps with non-string keys are all that can fail here, and there is none.
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether this file says of itself that it is a baseline, of whatever version.
///
/// # Errors
/// As [`read`], where it cannot be told.
pub fn is_one(path: &Path) -> Result<bool, ReadError> {
    Ok(schema_of(path, super::read::MOST_RUN_BYTES)?.starts_with("isobench.baseline/"))
}

/// Reads and checks a baseline.
///
/// # Errors
/// See [`ReadError`]; the first thing that is wrong.
pub fn read(path: &Path) -> Result<Baseline, ReadError> {
    let baseline: Baseline = document(path, MOST_BYTES, SCHEMA)?;
    check(&baseline).map_err(|refusal| ReadError::Field {
        path: path.to_owned(),
        line: None,
        refusal,
    })?;
    Ok(baseline)
}

/// Writes a baseline whole or not at all. Only an older baseline is ever replaced.
///
/// # Errors
/// [`FolderError`].
pub fn write(path: &Path, baseline: &Baseline) -> Result<(), FolderError> {
    may_be_written(path)?;
    publish(path, baseline.to_text().as_bytes())
}

/// Whether a baseline can be put here: nothing is there yet, or a baseline is. Makes the folder.
///
/// # Errors
/// [`FolderError::Unusable`], [`FolderError::Foreign`].
pub fn may_be_written(path: &Path) -> Result<(), FolderError> {
    let unusable = |cause| FolderError::Unusable {
        path: path.to_owned(),
        cause,
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(FolderError::Foreign(path.to_owned())),
        Ok(_) => match is_one(path) {
            Ok(true) => Ok(()),
            _ => Err(FolderError::Foreign(path.to_owned())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match path.parent() {
            Some(folder) => fs::create_dir_all(folder).map_err(unusable),
            None => Ok(()),
        },
        Err(error) => Err(unusable(error)),
    }
}

fn check(baseline: &Baseline) -> Result<(), Refusal> {
    check_run::check(&baseline.run).map_err(|refusal| Refusal {
        field: format!("run.{}", refusal.field),
        ..refusal
    })?;
    if !baseline.run.injected.is_empty() {
        let problem = "a run into which something was put is no baseline";
        return Err(Refusal::new("run.injected", problem));
    }
    let ids: BTreeSet<&str> = baseline
        .run
        .backends
        .iter()
        .map(|b| b.id.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    for (index, quantity) in baseline.quantities.iter().enumerate() {
        let at = |name: &str| format!("quantities[{index}].{name}");
        let q = quantity;
        if !ids.contains(q.backend.as_str()) {
            let problem = format!("{:?} is not among `run.backends`", q.backend);
            return Err(Refusal::new(at("backend"), problem));
        }
        check_task(&at("workload"), &q.workload)?;
        if CATALOGUE.iter().all(|known| known.name != q.metric) {
            let problem = format!("there is no metric {:?}", q.metric);
            return Err(Refusal::new(at("metric"), problem));
        }
        if !seen.insert((&q.backend, &q.workload, &q.metric)) {
            let problem = "the same backend, workload and metric occur twice";
            return Err(Refusal::new(at("metric"), problem));
        }
        if q.failed > q.trials {
            let problem = format!("{} of {} trials", q.failed, q.trials);
            return Err(Refusal::new(at("failed"), problem));
        }
        if q.reference.is_some_and(|r| r.abs() > MOST) {
            return Err(Refusal::new(at("reference"), "not a quantity"));
        }
        check_batches(&at("batches"), &q.batches, MOST_LOG, q.blocks)?;
        if q.parts.len() > MOST_PARTS {
            let problem = format!("{} parts, at most {MOST_PARTS}", q.parts.len());
            return Err(Refusal::new(at("parts"), problem));
        }
        let mut names = BTreeSet::new();
        for (number, part) in q.parts.iter().enumerate() {
            let at = |name: &str| format!("quantities[{index}].parts[{number}].{name}");
            check_name(&at("name"), &part.name)?;
            if !names.insert(&part.name) {
                let problem = format!("{} occurs twice", part.name);
                return Err(Refusal::new(at("name"), problem));
            }
            check_batches(&at("batches"), &part.batches, MOST, usize::MAX)?;
        }
    }
    Ok(())
}

fn check_batches(field: &str, batches: &[f64], most: f64, blocks: usize) -> Result<(), Refusal> {
    if batches.len() > BATCHES.min(blocks) {
        let problem = format!("{} batches of {blocks} blocks", batches.len());
        return Err(Refusal::new(field, problem));
    }
    match batches.iter().find(|value| value.abs() > most) {
        Some(value) => Err(Refusal::new(field, format!("{value} is no such number"))),
        None => Ok(()),
    }
}
