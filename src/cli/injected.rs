//! What `ISOBENCH_INJECT` asks for, checked against the run that it is for.

use std::env::VarError;

use super::error::CliError;
use crate::measure::injection::{self, Injection};
use crate::measure::plan::Plan;
use crate::store::record::Record;

/// What [`injection::VARIABLE`] asks for, each for a configuration of this run.
pub(super) fn of_plan(plan: &Plan) -> Result<Vec<Injection>, CliError> {
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
pub(super) fn must_have_had_effect(
    injections: &[Injection],
    records: &[Record],
) -> Result<(), CliError> {
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
