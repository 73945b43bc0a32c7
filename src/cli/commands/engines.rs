//! `isobench engines`: private daemons that outlive a run.

use std::fmt::Write as _;

use crate::backend::daemons::kept::{self, Kept, State};
use crate::cli::args::{EnginesAction, EnginesArgs, ListFormat};
use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::metric::Unit;
use crate::report::format::quantity;
use crate::sys::interrupt;

/// Starts, ends or shows them.
pub fn engines(args: &EnginesArgs) -> Result<u8, CliError> {
    interrupt::install().map_err(|e| CliError::System(super::run::WATCH, e))?;
    match args.action {
        EnginesAction::Up => up(),
        EnginesAction::Down => down(),
        EnginesAction::Status { format } => status(format),
    }
}

fn up() -> Result<u8, CliError> {
    match kept::state() {
        State::Up(kept) if kept.is_up("containerd") => {
            print(format!("already up\n{}", described(&kept)))?;
            return Ok(0);
        }
        // Killed, or never finished: what it left is in the way.
        State::Up(_) | State::Remains(_) => drop(kept::down().map_err(CliError::Left)?),
        State::Down => {}
    }
    let up = kept::up().map_err(|why| CliError::Unavailable(why).or_interrupted());
    let (kept, without) = up?;
    let mut out = described(&kept);
    if let Some(why) = without {
        let _ = writeln!(
            out,
            "no dockerd: {} (to fix it: {})",
            why.reason, why.remedy
        );
    }
    out.push_str("isobench run uses them from now on; isobench engines down removes them\n");
    print(out)?;
    Ok(0)
}

fn down() -> Result<u8, CliError> {
    let was_up = kept::down().map_err(CliError::Left)?;
    print(if was_up {
        "taken down\n"
    } else {
        "nothing was up\n"
    })?;
    Ok(0)
}

fn status(format: ListFormat) -> Result<u8, CliError> {
    let state = kept::state();
    let text = match (format, &state) {
        (ListFormat::Json, State::Up(kept)) => json(kept),
        (ListFormat::Json, _) => "{\n  \"daemons\": []\n}\n".to_owned(),
        (ListFormat::Human, State::Up(kept)) => described(kept),
        (ListFormat::Human, State::Down) => {
            "down: isobench run starts its own and takes them down\n".to_owned()
        }
        (ListFormat::Human, State::Remains(folder)) => format!(
            "not up, but {} is there (to remove it: isobench engines down)\n",
            folder.display()
        ),
    };
    print(text)?;
    Ok(0)
}

fn described(kept: &Kept) -> String {
    let mut out = String::new();
    for daemon in &kept.daemons {
        let (name, version, socket) = (&daemon.name, &daemon.version, daemon.socket.display());
        let how = if !kept.is_up(name) {
            "dead (isobench engines down, then up)".to_owned()
        } else {
            let memory = daemon
                .memory()
                .map(|bytes| quantity(bytes.0 as f64, Unit::Bytes));
            let memory = memory.map_or_else(String::new, |memory| format!(", {memory}"));
            format!("up, process {}{memory}, unix://{socket}", daemon.pid)
        };
        let _ = writeln!(out, "{name} {version}: {how}");
    }
    out
}

fn json(kept: &Kept) -> String {
    let daemons: Vec<_> = kept
        .daemons
        .iter()
        .map(|daemon| {
            serde_json::json!({
                "name": daemon.name,
                "version": daemon.version,
                "up": kept.is_up(&daemon.name),
                "pid": daemon.pid,
                "socket": daemon.socket,
                "memory": daemon.memory().map(|bytes| bytes.0),
            })
        })
        .collect();
    let all = serde_json::json!({ "folder": kept.folder, "daemons": daemons });
    format!("{all:#}\n")
}
