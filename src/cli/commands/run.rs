//! `isobench run`: measure, estimate, show, keep.

use std::env::VarError;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::baseline::keep;
use crate::backend::container::is_privileged;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::services::Services;
use crate::backend::{self, Configuration, Provided};
use crate::cli::args::RunArgs;
use crate::cli::config;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan::{LadderName, RunPlan, SAVE, validate};
use crate::cli::reference::REPORTS;
use crate::cli::render;
use crate::host::fingerprint::Host;
use crate::host::noise::{Moment, Noise};
use crate::host::project;
use crate::measure::clock::{Clock, ClockError};
use crate::measure::compare::Comparable;
use crate::measure::injection::{self, Injection};
use crate::measure::ladder::{self, Climb, Ladder, stack};
use crate::measure::plan::{Plan, bursts, engines_time, ladder_density, stack_density};
use crate::measure::samples::Samples;
use crate::measure::session::{self, EndedEarly, Observer, Opened, RunError};
use crate::measure::stored::{RUNNING, injected};
use crate::measure::summary::{Count, Summary, summarise};
use crate::report::files::{self, Wanted, Written};
use crate::report::model;
use crate::store::baseline::may_be_written;
use crate::store::document::{BackendResult, Payload, Run, SCHEMA, Status, Tool};
use crate::store::folder::Folder;
use crate::store::history::{Entry, History};
use crate::store::record::Record;
use crate::sys::interrupt;
use crate::workload::{Task, Workload, payload};

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
    let injections = injections(&plan)?;
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
        return Err(CliError::NothingRuns(reasons));
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
    view.notes.extend(injected(&document));
    let mut written = Vec::new();
    let reported = files::write(&path, &view, Wanted::ALL, &mut written);

    if let Some(history) = history.filter(|_| injections.is_empty()) {
        record(&history, &document, &path);
    }
    print(render::run(format, &document, &view))?;
    // A closed standard error costs the run nothing: the results are where they belong.
    let _ = say_where(&path, &written);
    must_have_had_effect(&injections, &keeper.records)?;
    reported.map_err(CliError::Files)?;
    let status = status(&document, early);
    if let Some(path) = &keep {
        keep_baseline(path, status, document, keeper.records)?;
    }
    Ok(status)
}

/// What [`injection::VARIABLE`] asks for, each for a configuration of this run.
fn injections(plan: &Plan) -> Result<Vec<Injection>, CliError> {
    let found = asked_for()?;
    let known = |i: &&Injection| plan.configurations.iter().any(|c| c.id() == i.backend);
    match found.iter().find(|i| !known(i)) {
        Some(other) => Err(no_injection(format!(
            "{} is not measured by this run",
            other.backend
        ))),
        None => Ok(found),
    }
}

/// What [`injection::VARIABLE`] asks for.
pub(super) fn asked_for() -> Result<Vec<Injection>, CliError> {
    match std::env::var(injection::VARIABLE) {
        Ok(list) => injection::parse(&list).map_err(|error| no_injection(error.to_string())),
        Err(VarError::NotPresent) => Ok(Vec::new()),
        Err(VarError::NotUnicode(_)) => Err(no_injection("not text".to_owned())),
    }
}

fn no_injection(problem: String) -> CliError {
    let hint = format!(
        "{}=container/startup/clone3=200us, or without it",
        injection::VARIABLE
    );
    CliError::usage(injection::VARIABLE, problem, Some(hint))
}

