//! `isobench ab`: two builds in the same blocks, and the worker that serves them.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::run::{WATCH, random_seed};
use crate::cli::args::AbArgs;
use crate::cli::compare_plan::percent;
use crate::cli::error::CliError;
use crate::cli::gate_file;
use crate::cli::injected::asked_for;
use crate::cli::output::print;
use crate::cli::plan;
use crate::cli::render;
use crate::measure::ab::judge::judge;
use crate::measure::ab::lane::Lane;
use crate::measure::ab::worker::serve;
use crate::measure::ab::{Plan, Raced, race};
use crate::measure::clock::Clock;
use crate::measure::compare::overall;
use crate::measure::comparison::{CompareError, Comparison, Missing, Rule, SCHEMA, Side, Word};
use crate::measure::plan::max_time;
use crate::measure::session::EndedEarly;
use crate::sys::interrupt;

/// What values are relative to.
const REFERENCE: &str = "BASE in the same block";

/// Compares, prints; with the gate, the verdict is the exit status.
pub fn ab(args: &AbArgs) -> Result<u8, CliError> {
    let profile = plan::profile(&args.profile)?;
    let configurations = plan::configurations(args.backends.as_deref(), &[])?;
    let selected = plan::tasks(Some(&args.workloads), profile)?;
    if selected.idle || selected.probe {
        let problem = "idle is held and probe is asked: neither is timed";
        let hint = Some("--workloads noop".to_owned());
        return Err(CliError::usage("--workloads", problem, hint));
    }
    let mut tasks = selected.tasks;
    if let Some(blocks) = &args.blocks {
        let blocks = plan::count("--blocks", blocks)?;
        tasks.iter_mut().for_each(|(_, rounds)| *rounds = blocks);
    }
    let seed = plan::seed(args.seed.as_deref(), random_seed())?;
    let most = args.max_time.as_deref();
    let most = most
        .map(|text| plan::duration("--max-time", text))
        .transpose()?;
    let threshold = args.threshold.as_deref().map(percent).transpose()?;
    let rule = Rule {
        threshold,
        ..gate_file::rule(args.config.as_deref())?
    };
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let start = |flag, path: &Path| Lane::start(path).map_err(|error| CliError::Lane(flag, error));
    let mut lanes = [start("--base", &args.base)?, start("--head", &args.head)?];
    let [of_base, of_head] = [&lanes[0], &lanes[1]].map(|lane| lane.hello().payload.clone());
    if of_base != of_head {
        return Err(CliError::Compare(CompareError::Differs {
            field: "payload.sha256".to_owned(),
            base: of_base,
            head: of_head,
        }));
    }
    let ids: Vec<String> = configurations.iter().map(ToString::to_string).collect();
    let (usable, missing, reasons) = usable(&mut lanes, &ids)?;
    if usable.is_empty() {
        return Err(CliError::NothingRuns(reasons));
    }
    let lost = |error| CliError::Lane("a build", error);
    for lane in &mut lanes {
        // Only those that both have, so that places are the same in both.
        lane.open(&usable).map_err(lost)?;
    }
    let plan = Plan {
        configurations: usable,
        tasks,
        seed,
        max_time: most.unwrap_or_else(|| max_time(profile)),
        deadline: Duration::from_secs(30),
    };
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
    let side = |lane: &Lane| Side {
        id: lane.path().display().to_string(),
        started: started.clone(),
        profile: profile.to_string(),
        tool: format!("{} ({})", lane.hello().version, lane.hello().commit),
        ended_early: ended.clone(),
    };
    let metrics = judge(&raced, &rule, seed)?;
    let comparison = Comparison {
        schema: SCHEMA,
        base: side(&lanes[0]),
        head: side(&lanes[1]),
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
    print(render::comparison(args.format, &comparison, &notes)?)?;
    Ok(match (early, comparison.verdict) {
        (Some(EndedEarly::Interrupted(signal)), _) => u8::try_from(128 + signal).unwrap_or(130),
        _ if !args.gate => 0,
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
pub fn worker() -> Result<u8, CliError> {
    let injections = asked_for()?;
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    match serve(&clock, &injections, io::stdin().lock(), io::stdout().lock()) {
        // Whoever asked has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        served => served
            .map(|()| 0)
            .map_err(|e| CliError::System("serve trials", e)),
    }
}
