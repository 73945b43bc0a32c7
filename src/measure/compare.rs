//! Two runs against each other: better, worse, the same, or not to be said.
//!
//! What is compared is each block's log-ratio to the reference measured in the same block, so that
//! a faster or slower host cancels. [`change`](super::change) judges each quantity; here the runs are
//! matched, and what speaks against judging them at all is found.

use super::change::{Answer, Question, answer, change, corrected, explanation};
use super::comparison::{
    CompareError, Compared, Comparison, Doubt, Missing, REFERENCE, Rule, SCHEMA, Word,
};
use super::series::{Gathered, Key, Paired, Quantity, series};
use super::state::{State, moved};
use super::stored::{injected as injected_into, load_each};
use crate::metric::Better;
use crate::stats::verdict;
use crate::stats::{Sample, Verdict};
use crate::store::document::{Run, Status};
use crate::store::read_error::ReadError;
use crate::store::record::Record;
use std::path::Path;

mod runs;

use runs::{
    disturbed, ended_early, host_differences, injected, missing, must_agree, other_host, side,
};

/// One side of a comparison: a run, reduced to what is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparable {
    /// The document.
    pub run: Run,
    /// Everything that it measured against the reference.
    pub quantities: Vec<Quantity>,
    /// What a reader must know about how it was stored.
    pub notes: Vec<String>,
}

impl Comparable {
    /// A run that has just been measured.
    ///
    /// # Errors
    /// [`CompareError::NoReference`].
    pub fn of_records(run: Run, records: &[Record]) -> Result<Self, CompareError> {
        let quantities = of_run(&run, &Gathered::of(records), "this run")?;
        let notes = injected_into(&run).into_iter().collect();
        Ok(Self {
            run,
            quantities,
            notes,
        })
    }

    /// Reads what is compared of a stored run. `name` is `BASE` or `HEAD`.
    ///
    /// # Errors
    /// [`ComparableError::Read`]; [`CompareError::NoTrials`], [`CompareError::NoReference`].
    pub fn read(path: &Path, name: &'static str) -> Result<Self, ComparableError> {
        let mut gathered = Gathered::default();
        let (stored, any) = load_each(path, &mut |record| gathered.add(record))?;
        if !any {
            return Err(CompareError::NoTrials(name).into());
        }
        Ok(Self {
            quantities: of_run(&stored.run, &gathered, name)?,
            notes: stored.notes(),
            run: stored.run,
        })
    }
}

/// Why a stored run cannot be one side of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum ComparableError {
    /// It was refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It lacks what is compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// Compares two runs.
///
/// # Errors
/// See [`CompareError`].
pub fn compare(
    base: &Comparable,
    head: &Comparable,
    rule: &Rule,
) -> Result<Comparison, CompareError> {
    if base.run.id == head.run.id {
        return Err(CompareError::SameRun(base.run.id.clone()));
    }
    must_agree(&base.run, &head.run)?;
    let host = host_differences(&base.run, &head.run);
    let early = ended_early(&base.run, &head.run);
    let doubt = other_host(&host).or_else(|| disturbed(&base.run, &head.run));
    let Judgement {
        missing,
        metrics,
        verdict,
    } = judge(&base.quantities, &head.quantities, rule, &early, doubt);
    Ok(Comparison {
        schema: SCHEMA,
        base: side(&base.run),
        head: side(&head.run),
        reference: REFERENCE,
        alpha: rule.alpha,
        verdict,
        injected: injected(&base.run, &head.run),
        host,
        missing,
        metrics,
    })
}

/// What two runs' quantities come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What only one has.
    pub missing: Vec<Missing>,
    /// Every metric that both have, worst first.
    pub metrics: Vec<Compared>,
    /// The word for the whole.
    pub verdict: Word,
}

