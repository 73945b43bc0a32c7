//! Two runs against each other: better, worse, the same, or not to be said.
//!
//! What is compared is each block's log-ratio to the reference measured in the same block, so that
//! a faster or slower host cancels. Blocks of one run are not independent of each other
//! ([`batch`]), so each run enters with the medians of its batches; BASE's and HEAD's are two
//! independent samples ([`two_sample`]).

use super::comparison::{
    CompareError, Compared, Comparison, Difference, Doubt, Missing, REFERENCE, Rule, SCHEMA, Side,
    Word, threshold,
};
use super::series::{Key, Paired, series};
use super::stored::Stored;
use crate::metric::{Better, STARTUP};
use crate::stats::batch::batch_medians;
use crate::stats::holm::holm;
use crate::stats::paired::{Ratio, log_ratios};
use crate::stats::power::detectable_from;
use crate::stats::verdict::{self, Direction, Evidence, judge};
use crate::stats::{Sample, Verdict, quantile, two_sample};
use crate::store::document::{MetricResult, Run, Status};

/// Level of the intervals.
const LEVEL: f64 = 0.95;
/// Power at which an effect counts as one that would have been seen.
const POWER: f64 = 0.9;

/// Compares two runs.
///
/// # Errors
/// See [`CompareError`].
pub fn compare(base: &Stored, head: &Stored, rule: &Rule) -> Result<Comparison, CompareError> {
    if base.run.id == head.run.id {
        return Err(CompareError::SameRun(base.run.id.clone()));
    }
    must_agree(&base.run, &head.run)?;
    let (of_base, of_head) = (of_run(base, "BASE")?, of_run(head, "HEAD")?);
    let host = host_differences(&base.run, &head.run);
    let missing = missing(&of_base, &of_head);
    let both: Vec<(&Paired, &Paired)> = of_base
        .iter()
        .filter_map(|b| Some((b, of_head.iter().find(|h| h.key == b.key)?)))
        .collect();
    let early = ended_early(&base.run, &head.run);
    let mut metrics = judge_all(&both, rule, &early);
    if let Some(doubt) = other_state(&both, rule) {
        for metric in &mut metrics {
            metric.verdict = Word::Inconclusive;
            metric.doubt = Some(doubt.clone());
        }
    }
    if !host.is_empty() {
        let fields: Vec<&str> = host.iter().map(|d| d.field).collect();
        for metric in &mut metrics {
            metric.verdict = Word::Inconclusive;
            metric.doubt = Some(Doubt {
                short: "other host",
                words: format!("the hosts differ ({})", fields.join(", ")),
            });
        }
    }
    // Within a word the largest harm first.
    metrics.sort_by(|a, b| {
        let order = |c: &Compared| (c.verdict, harm(c));
        let ((a_word, a_harm), (b_word, b_harm)) = (order(a), order(b));
        a_word.cmp(&b_word).then(b_harm.total_cmp(&a_harm))
    });
    let has = |word| metrics.iter().any(|m| m.verdict == word);
    let verdict = if has(Word::Worse) {
        Word::Worse
    } else if has(Word::Inconclusive) || !missing.is_empty() || metrics.is_empty() {
        Word::Inconclusive
    } else if has(Word::Better) {
        Word::Better
    } else {
        Word::Same
    };
    Ok(Comparison {
        schema: SCHEMA,
        base: side(&base.run),
        head: side(&head.run),
        reference: REFERENCE,
        alpha: rule.alpha,
        verdict,
        host,
        missing,
        metrics,
    })
}

/// Doubt about everything where starting the bare process took another time by more than the rule
/// allows: the CPU is the same, so the machine was busy in one of the runs, and then each kind of
/// isolation suffers in its own way.
fn other_state(both: &[(&Paired, &Paired)], rule: &Rule) -> Option<Doubt> {
    let start = |(b, _): &&(&Paired, &Paired)| b.key.metric == STARTUP.name;
    let (base, head) = both.iter().find(start)?;
    moved(base, head, rule)
}

/// Doubt about a metric whose reference moved by more than the rule allows.
fn moved(base: &Paired, head: &Paired, rule: &Rule) -> Option<Doubt> {
    let typical = |paired: &Paired| {
        let values: Vec<f64> = paired
            .pairs
            .iter()
            .map(|(reference, _)| *reference)
            .collect();
        Sample::new(values).ok().map(|s| quantile::median(&s))
    };
    let factor = typical(head)? / typical(base)?;
    let (metric, factor) = (base.key.metric, factor.max(factor.recip()));
    // Not a number where a value is 0; then there is no ratio either.
    (factor > rule.most_moved).then(|| Doubt {
        short: "other state",
        words: format!(
            "{metric} of {REFERENCE} itself ({}) differs by a factor of {factor:.1}: one of the \
             runs was disturbed throughout",
            base.key.workload
        ),
    })
}