/// A delay that is in no trial tests nothing, and a gate that stays silent then proves nothing.
fn must_have_had_effect(injections: &[Injection], records: &[Record]) -> Result<(), CliError> {
    match injection::without_effect(injections, records).first() {
        None => Ok(()),
        Some((injection, phases)) => Err(CliError::usage(
            injection::VARIABLE,
            format!(
                "{injection}: no trial has such a phase; it has: {}",
                phases.join(", ")
            ),
            None,
        )),
    }
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

/// How a run ended.
struct End {
    /// Why before its plan did.
    early: Option<String>,
    /// Why nothing should be concluded from it.
    inconclusive: Option<String>,
}

/// Largest share of disturbed trials from which something may be concluded.
const MOST_TAINTED: f64 = 0.05;

fn inconclusive(summary: &Summary, drift: Option<ClockError>) -> Option<String> {
    if let Some(drift) = drift {
        return Some(drift.to_string());
    }
    let trials: u64 = summary.counts.values().map(|count| count.trials).sum();
    let tainted: u64 = summary.counts.values().map(|count| count.tainted).sum();
    (tainted as f64 > trials as f64 * MOST_TAINTED).then(|| {
        format!("{tainted} of {trials} trials were disturbed from outside (more than 5 %)")
    })
}

/// Whether every task and the memory of idle instances came far enough for an interval.
fn has_intervals(plan: &Plan, summary: &Summary) -> bool {
    let known = |workload: &str| {
        let mut of = summary
            .metrics
            .iter()
            .filter(|m| m.workload == workload)
            .peekable();
        of.peek().is_some() && of.all(|m| m.ci95.is_some())
    };
    plan.tasks.iter().all(|(task, _)| known(&task.to_string()))
        && (plan.density.is_none() || known(Workload::Idle.name()))
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

fn backends(opened: &[Opened], summary: &Summary, early: Option<&str>) -> Vec<BackendResult> {
    opened
        .iter()
        .map(|o| {
            let id = o.configuration.id();
            let count = summary.counts.get(&id).cloned().unwrap_or_default();
            let Count {
                trials,
                failures,
                tainted,
                first_failure,
            } = count;
            let measured = summary.knows(&id);
            let (status, reason, remedy) = match &o.backend {
                Err(why) => (
                    Status::Skipped,
                    Some(why.reason.clone()),
                    Some(why.remedy.clone()),
                ),
                Ok(_) if measured => (Status::Measured, first_failure, None),
                Ok(_) if first_failure.is_some() => (Status::Failed, first_failure, None),
                Ok(_) => (Status::Unmeasured, Some(unmeasured(early, tainted)), None),
            };
            let limitations = o
                .backend
                .as_ref()
                .map(|b| b.limitations())
                .unwrap_or_default();
            let limitations = limitations.iter().map(ToString::to_string).collect();
            BackendResult {
                id,
                status,
                reason,
                remedy,
                limitations,
                engine: o.backend.as_ref().ok().and_then(|b| b.engine()),
                daemons: o
                    .backend
                    .as_ref()
                    .map_or_else(|_| Vec::new(), |b| b.daemons()),
                guest_kernel: o.backend.as_ref().ok().and_then(|b| b.guest_kernel()),
                trials,
                failures,
                tainted,
            }
        })
        .collect()
}

/// Why there is no number although nothing failed.
fn unmeasured(early: Option<&str>, tainted: u64) -> String {
    let ended = match early {
        _ if tainted > 0 => return format!("all {tainted} trials were disturbed from outside"),
        Some("interrupted") => "the run was interrupted",
        Some("max-time") => "the time was spent",
        _ => "the run ended",
    };
    format!("{ended} before its first trial that counts")
}

/// Exit status of a run.
fn status(run: &Run, early: Option<EndedEarly>) -> u8 {
    match early {
        // 128 + the signal, as a shell reports it: 130 for SIGINT, 143 for SIGTERM.
        Some(EndedEarly::Interrupted(signal)) => u8::try_from(128 + signal).unwrap_or(130),
        _ if run
            .backends
            .iter()
            .any(|b| b.status == Status::Failed || b.failures > 0) =>
        {
            4
        }
        _ if run.backends.iter().any(|b| b.status == Status::Unmeasured) => 5,
        _ => 0,
    }
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

/// Keeps each record on disk and in memory, and shows how far the run is.
struct Keeper {
    folder: Folder,
    records: Vec<Record>,
    bar: ProgressBar,
}

impl Keeper {
    fn new(folder: Folder) -> Self {
        // Drawn from this thread only, when a trial ends: a ticking thread would disturb trials.
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(4)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self {
            folder,
            records: Vec::new(),
            bar,
        }
    }
}

impl Observer for Keeper {
    fn record(&mut self, record: Record) -> Result<(), RunError> {
        self.folder.append(&record)?;
        self.records.push(record);
        Ok(())
    }

    fn progress(&mut self, done: u64, planned: u64, next: &str) {
        self.bar.set_length(planned);
        self.bar.set_position(done);
        self.bar.set_message(next.to_owned());
    }
}
