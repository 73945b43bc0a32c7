//! From flags to a plan: every value checked, nothing touched.

mod select;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use super::args::{ExplainArgs, Format, Given, RunArgs};
use super::error::CliError;
use super::history_plan::recorded_in;
use super::reference::Keep;
use crate::backend::Provided;
use crate::backend::configuration::Configuration;
use crate::backend::engine::EngineKind;
use crate::backend::engine::own::OwnBackend;
use crate::measure::plan::{
    Plan, density, ladder_rounds, ladder_time, max_time, stack_rounds, stack_time, target,
};
use crate::workload::profile::Profile;
use crate::workload::{Task, Workload};

use select::Selected;
pub(in crate::cli) use select::{ALL, all, configurations, tasks};
pub(in crate::cli) use values::{count, duration, profile, seed, time};

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
pub(in crate::cli) fn provided(given: &Given, own: Vec<OwnBackend>) -> Provided {
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
