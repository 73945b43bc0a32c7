//! Flags of what judges one thing by another: `compare`, `ab` and `baseline`.

use std::path::PathBuf;

use clap::ValueEnum;

/// `isobench baseline`.
#[derive(Debug, clap::Args)]
pub struct BaselineArgs {
    /// Folder of the run, the run.json in it, or its id
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// A name, or a file (with a slash or ending in .json); a baseline that is there is replaced
    #[arg(value_name = "NAME|FILE")]
    pub keep: String,
}

/// `isobench compare`.
///
/// Compared is each configuration's ratio to `process`, block by block, so that a host that was
/// faster or slower as a whole cancels. A change counts if its p-value, corrected for the number
/// of comparisons, is below 0.01 and its whole 95 % interval lies beyond the threshold. What cannot be decided is
/// inconclusive, never a pass.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 done; 2 bad input. With --gate also: 1 something is \
                        worse; 5 inconclusive."
)]
pub struct CompareArgs {
    /// What to compare with: a baseline's name or file, or a run's folder, run.json or id
    #[arg(value_name = "BASE")]
    pub base: PathBuf,

    /// What to judge, named likewise
    #[arg(value_name = "HEAD")]
    pub head: PathBuf,

    /// Pass, with a note, where there is no BASE yet
    #[arg(long)]
    pub baseline_lenient: bool,

    /// When a change counts, and what is told of it
    #[command(flatten)]
    pub judging: JudgingArgs,
}

/// What `compare` and `ab` are told of verdicts.
#[derive(Debug, clap::Args)]
pub struct JudgingArgs {
    /// Smallest change that counts, for every metric [default: 10 for startup, ready, total,
    /// teardown, triad, crossing and chase beyond 64 KiB, 5 for all others]
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub threshold: Option<String>,

    /// Thresholds of the project, `[gate]` [default: isobench.toml, if there is one]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Make the verdict the exit status: 1 worse, 5 inconclusive, 0 better or same
    #[arg(long)]
    pub gate: bool,

    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = CompareFormat::Human)]
    pub format: CompareFormat,
}

/// `isobench ab`.
///
/// Every block is one trial of each configuration from each build, in random order, so that whatever
/// disturbs one build disturbs the other. Verdicts are made from the ratios HEAD/BASE inside blocks by
/// the rule of `compare`, but that the ratio itself must be beyond the threshold, not its whole interval.
/// Builds of isobench, which must have the same payload, run process, container
/// and microvm; builds of crun, runc or youki the runtime. Which they are is asked of their --version.
/// Memory of idle instances is not compared: that takes two runs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 done; 2 bad input; 3 this host cannot; 4 a build failed. With \
                        --gate also: 1 something is worse; 5 inconclusive."
)]
pub struct AbArgs {
    /// The build to compare with
    #[arg(long, value_name = "BIN")]
    pub base: PathBuf,

    /// The build to judge
    #[arg(long, value_name = "BIN")]
    pub head: PathBuf,

    /// Both are builds of this runtime, whatever they say: crun, runc or youki
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,

    /// Configurations, comma separated [default: process,container,microvm; of a runtime its name,
    /// as in `crun` or `crun:run`]
    #[arg(long, value_name = "LIST")]
    pub backends: Option<String>,

    /// Workloads, comma separated; not idle or probe, which are not timed
    #[arg(long, value_name = "LIST", default_value = "noop")]
    pub workloads: String,

    /// Sizes, repetitions, blocks and time: smoke, quick or full
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    pub profile: String,

    /// Blocks per workload [default: by profile]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub blocks: Option<String>,

    /// End after this time with what there is: 30s, 5m, 1h [default: by profile]
    #[arg(long, value_name = "DUR", allow_hyphen_values = true)]
    pub max_time: Option<String>,

    /// Seed of the schedule and of the tests [default: random]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<String>,

    /// When a change counts, and what is told of it
    #[command(flatten)]
    pub judging: JudgingArgs,
}

/// Output of `compare` and `ab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// One line per metric, worst first, and a sentence
    Human,
    /// Every number behind the verdicts
    Json,
    /// A table, below 1 MiB, for a pull request or a job summary
    Markdown,
    /// One line a metric
    Csv,
    /// JUnit XML: worse is a failure, inconclusive or missing an error
    Junit,
    /// GitHub annotations: at most ten, the worst first
    Github,
    /// github-action-benchmark: HEAD over BASE where lower is better
    #[value(name = "customSmallerIsBetter")]
    SmallerIsBetter,
    /// github-action-benchmark: HEAD over BASE where higher is better
    #[value(name = "customBiggerIsBetter")]
    BiggerIsBetter,
    /// Bencher Metric Format
    Bencher,
    /// OpenMetrics text
    Openmetrics,
}
