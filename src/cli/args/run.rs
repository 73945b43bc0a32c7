//! Flags of what runs trials: `run` and `explain`.

use std::path::PathBuf;

use super::{Format, Given};

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
