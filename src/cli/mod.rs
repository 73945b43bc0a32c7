//! The command line: raw flags, a validated plan, one file per subcommand.

mod ab_plan;
pub mod args;
mod commands;
pub mod compare_plan;
pub mod config;
pub mod error;
pub mod gate_file;
pub mod history_plan;
mod injected;
mod output;
pub mod places;
pub mod plan;
mod project_file;
pub mod reference;
mod render;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use error::CliError;

/// Parses the command line, does what it says, and returns the exit status.
#[must_use]
pub fn main() -> u8 {
    log_to_stderr();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap's own: 0 for --help and --version, 2 for what it refuses.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    match dispatch(args) {
        Ok(status) => status,
        Err(error) => {
            error.report();
            error.status()
        }
    }
}

/// What cannot be said in a result (a group or a child left behind) goes to standard error;
/// `ISOBENCH_LOG=debug` says more.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ISOBENCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // Refused only if a program that embeds this library has a log of its own: then it goes there.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .try_init();
}

fn dispatch(args: Args) -> Result<u8, CliError> {
    match args.command {
        Command::Run(run) => commands::run::run(&run),
        Command::Report(report) => commands::report::report(&report),
        Command::Explain(explain) => commands::explain::explain(&explain),
        Command::Compare(compare) => commands::compare::compare(&compare),
        Command::Ab(ab) => commands::ab::ab(&ab),
        Command::Worker { runtime } => commands::ab::worker(runtime),
        Command::Baseline(baseline) => commands::baseline::baseline(&baseline),
        Command::Import(import) => commands::import::import(&import),
        Command::History(history) => commands::history::history(&history),
        Command::Doctor(doctor) => commands::doctor::doctor(&doctor),
        Command::Engines(engines) => commands::engines::engines(&engines),
        Command::List(list) => commands::list::list(&list),
        Command::Selftest(selftest) => commands::selftest::selftest(&selftest),
        Command::Schema => commands::schema::schema(),
        Command::Completions { shell } => {
            commands::completions::completions(shell, &mut Args::command())
        }
        Command::Man => commands::completions::man(Args::command()),
    }
}
