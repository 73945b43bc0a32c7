//! From `history`'s flags to what it shall do: every value checked, nothing touched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::HistoryArgs;
use super::error::CliError;
use super::places;
use crate::store::history::{Filter, Forget};

/// The variable that names the history, or switches it off.
pub const VARIABLE: &str = "ISOBENCH_HISTORY";
/// Most runs of a list.
const MOST: u32 = 1_000_000;

/// Where the history is: `--db`, then the variable, then the user's state folder.
///
/// # Errors
/// [`CliError::Usage`] where the environment names no home and nothing else says where.
pub fn database(flag: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(path) = flag {
        return Ok(path.to_owned());
    }
    match from_environment(std::env::var_os(VARIABLE)) {
        Some(Some(path)) => Ok(path),
        // Whoever looks at a history does not mean the switch for recording.
        Some(None) | None => places::history().ok_or_else(|| {
            let problem = "neither XDG_STATE_HOME nor HOME is an absolute path";
            CliError::usage("--db", problem, Some("--db history.db".to_owned()))
        }),
    }
}

/// Where a run is recorded; `None` where it is not to be.
#[must_use]
pub fn recorded_in(no_history: bool, flag: Option<&Path>) -> Option<PathBuf> {
    if no_history {
        return None;
    }
    if let Some(path) = flag {
        return Some(path.to_owned());
    }
    match from_environment(std::env::var_os(VARIABLE)) {
        Some(switched) => switched,
        None => places::history(),
    }
}

/// What the variable says: nothing, off, or a path.
fn from_environment(value: Option<OsString>) -> Option<Option<PathBuf>> {
    let value = value.filter(|value| !value.is_empty())?;
    Some((value != "off").then(|| value.into()))
}

/// Checks the filters.
///
/// # Errors
/// [`CliError::Usage`] that names the flag, the value and what was expected.
pub fn filter(args: &HistoryArgs) -> Result<Filter, CliError> {
    Ok(Filter {
        backend: args.backend.clone(),
        workload: args.workload.clone(),
        metric: args.metric.clone(),
        branch: args.branch.clone(),
        since: args
            .since
            .as_deref()
            .map(|t| instant("--since", t))
            .transpose()?,
        id: None,
        limit: Some(count("--limit", &args.limit)?),
    })
}

/// Checks what is to be forgotten.
///
/// # Errors
/// As [`filter`].
pub fn forget(keep: Option<&str>, before: Option<&str>) -> Result<Forget, CliError> {
    match (keep, before) {
        (_, Some(before)) => Ok(Forget::Before(instant("--before", before)?)),
        (Some(keep), None) => Ok(Forget::Beyond(count("--keep", keep)?)),
        (None, None) => Err(CliError::usage(
            "--keep",
            "missing",
            Some("--keep 1000".to_owned()),
        )),
    }
}

fn count(flag: &'static str, text: &str) -> Result<u32, CliError> {
    let value = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    value.ok_or_else(|| {
        let problem = format!("{text:?} is not a whole number from 1 to {MOST}");
        CliError::usage(flag, problem, Some(format!("{flag} 60")))
    })
}

/// A day or an instant, as the history spells instants.
fn instant(flag: &'static str, text: &str) -> Result<String, CliError> {
    let day = text
        .parse::<jiff::civil::Date>()
        .ok()
        .filter(|_| text.len() == 10);
    let of_day = day.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let found = of_day
        .map(|zoned| zoned.timestamp())
        .or_else(|| text.parse::<jiff::Timestamp>().ok());
    let spelled = found.map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    spelled.ok_or_else(|| {
        let problem = format!("{text:?} is neither a day nor an instant");
        let hint = Some(format!("{flag} 2026-11-29, or {flag} 2026-11-29T01:30:00Z"));
        CliError::usage(flag, problem, hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_instants_are_spelled_alike() {
        let spelled = |text| instant("--since", text).unwrap();
        assert_eq!(spelled("2026-11-29"), "2026-11-29T00:00:00Z");
        assert_eq!(spelled("2026-11-29T02:30:00+01:00"), "2026-11-29T01:30:00Z");
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "29.11.2026",
            "0",
            "NaN",
        ] {
            assert_eq!(instant("--since", bad).unwrap_err().status(), 2, "{bad}");
        }
    }

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!(count("--limit", "60").unwrap(), 60);
        for bad in ["", "0", "-1", "1.5", "inf", "18446744073709551616"] {
            assert!(count("--limit", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_variable_names_a_path_or_switches_off() {
        let of = |value: &str| from_environment(Some(value.into()));
        assert_eq!(of("off"), Some(None));
        assert_eq!(of("/x/h.db"), Some(Some("/x/h.db".into())));
        assert_eq!(of(""), None);
        assert_eq!(from_environment(None), None);
    }
}
