//! A page taken apart again: every text with the stored numbers attached to it.
#![allow(clippy::unwrap_used)] // a test states its expectations

use std::collections::BTreeSet;

use isobench::measure::summary::metrics_of;
use isobench::store::document::Run;
use isobench::store::record::Record;
use isobench::workload::{Profile, Task};
use serde_json::Value;

/// A text and the numbers that it says it renders.
pub struct Figure {
    pub text: String,
    pub values: Vec<f64>,
}

/// What a page says in numbers.
pub struct Page {
    pub figures: Vec<Figure>,
    /// Cells with a unit and no number attached.
    pub bare_quantities: Vec<String>,
}

const UNITS: [&str; 9] = [
    " ns", " µs", " ms", " s", " KiB", " MiB", " GiB", "B/s", "FLOP/s",
];

impl Page {
    pub fn read(html: &str) -> Self {
        let mut figures = Vec::new();
        let mark = " data-v=\"";
        let mut rest = html;
        while let Some(at) = rest.find(mark) {
            rest = &rest[at + mark.len()..];
            let end = rest.find('"').unwrap();
            let values: Vec<f64> = rest[..end].split(' ').map(|v| v.parse().unwrap()).collect();
            let tail = &rest[end..];
            let open = tail.find('>').unwrap();
            let inner = &tail[open + 1..];
            let inner = inner.strip_prefix("<title>").unwrap_or(inner);
            let text = if tail[..open].ends_with('/') {
                ""
            } else {
                &inner[..inner.find('<').unwrap()]
            };
            figures.push(Figure {
                text: plain(text),
                values,
            });
        }
        let cells = html.split("<td class=\"").skip(1);
        let bare = cells.filter_map(|cell| {
            let open = cell.find('>')?;
            let text = plain(&cell[open + 1..cell.find('<')?]);
            let is_quantity = UNITS.iter().any(|unit| text.ends_with(unit));
            (is_quantity && !cell[..open].contains("data-v")).then_some(text)
        });
        Self {
            bare_quantities: bare.collect(),
            figures,
        }
    }
}

fn plain(text: &str) -> String {
    let signs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    signs
        .iter()
        .fold(text.trim().to_owned(), |text, (from, to)| {
            text.replace(from, to)
        })
}

/// Every number of a document, by its bits.
pub fn numbers_of(document: &Value) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut open = vec![document];
    while let Some(value) = open.pop() {
        match value {
            Value::Number(number) => {
                found.insert(number.as_f64().unwrap().to_bits());
            }
            Value::Array(all) => open.extend(all),
            Value::Object(map) => open.extend(map.values()),
            _ => {}
        }
    }
    found
}

/// What the metrics' definitions make of each trial.
pub fn numbers_of_trials(records: &[Record]) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for record in records {
        if let Record::Trial(trial) = record
            && let Some(measured) = &trial.measured
        {
            let tasks = Task::select(&trial.workload, Profile::default()).unwrap();
            for (_, value) in metrics_of(&tasks[0]) {
                found.extend(value(measured).map(f64::to_bits));
            }
        }
    }
    found
}

/// Names with digits in them, which are no quantities.
pub fn names_of(run: &Run) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for metric in &run.metrics {
        names.insert(metric.workload.clone());
        names.extend(metric.workload.split('@').next().map(str::to_owned));
        names.extend(metric.phases.iter().map(|phase| phase.name.clone()));
    }
    names.extend(run.backends.iter().map(|b| b.id.clone()));
    names
}

/// The numbers in a text that render none of these values: not to three digits in any prefix, nor
/// as a whole number, a percentage, a distance from 1 in percent, or upside down.
pub fn unexplained(text: &str, values: &[f64], names: &BTreeSet<String>) -> Vec<String> {
    let mut text = text.to_owned();
    // The longest first: sha256@1MiB before sha256.
    let mut names: Vec<&String> = names
        .iter()
        .filter(|n| n.contains(|c: char| c.is_ascii_digit()))
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        text = text.replace(name.as_str(), " ");
    }
    let numbers = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let numbers = numbers
        .map(|token| token.trim_matches('.'))
        .filter(|token| !token.is_empty());
    // What is told together ("3 smaller ones") is told as the sum of what is attached.
    let sum: f64 = values.iter().sum();
    let forms: Vec<f64> = values.iter().copied().chain([sum]).collect();
    numbers
        .filter(|token| !forms.iter().any(|value| renders(token, *value)))
        .map(str::to_owned)
        .collect()
}

fn renders(token: &str, value: f64) -> bool {
    let kibi = 1024.0_f64;
    let scales = [1.0, 1e3, 1e6, 1e9, kibi, kibi * kibi, kibi.powi(3), 0.01];
    let places = token
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    [
        value,
        1.0 / value,
        (value - 1.0) * 100.0,
        (1.0 / value - 1.0) * 100.0,
    ]
    .iter()
    .any(|form| {
        scales.iter().any(|scale| {
            let shown = format!("{:.places$}", (form / scale).abs());
            shown == token
        })
    })
}