/// How far a change goes in the bad direction, on the scale of logarithms.
fn harm(c: &Compared) -> f64 {
    let log = c.ratio.map_or(0.0, f64::ln);
    match c.better {
        Better::Lower => log,
        Better::Higher => -log,
    }
}

fn side(run: &Run) -> Side {
    Side {
        id: run.id.clone(),
        started: run.started.clone(),
        profile: run.profile.clone(),
        tool: format!("{} ({})", run.tool.version, run.tool.commit),
        ended_early: run.ended_early.clone(),
    }
}

/// Other bytes, another schema or another unit make numbers that have nothing in common.
fn must_agree(base: &Run, head: &Run) -> Result<(), CompareError> {
    let equal = |field: String, base: String, head: String| {
        if base == head {
            return Ok(());
        }
        Err(CompareError::Differs { field, base, head })
    };
    let of = |run: &Run| (run.schema.clone(), run.payload.sha256.clone());
    let ((base_schema, base_payload), (head_schema, head_payload)) = (of(base), of(head));
    equal("schema".to_owned(), base_schema, head_schema)?;
    equal("payload.sha256".to_owned(), base_payload, head_payload)?;
    let same = |a: &MetricResult, b: &MetricResult| {
        (&a.backend, &a.workload, &a.metric) == (&b.backend, &b.workload, &b.metric)
    };
    for (index, a) in base.metrics.iter().enumerate() {
        if let Some(b) = head.metrics.iter().find(|b| same(a, b)) {
            let field = |name| format!("metrics[{index}].{name}");
            equal(field("unit"), a.unit.to_string(), b.unit.to_string())?;
            equal(
                field("better"),
                format!("{:?}", a.better),
                format!("{:?}", b.better),
            )?;
        }
    }
    Ok(())
}

fn of_run(stored: &Stored, name: &'static str) -> Result<Vec<Paired>, CompareError> {
    let records = stored.records.as_ref();
    let records = records.ok_or(CompareError::NoTrials(name))?;
    let mut backends = stored.run.backends.iter();
    if !backends.any(|b| b.id == REFERENCE && b.status == Status::Measured) {
        return Err(CompareError::NoReference(name));
    }
    let ids: Vec<&str> = stored.run.backends.iter().map(|b| b.id.as_str()).collect();
    Ok(series(records, &ids, REFERENCE))
}

fn host_differences(base: &Run, head: &Run) -> Vec<Difference> {
    let fields = [
        ("host.kvm", &base.host.kvm, &head.host.kvm),
        ("host.cpu", &base.host.cpu, &head.host.cpu),
        ("host.kernel", &base.host.kernel, &head.host.kernel),
    ];
    fields
        .into_iter()
        .filter(|(_, base, head)| base != head)
        .map(|(field, base, head)| Difference {
            field,
            base: base.clone(),
            head: head.clone(),
        })
        .collect()
}

fn ended_early(base: &Run, head: &Run) -> String {
    let told = [("BASE", base), ("HEAD", head)].map(|(name, run)| {
        let why = run.ended_early.as_ref()?;
        Some(format!("; {name} ended early ({why})"))
    });
    told.into_iter().flatten().collect()
}

fn missing(base: &[Paired], head: &[Paired]) -> Vec<Missing> {
    let mut all = only_in(base, head, "head");
    all.extend(only_in(head, base, "base"));
    all
}

/// What `here` has and `there` has not; a configuration that is missing as a whole once.
fn only_in(here: &[Paired], there: &[Paired], missing_in: &'static str) -> Vec<Missing> {
    let mut found: Vec<Missing> = Vec::new();
    for Paired { key, .. } in here {
        if there.iter().any(|other| other.key == *key) {
            continue;
        }
        let known = there.iter().any(|other| other.key.backend == key.backend);
        let entry = Missing {
            backend: key.backend.clone(),
            workload: known.then(|| key.workload.clone()),
            metric: known.then_some(key.metric),
            missing_in,
        };
        if !found.contains(&entry) {
            found.push(entry);
        }
    }
    found
}

/// The numbers of one comparison before the family is known.
struct Tested {
    ratio: Ratio,
    p: f64,
}

