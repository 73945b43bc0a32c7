//! Fixed cases from an independent implementation (tests only).
//!
//! `tests/reference/stats.py` wrote `tests/reference/stats.json`; both are committed, and the
//! file records which versions of Python, numpy, scipy and statsmodels computed it.

use serde_json::Value;

const FILE: &str = include_str!("../../tests/reference/stats.json");

/// Agreement asked of a deterministic method: relative, absolute where 0 is expected.
const TOLERANCE: f64 = 1e-9;

/// One case: inputs and the values expected for them.
pub(super) struct Case(Value);

/// The cases of one method.
pub(super) fn cases(method: &str) -> Vec<Case> {
    let all: Value = serde_json::from_str(FILE).unwrap();
    let cases = all["cases"][method]
        .as_array()
        .unwrap_or_else(|| panic!("no cases: {method}"));
    assert!(!cases.is_empty());
    cases.iter().cloned().map(Case).collect()
}

impl Case {
    pub(super) fn number(&self, key: &str) -> f64 {
        self.0[key]
            .as_f64()
            .unwrap_or_else(|| panic!("no number {key} in {}", self.0))
    }

    pub(super) fn count(&self, key: &str) -> usize {
        usize::try_from(self.0[key].as_u64().unwrap()).unwrap()
    }

    pub(super) fn is_null(&self, key: &str) -> bool {
        self.0[key].is_null()
    }

    pub(super) fn numbers(&self, key: &str) -> Vec<f64> {
        let array = self.0[key]
            .as_array()
            .unwrap_or_else(|| panic!("no array {key}"));
        array.iter().map(|v| v.as_f64().unwrap()).collect()
    }

    pub(super) fn pairs(&self, key: &str) -> Vec<(f64, f64)> {
        let array = self.0[key]
            .as_array()
            .unwrap_or_else(|| panic!("no array {key}"));
        array
            .iter()
            .map(|v| (v[0].as_f64().unwrap(), v[1].as_f64().unwrap()))
            .collect()
    }

    /// Fails unless `got` agrees with the value stored under `key`.
    pub(super) fn agrees(&self, key: &str, got: f64) {
        let want = self.number(key);
        let scale = if want == 0.0 { 1.0 } else { want.abs() };
        let deviation = (got - want).abs() / scale;
        // Shown with `--nocapture`, so that the largest deviation can be read off.
        println!("deviation {deviation:e} {key}");
        assert!(
            deviation <= TOLERANCE,
            "{key}: got {got:e}, expected {want:e}, in {}",
            self.0
        );
    }
}
