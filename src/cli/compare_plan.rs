//! From `compare`'s flags to a plan: every value checked, nothing touched.

use std::path::PathBuf;

use super::args::{CompareArgs, CompareFormat};
use super::error::CliError;

/// What `isobench compare` shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparePlan {
    /// What HEAD is compared with.
    pub base: PathBuf,
    /// What is judged.
    pub head: PathBuf,
    /// Smallest change that counts, where the command line says it.
    pub threshold: Option<f64>,
    /// The file with the project's thresholds; `None` is the one in this folder, if any.
    pub config: Option<PathBuf>,
    /// Whether the verdict is the exit status.
    pub gate: bool,
    /// Whether a missing BASE passes.
    pub lenient: bool,
    /// What to print.
    pub format: CompareFormat,
}

/// Checks the flags of `compare`.
///
/// # Errors
/// [`CliError::Usage`] that names the flag, the value and what was expected.
pub fn validate(args: &CompareArgs) -> Result<ComparePlan, CliError> {
    let threshold = args.judging.threshold.as_deref().map(percent).transpose()?;
    Ok(ComparePlan {
        base: args.base.clone(),
        head: args.head.clone(),
        threshold,
        config: args.judging.config.clone(),
        gate: args.judging.gate,
        lenient: args.baseline_lenient,
        format: args.judging.format,
    })
}

/// `5`, `5%` or `2.5`, as a share.
pub(super) fn percent(text: &str) -> Result<f64, CliError> {
    let number = text.trim_end_matches('%').trim_end();
    // `parse` takes "inf" and "1e3" too; only plain decimal numbers are meant.
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok().filter(|_| plain);
    match value {
        Some(value) if (0.1..=1000.0).contains(&value) => Ok(value / 100.0),
        _ => Err(CliError::usage(
            "--threshold",
            format!("{text:?} is not a percentage from 0.1 to 1000"),
            Some("--threshold 5".to_owned()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_plain_numbers() {
        for (text, share) in [("5", 0.05), ("5%", 0.05), ("2.5 %", 0.025), ("100", 1.0)] {
            assert!((percent(text).unwrap() - share).abs() < 1e-12, "{text}");
        }
        for bad in [
            "", "%", "0", "-5", "NaN", "inf", "1e3", "1001", "0.05", "5.5.5", "five",
        ] {
            let error = percent(bad).unwrap_err();
            assert!(error.to_string().starts_with("--threshold"), "{bad}");
            assert_eq!(error.status(), 2);
        }
    }
}