/// Judges what two runs measured. `early` says what of them ended early, `doubt` why nothing of them
/// can be judged, if so.
#[must_use]
pub fn judge(
    of_base: &[Quantity],
    of_head: &[Quantity],
    rule: &Rule,
    early: &str,
    doubt: Option<Doubt>,
) -> Judgement {
    let missing = missing(of_base, of_head);
    let both: Vec<(&Quantity, &Quantity)> = of_base
        .iter()
        .filter_map(|b| Some((b, of_head.iter().find(|h| h.key == b.key)?)))
        .collect();
    let mut metrics = judge_all(&both, rule, early);
    if let Some(doubt) = doubt.or_else(|| State::of(&both).doubt(rule)) {
        for metric in &mut metrics {
            metric.verdict = Word::Inconclusive;
            metric.doubt = Some(doubt.clone());
            metric.needed = None;
            metric.parts = Vec::new();
        }
    }
    worst_first(&mut metrics);
    let verdict = overall(&metrics, !missing.is_empty());
    Judgement {
        missing,
        metrics,
        verdict,
    }
}

/// Sorts by verdict; within a word the largest harm comes first.
pub(super) fn worst_first(metrics: &mut [Compared]) {
    metrics.sort_by(|a, b| {
        let order = |c: &Compared| (c.verdict, harm(c));
        let ((a_word, a_harm), (b_word, b_harm)) = (order(a), order(b));
        a_word.cmp(&b_word).then(b_harm.total_cmp(&a_harm))
    });
}

/// The word for the whole.
#[must_use]
pub fn overall(metrics: &[Compared], something_missing: bool) -> Word {
    let has = |word| metrics.iter().any(|m| m.verdict == word);
    if has(Word::Worse) {
        Word::Worse
    } else if has(Word::Inconclusive) || something_missing || metrics.is_empty() {
        Word::Inconclusive
    } else if has(Word::Better) {
        Word::Better
    } else {
        Word::Same
    }
}

/// How far a change goes in the bad direction, on the scale of logarithms.
fn harm(c: &Compared) -> f64 {
    let log = c.ratio.map_or(0.0, f64::ln);
    match c.better {
        Better::Lower => log,
        Better::Higher => -log,
    }
}

fn of_run(
    run: &Run,
    gathered: &Gathered,
    name: &'static str,
) -> Result<Vec<Quantity>, CompareError> {
    let mut backends = run.backends.iter();
    if !backends.any(|b| b.id == REFERENCE && b.status == Status::Measured) {
        return Err(CompareError::NoReference(name));
    }
    let ids: Vec<&str> = run.backends.iter().map(|b| b.id.as_str()).collect();
    let all = series(gathered, &ids, REFERENCE).into_iter();
    Ok(all.map(Paired::quantity).collect())
}

fn judge_all(both: &[(&Quantity, &Quantity)], rule: &Rule, early: &str) -> Vec<Compared> {
    let changes: Vec<_> = both
        .iter()
        .map(|(b, h)| change(b.batches.as_ref()?, h.batches.as_ref()?))
        .collect();
    let state = State::of(both);
    let strictest = rule.alpha / changes.iter().flatten().count().max(1) as f64;
    // A p-value that is none is all that could be refused, and no test gives one.
    let tested = corrected(&changes).unwrap_or_else(|_| vec![None; both.len()]);
    both.iter()
        .zip(tested)
        .map(|(pair, tested)| {
            let mut compared = unjudged(pair, rule, early);
            if let Some((change, p)) = tested {
                compared.ratio = Some(change.ratio.ratio);
                compared.ci95 = Some([change.ratio.low, change.ratio.high]);
                compared.p = Some(change.p);
                compared.p_corrected = Some(p);
                let question = question(*pair, compared.threshold, strictest);
                if let Ok(answer) = answer(&change, p, &question, rule) {
                    say(&mut compared, &answer, early);
                }
            }
            let doubt = moved(pair.0, pair.1, rule);
            let doubt = doubt.or_else(|| state.outdone(&compared, pair.0, pair.1));
            if let Some(doubt) = doubt {
                compared.verdict = Word::Inconclusive;
                compared.doubt = Some(doubt);
                compared.needed = None;
            }
            if matches!(compared.verdict, Word::Better | Word::Worse) {
                compared.parts = explanation(pair.0, pair.1, compared.ratio);
            }
            compared
        })
        .collect()
}

