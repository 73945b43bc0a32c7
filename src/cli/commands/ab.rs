//! `isobench ab`: two builds in the same blocks, and the worker that serves them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::run::{WATCH, random_seed};
use crate::backend::Provided;
use crate::cli::ab_plan::{AbPlan, validate};
use crate::cli::args::AbArgs;
use crate::cli::error::CliError;
use crate::cli::injected::asked_for;
use crate::cli::output::print;
use crate::cli::render;
use crate::measure::ab::judge::judge;
use crate::measure::ab::lane::Lane;
use crate::measure::ab::protocol::Hello;
use crate::measure::ab::subject::{Kind, Subject};
use crate::measure::ab::worker::serve;
use crate::measure::ab::{Raced, race};
use crate::measure::clock::Clock;
use crate::measure::compare::overall;
use crate::measure::comparison::{CompareError, Comparison, Missing, SCHEMA, Side, Word};
use crate::measure::session::EndedEarly;
use crate::sys::interrupt;

/// What values are relative to.
const REFERENCE: &str = "BASE in the same block";

/// Compares, prints; with the gate, the verdict is the exit status.
pub fn ab(args: &AbArgs) -> Result<u8, CliError> {
    let AbPlan {
        subjects,
        mut plan,
        profile,
        rule,
        gate,
        format,
    } = validate(args, random_seed())?;
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let start = |flag, subject| Lane::start(subject).map_err(|error| CliError::Lane(flag, error));
    let [base, head] = &subjects;
    let mut lanes = [start("--base", base)?, start("--head", head)?];
    let [of_base, of_head] = [&lanes[0], &lanes[1]].map(|lane| lane.hello().payload.clone());
    if of_base != of_head {
        return Err(CliError::Compare(CompareError::Differs {
            field: "payload.sha256".to_owned(),
            base: of_base,
            head: of_head,
        }));
    }
    let (usable, missing, reasons) = usable(&mut lanes, &plan.configurations)?;
    if usable.is_empty() {
        return Err(CliError::NothingRuns(reasons));
    }
    let lost = |error| CliError::Lane("a build", error);
    // Only those that both have, so that places are the same in both.
    if usable != plan.configurations {
        for lane in &mut lanes {
            lane.open(&usable).map_err(lost)?;
        }
        plan.configurations = usable;
    }
    let started = jiff::Timestamp::now().to_string();
    let bar = super::selftest::progress();
    let (raced, early) = race(&plan, &mut lanes, &mut |done, planned| {
        bar.set_message(format!("block {done} of at most {planned}"));
        bar.tick();
    })
    .map_err(lost)?;
    bar.finish_and_clear();
    let ended = match early {
        Some(EndedEarly::Interrupted(_)) => Some("interrupted".to_owned()),
        // A budget that is spent is the ordinary end.
        Some(EndedEarly::MaxTime) | None => None,
    };
    let side = |subject: &Subject, lane: &Lane| Side {
        id: subject.path.display().to_string(),
        started: started.clone(),
        profile: profile.to_string(),
        tool: match subject.kind {
            Kind::Isobench => {
                let Hello {
                    version, commit, ..
                } = lane.hello();
                format!("isobench {version} ({commit})")
            }
            Kind::Runtime(_) => subject.version.clone(),
        },
        ended_early: ended.clone(),
    };
    let metrics = judge(&raced, &rule, plan.seed)?;
    let comparison = Comparison {
        schema: SCHEMA,
        base: side(base, &lanes[0]),
        head: side(head, &lanes[1]),
        reference: REFERENCE,
        alpha: rule.alpha,
        verdict: overall(&metrics, !missing.is_empty()),
        injected: injected(&lanes),
        host: Vec::new(),
        missing,
        metrics,
    };
    let mut notes = reasons;
    notes.extend(failures(&raced));
    print(render::comparison(format, &comparison, &notes)?)?;
    Ok(match (early, comparison.verdict) {
        (Some(EndedEarly::Interrupted(signal)), _) => u8::try_from(128 + signal).unwrap_or(130),
        _ if !gate => 0,
        (_, Word::Worse) => 1,
        (_, Word::Inconclusive) => 5,
        (_, Word::Better | Word::Same) => 0,
    })
}

fn injected(lanes: &[Lane; 2]) -> Vec<String> {
    let sides = ["BASE", "HEAD"].into_iter().zip(lanes);
    let of = |(name, lane): (&str, &Lane)| -> Vec<String> {
        let what = lane.hello().injected.iter();
        what.map(|what| format!("{name}: {what}")).collect()
    };
    sides.flat_map(of).collect()
}

/// Ids that both can run, what only one of them lacks, and every reason.
type Usable = (Vec<String>, Vec<Missing>, Vec<String>);

/// What both builds can run; what one cannot is missing there, what neither can is a reason only.
fn usable(lanes: &mut [Lane; 2], ids: &[String]) -> Result<Usable, CliError> {
    let [base, head] = lanes;
    let lost = |error| CliError::Lane("a build", error);
    let of = [base.open(ids).map_err(lost)?, head.open(ids).map_err(lost)?];
    let (mut both, mut missing, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for (index, id) in ids.iter().enumerate() {
        let lacks = [&of[0][index], &of[1][index]];
        for (name, why) in ["BASE", "HEAD"].into_iter().zip(lacks) {
            reasons.extend(
                why.as_ref()
                    .map(|why| format!("{id} cannot run in {name}: {why}")),
            );
        }
        match lacks {
            [None, None] => both.push(id.clone()),
            [Some(_), Some(_)] => {}
            [base, _] => missing.push(Missing {
                backend: id.clone(),
                workload: None,
                metric: None,
                missing_in: if base.is_some() { "base" } else { "head" },
            }),
        }
    }
    Ok((both, missing, reasons))
}

fn failures(raced: &Raced) -> Vec<String> {
    let failed = raced.iter().filter_map(|((backend, task), pairs)| {
        let first = pairs.first_failure.as_ref()?;
        let (failed, trials) = (pairs.failed, pairs.trials);
        Some(format!(
            "{backend} {task}: {failed} of {trials} trials gave no number; first: {first}"
        ))
    });
    failed.collect()
}

/// Serves trials over standard input and output until the other end closes.
pub fn worker(runtime: Option<PathBuf>) -> Result<u8, CliError> {
    let provided = Provided {
        runtime,
        ..Provided::default()
    };
    let injections = asked_for()?;
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    match serve(&clock, &injections, &provided, input, output) {
        // Whoever asked has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        served => served
            .map(|()| 0)
            .map_err(|e| CliError::System("serve trials", e)),
    }
}
