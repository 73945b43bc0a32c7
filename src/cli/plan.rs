//! From flags to a plan: every value checked, nothing touched.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{ExplainArgs, Format, Given, RunArgs};
use super::error::CliError;
use super::history_plan::recorded_in;
use super::reference::Keep;
use crate::backend::Provided;
use crate::backend::configuration::{Configuration, ConfigurationError};
use crate::backend::engine::EngineKind;
use crate::backend::engine::own::OwnBackend;
use crate::measure::plan::{
    Plan, density, ladder_rounds, ladder_time, max_time, rounds, stack_rounds, stack_time, target,
};
use crate::workload::profile::Profile;
use crate::workload::{Task, Workload};

/// The flag that keeps a run as a baseline.
pub const SAVE: &str = "--save-baseline";

/// What `isobench run` shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// What to measure.
    pub plan: Plan,
    /// What backends run with.
    pub provided: Provided,
    /// Where the results go; `None` is `reports/<id>`.
    pub out: Option<PathBuf>,
    /// Where the run is kept as a baseline.
    pub keep: Option<Keep>,
    /// The history that the run is recorded in, if any.
    pub history: Option<PathBuf>,
    /// What to print.
    pub format: Format,
    /// Whether the time was given by the user, and is not the profile's.
    pub has_own_time: bool,
    /// Which ladder is climbed; its configurations depend on what this host has.
    pub ladder: Option<LadderName>,
}

/// `--ladder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LadderName {
    /// What each namespace and mechanism of a container costs.
    Namespaces,
    /// What each layer from `process` to `docker` costs.
    Docker,
}

/// What stands for every backend there is.
pub(super) const ALL: &str = "all";

/// Checks the flags of `run`. `random_seed` is taken where no seed is given; `own` are the user's own
/// backends.
///
/// # Errors
/// [`CliError::Usage`] that names the flag, the value and what was expected.
pub fn validate(
    args: &RunArgs,
    own: Vec<OwnBackend>,
    random_seed: u64,
) -> Result<RunPlan, CliError> {
    let configurations = configurations(args.backends.as_deref(), &own)?;
    let profile = profile(&args.profile)?;
    let ladder = ladder(args.ladder.as_deref())?;
    let Selected {
        mut tasks,
        idle,
        probe,
    } = if let Some(name) = ladder {
        let rounds = match name {
            LadderName::Namespaces => ladder_rounds(profile),
            LadderName::Docker => stack_rounds(profile),
        };
        Selected {
            tasks: vec![(profile.task(Workload::Noop, 0), rounds)],
            idle: false,
            probe: false,
        }
    } else {
        tasks(args.workloads.as_deref(), profile)?
    };
    if let Some(blocks) = &args.blocks {
        let blocks = count("--blocks", blocks)?;
        for (_, rounds) in &mut tasks {
            *rounds = blocks;
        }
    }
    let seed = seed(args.seed.as_deref(), random_seed)?;
    let max_time = match &args.max_time {
        None => match ladder {
            Some(LadderName::Namespaces) => ladder_time(profile),
            Some(LadderName::Docker) => stack_time(profile),
            None => max_time(profile),
        },
        Some(text) => duration("--max-time", text)?,
    };
    let keep = args.save_baseline.as_deref();
    let keep = keep.map(|text| Keep::parse(SAVE, text)).transpose()?;
    if keep.is_some() && !configurations.contains(&Configuration::Process) {
        let problem = "verdicts are made of ratios to process, which this run does not measure";
        let hint = Some("--backends process,… beside the others".to_owned());
        return Err(CliError::usage(SAVE, problem, hint));
    }
    let deadline = deadline(&configurations, &own);
    Ok(RunPlan {
        plan: Plan {
            configurations,
            tasks,
            isolation: probe,
            boundary: ladder.is_none() && profile != Profile::Smoke,
            density: idle.then(|| density(profile)),
            ladder: None,
            bursts: None,
            seed,
            profile,
            max_time,
            // A number of blocks that was asked for is run whole. A ladder is read by differences:
            // ratios to `process` that are narrow do not make it done.
            target: (args.blocks.is_none() && ladder.is_none()).then(|| target(profile)),
            warmups: 1,
            deadline,
        },
        provided: provided(&args.given, own),
        out: args.out.clone(),
        keep,
        history: recorded_in(args.no_history, args.db.as_deref()),
        format: args.format,
        ladder,
        has_own_time: args.max_time.is_some(),
    })
}

