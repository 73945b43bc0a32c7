//! `isobench run`: measure, estimate, show, keep.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::baseline::keep;
use super::keeper::Keeper;
use super::outcome::{End, backends, has_intervals, inconclusive, status};
use crate::backend::container::is_privileged;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::services::Services;
use crate::backend::{self, Configuration, Provided};
use crate::cli::args::RunArgs;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan::{LadderName, RunPlan, SAVE, validate};
use crate::cli::reference::REPORTS;
use crate::cli::{config, injected, render};
use crate::host::fingerprint::Host;
use crate::host::noise::{Moment, Noise};
use crate::host::project;
use crate::measure::clock::Clock;
use crate::measure::compare::Comparable;
use crate::measure::injection;
use crate::measure::ladder::{self, Climb, Ladder, stack};
use crate::measure::plan::{Plan, bursts, engines_time, ladder_density, stack_density};
use crate::measure::samples::Samples;
use crate::measure::session::{self, EndedEarly, Opened, RunError};
use crate::measure::stored::{self, RUNNING};
use crate::measure::summary::{Summary, summarise};
use crate::report::files::{self, Wanted, Written};
use crate::report::model;
use crate::store::baseline::may_be_written;
use crate::store::document::{Payload, Run, SCHEMA, Tool};
use crate::store::folder::Folder;
use crate::store::history::{Entry, History};
use crate::store::record::Record;
use crate::sys::interrupt;
use crate::workload::{Task, payload};

/// What every command that measures needs first.
pub(super) const WATCH: &str = "watch for SIGINT and SIGTERM";

/// Measures and reports.
pub fn run(args: &RunArgs) -> Result<u8, CliError> {
    let RunPlan {
        mut plan,
        provided,
        out,
        keep,
        history,
        format,
        ladder,
        has_own_time,
    } = validate(
        args,
        config::load(args.given.config.as_deref())?,
        random_seed(),
    )?;
    let injections = injected::of_plan(&plan)?;
    let keep = keep.map(|keep| keep.path(SAVE)).transpose()?;
    if let Some(path) = &keep {
        if !injections.is_empty() {
            let problem = format!("with {}: such a run is no baseline", injection::VARIABLE);
            return Err(CliError::usage(SAVE, problem, None));
        }
        // Before anything is measured.
        may_be_written(path).map_err(|error| CliError::Keep(SAVE, error))?;
    }
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    let mut host = Host::detect(clock.facts());
    let mut opened = Vec::new();
    match ladder {
        Some(LadderName::Namespaces) => opened = climb(&mut plan),
        Some(LadderName::Docker) => {
            plan.configurations = stack::configurations();
            plan.density = Some(stack_density(plan.profile));
            plan.ladder = Some(Climb::Docker);
        }
        None => {}
    }
    opened.extend(open(&plan.configurations, &provided));
    if ladder.is_none() && !has_own_time {
        let usable = opened.iter().filter(|o| o.backend.is_ok());
        plan.max_time += engines_time(plan.profile, usable.map(|o| &o.configuration));
    }
    let reasons = unavailable(&opened);
    if reasons.len() == opened.len() {
        return Err(CliError::NothingRuns(reasons).or_interrupted());
    }
    injection::put_in(&injections, &mut opened, &clock);
    let project = project::detect(Path::new("."));
    let started = jiff::Timestamp::now();
    let id = run_id(started);
    let path = out.unwrap_or_else(|| Path::new(REPORTS).join(&id));
    let mut keeper = Keeper::new(Folder::create(&path).map_err(CliError::Output)?);
    let before = Moment::read();
    let ladder_of = |records: &[Record]| plan.ladder.as_ref().map(|l| l.estimate(records));
    let document =
        |host: &Host, opened: &[Opened], summary: Summary, records: &[Record], end: End| Run {
            schema: SCHEMA.to_owned(),
            id: id.clone(),
            started: started.to_string(),
            complete: end.early.is_none(),
            backends: backends(opened, &summary, end.early.as_deref()),
            ended_early: end.early,
            inconclusive: end.inconclusive,
            target: plan.target,
            seed: plan.seed,
            profile: plan.profile.to_string(),
            tool: Tool {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: env!("ISOBENCH_COMMIT").to_owned(),
            },
            payload: Payload {
                sha256: payload::SHA256.to_owned(),
                bytes: payload::BYTES.len() as u64,
            },
            host: host.clone(),
            project: project.clone(),
            injected: injections.iter().map(ToString::to_string).collect(),
            metrics: summary.metrics,
            ratios: summary.ratios,
            memory: summary.memory,
            boundary: summary.boundary,
            isolation: summary.isolation,
            ladder: ladder_of(records),
        };
    // Before the first trial, so that a run that is killed can still be read.
    let unfinished = End {
        early: Some(RUNNING.to_owned()),
        inconclusive: None,
    };
    let first = document(&host, &opened, Summary::default(), &[], unfinished);
    keeper.folder.seal(&first).map_err(RunError::from)?;

    let early = session::run(&plan, &mut opened, &clock, &mut keeper);
    keeper.bar.finish_and_clear();
    let early = early?;

    host.noise
        .account(&before, &Moment::read(), &Noise::detect());
    let drift = Clock::calibrate(Duration::from_millis(100)).and_then(|end| clock.drift(&end));
    host.clock.drift = drift.as_ref().ok().copied();
    let tasks: Vec<Task> = plan.tasks.iter().map(|(task, _)| *task).collect();
    let summary = summarise(&keeper.records, &tasks, &plan.configurations);
    let end = End {
        inconclusive: inconclusive(&summary, drift.err()),
        early: early.and_then(|early| match early {
            EndedEarly::Interrupted(_) => Some("interrupted".to_owned()),
            // A budget that is spent is an ordinary end where everything has its interval.
            EndedEarly::MaxTime
                if (plan.target.is_some() || ladder.is_some())
                    && has_intervals(&plan, &summary) =>
            {
                None
            }
            EndedEarly::MaxTime => Some("max-time".to_owned()),
        }),
    };
    let document = document(&host, &opened, summary, &keeper.records, end);
    // First of all what was measured: no renderer can lose it.
    keeper.folder.seal(&document).map_err(RunError::from)?;
    let samples = Samples::of(&keeper.records);
    let mut view = model::view(&document, Some(&samples));
    view.notes.extend(stored::injected(&document));
    let mut written = Vec::new();
    let reported = files::write(&path, &view, Wanted::ALL, &mut written);

    if let Some(history) = history.filter(|_| injections.is_empty()) {
        record(&history, &document, &path);
    }
    print(render::run(format, &document, &view))?;
    // A closed standard error costs the run nothing: the results are where they belong.
    let _ = say_where(&path, &written);
    injected::must_have_had_effect(&injections, &keeper.records)?;
    reported.map_err(CliError::Files)?;
    let status = status(&document, early);
    if let Some(path) = &keep {
        keep_baseline(path, status, document, keeper.records)?;
    }
    Ok(status)
}

