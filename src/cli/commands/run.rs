//! `isobench run`: measure, estimate, show, keep.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::backend::container::is_privileged;
use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::services::Services;
use crate::backend::{self, Configuration, Provided};
use crate::cli::args::{Format, RunArgs};
use crate::cli::config;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan::{RunPlan, validate};
use crate::host::fingerprint::Host;
use crate::host::noise::{Moment, Noise};
use crate::measure::clock::{Clock, ClockError};
use crate::measure::ladder::estimate::estimate;
use crate::measure::ladder::{self, Ladder};
use crate::measure::plan::{Plan, bursts, engines_time, ladder_density};
use crate::measure::session::{self, EndedEarly, Observer, Opened, RunError};
use crate::measure::stored::RUNNING;
use crate::measure::summary::{Count, Summary, summarise};
use crate::report::{csv, markdown, model, terminal};
use crate::store::document::{BackendResult, Payload, Run, SCHEMA, Status, Tool};
use crate::store::folder::{Folder, to_pretty_json};
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
        format,
        ladder,
        has_own_time,
    } = validate(
        args,
        config::load(args.given.config.as_deref())?,
        random_seed(),
    )?;
    interrupt::install().map_err(|e| CliError::System(WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    let mut host = Host::detect(clock.facts());
    let mut opened = Vec::new();
    if ladder {
        opened = climb(&mut plan);
    }
    opened.extend(open(&plan.configurations, &provided));
    if !ladder && !has_own_time {
        let usable = opened.iter().filter(|o| o.backend.is_ok());
        plan.max_time += engines_time(plan.profile, usable.map(|o| &o.configuration));
    }
    let reasons = unavailable(&opened);
    if reasons.len() == opened.len() {
        return Err(CliError::NothingRuns(reasons));
    }
    let started = jiff::Timestamp::now();
    let id = run_id(started);
    let path = out.unwrap_or_else(|| Path::new("reports").join(&id));
    let mut keeper = Keeper::new(Folder::create(&path).map_err(CliError::Output)?);
    let before = Moment::read();
    let ladder_of = |records: &[Record]| plan.ladder.as_ref().map(|l| estimate(l, records));
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
                if (plan.target.is_some() || ladder) && has_intervals(&plan, &summary) =>
            {
                None
            }
            EndedEarly::MaxTime => Some("max-time".to_owned()),
        }),
    };
    let document = document(&host, &opened, summary, &keeper.records, end);
    let view = model::view(&document);
    let summary_md = markdown::render(&view);
    keeper.folder.seal(&document).map_err(RunError::from)?;
    keeper
        .folder
        .publish("summary.md", &summary_md)
        .map_err(RunError::from)?;

    let text = match format {
        Format::Human => terminal::render(&view),
        Format::Json => to_pretty_json(&document),
        Format::Markdown => summary_md,
        Format::Csv => csv::render(&document),
    };
    print(text)?;
    // A closed standard error costs the run nothing: the results are where they belong.
    let _ = say_where(&path);
    Ok(status(&document, early))
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
    plan.ladder = Some(ladder);
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

fn say_where(path: &Path) -> io::Result<()> {
    let mut err = anstream::stderr().lock();
    writeln!(err, "\nWritten to {}:", path.display())?;
    for (file, what) in [
        ("run.json", "estimates, ratios, host"),
        ("trials.jsonl", "every trial, in the order they ran"),
        ("summary.md", "this report as Markdown"),
    ] {
        writeln!(err, "  {:<40} {what}", path.join(file).display())?;
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