/// How long a trial may take, whatever it is.
fn deadline(configurations: &[Configuration], own: &[OwnBackend]) -> Duration {
    // A kernel on an emulated machine takes half a minute to its first process.
    const BOOT: Duration = Duration::from_secs(120);
    let of = |one: &Configuration| match one {
        Configuration::LinuxVm(_) => BOOT,
        Configuration::Engine(kind) if kind.boots() => BOOT,
        Configuration::Engine(EngineKind::Own(name)) => {
            let own = own.iter().find(|own| own.name == *name);
            own.map_or(Duration::ZERO, |own| own.timeout)
        }
        _ => Duration::ZERO,
    };
    let longest = configurations.iter().map(of).max().unwrap_or_default();
    longest.max(Duration::from_secs(30))
}

/// What the flags give to backends. A socket may be told as `unix://PATH`.
pub(super) fn provided(given: &Given, own: Vec<OwnBackend>) -> Provided {
    let path = |socket: &Option<String>| {
        let socket = socket.as_deref().filter(|socket| !socket.is_empty())?;
        Some(PathBuf::from(
            socket.strip_prefix("unix://").unwrap_or(socket),
        ))
    };
    Provided {
        kernel: given.kernel.clone(),
        own,
        docker_socket: path(&given.sockets.docker_socket),
        containerd_socket: path(&given.sockets.containerd_socket),
        runtime: None,
    }
}

/// What `explain` shall run, on what, with what, and for how long at most.
pub struct ExplainPlan {
    /// Where.
    pub configurations: Vec<Configuration>,
    /// What.
    pub tasks: Vec<Task>,
    /// What backends run with.
    pub provided: Provided,
    /// When a trial has taken too long.
    pub deadline: Duration,
}

/// Checks the flags of `explain`.
///
/// # Errors
/// As [`validate`].
pub fn explain(args: &ExplainArgs, own: Vec<OwnBackend>) -> Result<ExplainPlan, CliError> {
    let configurations = configurations(args.backends.as_deref(), &own)?;
    let timed = timed(&args.workloads, profile(&args.profile)?)?;
    let tasks = timed.into_iter().map(|(task, _)| task);
    Ok(ExplainPlan {
        deadline: deadline(&configurations, &own),
        configurations,
        tasks: tasks.collect(),
        provided: provided(&args.given, own),
    })
}

/// `--workloads` of a command that only times, each with its blocks.
pub(super) fn timed(list: &str, profile: Profile) -> Result<Vec<(Task, u32)>, CliError> {
    let selected = tasks(Some(list), profile)?;
    if selected.idle || selected.probe {
        let problem = "idle is held and probe is asked: neither is timed";
        let hint = Some("--workloads noop".to_owned());
        return Err(CliError::usage("--workloads", problem, hint));
    }
    Ok(selected.tasks)
}

fn ladder(name: Option<&str>) -> Result<Option<LadderName>, CliError> {
    match name {
        None => Ok(None),
        Some("namespaces") => Ok(Some(LadderName::Namespaces)),
        Some("docker") => Ok(Some(LadderName::Docker)),
        Some(other) => Err(CliError::usage(
            "--ladder",
            format!("there is no ladder {other:?}; expected namespaces or docker"),
            Some("--ladder namespaces".to_owned()),
        )),
    }
}

/// `--profile`.
pub(super) fn profile(text: &str) -> Result<Profile, CliError> {
    text.parse().map_err(|_| {
        CliError::usage(
            "--profile",
            format!("there is no profile {text:?}; expected smoke, quick or full"),
            Some("--profile quick".to_owned()),
        )
    })
}

/// `--seed`; `random` where it is not given.
pub(super) fn seed(text: Option<&str>, random: u64) -> Result<u64, CliError> {
    let Some(text) = text else { return Ok(random) };
    text.parse().map_err(|_| {
        CliError::usage(
            "--seed",
            format!("{text:?} is not a whole number from 0 to {}", u64::MAX),
            Some("--seed 1".to_owned()),
        )
    })
}

/// Every backend there is, the user's own among them.
pub(super) fn all(own: &[OwnBackend]) -> Vec<Configuration> {
    let own = own.iter().map(|own| Configuration::own(&own.name));
    Configuration::all().into_iter().chain(own).collect()
}