/// Records a run in the history. Where that fails the run is as good as before: it says so, no more.
fn record(history: &Path, document: &Run, folder: &Path) {
    let entry = Entry::of(document, Some(folder));
    let recorded = History::open(history).and_then(|mut history| history.record(&entry));
    if let Err(error) = recorded {
        let mut err = anstream::stderr().lock();
        // A closed standard error costs the run nothing either.
        let _ = writeln!(err, "isobench: this run is not in the history: {error}");
        let _ = writeln!(err, "  try: {}, or --no-history", error.hint());
    }
}

/// Keeps a run that came to its end as a baseline; of others nothing is replaced.
fn keep_baseline(
    path: &Path,
    status: u8,
    document: Run,
    records: Vec<Record>,
) -> Result<(), CliError> {
    let mut err = anstream::stderr().lock();
    if status != 0 {
        // A closed standard error changes nothing: the exit status says the same.
        let _ = writeln!(
            err,
            "isobench: {SAVE}: not kept, since the run did not end well (exit status {status})"
        );
        return Ok(());
    }
    keep(SAVE, path, &Comparable::of_records(document, &records)?)?;
    let _ = writeln!(err, "  {:<40} the baseline", path.display());
    Ok(())
}

/// Opens each configuration once; what cannot run keeps its reason.
fn open(configurations: &[Configuration], provided: &Provided) -> Vec<Opened> {
    // What backends share lives as long as one of them.
    let mut services = Services::default();
    configurations
        .iter()
        .map(|configuration| Opened {
            backend: backend::open_in(configuration, provided, &mut services),
            configuration: configuration.clone(),
        })
        .collect()
}

/// Plans the namespace ladder of what this host has: each mechanism is tried alone. Those that
/// cannot be had are returned, with their reasons.
fn climb(plan: &mut Plan) -> Vec<Opened> {
    let mut missing = Vec::new();
    let mut available = Mechanisms::NONE;
    for mechanism in Mechanism::ALL {
        let alone = ladder::container(Mechanisms::of([mechanism]));
        match backend::open(&alone) {
            Ok(_) => available = available.with(mechanism),
            Err(why) => missing.push(Opened {
                configuration: alone,
                backend: Err(why),
            }),
        }
    }
    let ladder = Ladder::of(available, is_privileged());
    plan.configurations = ladder.configurations();
    plan.bursts = Some(bursts(plan.profile, &ladder));
    plan.density = Some(ladder_density(plan.profile, &ladder));
    plan.ladder = Some(Climb::Namespaces(ladder));
    missing
}

fn unavailable(opened: &[Opened]) -> Vec<String> {
    opened
        .iter()
        .filter_map(|o| {
            let why = o.backend.as_ref().err()?;
            Some(format!(
                "{}: {} (to fix it: {})",
                o.configuration, why.reason, why.remedy
            ))
        })
        .collect()
}

/// A seed that no other run has, short enough to be typed again.
pub(super) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 32
}

/// `20261123T101500Z-4711`: the start, to the second, and this process.
fn run_id(started: jiff::Timestamp) -> String {
    format!(
        "{}-{}",
        started.strftime("%Y%m%dT%H%M%SZ"),
        std::process::id()
    )
}

fn say_where(path: &Path, written: &[Written]) -> io::Result<()> {
    let mut err = anstream::stderr().lock();
    writeln!(err, "\nWritten to {}:", path.display())?;
    for (file, what) in [
        ("run.json", "estimates, ratios, host"),
        ("trials.jsonl", "every trial, in the order they ran"),
    ] {
        writeln!(err, "  {:<40} {what}", path.join(file).display())?;
    }
    for Written { path, what } in written {
        writeln!(err, "  {:<40} {what}", path.display())?;
    }
    Ok(())
}
