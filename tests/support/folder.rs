//! A run's folder, as tests read it back.
#![allow(clippy::unwrap_used)] // a test states its expectations

use std::fs;
use std::path::Path;

use isobench::store::document::Run;
use isobench::store::record::Record;

/// Its `run.json`.
pub fn read_run(folder: &Path) -> Run {
    serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap()
}

/// Every line of its `trials.jsonl`.
pub fn read_records(folder: &Path) -> Vec<Record> {
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whole lines of `trials.jsonl` so far; none where there is no such file yet.
pub fn finished(folder: &Path) -> usize {
    let text = fs::read_to_string(folder.join("trials.jsonl")).unwrap_or_default();
    text.matches('\n').count()
}
