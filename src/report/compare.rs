//! A comparison, for a terminal and as Markdown.

use std::fmt::Write;

use super::format::{fit, quantity, significant};
use super::markdown::escape;
use super::terminal::wrap;
use crate::measure::comparison::{Compared, Comparison, Missing, Word};

/// At most 80 columns: one line per metric, worst first, under its verdict; what is missing, why
/// nothing can be said and what would change that; last, one sentence.
#[must_use]
pub fn terminal(c: &Comparison, notes: &[String]) -> String {
    let mut out = String::new();
    for (name, side) in [("BASE", &c.base), ("HEAD", &c.head)] {
        let line = format!(
            "{name}  {}, {}, {}{}",
            side.id,
            side.profile,
            side.tool,
            early(side.ended_early.as_deref())
        );
        out.push_str(&wrap(&line, 80, 6));
    }
    let mut last = None;
    for metric in &c.metrics {
        if last != Some(metric.verdict) {
            let all = c.metrics.iter().filter(|m| m.verdict == metric.verdict);
            let title = format!("{} ({})", metric.verdict.name(), all.count());
            let _ = write!(out, "\n{title:44}{:>21}\n", "HEAD over BASE");
            last = Some(metric.verdict);
        }
        out.push_str(&row(metric));
        if let Some(line) = cause(metric) {
            out.push_str(&fit(&format!("    {line}"), 80));
            out.push('\n');
        }
    }
    out.push('\n');
    for line in remarks(c).iter().chain(notes) {
        out.push_str(&wrap(&format!("• {line}"), 80, 2));
    }
    out.push_str(&wrap(&sentence(c), 80, 0));
    out
}

/// A job summary of GitHub may have 1 MiB; the last row and sentence fit into the rest.
const MOST_MARKDOWN: usize = 1_000_000;

/// The same as a table, for a pull request or a job summary.
#[must_use]
pub fn markdown(c: &Comparison, notes: &[String]) -> String {
    let mut out = format!("# {}\n\n", escape(&sentence(c)));
    for line in remarks(c).iter().chain(notes) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "- {}", escape(line));
    }
    out.push_str(
        "\n| verdict | backend | workload | metric | HEAD over BASE | 95 % interval | note |\n",
    );
    out.push_str("|---|---|---|---|---:|---:|---|\n");
    for (index, m) in c.metrics.iter().enumerate() {
        if out.len() > MOST_MARKDOWN {
            let left = c.metrics.len() - index;
            let _ = writeln!(out, "\n{left} more rows: `--format csv` has them all.");
            break;
        }
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            m.verdict.name(),
            escape(&m.backend),
            escape(&m.workload),
            m.metric,
            m.ratio.map_or_else(|| "–".to_owned(), percent),
            m.ci95.map_or_else(|| "–".to_owned(), ends),
            cause(m).map_or_else(
                || note(m),
                |cause| format!("{}; {}", note(m), escape(&cause))
            )
        );
    }
    out
}

/// What explains a change: the parts that changed, largest first.
pub(super) fn cause(m: &Compared) -> Option<String> {
    let named: Vec<String> = m
        .parts
        .iter()
        .take(3)
        .map(|part| {
            let sign = if part.difference < 0.0 { "−" } else { "+" };
            let change = format!("{sign}{}", quantity(part.difference.abs(), m.unit));
            match part.share {
                Some(share) => format!("{} {change} ({:.0} % of it)", part.name, share * 100.0),
                None => format!("{} {change}", part.name),
            }
        })
        .collect();
    (!named.is_empty()).then(|| format!("from {}", named.join(", ")))
}

fn row(m: &Compared) -> String {
    let name = fit(&format!("{} {} {}", m.backend, m.workload, m.metric), 42);
    let change = match (m.ratio, m.ci95) {
        (Some(ratio), Some(ci)) => format!("{} [{}]", percent(ratio), ends(ci)),
        _ => "–".to_owned(),
    };
    let line = format!("  {name:42}{change:>21}  {}", note(m));
    format!("{}\n", fit(line.trim_end(), 80))
}

/// What stands behind a change: what would have been seen, its p, or what would decide.
fn note(m: &Compared) -> String {
    match (m.verdict, &m.doubt, m.needed) {
        (_, Some(_), Some(needed)) => format!("≥ {needed} {}", unit_of_data(m)),
        (_, Some(doubt), None) => doubt.short.to_owned(),
        (Word::Same, None, _) => match m.detectable {
            Some(relative) => format!("sees {} %", number(relative * 100.0)),
            None => String::new(),
        },
        _ => m
            .p_corrected
            .map_or_else(String::new, |p| format!("p {}", probability(p))),
    }
}

