//! The answer at a glance: a row and a sentence for each configuration – how fast it starts, whether it
//! computes as fast, what one more takes, how sure that is, and why.

use super::figure::Figure;
use super::findings::is_copy;
use super::format::{self, quantity, significant};
use crate::metric::Better;
use crate::store::document::{MetricResult, RatioResult, Run, Status, Verdict};
use crate::workload::facts;

/// One configuration's answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// Configuration id.
    pub backend: String,
    /// What it is, in plain words.
    pub plain: String,
    /// Median start.
    pub start: Figure,
    /// Its interval.
    pub sure: Figure,
    /// Ratio of starts to `process`.
    pub to_process: Figure,
    /// Whether it computes at the same speed.
    pub compute: Figure,
    /// First touch of memory.
    pub touch: Figure,
    /// Memory of one more idle instance.
    pub memory: Figure,
    /// How many facts it shares with the host.
    pub shared: Figure,
    /// Where most of its start goes.
    pub why: Figure,
    /// Everything in one sentence; of the reference, none.
    pub sentence: Option<Figure>,
}

/// Work of the processor alone.
const COMPUTE: [&str; 3] = ["bandwidth", "flops", "ops"];
/// Ratios this close to 1 are called the same, if their intervals are too.
const SAME: f64 = 0.05;

/// A row for each configuration that was measured.
#[must_use]
pub fn rows(run: &Run) -> Vec<Glance> {
    let measured = run.backends.iter().filter(|b| b.status == Status::Measured);
    measured.map(|b| row(run, &b.id)).collect()
}

/// What a configuration is, in words that need no manual.
#[must_use]
pub fn plain(id: &str) -> String {
    let (name, options) = id.split_once(':').unwrap_or((id, ""));
    let words = match (name, options) {
        ("process", _) => "a bare process",
        ("container", "") => "a container",
        ("microvm", "") => "a micro-VM without an OS",
        ("microvm", "jailed") => "a micro-VM without an OS, its VMM confined",
        ("microvm", "snapshot") => "a copy of a micro-VM that was ready",
        ("microvm", "pool") => "a micro-VM that is kept and reset",
        ("linux-vm", "") => "a micro-VM with a real Linux",
        ("container", options) => return format!("a container with {options}"),
        ("linux-vm", options) => return format!("a micro-VM with a real Linux, {options}"),
        _ => return id.to_owned(),
    };
    words.to_owned()
}

fn metric<'a>(run: &'a Run, id: &str, workload: &str, name: &str) -> Option<&'a MetricResult> {
    run.metrics.iter().find(|m| {
        m.backend == id && m.metric == name && m.workload.split('@').next() == Some(workload)
    })
}

fn ratio<'a>(
    run: &'a Run,
    id: &str,
    workload: &str,
    name: &str,
    reference: &str,
) -> Option<&'a RatioResult> {
    run.ratios.iter().find(|r| {
        r.backend == id
            && r.reference == reference
            && r.metric == name
            && r.workload.split('@').next() == Some(workload)
    })
}

fn numbers(ratio: &RatioResult) -> Vec<f64> {
    let mut all = vec![ratio.ratio];
    all.extend(ratio.ci95.into_iter().flatten());
    all
}

fn row(run: &Run, id: &str) -> Glance {
    let dash = || Figure::words("–");
    let start = metric(run, id, "noop", "startup");
    let estimate = |m: Option<&MetricResult>| {
        m.map_or_else(dash, |m| {
            Figure::new(quantity(m.median, m.unit), [m.median])
        })
    };
    let sure = start.and_then(|m| Some((m, m.ci95?)));
    let to_process = ratio(run, id, "noop", "startup", "process");
    let why = start.map(largest).unwrap_or_default();
    Glance {
        backend: id.to_owned(),
        plain: plain(id),
        start: estimate(start),
        sure: sure.map_or_else(dash, |(m, ci)| {
            Figure::new(format::interval(ci, m.median, m.unit), ci)
        }),
        to_process: if id == "process" {
            Figure::words("1")
        } else {
            to_process.map_or_else(dash, |r| {
                Figure::new(format::ratio_with_interval(r.ratio, r.ci95), numbers(r))
            })
        },
        compute: computes(run, id).unwrap_or_else(dash),
        touch: touches(run, id).unwrap_or_else(dash),
        memory: estimate(metric(run, id, "idle", "marginal")),
        shared: shared(run, id).unwrap_or_else(dash),
        sentence: sentence(run, id),
        why,
    }
}

/// The phases that take most of a start.
fn largest(metric: &MetricResult) -> Figure {
    let mut phases: Vec<_> = metric.phases.iter().filter(|p| p.median > 0.0).collect();
    phases.sort_by(|a, b| b.median.total_cmp(&a.median));
    phases.truncate(3);
    let words: Vec<String> = phases
        .iter()
        .map(|p| format!("{} {}", p.name, quantity(p.median, metric.unit)))
        .collect();
    let values: Vec<f64> = phases.iter().map(|p| p.median).collect();
    Figure::new(words.join(", "), values)
}

/// `2.4 × slower [2.3, 2.5]`, told from the larger side.
fn difference(ratio: &RatioResult, better: Better) -> Option<Figure> {
    let [low, high] = ratio.ci95?;
    let slower = (ratio.ratio >= 1.0) == (better == Better::Lower);
    let (factor, ends) = if ratio.ratio >= 1.0 {
        (ratio.ratio, [low, high])
    } else {
        (1.0 / ratio.ratio, [1.0 / high, 1.0 / low])
    };
    let word = if slower { "slower" } else { "faster" };
    let [a, b] = ends.map(significant);
    let text = format!("{} × {word} [{a}, {b}]", significant(factor));
    Some(Figure::new(text, numbers(ratio)))
}

