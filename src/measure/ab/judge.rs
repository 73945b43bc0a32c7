//! Verdicts on trials that are paired inside blocks.

use super::Raced;
use crate::measure::change::{Question, growth};
use crate::measure::compare::words;
use crate::measure::comparison::{Compared, Doubt, PartChange, Rule, Word, threshold};
use crate::measure::parts::Columns;
use crate::measure::selftest::gate::{FINER, LEVEL, POWER, direction};
use crate::measure::summary::metrics_of;
use crate::metric::{Better, Metric};
use crate::stats::hodges_lehmann::hodges_lehmann;
use crate::stats::verdict::{self, Evidence, Policy, judge as word_of};
use crate::stats::{Ratio, Sample, StatsError, Verdict, holm, paired, permutation, power};
use crate::store::record::Measured;
use crate::workload::Task;

/// One metric before it is judged.
struct One<'a> {
    backend: &'a str,
    task: &'a Task,
    metric: Metric,
    blocks: &'a [[Measured; 2]],
    values: Vec<(f64, f64)>,
    trials: usize,
    failed: usize,
}

/// Judges every metric of every configuration and task: the Hodges–Lehmann ratio, the signed-rank
/// permutation test, Holm's correction over all of them (docs/method.md). Worst first.
///
/// # Errors
/// A level or family that cannot be tested.
pub fn judge(raced: &Raced, rule: &Rule, seed: u64) -> Result<Vec<Compared>, StatsError> {
    let mut all = Vec::new();
    for ((backend, task), pairs) in raced {
        for (metric, value) in metrics_of(task) {
            let values = pairs.measured.iter();
            let values = values.filter_map(|[a, b]| Some((value(a)?, value(b)?)));
            all.push(One {
                backend,
                task,
                metric,
                blocks: &pairs.measured,
                values: values.collect(),
                trials: pairs.trials,
                failed: pairs.failed,
            });
        }
    }
    let resamples = FINER * permutation::resamples_for(all.len().max(1), rule.alpha)?;
    let tested: Vec<Option<(Ratio, f64)>> = all
        .iter()
        .map(|one| {
            let ratio = paired::hodges_lehmann_ratio(&one.values, LEVEL).ok()?;
            let test = permutation::paired_ranks(&one.values, resamples, seed).ok()?;
            Some((ratio, test.p))
        })
        .collect();
    let raw: Vec<f64> = tested.iter().flatten().map(|(_, p)| *p).collect();
    let strictest = rule.alpha / raw.len().max(1) as f64;
    let mut corrected = holm::holm(&raw)?.into_iter();
    let mut metrics = Vec::new();
    for (one, test) in all.iter().zip(tested) {
        let test = test.and_then(|(ratio, p)| Some((ratio, p, corrected.next()?)));
        metrics.push(compared(one, test, rule, strictest)?);
    }
    crate::measure::compare::worst_first(&mut metrics);
    Ok(metrics)
}

fn compared(
    one: &One<'_>,
    test: Option<(Ratio, f64, f64)>,
    rule: &Rule,
    strictest: f64,
) -> Result<Compared, StatsError> {
    let workload = one.task.to_string();
    let default = threshold(one.task, &one.metric);
    let name = one.metric.name;
    let threshold = rule.threshold_of(one.backend, &workload, name, default);
    let n = one.values.len();
    let doubt = too_few(one, "");
    let mut compared = Compared {
        blocks: [n, n],
        batches: [n, n],
        ..Compared::unjudged(one.backend, workload, &one.metric, threshold, doubt)
    };
    let Some((ratio, p, corrected)) = test else {
        return Ok(compared);
    };
    let detectable = power::called_from(&ratio, strictest, (threshold, None), POWER).ok();
    let policy = Policy {
        alpha: rule.alpha,
        threshold,
        max_half_width: threshold,
        max_tainted: rule.most_failed,
        ..Policy::default()
    };
    let evidence = Evidence {
        ratio,
        p: corrected,
        detectable: detectable.unwrap_or(f64::INFINITY),
        tainted: one.failed,
        trials: one.trials,
    };
    let verdict = word_of(&evidence, direction(one.metric.better), &policy)?;
    let question = Question {
        better: one.metric.better,
        threshold,
        whole_interval: false,
        strictest,
        trials: one.trials,
        failed: one.failed,
    };
    compared.ratio = Some(ratio.ratio);
    compared.ci95 = Some([ratio.low, ratio.high]);
    (compared.p, compared.p_corrected) = (Some(p), Some(corrected));
    compared.detectable = detectable;
    let growth = growth(&verdict, &ratio, &question);
    compared.needed = growth.map(|g| (n as f64 * g).ceil() as u64);
    (compared.verdict, compared.doubt) = match verdict {
        Verdict::Better => (Word::Better, None),
        Verdict::Worse => (Word::Worse, None),
        Verdict::Same { .. } => (Word::Same, None),
        Verdict::Inconclusive(verdict::Doubt::TooFewPairs { need, .. }) => (
            Word::Inconclusive,
            Some(too_few(one, &format!(", {need} are needed"))),
        ),
        Verdict::Inconclusive(doubt) => (Word::Inconclusive, Some(words(&doubt, threshold, ""))),
    };
    if matches!(compared.verdict, Word::Better | Word::Worse) {
        compared.parts = parts(&one.metric, one.blocks, ratio.ratio);
    }
    Ok(compared)
}

/// Fewer blocks than it takes, and where the others have gone.
fn too_few(one: &One<'_>, needed: &str) -> Doubt {
    let lost = if one.failed > 0 {
        let (failed, trials) = (one.failed, one.trials);
        format!("; {failed} of {trials} trials failed or were disturbed")
    } else {
        String::new()
    };
    Doubt {
        short: "too few",
        words: format!("{} blocks have both trials{needed}{lost}", one.values.len()),
    }
}

/// The parts of a changed metric that moved the same way beyond chance, the largest first: the
/// Hodges–Lehmann centre of the differences inside blocks, with Wilcoxon's interval.
#[must_use]
pub fn parts(metric: &Metric, blocks: &[[Measured; 2]], ratio: f64) -> Vec<PartChange> {
    let [mut base, mut head] = [Columns::default(), Columns::default()];
    for [a, b] in blocks {
        base.add(metric, a);
        head.add(metric, b);
    }
    let mut names: Vec<&str> = base.names().collect();
    names.extend(head.names().filter(|name| base.names().all(|n| n != *name)));
    let sums = base.sums().into_iter().zip(head.sums());
    let whole: Vec<f64> = sums.map(|(a, b)| b - a).collect();
    let whole = Sample::new(whole).and_then(|s| hodges_lehmann(&s, LEVEL));
    // A rate's ratio goes the other way; only times have parts.
    let slower = match metric.better {
        Better::Lower => ratio > 1.0,
        Better::Higher => ratio < 1.0,
    };
    let mut found: Vec<PartChange> = names
        .iter()
        .filter_map(|name| {
            let both = base.amounts(name).zip(head.amounts(name));
            let differences: Vec<f64> = both.map(|(a, b)| b - a).collect();
            let (centre, ci) = hodges_lehmann(&Sample::new(differences).ok()?, LEVEL).ok()?;
            let same_way = if slower { ci.low > 0.0 } else { ci.high < 0.0 };
            same_way.then(|| PartChange {
                name: (*name).to_owned(),
                difference: centre,
                ci95: [ci.low, ci.high],
                share: whole
                    .as_ref()
                    .ok()
                    .map(|(whole, _)| centre / whole)
                    .filter(|share| share.is_finite()),
            })
        })
        .collect();
    found.sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
    found
}
