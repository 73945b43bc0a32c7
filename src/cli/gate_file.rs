//! `isobench.toml`: what a project asks of its gate.
//!
//! ```toml
//! [gate]
//! alpha = 0.01                      # corrected p-values at or above prove nothing
//! threshold = 5                     # percent, for every metric not named below
//!
//! [gate.thresholds]                 # percent; the most specific line holds
//! startup = 10
//! "noop/ready" = 7.5
//! "container/noop/startup" = 3
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::project_file::{self, NAME, Unread};
use crate::measure::comparison::{Rule, Scope};
use crate::metric::CATALOGUE;

/// Thresholds that can be asked for, percent.
const THRESHOLDS: std::ops::RangeInclusive<f64> = 0.1..=1000.0;
/// Levels that can be asked for. A level above proves nothing to anybody.
const LEVELS: std::ops::RangeInclusive<f64> = 1e-6..=0.1;

/// The file cannot be used. It is only ever read.
#[derive(Debug, thiserror::Error)]
pub enum GateFileError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A folder, a FIFO, a device; too large; not UTF-8.
    #[error("{path}: {problem}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not TOML, or not what is known here.
    #[error("{path}: {cause}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{path}: {field}: {problem}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The key.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The whole file, as far as the gate is concerned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gate: Option<Gate>,
    /// Backends of the user's own: whoever runs them reads them.
    #[serde(rename = "backend")]
    _backend: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    alpha: Option<f64>,
    threshold: Option<f64>,
    #[serde(default)]
    thresholds: BTreeMap<String, f64>,
}

/// The gate's rule by this file, or by [`NAME`] in the current folder where there is one.
///
/// # Errors
/// See [`GateFileError`].
pub fn rule(path: Option<&Path>) -> Result<Rule, GateFileError> {
    let file = match path {
        Some(path) => path,
        None if Path::new(NAME).symlink_metadata().is_ok() => Path::new(NAME),
        None => return Ok(Rule::default()),
    };
    let text = project_file::text(file).map_err(|why| match why {
        Unread::System(cause) => GateFileError::Unreadable {
            path: file.to_owned(),
            cause,
        },
        Unread::Unfit(problem) => GateFileError::Unfit {
            path: file.to_owned(),
            problem,
        },
    })?;
    let parsed: File = toml::from_str(&text).map_err(|cause| GateFileError::Syntax {
        path: file.to_owned(),
        cause: Box::new(cause),
    })?;
    let Some(gate) = parsed.gate else {
        return Ok(Rule::default());
    };
    let refuse = |(field, problem)| GateFileError::Field {
        path: file.to_owned(),
        field,
        problem,
    };
    of_gate(gate).map_err(refuse)
}

fn of_gate(gate: Gate) -> Result<Rule, (String, String)> {
    let mut rule = Rule::default();
    if let Some(alpha) = gate.alpha {
        if !LEVELS.contains(&alpha) {
            let problem = format!("{alpha} is not from {} to {}", LEVELS.start(), LEVELS.end());
            return Err(("gate.alpha".to_owned(), problem));
        }
        rule.alpha = alpha;
    }
    let percent = |field: &str, value: f64| {
        if THRESHOLDS.contains(&value) {
            return Ok(value / 100.0);
        }
        let problem = format!("{value} is not a percentage from 0.1 to 1000");
        Err((field.to_owned(), problem))
    };
    if let Some(threshold) = gate.threshold {
        let share = percent("gate.threshold", threshold)?;
        rule.scopes.push((Scope::default(), share));
    }
    for (key, value) in &gate.thresholds {
        let field = format!("gate.thresholds.{key:?}");
        let share = percent(&field, *value)?;
        let scope = scope(key).map_err(|problem| (field, problem))?;
        rule.scopes.push((scope, share));
    }
    Ok(rule)
}

/// `METRIC`, `TASK/METRIC` or `BACKEND/TASK/METRIC`.
fn scope(key: &str) -> Result<Scope, String> {
    let parts: Vec<&str> = key.split('/').collect();
    let (backend, workload, metric) = match parts[..] {
        [metric] => (None, None, metric),
        [workload, metric] => (None, Some(workload), metric),
        [backend, workload, metric] => (Some(backend), Some(workload), metric),
        _ => return Err("expected METRIC, TASK/METRIC or BACKEND/TASK/METRIC".to_owned()),
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err("an empty name".to_owned());
    }
    if CATALOGUE.iter().all(|known| known.name != metric) {
        return Err(format!("there is no metric {metric:?}"));
    }
    Ok(Scope {
        backend: backend.map(str::to_owned),
        workload: workload.map(str::to_owned),
        metric: Some(metric.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rule, GateFileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, text).unwrap();
        rule(Some(&path))
    }

    #[test]
    fn the_most_specific_threshold_holds() {
        let text = "[gate]\nalpha = 0.001\nthreshold = 4\n[gate.thresholds]\nstartup = 12\n\
                    \"noop/startup\" = 8\n\"container:only=pid/noop/startup\" = 2.5\n";
        let rule = read(text).unwrap();
        assert_eq!(rule.alpha, 0.001);
        let of = |backend, workload, metric| rule.threshold_of(backend, workload, metric, 0.5);
        assert_eq!(of("container:only=pid", "noop", "startup"), 0.025);
        assert_eq!(of("container", "noop", "startup"), 0.08);
        assert_eq!(of("container", "warm@1MiB", "startup"), 0.12);
        assert_eq!(of("container", "noop", "ready"), 0.04);
        assert_eq!(Rule::default().threshold_of("a", "b", "c", 0.5), 0.5);
    }

    #[test]
    fn nothing_in_it_is_no_rule_of_its_own() {
        for empty in [
            "",
            "\n# a comment\n",
            "[gate]\n",
            "[[backend]]\nname = \"x\"\n",
        ] {
            assert_eq!(read(empty).unwrap(), Rule::default(), "{empty:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_key() {
        for (text, said) in [
            ("[gate]\nthreshold = 0", "gate.threshold"),
            ("[gate]\nthreshold = nan", "gate.threshold"),
            ("[gate]\nthreshold = inf", "gate.threshold"),
            ("[gate]\nthreshold = -5", "gate.threshold"),
            ("[gate]\nthreshold = \"5\"", "line 2"),
            ("[gate]\nalpha = 0.5", "gate.alpha"),
            ("[gate]\nalfa = 0.01", "alfa"),
            ("[gates]\nalpha = 0.01", "gates"),
            ("[gate]\nalpha = 0.01\nalpha = 0.02", "duplicate key"),
            ("[gate.thresholds]\nspeed = 5", "speed"),
            ("[gate.thresholds]\n\"a/b/c/d\" = 5", "a/b/c/d"),
            ("[gate.thresholds]\n\"//startup\" = 5", "empty name"),
            ("[gate", "line 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = format!("# {}", "x".repeat(2 << 20));
        assert!(
            read(&long)
                .unwrap_err()
                .to_string()
                .contains("larger than 1 MiB")
        );
        let absent = rule(Some(Path::new("/nonexistent/isobench.toml")));
        assert!(matches!(absent, Err(GateFileError::Unreadable { .. })));
        let folder = rule(Some(Path::new("/")));
        assert!(matches!(folder, Err(GateFileError::Unfit { .. })));
    }
}
