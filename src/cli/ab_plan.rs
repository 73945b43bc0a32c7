//! From `ab`'s flags to a plan: every value checked, the two programs asked what they are.

use std::path::PathBuf;

use super::args::{AbArgs, CompareFormat};
use super::compare_plan::percent;
use super::error::CliError;
use super::{gate_file, plan};
use crate::backend::Configuration;
use crate::backend::engine::EngineKind;
use crate::backend::engine::kind::{Lifecycle, OciRuntime};
use crate::measure::ab::subject::{Kind, Subject};
use crate::measure::ab::{Plan, place};
use crate::measure::comparison::Rule;
use crate::measure::plan::max_time;
use crate::workload::Profile;

/// What `isobench ab` shall do.
#[derive(Debug)]
pub struct AbPlan {
    /// BASE and HEAD.
    pub subjects: [Subject; 2],
    /// What both run.
    pub plan: Plan,
    /// Its profile.
    pub profile: Profile,
    /// When a change counts.
    pub rule: Rule,
    /// Whether the verdict is the exit status.
    pub gate: bool,
    /// What to print.
    pub format: CompareFormat,
}

/// Checks the flags of `ab`. `random` is the seed where none is given.
///
/// # Errors
/// [`CliError::Usage`] that names the flag, the value and what was expected; [`CliError::Lane`] where a
/// program is neither isobench nor a runtime; what `isobench.toml` is refused for.
pub fn validate(args: &AbArgs, random: u64) -> Result<AbPlan, CliError> {
    let profile = plan::profile(&args.profile)?;
    let runtime = args.runtime.as_deref().map(runtime).transpose()?;
    let backends = args.backends.as_deref();
    let listed = backends
        .map(|list| plan::configurations(Some(list), &[]))
        .transpose()?;
    let mut tasks = plan::timed(&args.workloads, profile)?;
    if let Some(blocks) = &args.blocks {
        let blocks = plan::count("--blocks", blocks)?;
        tasks.iter_mut().for_each(|(_, rounds)| *rounds = blocks);
    }
    let most = args.max_time.as_deref();
    let most = most
        .map(|text| plan::duration("--max-time", text))
        .transpose()?;
    let threshold = args.judging.threshold.as_deref().map(percent).transpose()?;
    let seed = plan::seed(args.seed.as_deref(), random)?;
    let rule = Rule {
        threshold,
        ..gate_file::rule(args.judging.config.as_deref())?
    };
    let subjects = subjects(args, runtime)?;
    let configurations = configurations(subjects[0].kind, listed)?;
    Ok(AbPlan {
        plan: Plan {
            configurations: configurations.iter().map(ToString::to_string).collect(),
            tasks,
            seed,
            max_time: most.unwrap_or_else(|| max_time(profile)),
            cpus: place::cpus().map_err(|e| CliError::System("read the CPU affinity", e))?,
            deadline: plan::deadline(&configurations, &[]),
        },
        subjects,
        profile,
        rule,
        gate: args.judging.gate,
        format: args.judging.format,
    })
}

/// `--runtime`.
fn runtime(text: &str) -> Result<OciRuntime, CliError> {
    let mut all = OciRuntime::ALL.into_iter();
    all.find(|known| known.name() == text).ok_or_else(|| {
        let names = OciRuntime::ALL.map(OciRuntime::name).join(", ");
        let problem = format!("{text:?} is none of {names}");
        CliError::usage("--runtime", problem, Some("--runtime crun".to_owned()))
    })
}

/// Asks both what they are; they must be the same.
fn subjects(args: &AbArgs, runtime: Option<OciRuntime>) -> Result<[Subject; 2], CliError> {
    let ask = |flag, path: &PathBuf| {
        Subject::ask(path, runtime).map_err(|error| CliError::Lane(flag, error))
    };
    let both = [ask("--base", &args.base)?, ask("--head", &args.head)?];
    let [base, head] = &both;
    if base.kind == head.kind {
        return Ok(both);
    }
    let problem = format!(
        "{} is {} ({}), and --base is {} ({}); two builds of one program are compared",
        head.path.display(),
        head.kind,
        head.version,
        base.kind,
        base.version
    );
    let hint = match (base.kind, head.kind) {
        (Kind::Runtime(base), Kind::Runtime(head)) => Some(format!(
            "isobench run --backends process,{},{}",
            base.name(),
            head.name()
        )),
        _ => None,
    };
    Err(CliError::usage("--head", problem, hint))
}

/// What both are to run: what was listed, else what isobench runs by default, or the runtime.
fn configurations(
    of: Kind,
    listed: Option<Vec<Configuration>>,
) -> Result<Vec<Configuration>, CliError> {
    let Kind::Runtime(runtime) = of else {
        return Ok(listed.unwrap_or_else(Configuration::defaults));
    };
    let of_runtime = |lifecycle| Configuration::Engine(EngineKind::Oci(runtime, lifecycle));
    let ways = [Lifecycle::Steps, Lifecycle::Run].map(of_runtime);
    let [default, _] = ways.clone();
    let listed = listed.unwrap_or_else(|| vec![default]);
    match listed.iter().find(|one| !ways.contains(one)) {
        None => Ok(listed),
        Some(other) => {
            let [steps, run] = ways;
            let problem = format!("{other} does not use {of}; expected {steps} or {run}");
            let hint = Some(format!("--backends {steps},{run}"));
            Err(CliError::usage("--backends", problem, hint))
        }
    }
}
