//! What `--backends` and `--workloads` select.

use crate::backend::configuration::{Configuration, ConfigurationError};
use crate::backend::engine::own::OwnBackend;
use crate::cli::error::CliError;
use crate::measure::plan::rounds;
use crate::workload::profile::Profile;
use crate::workload::{Task, Workload};

/// What stands for every backend there is.
pub(in crate::cli) const ALL: &str = "all";

/// Every backend there is, the user's own among them.
pub(in crate::cli) fn all(own: &[OwnBackend]) -> Vec<Configuration> {
    let own = own.iter().map(|own| Configuration::own(&own.name));
    Configuration::all().into_iter().chain(own).collect()
}

pub(in crate::cli) fn configurations(
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
pub(in crate::cli) struct Selected {
    /// Timed tasks with their blocks.
    pub tasks: Vec<(Task, u32)>,
    /// Whether idle instances are to be counted out.
    pub idle: bool,
    /// Whether each configuration is asked what its payload can see.
    pub probe: bool,
}

pub(in crate::cli) fn tasks(list: Option<&str>, profile: Profile) -> Result<Selected, CliError> {
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
