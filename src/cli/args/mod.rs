//! Raw flags, as typed. Meaning is given to them in [`super::plan`].

mod compare;
mod history;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use compare::{AbArgs, BaselineArgs, CompareArgs, CompareFormat};
pub use history::{HistoryArgs, HistoryCommand, HistoryFormat, ImportArgs};
pub use run::{ExplainArgs, RunArgs};

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
    /// payload has ended. dockerd's own events of a container are asked for when the trial is over.
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
