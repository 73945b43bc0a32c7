//! What the tests of isolation share: a run that asks, and its facts.
#![allow(dead_code)] // Each test binary uses its part.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

use std::collections::BTreeMap;
use std::process::Command;

use isobench::store::document::{IsolationFact, Run, Verdict};

use crate::support::{isobench, status, stderr, stdout};

/// Facts by configuration and name.
pub struct Facts(pub BTreeMap<(String, String), IsolationFact>);

impl Facts {
    pub fn get(&self, backend: &str, fact: &str) -> &IsolationFact {
        let key = (backend.to_owned(), fact.to_owned());
        let found = self.0.get(&key);
        found.unwrap_or_else(|| panic!("{backend} has no fact {fact}"))
    }

    pub fn verdict(&self, backend: &str, fact: &str) -> Verdict {
        self.get(backend, fact).verdict
    }
}

/// Asks these configurations, with whatever stands before the command.
pub fn ask(before: &[&str], backends: &str) -> (Run, Facts) {
    let dir = tempfile::tempdir().unwrap();
    let binary = isobench();
    let mut words = before.iter().map(Into::into).collect::<Vec<_>>();
    words.push(binary.get_program().to_owned());
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["run", "--workloads", "probe", "--format", "json"])
        .args(["--backends", backends, "--out"])
        .arg(dir.path().join("out"))
        .output()
        .unwrap();
    assert_eq!(
        status(&output),
        0,
        "{}\n{}",
        stdout(&output),
        stderr(&output)
    );
    let run: Run = serde_json::from_str(&stdout(&output)).unwrap();
    let facts = run.isolation.iter().map(|fact| {
        let key = (fact.backend.clone(), fact.fact.clone());
        (key, fact.clone())
    });
    let facts = Facts(facts.collect());
    (run, facts)
}
