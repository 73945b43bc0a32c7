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
                          failed; 5 inconclusive (selftest, `compare --gate`, a run in which a \
                          configuration got no number); 130 or 143 \
                          interrupted (what was measured is kept and marked); 1 something is \
                          worse (only with `compare --gate`).\n\
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
    /// What can run here, what cannot, why, and the command that fixes it
    Doctor(DoctorArgs),
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
    /// costs, added one at a time, alone and left out (quick: under 2 minutes)
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
}

/// `isobench report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of the run, or the run.json in it
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// What to print on standard output
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
    /// Folder of the run to compare with, or the run.json in it
    #[arg(value_name = "BASE")]
    pub base: PathBuf,

    /// Folder of the run to judge, or the run.json in it
    #[arg(value_name = "HEAD")]
    pub head: PathBuf,

    /// Smallest change that counts, for every metric [default: 10 for startup, ready, total,
    /// teardown, triad, crossing and chase beyond 64 KiB, 5 for all others]
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub threshold: Option<String>,

    /// Make the verdict the exit status: 1 worse, 5 inconclusive, 0 better or same
    #[arg(long)]
    pub gate: bool,

    /// What to print on standard output
    #[arg(long, value_enum, default_value_t = CompareFormat::Human)]
    pub format: CompareFormat,
}

/// Output of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// One line per metric, worst first, and a sentence
    Human,
    /// Every number behind the verdicts
    Json,
    /// A table
    Markdown,
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

/// `isobench selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
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
}

/// Output of `doctor` and `selftest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Text
    Human,
    /// JSON
    Json,
}
