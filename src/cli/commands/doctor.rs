//! What can run here, what cannot, why, and what to type.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::backend::engine::EngineFacts;
use crate::backend::services::Services;
use crate::backend::{self, Provided};
use crate::cli::args::{DoctorArgs, ListFormat};
use crate::cli::config;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan;
use crate::host::fingerprint::Host;
use crate::host::kvm;
use crate::measure::clock::Clock;
use crate::report::format::printable;
use crate::report::terminal::wrap;
use crate::store::folder::to_pretty_json;

/// Columns of the names.
const NAME: usize = 22;

#[derive(Serialize)]
struct Report {
    host: Option<Host>,
    kvm: String,
    kvm_evidence: String,
    clock_refused: Option<String>,
    backends: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    id: String,
    usable: bool,
    reason: Option<String>,
    remedy: Option<String>,
    limitations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineFacts>,
}

/// Examines the host. Exit status 3 where nothing can run.
pub fn doctor(args: &DoctorArgs) -> Result<u8, CliError> {
    let own = config::load(args.given.config.as_deref())?;
    let report = examine(&plan::provided(&args.given, own));
    let text = match args.format {
        ListFormat::Human => printable(&human(&report)),
        ListFormat::Json => to_pretty_json(&report),
    };
    print(text)?;
    let nothing = report.clock_refused.is_some() || report.backends.iter().all(|b| !b.usable);
    Ok(if nothing { 3 } else { 0 })
}

fn examine(provided: &Provided) -> Report {
    let clock = Clock::calibrate(Duration::from_millis(50));
    let kvm = kvm::detect(Path::new("/"));
    // Daemons that several of them need are started once.
    let mut services = Services::default();
    let backends = plan::all(&provided.own)
        .iter()
        .map(
            |configuration| match backend::open_in(configuration, provided, &mut services) {
                Ok(backend) => Verdict {
                    id: configuration.id(),
                    usable: true,
                    reason: None,
                    remedy: None,
                    limitations: backend
                        .limitations()
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    engine: backend.engine(),
                },
                Err(unavailable) => Verdict {
                    id: configuration.id(),
                    usable: false,
                    reason: Some(unavailable.reason),
                    remedy: Some(unavailable.remedy),
                    limitations: Vec::new(),
                    engine: None,
                },
            },
        )
        .collect();
    Report {
        host: clock.as_ref().ok().map(|clock| Host::detect(clock.facts())),
        kvm: kvm.kind.to_string(),
        kvm_evidence: kvm.evidence,
        clock_refused: clock.err().map(|error| error.to_string()),
        backends,
    }
}

fn human(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        out.push_str(&wrap(&format!("{name:<NAME$} {text}"), 80, NAME + 1));
    };
    if let Some(host) = &report.host {
        line("cpu", &format!("{}, {} usable", host.cpu, host.cpus));
        line("kernel", &host.kernel);
        line("user", &host.user);
        line("cgroup", &host.cgroup);
    }
    line("kvm", &format!("{} ({})", report.kvm, report.kvm_evidence));
    match (&report.clock_refused, &report.host) {
        (Some(refused), _) => line("clock", &format!("refused: {refused}")),
        (None, Some(host)) => line(
            "clock",
            &format!(
                "time-stamp counter, {:.0} MHz, invariant; CPUs agree within {:.0} ns",
                host.clock.hz / 1e6,
                host.clock.skew_ns
            ),
        ),
        (None, None) => {}
    }
    out.push('\n');
    let mut line = |name: &str, text: &str| {
        out.push_str(&wrap(&format!("{name:<NAME$} {text}"), 80, NAME + 1));
    };
    for backend in &report.backends {
        match (&backend.reason, &backend.remedy) {
            (None, _) => match &backend.engine {
                Some(engine) => {
                    let EngineFacts {
                        program, version, ..
                    } = engine;
                    line(&backend.id, &format!("usable: {program} ({version})"));
                }
                None => line(&backend.id, "usable"),
            },
            (Some(reason), remedy) => {
                line(&backend.id, &format!("cannot run: {reason}"));
                if let Some(remedy) = remedy {
                    line("", &format!("to fix it: {remedy}"));
                }
            }
        }
        for limitation in &backend.limitations {
            line("", &format!("without {limitation}"));
        }
    }
    let usable = report.backends.iter().filter(|backend| backend.usable);
    let usable: Vec<&str> = usable.map(|backend| backend.id.as_str()).collect();
    if report.clock_refused.is_none() && !usable.is_empty() {
        // In one line, however long, to be copied.
        let command = format!("isobench run --backends {}", usable.join(","));
        out.push_str(&format!("\nto measure all that can run:\n  {command}\n"));
    }
    out
}
