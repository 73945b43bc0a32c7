//! The one formatter for quantities: three significant digits, SI prefixes for times and rates,
//! IEC prefixes for memory.

use crate::metric::Unit;

const SI: [(&str, f64); 4] = [("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)];
const IEC: [(&str, f64); 4] = [
    ("Gi", 1024.0 * 1024.0 * 1024.0),
    ("Mi", 1024.0 * 1024.0),
    ("Ki", 1024.0),
    ("", 1.0),
];
const TIME: [(&str, f64); 4] = [("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0)];

/// A value with its unit, e.g. `2.31 ms`, `56.2 KiB`, `14.1 GFLOP/s`.
#[must_use]
pub fn quantity(value: f64, unit: Unit) -> String {
    let (prefix, size) = scale(value, unit);
    format!("{} {prefix}{}", significant(value / size), suffix(unit))
}

/// The ends of an interval in the prefix of its middle, without the unit, e.g. `2.25 – 2.40`.
#[must_use]
pub fn interval([low, high]: [f64; 2], middle: f64, unit: Unit) -> String {
    let (_, size) = scale(middle, unit);
    format!("{} – {}", significant(low / size), significant(high / size))
}

/// The prefix that fits a value, and what it stands for. It is chosen for the rounded value:
/// 999.9 µs is 1.00 ms.
fn scale(value: f64, unit: Unit) -> (&'static str, f64) {
    let scale = match unit {
        Unit::Nanoseconds => TIME,
        Unit::Bytes | Unit::BytesPerSecond => IEC,
        Unit::FlopPerSecond | Unit::OpsPerSecond | Unit::PagesPerSecond => SI,
    };
    let fits = scale
        .into_iter()
        .find(|(_, size)| (value / size).abs() >= 0.9995);
    fits.unwrap_or(scale[scale.len() - 1])
}

/// What follows the prefix; a time's prefix is its unit.
const fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "",
        Unit::Bytes => "B",
        Unit::BytesPerSecond => "B/s",
        Unit::FlopPerSecond => "FLOP/s",
        Unit::OpsPerSecond => "op/s",
        Unit::PagesPerSecond => "page/s",
    }
}

/// At most `width` characters; an ellipsis stands for the rest.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A ratio with its interval, e.g. `4.51 [4.30, 4.72]`: three significant digits of the ratio, as
/// many decimals for the ends.
#[must_use]
pub fn ratio_with_interval(value: f64, ci95: Option<[f64; 2]>) -> String {
    // Never more than three decimals, so that a column of ratios keeps its width.
    let decimals = decimals(value).min(3);
    match ci95 {
        Some([low, high]) => format!("{value:.decimals$} [{low:.decimals$}, {high:.decimals$}]"),
        None => format!("{value:.decimals$}"),
    }
}

/// Decimals that show three significant digits.
pub(super) fn decimals(value: f64) -> usize {
    match value.abs() {
        m if m >= 99.95 => 0,
        m if m >= 9.995 => 1,
        m if m >= 0.9995 || m == 0.0 => 2,
        m if m >= 0.09995 => 3,
        _ => 4,
    }
}

/// A tick of an axis: as few digits as it needs, at most four decimals, with its unit.
#[must_use]
pub fn tick(value: f64, unit: Unit) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (prefix, size) = scale(value, unit);
    format!("{} {prefix}{}", trimmed(value / size), suffix(unit))
}

/// What the prefix of a value stands for.
#[must_use]
pub fn prefix(value: f64, unit: Unit) -> f64 {
    scale(value, unit).1
}

/// Whether prefixes of a unit are powers of 1024.
#[must_use]
pub const fn is_binary(unit: Unit) -> bool {
    matches!(unit, Unit::Bytes | Unit::BytesPerSecond)
}

/// A number without needless zeros: `0.5`, `20`, `1000`.
#[must_use]
pub fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Three significant digits without an exponent.
#[must_use]
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = decimals(value);
    let text = format!("{value:.decimals$}");
    if text
        .trim_start_matches('-')
        .chars()
        .all(|c| c == '0' || c == '.')
    {
        "0".to_owned()
    } else {
        text
    }
}

/// The text with every character that could move a terminal's cursor replaced, line ends aside: a
/// stored run comes from outside.
#[must_use]
pub fn printable(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits_in_the_fitting_unit() {
        let cases = [
            (2_310_000.0, Unit::Nanoseconds, "2.31 ms"),
            (999.96, Unit::Nanoseconds, "1.00 µs"),
            (0.0, Unit::Nanoseconds, "0 ns"),
            (1.5e10, Unit::Nanoseconds, "15.0 s"),
            (57_549.0, Unit::Bytes, "56.2 KiB"),
            (-57_549.0, Unit::Bytes, "-56.2 KiB"),
            (14.06e9, Unit::FlopPerSecond, "14.1 GFLOP/s"),
            (512.0, Unit::Bytes, "512 B"),
            (0.0123, Unit::Nanoseconds, "0.0123 ns"),
        ];
        for (value, unit, text) in cases {
            assert_eq!(quantity(value, unit), text);
        }
        assert_eq!(
            interval([858e3, 1.02e6], 0.916e6, Unit::Nanoseconds),
            "858 – 1020"
        );
        assert_eq!(significant(f64::NAN), "–");
        let ratio = ratio_with_interval(0.1052, Some([0.09821, 1.15]));
        assert_eq!(ratio, "0.105 [0.098, 1.150]");
    }
}