fn is_same(ratio: &RatioResult) -> bool {
    ratio
        .ci95
        .is_some_and(|[low, high]| low > 1.0 - SAME && high < 1.0 + SAME)
}

fn is_open(ratio: &RatioResult) -> bool {
    ratio
        .ci95
        .is_none_or(|[low, high]| low <= 1.0 && high >= 1.0)
}

fn work<'a>(run: &'a Run, id: &str) -> Vec<&'a RatioResult> {
    let of = |r: &&RatioResult| {
        let name = r.workload.split('@').next().unwrap_or_default();
        r.backend == id
            && r.reference == "process"
            && COMPUTE.contains(&r.metric.as_str())
            && matches!(name, "sha256" | "matmul" | "branch")
    };
    run.ratios.iter().filter(of).collect()
}

/// Whether it computes as fast as a bare process: the farthest end of an interval from 1, or what
/// differs.
fn computes(run: &Run, id: &str) -> Option<Figure> {
    let all = work(run, id);
    if all.is_empty() {
        return None;
    }
    if all.iter().all(|r| is_same(r)) {
        let ends = all.iter().filter_map(|r| r.ci95).flatten();
        let farthest = ends.fold(1.0_f64, |far, end| {
            if (end - 1.0).abs() > (far - 1.0).abs() {
                end
            } else {
                far
            }
        });
        let percent = significant((farthest - 1.0).abs() * 100.0);
        return Some(Figure::new(format!("same (±{percent} %)"), [farthest]));
    }
    let differs = all
        .iter()
        .filter(|r| !is_same(r) && !is_open(r))
        .max_by(|a, b| a.ratio.ln().abs().total_cmp(&b.ratio.ln().abs()));
    if let Some(most) = differs {
        let told = difference(most, Better::Higher)?;
        let name = most.workload.split('@').next().unwrap_or_default();
        let what = match name {
            "sha256" => "hashing",
            "matmul" => "vectorised arithmetic",
            _ => "branching code",
        };
        return Some(Figure::new(format!("{what} is {}", told.text), told.values));
    }
    Some(Figure::words("not told apart"))
}

fn touches(run: &Run, id: &str) -> Option<Figure> {
    let found = ratio(run, id, "fault", "pages", "process")?;
    if is_same(found) {
        return Some(Figure::new("same", numbers(found)));
    }
    if is_open(found) {
        return Some(Figure::new("not told apart", numbers(found)));
    }
    difference(found, Better::Higher)
}

fn shared(run: &Run, id: &str) -> Option<Figure> {
    let is_question = |name: &str| facts::CALLS.iter().all(|call| call.name != name);
    let mut all = run
        .isolation
        .iter()
        .filter(|f| f.backend == id && is_question(&f.fact))
        .peekable();
    all.peek()?;
    let (mut count, mut shared) = (0_usize, 0_usize);
    for fact in all {
        count += 1;
        shared += usize::from(fact.verdict == Verdict::Shared);
    }
    // Counts of rows of `isolation`; no number of the document's stands behind them.
    Some(Figure::words(format!("{shared} of {count}")))
}

/// Everything in one sentence.
fn sentence(run: &Run, id: &str) -> Option<Figure> {
    if id == "process" {
        return None;
    }
    let mut parts: Vec<Figure> = Vec::new();
    let verb = if is_copy(id) {
        "is at its first instruction"
    } else {
        "starts"
    };
    let against = |reference: &str, words: &str| {
        let found = ratio(run, id, "noop", "startup", reference)?;
        if is_open(found) {
            let text = format!("{verb} as fast as {words}, as far as this run can tell");
            return Some(Figure::new(text, numbers(found)));
        }
        let told = difference(found, Better::Lower)?;
        let told_text = told.text.replacen(" [", &format!(" than {words} ["), 1);
        Some(Figure::new(format!("{verb} {told_text}"), told.values))
    };
    let start = if id == "container" {
        against("process", "a bare process")
    } else {
        against("container", "a container").or_else(|| against("process", "a bare process"))
    };
    let has_start = start.is_some();
    parts.extend(start);
    if let Some(found) = computes(run, id) {
        let text = match found.text.strip_prefix("same (") {
            Some(within) => format!("it computes at the same speed as a bare process ({within}"),
            None if found.values.is_empty() => {
                "whether it computes as fast this run cannot tell".to_owned()
            }
            None => format!("its {}", found.text),
        };
        parts.push(Figure::new(text, found.values));
    }
    if let Some(found) = touches(run, id).filter(|found| found.text.contains('×')) {
        let text = format!("its first touch of memory is {}", found.text);
        parts.push(Figure::new(text, found.values));
    }
    if let Some(memory) = metric(run, id, "idle", "marginal") {
        let each = quantity(memory.median, memory.unit);
        let text = format!("one more idle instance takes {each}");
        parts.push(Figure::new(text, [memory.median]));
    }
    if parts.is_empty() {
        return None;
    }
    let texts: Vec<&str> = parts.iter().map(Figure::as_str).collect();
    // Without a verb of its own the subject is only named.
    let colon = if has_start { "" } else { ":" };
    let text = format!("{}{colon} {}.", subject(id), texts.join("; "));
    let values: Vec<f64> = parts.iter().flat_map(|part| part.values.clone()).collect();
    Some(Figure::new(text, values))
}

/// A configuration at the head of a sentence, its id beside its description where that is another.
fn subject(id: &str) -> String {
    let name = plain(id);
    if name == id {
        return name;
    }
    let mut letters = name.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let capital: String = first.chain(letters).collect();
    if name.strip_prefix("a ") == Some(id) {
        capital
    } else {
        format!("{capital} ({id})")
    }
}