fn question((base, head): (&Quantity, &Quantity), threshold: f64, strictest: f64) -> Question {
    // The run that lost the larger share of its trials decides.
    let share = |p: &Quantity| p.failed as f64 / p.trials.max(1) as f64;
    let worse = if share(base) > share(head) {
        base
    } else {
        head
    };
    Question {
        better: base.metric.better,
        threshold,
        // The machine is not quite the same in both runs, which no test inside them can know.
        whole_interval: true,
        strictest,
        trials: worse.trials,
        failed: worse.failed,
    }
}

/// A quantity before anything could be said of it, with the reason if it stays so.
fn unjudged((base, head): &(&Quantity, &Quantity), rule: &Rule, early: &str) -> Compared {
    let Key {
        backend,
        workload,
        metric,
    } = &base.key;
    let blocks = [base.blocks, head.blocks];
    let batches = [base, head].map(|q| q.batches.as_ref().map(Sample::n));
    let threshold = rule.threshold_of(backend, workload, metric, base.threshold);
    let doubt = untested(blocks, batches, early);
    Compared {
        relative: base.relative,
        blocks,
        batches: batches.map(Option::unwrap_or_default),
        ..Compared::unjudged(backend, workload.clone(), &base.metric, threshold, doubt)
    }
}

/// Puts an answer into words.
fn say(compared: &mut Compared, answer: &Answer, early: &str) {
    compared.detectable = answer.detectable;
    let blocks = compared.blocks[0].min(compared.blocks[1]) as f64;
    compared.needed = answer.growth.map(|g| (blocks * g).ceil() as u64);
    (compared.verdict, compared.doubt) = match answer.verdict {
        Verdict::Better => (Word::Better, None),
        Verdict::Worse => (Word::Worse, None),
        Verdict::Same { .. } => (Word::Same, None),
        Verdict::Inconclusive(doubt) => {
            let doubt = words(&doubt, compared.threshold, early);
            (Word::Inconclusive, Some(doubt))
        }
    };
}

pub(super) fn words(doubt: &verdict::Doubt, threshold: f64, early: &str) -> Doubt {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let limit = percent(threshold);
    let (short, words) = match *doubt {
        verdict::Doubt::TooFewPairs { have, need } => (
            "too few",
            format!("{have} batches of blocks, {need} are needed{early}"),
        ),
        verdict::Doubt::Tainted { share } => (
            "failures",
            format!("{} of the trials failed or were disturbed", percent(share)),
        ),
        verdict::Doubt::TooWide { half_width } => (
            "too wide",
            format!(
                "the interval is ± {}, the threshold {limit}{early}",
                percent(half_width)
            ),
        ),
        verdict::Doubt::NotSignificant => (
            "may be chance",
            format!("beyond the threshold of {limit}, but chance explains it"),
        ),
        verdict::Doubt::NotBeyond { nearest } => (
            "near the limit",
            format!(
                "beyond the threshold of {limit}, but its interval begins below it, at {}{early}",
                percent(nearest)
            ),
        ),
        verdict::Doubt::NotExcluded { furthest } => (
            "not ruled out",
            format!(
                "a change of {} is not ruled out, the threshold is {limit}{early}",
                percent(furthest)
            ),
        ),
    };
    Doubt { short, words }
}

/// Why there was nothing to test.
fn untested(blocks: [usize; 2], batches: [Option<usize>; 2], early: &str) -> Doubt {
    let [base, head] = blocks;
    if batches.contains(&None) && base.min(head) > 0 {
        return Doubt {
            short: "no ratio",
            words: "a value is not positive, so there is no ratio".to_owned(),
        };
    }
    Doubt {
        short: "too few",
        words: format!("{base} and {head} blocks{early}"),
    }
}