pub(super) fn configurations(
    list: Option<&str>,
    own: &[OwnBackend],
) -> Result<Vec<Configuration>, CliError> {
    let Some(list) = list else {
        return Ok(Configuration::defaults());
    };
    if list.trim() == ALL {
        return Ok(all(own));
    }
    let mut found = Vec::new();
    for name in items("--backends", list)? {
        let configuration = if own.iter().any(|own| own.name == name) {
            Configuration::own(name)
        } else {
            name.parse().map_err(|error: ConfigurationError| {
                let hint = Some("isobench list backends".to_owned());
                CliError::usage("--backends", error.to_string(), hint)
            })?
        };
        if found.contains(&configuration) {
            return Err(CliError::usage(
                "--backends",
                match configuration.id() {
                    id if id == name => format!("{name} is named twice"),
                    id => format!("{name} is {id}, which is named twice"),
                },
                None,
            ));
        }
        found.push(configuration);
    }
    found.sort_unstable();
    Ok(found)
}

/// What `--workloads` asks for.
pub(super) struct Selected {
    /// Timed tasks with their blocks.
    pub tasks: Vec<(Task, u32)>,
    /// Whether idle instances are to be counted out.
    pub idle: bool,
    /// Whether each configuration is asked what its payload can see.
    pub probe: bool,
}

pub(super) fn tasks(list: Option<&str>, profile: Profile) -> Result<Selected, CliError> {
    let mut tasks: Vec<Task> = Vec::new();
    let Some(list) = list else {
        let tasks = profile.tasks().into_iter();
        return Ok(Selected {
            tasks: tasks.map(|task| (task, rounds(profile, &task))).collect(),
            idle: true,
            // Where a filter ends who asks, it takes as many launches as there are system calls.
            probe: profile != Profile::Smoke,
        });
    };
    for name in items("--workloads", list)? {
        let selected = Task::select(name, profile).map_err(|error| {
            let hint = Some("isobench list workloads".to_owned());
            CliError::usage("--workloads", error.to_string(), hint)
        })?;
        for task in selected {
            if tasks.contains(&task) {
                return Err(CliError::usage(
                    "--workloads",
                    format!("{task} is named twice"),
                    None,
                ));
            }
            tasks.push(task);
        }
    }
    if let Some(task) = tasks
        .iter()
        .find(|t| t.workload == Workload::Idle && t.size != 0)
    {
        let problem = format!(
            "{task}: a run counts idle instances without memory of their own; its size is for \
             checking the accounts (tests/memory.rs)"
        );
        let hint = Some("--workloads idle".to_owned());
        return Err(CliError::usage("--workloads", problem, hint));
    }
    let asked = |workload| tasks.iter().any(|task| task.workload == workload);
    let (idle, probe) = (asked(Workload::Idle), asked(Workload::Probe));
    let part = |task: &&Task| task.workload == Workload::Probe && task.size > 0;
    if let Some(part) = tasks.iter().find(part) {
        return Err(CliError::usage(
            "--workloads",
            format!("{part}: a configuration is asked all questions or none"),
            Some("--workloads probe".to_owned()),
        ));
    }
    tasks.retain(|task| !matches!(task.workload, Workload::Idle | Workload::Probe));
    Ok(Selected {
        tasks: tasks
            .into_iter()
            .map(|task| (task, rounds(profile, &task)))
            .collect(),
        idle,
        probe,
    })
}

fn items<'a>(field: &'static str, list: &'a str) -> Result<Vec<&'a str>, CliError> {
    let items: Vec<&str> = list.split(',').map(str::trim).collect();
    if items.iter().any(|item| item.is_empty()) {
        return Err(CliError::usage(
            field,
            format!("{list:?} has an empty item; expected names separated by commas"),
            None,
        ));
    }
    Ok(items)
}

/// Most blocks a task may have: more than a week of the fastest trial.
const MAX_BLOCKS: u32 = 1_000_000;

pub(super) fn count(field: &'static str, text: &str) -> Result<u32, CliError> {
    text.parse()
        .ok()
        .filter(|n| (1..=MAX_BLOCKS).contains(n))
        .ok_or_else(|| {
            CliError::usage(
                field,
                format!("{text:?} is not a whole number from 1 to {MAX_BLOCKS}"),
                Some(format!("{field} 30")),
            )
        })
}