const fn unit_of_data(m: &Compared) -> &'static str {
    if m.relative { "blocks" } else { "rounds" }
}

fn probability(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        significant(p)
    }
}

/// `+12.3 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{}{} %", sign(ratio), number((ratio - 1.0).abs() * 100.0))
}

/// `+9.8, +14.6`: the ends of an interval in percent.
fn ends(ci: [f64; 2]) -> String {
    let [low, high] = ci.map(|end| format!("{}{}", sign(end), number((end - 1.0).abs() * 100.0)));
    format!("{low}, {high}")
}

const fn sign(ratio: f64) -> &'static str {
    if ratio < 1.0 { "−" } else { "+" }
}

/// One decimal below 10, none above: a column of percentages keeps its width.
fn number(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn early(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(", ended early ({why})"))
}

/// Where the hosts differ, what is missing, and each reason with the metrics it holds for.
pub(super) fn remarks(c: &Comparison) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if !c.injected.is_empty() {
        lines.push(format!(
            "A test of the gate, not a measurement: ISOBENCH_INJECT put in {}.",
            c.injected.join(", ")
        ));
    }
    let hosts = c.host.iter().map(|d| {
        format!(
            "{} is {} in BASE and {} in HEAD: runs of different hosts are not judged.",
            d.field, d.base, d.head
        )
    });
    lines.extend(hosts);
    lines.extend(c.missing.iter().map(missing));
    let mut reasons: Vec<(&str, usize, &str)> = Vec::new();
    for doubt in c.metrics.iter().filter_map(|m| m.doubt.as_ref()) {
        match reasons.iter_mut().find(|(short, ..)| *short == doubt.short) {
            Some((_, count, _)) => *count += 1,
            None => reasons.push((doubt.short, 1, &doubt.words)),
        }
    }
    for (short, count, words) in reasons {
        let example = if count > 1 { "for example " } else { "" };
        lines.push(format!("{short} ({count}): {example}{words}."));
    }
    lines.extend(remedy(c));
    lines
}

/// What would decide what is not decided.
fn remedy(c: &Comparison) -> Option<String> {
    let mut open = c.metrics.iter().filter(|m| m.needed.is_some());
    let first = open.next()?;
    let [base, head] = first.blocks;
    let most = open.chain([first]).filter(|m| m.relative);
    let blocks = most.filter_map(|m| m.needed).max().unwrap_or(0);
    let more = match (blocks, c.base.profile.as_str()) {
        (0, _) | (_, "full") => "a longer --max-time".to_owned(),
        _ => format!("--profile full, or --blocks {blocks} for those workloads"),
    };
    Some(format!(
        "≥ N {0}: with as many in each run (the first has {base} and {head}) this would be decided 9 \
         times in 10, as noisy as these runs are: {more}; --threshold asks for less.",
        unit_of_data(first),
    ))
}

pub(super) fn missing(m: &Missing) -> String {
    let side = m.missing_in.to_uppercase();
    match (&m.workload, m.metric) {
        (Some(workload), Some(metric)) => {
            format!("missing in {side}: {} {workload} {metric}.", m.backend)
        }
        _ => format!("missing in {side}: everything of {}.", m.backend),
    }
}

pub(super) fn sentence(c: &Comparison) -> String {
    let count = |word| c.metrics.iter().filter(|m| m.verdict == word).count();
    let all = c.metrics.len();
    let named = |word| {
        let of = c.metrics.iter().filter(|m| m.verdict == word);
        let names: Vec<String> = of
            .clone()
            .take(3)
            .map(|m| {
                let change = m.ratio.map(percent).unwrap_or_default();
                let cause = m.parts.first();
                let cause = cause
                    .map(|part| format!(", in {}", part.name))
                    .unwrap_or_default();
                format!(
                    "{} {} {} ({change}{cause})",
                    m.backend, m.workload, m.metric
                )
            })
            .collect();
        let more = of.count().saturating_sub(names.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", names.join(", "))
    };
    match c.verdict {
        Word::Worse => format!("HEAD is worse than BASE: {}.", named(Word::Worse)),
        Word::Better => format!("HEAD is better than BASE: {}.", named(Word::Better)),
        Word::Same => format!("HEAD is the same as BASE in all {all} comparisons."),
        Word::Inconclusive if all == 0 => {
            "The runs have nothing in common that could be compared.".to_owned()
        }
        Word::Inconclusive => format!(
            "Inconclusive: {} of {all} comparisons cannot be decided{}; {} are the same, none is \
             worse.",
            count(Word::Inconclusive),
            if c.missing.is_empty() {
                ""
            } else {
                ", and the runs did not measure the same"
            },
            count(Word::Same)
        ),
    }
}
