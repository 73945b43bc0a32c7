//! Flags of `history` and `import`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `isobench import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Folder of criterion's results, as target/criterion; `isobench history --workload criterion`
    /// shows them
    #[arg(long, value_name = "DIR")]
    pub criterion: PathBuf,

    /// The history's database [default: as for `run`]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
}

/// `isobench history`.
///
/// Trends go through the runs of the newest run's host and payload; values are ratios to `process`
/// where there are some, so that a faster or slower machine does not show. A change is a change
/// point by E-divisive with a permutation test at 1 % (docs/method.md).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArgs {
    /// Runs and trends of this configuration only
    #[arg(long, value_name = "ID")]
    pub backend: Option<String>,

    /// Of this task only, e.g. noop or chase@1MiB
    #[arg(long, value_name = "TASK")]
    pub workload: Option<String>,

    /// Of this metric only
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,

    /// Of this branch only
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// Begun on this day or later: 2026-11-29 or 2026-11-29T01:30:00Z
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,

    /// At most so many runs, the newest
    #[arg(
        long,
        value_name = "N",
        default_value = "60",
        allow_hyphen_values = true
    )]
    pub limit: String,

    /// Write one page with the trends as charts, for a browser, and print its name only
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub html: Option<PathBuf>,

    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = HistoryFormat::Human)]
    pub format: HistoryFormat,

    /// The history's database [default: as for `run`]
    #[arg(long, value_name = "PATH", global = true)]
    pub db: Option<PathBuf>,

    /// Something else than looking
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
}

/// What else can be done with a history.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Take in stored runs (folders, run.json) and exported histories; what is in already stays
    Import {
        /// Folders of runs, run.json files, exported histories
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Print the whole history as one JSON document, which `import` reads
    Export,
    /// Forget runs
    Prune {
        /// All but so many, the newest
        #[arg(
            long,
            value_name = "N",
            allow_hyphen_values = true,
            required_unless_present = "before",
            conflicts_with = "before"
        )]
        keep: Option<String>,
        /// Those begun before this day or instant
        #[arg(long, value_name = "DATE")]
        before: Option<String>,
    },
}

/// Output of `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    /// A line a run, a sparkline a metric
    Human,
    /// Runs and trends with their change points
    Json,
    /// One line a run and estimate
    Csv,
}
