//! The history as one JSON document: what `export` writes and `import` reads.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Entry;
use super::entry::to_the_second;
use crate::host::project::is_commit;
use crate::store::check_trial::check_name;
use crate::store::read::{document, schema_of};
use crate::store::read_error::{ReadError, Refusal};

/// Name and version of the schema.
pub const SCHEMA: &str = "isobench.history/1";
/// Largest document that is read.
const MOST_BYTES: u64 = 1 << 30;
/// Largest number that any estimate can be.
const MOST: f64 = 1e18;

/// Runs, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The runs.
    pub runs: Vec<Entry>,
}

impl Document {
    /// A document of these runs.
    #[must_use]
    pub fn of(runs: Vec<Entry>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            runs,
        }
    }
}

/// Whether this file says of itself that it is an exported history, of whatever version.
///
/// # Errors
/// As [`read_document`], where it cannot be told.
pub fn is_document(path: &Path) -> Result<bool, ReadError> {
    Ok(schema_of(path, MOST_BYTES)?.starts_with("isobench.history/"))
}

/// Reads and checks a document.
///
/// # Errors
/// See [`ReadError`]; the first thing that is wrong.
pub fn read_document(path: &Path) -> Result<Document, ReadError> {
    let mut read: Document = document(path, MOST_BYTES, SCHEMA)?;
    let mut ids = BTreeSet::new();
    for (index, run) in read.runs.iter_mut().enumerate() {
        let checked = check(run).and_then(|()| {
            if ids.insert(run.id.clone()) {
                return Ok(());
            }
            Err(Refusal::new("id", format!("{} occurs twice", run.id)))
        });
        checked.map_err(|refusal| ReadError::Field {
            path: path.to_owned(),
            line: None,
            refusal: Refusal {
                field: format!("runs[{index}].{}", refusal.field),
                ..refusal
            },
        })?;
        run.started = to_the_second(&run.started);
    }
    Ok(read)
}

fn check(run: &Entry) -> Result<(), Refusal> {
    let texts = [
        ("id", Some(&run.id)),
        ("profile", Some(&run.profile)),
        ("tool", Some(&run.tool)),
        ("tool_commit", Some(&run.tool_commit)),
        ("payload", Some(&run.payload)),
        ("cpu", Some(&run.cpu)),
        ("kernel", Some(&run.kernel)),
        ("kvm", Some(&run.kvm)),
        (
            "project.branch",
            run.project.as_ref().and_then(|p| p.branch.as_ref()),
        ),
        ("ended_early", run.ended_early.as_ref()),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            check_name(field, text)?;
        }
    }
    if run.started.parse::<jiff::Timestamp>().is_err() {
        let problem = format!("{:?} is not a time", run.started);
        return Err(Refusal::new("started", problem));
    }
    if run.project.as_ref().is_some_and(|p| !is_commit(&p.commit)) {
        return Err(Refusal::new(
            "project.commit",
            "not 7 to 64 hexadecimal digits",
        ));
    }
    let mut seen = BTreeSet::new();
    for (index, e) in run.estimates.iter().enumerate() {
        let at = |name: &str| format!("estimates[{index}].{name}");
        for (name, text) in [
            ("backend", &e.backend),
            ("workload", &e.workload),
            ("metric", &e.metric),
        ] {
            check_name(&at(name), text)?;
        }
        if !seen.insert((&e.backend, &e.workload, &e.metric)) {
            let problem = "the same backend, workload and metric occur twice";
            return Err(Refusal::new(at("metric"), problem));
        }
        let all = [Some(e.median), e.ratio].into_iter().flatten();
        let ends = [e.ci95, e.ratio_ci95].into_iter().flatten().flatten();
        if let Some(value) = all.chain(ends).find(|value| value.abs() > MOST) {
            return Err(Refusal::new(
                at("median"),
                format!("{value} is no quantity"),
            ));
        }
    }
    Ok(())
}
