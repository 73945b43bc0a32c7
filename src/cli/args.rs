//! Raw flags, as typed. Meaning is given to them in [`super::plan`].

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// What does each kind of isolation cost, and what does it buy?
///
/// isobench launches the same bytes as a bare process, as a namespace container and as a KVM
/// micro-VM, and measures startup, memory, throughput and isolation side by side.
#[derive(Debug, Parser)]
#[command(name = "isobench", version, about, long_about, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 done; 2 bad input; 3 this host cannot; 4 something \
                          failed; 5 inconclusive (selftest, `--gate`, a run in which a \
                          configuration got no number); 130 or 143 \
                          interrupted (what was measured is kept and marked); 1 something is \
                          worse (only with `compare --gate` and `ab --gate`).\n\
                          Results go to standard output, everything else to standard error.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, print a table, write reports/<id>/
    Run(RunArgs),
    /// Show a stored run again, also one that was interrupted or killed
    Report(ReportArgs),
    /// Judge one stored run against another: better, worse, same or inconclusive
    Compare(CompareArgs),
    /// One trial of each configuration, instant by instant: phases, exits, system calls
    ///
    /// Runs each workload once on each configuration and prints the trial in order: t0, every named
    /// phase of the start, t1, each exit of a VM to its VMM with its reason, t2 to t4, the teardown,
    /// t5. The system calls of a process or container are counted in a second launch under
    /// ptrace(2), since counting slows them down; KVM's own counters of a VM are read when its
    /// payload has ended.
    Explain(ExplainArgs),
    /// Judge one build of isobench or of a runtime against another, both in the same blocks: the
    /// strongest gate
    Ab(AbArgs),
    /// Serve trials to `isobench ab`
    #[command(hide = true)]
    Worker {
        /// Program of a runtime
        #[arg(long, value_name = "BIN")]
        runtime: Option<PathBuf>,
    },
    /// Give a stored run a name to compare with, or make it a file to commit
    Baseline(BaselineArgs),
    /// Every run so far: the newest, the trend of each metric, and where it changed
    History(HistoryArgs),
    /// Take the results of another tool into the history
    Import(ImportArgs),
    /// What can run here, what cannot, why, and the command that fixes it
    Doctor(DoctorArgs),
    /// Private containerd and dockerd that outlive a run: up, down, status
    ///
    /// A run that measures containerd, cri, dockerd or docker starts daemons of its own and takes them
    /// down with everything that is theirs. `up` starts them once and leaves them, so that runs that
    /// follow need not wait; `down` removes them, also where somebody has killed them. The system's own
    /// daemons are never touched.
    Engines(EnginesArgs),
    /// Backends, workloads, metrics and isolation facts with their definitions
    List(ListArgs),
    /// Is the ruler straight on this host, today? Exit status 4 no, 5 too little data to say
    ///
    /// Measures known durations with two clocks; runs every workload with a known answer; compares
    /// configurations with themselves, where no difference may be found; puts delays of 2, 5 and
    /// 10 % into starts and teardowns, which must be found; and shows what the harness itself
    /// costs. smoke takes under 20 s, quick under 3 minutes; full makes 300 comparisons of
    /// `process` with itself.
    Selftest(SelftestArgs),
    /// Print the JSON Schema of run.json
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Where containerd and dockerd are, if not private ones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Sockets {
    /// Socket of a dockerd to use instead of a private one
    #[arg(
        long,
        value_name = "SOCKET",
        env = "DOCKER_HOST",
        hide_env_values = true
    )]
    pub docker_socket: Option<String>,

    /// Socket of a containerd to use instead of a private one, for cri, too
    #[arg(
        long,
        value_name = "SOCKET",
        env = "CONTAINERD_ADDRESS",
        hide_env_values = true
    )]
    pub containerd_socket: Option<String>,
}

/// `isobench run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Backends to compare, comma separated: process, container, microvm, microvm:jailed,
    /// microvm:snapshot, microvm:pool, linux-vm; crun, runc, youki, bwrap, podman, nspawn, containerd,
    /// cri, dockerd, dockerd:network=bridge, docker, docker:network=bridge, qemu:tcg, qemu:microvm,
    /// qemu:pc, firecracker, cloud-hypervisor; your own; or all. `isobench list backends` has their
    /// options, as in `container:without=net`, and `isobench doctor` what can run here [default:
    /// process,container,microvm]
    #[arg(long, value_name = "LIST")]
    pub backends: Option<String>,

    /// What backends run with.
    #[command(flatten)]
    pub given: Given,

    /// Workloads, comma separated, with or without a size: noop,chase@1MiB [default: all]
    #[arg(long, value_name = "LIST")]
    pub workloads: Option<String>,

    /// Measure a ladder instead: namespaces shows what each namespace and mechanism of a container
    /// costs, added one at a time, alone and left out (quick: under 2 minutes); docker what each layer
    /// from a bare process to docker's command line adds, with podman and cri beside it (under 5
    /// minutes)
    #[arg(long, value_name = "LADDER", conflicts_with_all = ["backends", "workloads"])]
    pub ladder: Option<String>,

    /// How much to measure: smoke (under 20 s), quick (under 60 s) or full
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    pub profile: String,

    /// Folder for the results [default: reports/<id>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Seed of the schedule [default: random]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<String>,

    /// Blocks per workload; each runs every backend once [default: by profile]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub blocks: Option<String>,

    /// End after this time with what there is: 30s, 5m, 1h [default: by profile]
    #[arg(long, value_name = "DUR", allow_hyphen_values = true)]
    pub max_time: Option<String>,

    /// Keep this run as a baseline: a name, or a file (with a slash or ending in .json) that can be
    /// committed to a repository. A baseline of that name is replaced
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "ladder")]
    pub save_baseline: Option<String>,

    /// Do not record this run in the history
    #[arg(long, conflicts_with = "db")]
    pub no_history: bool,

    /// The history's database [default: $ISOBENCH_HISTORY, else isobench/history.db in
    /// $XDG_STATE_HOME or ~/.local/state; ISOBENCH_HISTORY=off records nothing]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,

    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// What the user gives backends to run with, the same for every command that opens some.