/// A duration with its unit: `500ms`, `30s`, `5m`, `1h`.
pub(super) fn duration(field: &'static str, text: &str) -> Result<Duration, CliError> {
    time(text).map_err(|problem| CliError::usage(field, problem, Some(format!("{field} 30s"))))
}

/// As [`duration`]; what is wrong, in words.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let refuse =
        || format!("{text:?} is not a time from 100ms to 168h, such as 500ms, 30s, 5m or 1h");
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(refuse)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let value: f64 = number.parse().map_err(|_| refuse())?;
    let total = value * seconds;
    if !(0.1..=168.0 * 3600.0).contains(&total) {
        return Err(refuse());
    }
    Ok(Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(flags: &[&str]) -> Result<RunPlan, CliError> {
        let all = [&["isobench", "run"], flags].concat();
        let super::super::args::Command::Run(run) = super::super::args::Args::try_parse_from(all)
            .unwrap()
            .command
        else {
            unreachable!("the subcommand is run")
        };
        validate(&run, Vec::new(), 7)
    }

    #[test]
    fn defaults_need_no_flags() {
        let RunPlan {
            plan,
            provided,
            out,
            keep,
            history: _,
            format,
            ladder,
            has_own_time,
        } = plan(&[]).unwrap();
        assert_eq!(keep, None);
        assert_eq!(provided, Provided::default());
        assert_eq!((ladder, has_own_time), (None, false));
        assert_eq!(plan.configurations, Configuration::defaults());
        assert_eq!(
            (plan.seed, plan.profile, out, format),
            (7, Profile::Quick, None, Format::Human)
        );
        assert!(plan.density.is_some() && plan.isolation);
    }

    #[test]
    fn the_probe_is_asked_for_by_name_or_by_a_longer_profile() {
        let isolation = |flags: &[&str]| plan(flags).unwrap().plan.isolation;
        assert!(isolation(&["--workloads", "noop,probe"]) && isolation(&["--profile", "full"]));
        assert!(!isolation(&["--workloads", "noop"]) && !isolation(&["--profile", "smoke"]));
        let only = plan(&["--workloads", "probe"]).unwrap().plan;
        assert!(only.tasks.is_empty() && only.density.is_none());
    }

    #[test]
    fn bad_values_name_their_flag() {
        let cases: [(&[&str], &str, &str); 17] = [
            (&["--backends", "processs"], "--backends", "processs"),
            (&["--backends", ""], "--backends", "empty item"),
            (&["--backends", "process,process"], "--backends", "twice"),
            (&["--workloads", "nop"], "--workloads", "nop"),
            (&["--workloads", "idle@64MiB"], "--workloads", "idle@64MiB"),
            (&["--workloads", "noop,,idle"], "--workloads", "empty item"),
            (&["--workloads", "probe@7"], "--workloads", "probe@7"),
            (&["--profile", "huge"], "--profile", "huge"),
            (&["--ladder", "stairs"], "--ladder", "stairs"),
            (&["--blocks", "0"], "--blocks", "\"0\""),
            (&["--blocks", "-1"], "--blocks", "\"-1\""),
            (
                &["--blocks", "18446744073709551616"],
                "--blocks",
                "18446744073709551616",
            ),
            (&["--seed", "NaN"], "--seed", "NaN"),
            (&["--max-time", "inf"], "--max-time", "inf"),
            (&["--max-time", "0s"], "--max-time", "0s"),
            (&["--max-time", "-5s"], "--max-time", "-5s"),
            (&["--max-time", "10"], "--max-time", "10"),
        ];
        for (flags, field, value) in cases {
            let error = plan(flags).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.status(), 2, "{text}");
            assert!(
                text.starts_with(field) && text.contains(value),
                "{flags:?}: {text}"
            );
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration("--max-time", text).unwrap(),
                Duration::from_millis(ms)
            );
        }
    }

    #[test]
    fn all_is_every_backend() {
        let every = plan(&["--backends", "all"]).unwrap().plan;
        assert_eq!(every.configurations, Configuration::all());
        assert!(plan(&["--backends", "all,process"]).is_err());
    }

    #[test]
    fn the_reference_comes_first() {
        let plan = plan(&["--backends", "microvm, process"]).unwrap().plan;
        assert_eq!(
            plan.configurations,
            [Configuration::Process, Configuration::microvm()]
        );
    }
}