fn judge_all(both: &[(&Paired, &Paired)], rule: &Rule, early: &str) -> Vec<Compared> {
    let batches: Vec<Option<[Sample; 2]>> = both
        .iter()
        .map(|(b, h)| Some([batches(b)?, batches(h)?]))
        .collect();
    let tested: Vec<Option<Tested>> = batches
        .iter()
        .map(|samples| test(samples.as_ref()?))
        .collect();
    let family = tested.iter().flatten().count();
    let raw: Vec<f64> = tested.iter().flatten().map(|t| t.p).collect();
    // Probabilities are in [0, 1], which is all that can be refused.
    let mut corrected = holm(&raw).unwrap_or(raw).into_iter();
    both.iter()
        .zip(&batches)
        .zip(&tested)
        .map(|((pair, samples), tested)| {
            let p = tested.as_ref().and_then(|_| corrected.next());
            one(
                pair,
                samples.as_ref(),
                tested.as_ref(),
                p,
                family,
                rule,
                early,
            )
        })
        .collect()
}

/// Batch medians of the log-ratios; nothing where a value is not positive.
fn batches(paired: &Paired) -> Option<Sample> {
    let logs = log_ratios(&paired.pairs).ok()?;
    batch_medians(logs.values()).ok()
}

fn test([base, head]: &[Sample; 2]) -> Option<Tested> {
    let (shift, interval) = two_sample::shift(base, head, LEVEL).ok()?;
    let (ratio, low, high) = (shift.exp(), interval.low.exp(), interval.high.exp());
    let ratio = Ratio {
        ratio,
        low,
        high,
        coverage: interval.coverage,
        pairs: base.n().min(head.n()),
    };
    let p = two_sample::rank_sum(base, head).ok()?;
    (low > 0.0 && high.is_finite()).then_some(Tested { ratio, p })
}

fn one(
    (base, head): &(&Paired, &Paired),
    samples: Option<&[Sample; 2]>,
    tested: Option<&Tested>,
    corrected: Option<f64>,
    family: usize,
    rule: &Rule,
    early: &str,
) -> Compared {
    let Key {
        backend,
        workload,
        metric,
    } = base.key.clone();
    let threshold = rule.threshold.unwrap_or_else(|| threshold(metric));
    let alpha = rule.alpha / family.max(1) as f64;
    let detectable =
        tested.and_then(|t| Some(detectable_from(&t.ratio, alpha, POWER).ok()?.relative));
    // The run that lost the larger share of its trials decides.
    let share = |p: &Paired| p.failed as f64 / p.trials.max(1) as f64;
    let worse = if share(base) > share(head) {
        base
    } else {
        head
    };
    let policy = verdict::Policy {
        alpha: rule.alpha,
        threshold,
        min_pairs: two_sample::needed(alpha),
        max_half_width: threshold,
        max_tainted: rule.most_failed,
    };
    let blocks = [base.pairs.len(), head.pairs.len()];
    let judged = match (tested, corrected) {
        (Some(t), Some(p)) => {
            let evidence = Evidence {
                ratio: t.ratio,
                p,
                // An effect too large for a number would certainly have been missed.
                detectable: detectable.unwrap_or(f64::INFINITY),
                tainted: worse.failed,
                trials: worse.trials,
            };
            let direction = match base.metric.better {
                Better::Lower => Direction::LowerIsBetter,
                Better::Higher => Direction::HigherIsBetter,
            };
            judge(&evidence, direction, &policy).ok()
        }
        _ => None,
    };
    let (verdict, doubt) = match (moved(base, head, rule), judged) {
        (Some(doubt), _) => (Word::Inconclusive, Some(doubt)),
        (None, Some(Verdict::Better)) => (Word::Better, None),
        (None, Some(Verdict::Worse)) => (Word::Worse, None),
        (None, Some(Verdict::Same { .. })) => (Word::Same, None),
        (None, Some(Verdict::Inconclusive(doubt))) => {
            (Word::Inconclusive, Some(words(&doubt, threshold, early)))
        }
        (None, None) => (Word::Inconclusive, Some(untested(blocks, samples, early))),
    };
    Compared {
        backend,
        workload,
        metric,
        unit: base.metric.unit,
        better: base.metric.better,
        verdict,
        doubt,
        ratio: tested.map(|t| t.ratio.ratio),
        ci95: tested.map(|t| [t.ratio.low, t.ratio.high]),
        p: tested.map(|t| t.p),
        p_corrected: corrected,
        threshold,
        detectable,
        blocks,
        batches: samples.map_or([0, 0], |[b, h]| [b.n(), h.n()]),
    }
}

fn words(doubt: &verdict::Doubt, threshold: f64, early: &str) -> Doubt {
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
        verdict::Doubt::Underpowered { detectable } => (
            "not sharp",
            format!(
                "less than {} would have been missed, the threshold is {limit}{early}",
                percent(detectable)
            ),
        ),
    };
    Doubt { short, words }
}

/// Why there was nothing to test.
fn untested(blocks: [usize; 2], samples: Option<&[Sample; 2]>, early: &str) -> Doubt {
    let [base, head] = blocks;
    if samples.is_none() && base.min(head) > 0 {
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