#[derive(Clone, Debug, clap::Args)]
pub struct Given {
    /// Kernel of linux-vm: a bzImage or vmlinux [default: the newest in /boot]
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,

    /// File with backends of your own (`[[backend]]`) [default: isobench.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Daemons of the user's.
    #[command(flatten)]
    pub sockets: Sockets,
}

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

/// `isobench report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folders of runs, or the run.json in each; several are laid side by side
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,

    /// Write report.html: one page with charts, for a browser
    #[arg(long)]
    pub html: bool,

    /// Write every chart to charts/, as PNG and as SVG
    #[arg(long)]
    pub png: bool,

    /// Write summary.md
    #[arg(long)]
    pub markdown: bool,

    /// Write report.html and open it
    #[arg(long)]
    pub open: bool,

    /// Folder for what is written [default: the run's own; needed for several runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// What to print on standard output, where no file was asked for
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `isobench compare`.
///
/// Compared is each configuration's ratio to `process`, block by block, so that a host that was
/// faster or slower as a whole cancels. A change counts if its p-value, corrected for the number
/// of comparisons, is below 0.01 and its size is above the threshold. What cannot be decided is
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
/// the rule of `compare`. Builds of isobench, which must have the same payload, run process, container
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

    /// Smallest change that counts, for every metric [default: as for `compare`]
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

/// `isobench explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Backends, comma separated, with options as in `container:without=net`; see `isobench list
    /// backends` [default: process,container,microvm]
    #[arg(long, value_name = "LIST")]
    pub backends: Option<String>,

    /// What backends run with.
    #[command(flatten)]
    pub given: Given,

    /// Workloads, comma separated, with or without a size; not idle or probe, which are not timed
    #[arg(long, value_name = "LIST", default_value = "noop")]
    pub workloads: String,

    /// Sizes and repetitions: smoke, quick or full
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    pub profile: String,
}

/// `isobench doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// What backends run with.
    #[command(flatten)]
    pub given: Given,

    /// What to print: human or json
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub format: ListFormat,
}

/// `isobench engines`.
#[derive(Debug, clap::Args)]
pub struct EnginesArgs {
    /// What to do
    #[command(subcommand)]
    pub action: EnginesAction,
}

/// What `engines` does.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum EnginesAction {
    /// Start them and leave them running
    Up,
    /// End them and remove all that is theirs
    Down,
    /// Show what is up: version, process, memory, socket
    Status {
        /// What to print: human or json
        #[arg(long, value_enum, default_value_t = ListFormat::Human)]
        format: ListFormat,
    },
}

/// `isobench selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// Test the gate instead of the ruler: delays in chosen phases and leaks that it must catch, runs
    /// of the same in which it must stay silent (smoke: under a minute; full makes 300 comparisons)
    #[arg(long)]
    pub gate: bool,

    /// How much to compare: smoke, quick or full
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    pub profile: String,

    /// Seed of the schedules and of every draw [default: random]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<String>,

    /// What to print: human or json
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub format: ListFormat,
}

/// `isobench list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// What to list [default: all three]
    #[arg(value_enum)]
    pub what: Option<What>,

    /// File with backends of your own (`[[backend]]`) [default: isobench.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `list` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Ways to run the payload
    Backends,
    /// What the payload does
    Workloads,
    /// What is measured
    Metrics,
    /// What the payload is asked about its isolation
    Facts,
}

/// Output of `run` and `report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table and sentences
    Human,
    /// run.json
    Json,
    /// summary.md
    Markdown,
    /// One line per estimate
    Csv,
    /// github-action-benchmark: medians where lower is better
    #[value(name = "customSmallerIsBetter")]
    SmallerIsBetter,
    /// github-action-benchmark: medians where higher is better
    #[value(name = "customBiggerIsBetter")]
    BiggerIsBetter,
    /// Bencher Metric Format
    Bencher,
    /// OpenMetrics text
    Openmetrics,
}

/// Output of `doctor` and `selftest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Text
    Human,
    /// JSON
    Json,
}
