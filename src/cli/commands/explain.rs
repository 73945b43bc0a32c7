//! `isobench explain`: one trial, instant by instant.

use std::time::Duration;

use crate::backend;
use crate::backend::services::Services;
use crate::cli::args::ExplainArgs;
use crate::cli::config;
use crate::cli::error::{CliError, of_signal};
use crate::cli::output::print;
use crate::cli::plan::{self, ExplainPlan};
use crate::measure::clock::Clock;
use crate::measure::explain;
use crate::measure::session::RunError;
use crate::report;
use crate::report::format::printable;
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::{known_answer, payload};

/// Runs one trial of each task on each configuration and tells it.
pub fn explain(args: &ExplainArgs) -> Result<u8, CliError> {
    let own = config::load(args.given.config.as_deref())?;
    let ExplainPlan {
        configurations,
        tasks,
        provided,
        deadline,
    } = plan::explain(args, own)?;
    let mut services = Services::default();
    interrupt::install().map_err(|e| CliError::System(super::run::WATCH, e))?;
    let clock = Clock::calibrate(Duration::from_millis(100))?;
    let image = payload::image_fold().map_err(RunError::from)?;
    let mut opened = Vec::new();
    let mut reasons = Vec::new();
    for configuration in configurations {
        match backend::open_in(&configuration, &provided, &mut services) {
            Ok(backend) => opened.push((configuration, backend)),
            Err(why) => reasons.push(format!(
                "{configuration}: {} (to fix it: {})",
                why.reason, why.remedy
            )),
        }
    }
    if opened.is_empty() {
        return Err(CliError::NothingRuns(reasons).or_interrupted());
    }
    let mut out = String::new();
    let mut status = 0;
    for task in tasks {
        let answer = known_answer(&task).map_err(RunError::from)?;
        let launch = Launch { task, deadline };
        for (configuration, backend) in &mut opened {
            // What is loaded and faulted in once is no part of a trial: in a run, too, the first
            // trial of each only warms up.
            let told = backend
                .trial(&launch)
                .and_then(|_| explain::explain(backend.as_mut(), &launch, (answer, image), &clock));
            let heading = format!("{configuration} · {task}");
            match told {
                Ok(trial) => out.push_str(&report::explain::render(&heading, &trial)),
                Err(Failure::Interrupted) => {
                    print(printable(&out))?;
                    let signal = interrupt::requested().unwrap_or(libc::SIGINT);
                    return Ok(of_signal(signal));
                }
                Err(failure) => {
                    out.push_str(&format!("{heading}\n  {}: {failure}\n", failure.kind()));
                    status = 4;
                }
            }
            out.push('\n');
        }
    }
    for reason in reasons {
        out.push_str(&format!("skipped: {reason}\n"));
    }
    print(printable(&out))?;
    Ok(status)
}
