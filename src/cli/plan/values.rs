//! Flags with one value: a profile, a seed, a number of blocks, a duration.

use std::time::Duration;

use crate::cli::error::CliError;
use crate::workload::profile::Profile;

/// `--profile`.
pub(in crate::cli) fn profile(text: &str) -> Result<Profile, CliError> {
    text.parse().map_err(|_| {
        CliError::usage(
            "--profile",
            format!("there is no profile {text:?}; expected smoke, quick or full"),
            Some("--profile quick".to_owned()),
        )
    })
}

/// `--seed`; `random` where it is not given.
pub(in crate::cli) fn seed(text: Option<&str>, random: u64) -> Result<u64, CliError> {
    let Some(text) = text else { return Ok(random) };
    text.parse().map_err(|_| {
        CliError::usage(
            "--seed",
            format!("{text:?} is not a whole number from 0 to {}", u64::MAX),
            Some("--seed 1".to_owned()),
        )
    })
}

/// Most blocks a task may have: more than a week of the fastest trial.
const MAX_BLOCKS: u32 = 1_000_000;

pub(in crate::cli) fn count(field: &'static str, text: &str) -> Result<u32, CliError> {
    text.parse()
        .ok()
        .filter(|n| (1..=MAX_BLOCKS).contains(n))
        .ok_or_else(|| {
            CliError::usage(
                field,
                format!("{text:?} is not a whole number from 1 to {MAX_BLOCKS}"),
                Some(format!("{field} 30")),
            )
        })
}

/// A duration with its unit: `500ms`, `30s`, `5m`, `1h`.
pub(in crate::cli) fn duration(field: &'static str, text: &str) -> Result<Duration, CliError> {
    time(text).map_err(|problem| CliError::usage(field, problem, Some(format!("{field} 30s"))))
}

/// As [`duration`]; what is wrong, in words.
pub(in crate::cli) fn time(text: &str) -> Result<Duration, String> {
    let refuse =
        || format!("{text:?} is not a time from 100ms to 168h, such as 500ms, 30s, 5m or 1h");
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(refuse)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let value: f64 = number.parse().map_err(|_| refuse())?;
    let total = value * seconds;
    if !(0.1..=168.0 * 3600.0).contains(&total) {
        return Err(refuse());
    }
    Ok(Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration("--max-time", text).unwrap(),
                Duration::from_millis(ms)
            );
        }
    }
}
