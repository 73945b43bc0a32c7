//! criterion's results, as it leaves them on disk: for every benchmark a folder `new` with
//! `benchmark.json` (its names), `estimates.json` and `sample.json`. criterion promises no format;
//! what is read here is that of 0.5 to 0.8, and anything else is refused by field.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::check_trial::check_name;
use super::history::{Entry, Estimate};
use super::read::{from_json, text};
use super::read_error::{ReadError, Refusal};
use crate::host::fingerprint::Host;
use crate::host::project::Project;
use crate::metric::{Better, Unit};

/// What stands in the history in place of a task and of the profile.
pub const TASK: &str = "criterion";
/// Largest of criterion's files that is read.
const MOST_BYTES: u64 = 16 << 20;
/// Folders that are looked into, below the one that was named.
const DEPTH: usize = 6;
/// Most benchmarks.
const MOST: usize = 100_000;
/// Longest time of one iteration, ns: a day.
const LONGEST: f64 = 86_400e9;

#[derive(Deserialize)]
struct Names {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Middle,
}

#[derive(Deserialize)]
struct Middle {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    confidence_level: f64,
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Samples {
    times: Vec<f64>,
}

/// Reads every benchmark below a folder (`target/criterion`) as one run of this host. Its id is made
/// from what was measured, so that reading it again is known as the same.
///
/// # Errors
/// See [`ReadError`]; also where there is no benchmark.
pub fn read(folder: &Path, host: &Host, project: Option<Project>) -> Result<Entry, ReadError> {
    let mut found = Vec::new();
    walk(folder, DEPTH, &mut found)?;
    found.sort();
    let mut estimates: BTreeMap<String, Estimate> = BTreeMap::new();
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut digest = Sha256::new();
    for place in &found {
        let (estimate, changed) = benchmark(place)?;
        digest.update(format!("{} {:?}\n", estimate.backend, estimate.median));
        newest = newest.max(changed);
        estimates.insert(estimate.backend.clone(), estimate);
    }
    if estimates.is_empty() {
        let problem = "no benchmark of criterion (new/estimates.json) in it";
        return Err(refused(folder, Refusal::new("", problem)));
    }
    let started = jiff::Timestamp::try_from(newest).unwrap_or_default();
    let hash: String = digest
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Entry {
        id: format!("criterion-{hash}"),
        started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        profile: TASK.to_owned(),
        tool: TASK.to_owned(),
        tool_commit: "unknown".to_owned(),
        payload: "none".to_owned(),
        cpu: host.cpu.clone(),
        kernel: host.kernel.clone(),
        kvm: host.kvm.clone(),
        project,
        ended_early: None,
        inconclusive: None,
        folder: None,
        estimates: estimates.into_values().collect(),
    })
}

/// Folders named `new` that hold estimates. Links are not followed.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let unreadable = |cause| ReadError::Unreadable {
        path: folder.to_owned(),
        cause,
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_type().map_err(unreadable)?.is_dir() || found.len() >= MOST {
            continue;
        }
        let path = entry.path();
        if entry.file_name() == "new" && path.join("estimates.json").is_file() {
            found.push(path);
        } else if depth > 0 {
            walk(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn benchmark(place: &Path) -> Result<(Estimate, SystemTime), ReadError> {
    let names: Names = part(place, "benchmark.json")?;
    let estimates: Estimates = part(place, "estimates.json")?;
    let samples: Samples = part(place, "sample.json")?;
    let path = place.join("estimates.json");
    let changed = fs::metadata(&path).and_then(|m| m.modified());
    let changed = changed.map_err(|cause| ReadError::Unreadable {
        path: path.clone(),
        cause,
    })?;
    check_name("full_id", &names.full_id).map_err(|r| refused(&place.join("benchmark.json"), r))?;
    let Middle {
        point_estimate,
        confidence_interval: ci,
    } = estimates.median;
    let ends = [ci.lower_bound, ci.upper_bound];
    let within = (0.0..=LONGEST).contains(&point_estimate);
    if !within || ends.iter().any(|end| !(0.0..=LONGEST).contains(end)) {
        let problem = format!("{point_estimate} ns is not a time");
        return Err(refused(&path, Refusal::new("median", problem)));
    }
    let estimate = Estimate {
        backend: names.full_id,
        workload: TASK.to_owned(),
        metric: "time".to_owned(),
        unit: Unit::Nanoseconds,
        better: Better::Lower,
        n: samples.times.len() as u64,
        median: point_estimate,
        // Of another level it is no 95 % interval.
        ci95: ((ci.confidence_level - 0.95).abs() < 1e-9).then_some(ends),
        ratio: None,
        ratio_ci95: None,
    };
    Ok((estimate, changed))
}

fn part<T: DeserializeOwned>(place: &Path, name: &str) -> Result<T, ReadError> {
    let path = place.join(name);
    let text = text(&path, MOST_BYTES)?;
    from_json(&text).map_err(|refusal| refused(&path, refusal))
}

fn refused(path: &Path, refusal: Refusal) -> ReadError {
    ReadError::Field {
        path: path.to_owned(),
        line: None,
        refusal,
    }
}
