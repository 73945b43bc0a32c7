//! What there is: backends, workloads, metrics, facts.

use crate::backend::Configuration;
use crate::backend::container::mechanism::Mechanism;
use crate::backend::engine::detect::path_of;
use crate::backend::engine::own::OwnBackend;
use crate::backend::linux_vm::options::Saving;
use crate::cli::args::{ListArgs, What};
use crate::cli::config;
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::cli::plan;
use crate::metric::{Better, CATALOGUE};
use crate::report::terminal::wrap;
use crate::workload::catalogue;
use crate::workload::profile::Profile;

/// Prints the lists.
pub fn list(args: &ListArgs) -> Result<u8, CliError> {
    let own = config::load(args.config.as_deref())?;
    let mut out = String::new();
    let all = [What::Backends, What::Workloads, What::Metrics, What::Facts];
    let sections: Vec<What> = args.what.map_or_else(|| all.to_vec(), |what| vec![what]);
    for (index, section) in sections.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        match section {
            What::Backends => backends(&mut out, &own),
            What::Workloads => workloads(&mut out),
            What::Metrics => metrics(&mut out),
            What::Facts => facts(&mut out),
        }
    }
    print(out)?;
    Ok(0)
}

/// Columns of the names of workloads and metrics; those of backends are longer.
const NAME: usize = 10;
const BACKEND_NAME: usize = 22;

fn entry(out: &mut String, (name, width): (&str, usize), text: &str) {
    out.push_str(&wrap(&format!("  {name:<width$} {text}"), 80, width + 3));
}

fn backends(out: &mut String, own: &[OwnBackend]) {
    out.push_str("Backends (--backends; all is every one of them)\n");
    for configuration in plan::all(own) {
        let id = configuration.id();
        let mut text = configuration.describe().to_owned();
        if let Configuration::Engine(kind) = &configuration
            && kind.program().is_some()
        {
            text.push_str(&match path_of(kind) {
                Ok(path) => format!(" (found {})", path.display()),
                Err(why) => format!(" ({}; to have it: {})", why.reason, why.remedy),
            });
        }
        entry(out, (&id, BACKEND_NAME), &text);
    }
    let names = Mechanism::ALL.map(Mechanism::name).join(" ");
    let options = format!(
        "Options of container, joined by colons: none (nothing), ns=pid+net (these namespaces), \
         only=rootfs (these, with what they need), with=time (the default and these), without=net \
         (the default without these and what needs them); rootfs=tmpfs (the default: a copy of the \
         payload in a tmpfs), rootfs=bind (one prepared directory for all, read-only), \
         rootfs=overlay (overlayfs on it, as engines do); network=none (lo down), \
         network=loopback (the default), network=veth (and a pair of interfaces into a bridge of \
         the host; root only). Namespaces and mechanisms: {names}."
    );
    out.push_str(&wrap(&format!("  {options}"), 80, 2));
    let options = "Options of crun, runc and youki: run (one command that stays, instead of create, \
                   start and delete). Of dockerd and docker: network=none (the default), \
                   network=bridge. `isobench doctor` says which engines are here; docs/engines.md how \
                   to add your own.";
    out.push_str(&wrap(&format!("  {options}"), 80, 2));
    let savings: Vec<String> = Saving::ALL
        .iter()
        .map(|saving| format!("{} ({})", saving.name(), saving.parameters().join(" ")))
        .collect();
    let options = format!(
        "Options of linux-vm: save=pci+acpi (what the kernel's command line spares it), lean (all of \
         it), keep=console (all but these). Savings: {}.",
        savings.join(", ")
    );
    out.push_str(&wrap(&format!("  {options}"), 80, 2));
}

fn workloads(out: &mut String) {
    out.push_str("Workloads (--workloads), with the sizes of each profile\n");
    for workload in crate::workload::Workload::ALL {
        let facts = catalogue::entry(workload);
        let sizes: Vec<String> = Profile::ALL
            .iter()
            .map(|profile| {
                let tasks: Vec<String> = profile
                    .tasks_of(workload)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                format!("{profile}: {}", tasks.join(" "))
            })
            .collect();
        let metric = facts
            .metric
            .map(|m| format!(" → {} ({})", m.name, m.unit))
            .unwrap_or_default();
        let text = format!(
            "[{}] {}{metric}. {}",
            facts.group,
            facts.description,
            sizes.join("; ")
        );
        entry(out, (workload.name(), NAME), &text);
    }
}

fn facts(out: &mut String) {
    out.push_str("Facts (--workloads probe), by group: how each is read, and its verdicts\n");
    let mut group = "";
    for (_, fact) in crate::workload::facts::all() {
        if fact.group != group {
            group = fact.group;
            out.push_str(&format!("  {group}\n"));
        }
        let text = format!("    {:<20} {} – {}", fact.name, fact.how, fact.meaning);
        out.push_str(&wrap(&text, 80, 25));
    }
}

fn metrics(out: &mut String) {
    out.push_str("Metrics\n");
    for metric in &CATALOGUE {
        let better = match metric.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
        };
        let text = format!(
            "[{}, {better} is better] {}",
            metric.unit, metric.definition
        );
        entry(out, (metric.name, NAME), &text);
    }
}
