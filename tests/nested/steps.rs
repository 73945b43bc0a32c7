//! What is done inside, in this order, and what must come of it.

use std::env;
use std::time::Duration;

use crate::documents::{
    Takes, all_measured, containers_measured, containers_work, everything_works, kernel_measured,
};

/// Words, comma separated: only steps whose name contains one of them are done.
pub const CHOICE: &str = "ISOBENCH_NESTED_STEPS";

/// The name of the bed that a machine is; only inside.
pub const BED: &str = "ISOBENCH_NESTED_BED";
/// Anything but nothing: a hundred kills at each phase and a soak as long as outside, with time for it.
pub const FULL: &str = "ISOBENCH_NESTED_FULL";

/// Names the configurations that are killed (`backend::kill_tests`), handed on.
pub const KILLS_OF: &str = "ISOBENCH_KILLS_OF";

/// Whether [`FULL`] is wanted.
pub fn full() -> bool {
    env::var_os(FULL).is_some_and(|text| !text.is_empty())
}

/// A command run inside, and what must come of it.
pub struct Step {
    pub name: &'static str,
    /// Words, of which the first is a program of this build: `isobench`, a test binary by its name,
    /// or the library's tests as `lib`.
    pub command: &'static str,
    /// Who runs it, and owns the groups of [`Group::Delegated`].
    pub user: User,
    pub group: Group,
    /// What [`KILLS_OF`] is if nobody says otherwise.
    pub kills_of: Option<&'static str>,
    /// Then it is killed, which is a failure.
    limit: Duration,
    pub expect: Expect,
}

/// Who runs it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    Nobody,
}

/// Where in the one hierarchy it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// In the root group, which alone may have processes and hand controllers down. Before the first
    /// step of the other kind it hands down none.
    Root,
    /// In a group without controllers, below one that hands them down and belongs to the user: what
    /// systemd makes for a service or for a user's scope.
    Delegated,
}

/// What must come of it, beside status 0.
pub enum Expect {
    /// So many tests pass, and what says that it was not run here says it with one of these.
    Tests {
        at_least: u64,
        excuses: &'static [&'static str],
    },
    /// JSON on standard output that this takes.
    Json(Takes),
}

const DOCTOR: &str = "isobench doctor --format json";
/// Not `idle`: it takes half a minute, and what memory costs is no question for an emulator.
const RUN: &str = "isobench run --profile smoke --blocks 1 --seed 1 --max-time 5m --out /run \
                   --format json \
                   --workloads noop,sha256,matmul,branch,triad,chase,fault,crossing,clock";
const LADDER: &str = "isobench run --ladder namespaces --profile smoke --blocks 1 --seed 1 \
                      --max-time 5m --out /ladder --format json";
const LINUX_RUN: &str = "isobench run --backends process,linux-vm:keep=console --workloads noop \
                         --blocks 1 --seed 1 --max-time 5m --out /linux --format json";
/// In two steps, so that each is done in time on a busy host, too.
const LINUX_VM: &str = "linux_vm --nocapture --skip a_disk_and_a_console";
const LINUX_DEVICES: &str = "linux_vm --nocapture a_disk_and_a_console";
const VMMS: &str = "vmms --nocapture";
const QEMU: &str = "qemu --nocapture on_kvm";
/// What touches the machine. Without the tests of engines, whose false programs are scripts for tools that the
/// bed has not, and without those that run code on KVM.
const LIB: &str = "lib --nocapture backend:: host:: sys:: vmm:: --skip kill_tests --skip engine:: \
                   --skip daemons:: --skip vmm::machine::tests";
const MACHINES: &str = "lib --nocapture vmm::machine::tests";
/// Of what has control groups where these are looked at, of machines where these are.
const CONTAINER_KILLS: &str = "lib --nocapture backend::kill_tests --skip micro_vm";
const MACHINE_KILLS: &str =
    "lib --nocapture backend::kill_tests::a_killed_micro backend::kill_tests::a_killed_jailed";
/// What the machine that does the former has not.
const TIME_KILLS: &str = "lib --nocapture backend::kill_tests::a_killed_container";
/// Those of machines; what becomes of a run's files does not depend on the host.
const INTERRUPTED: &str = "interrupted_runs --nocapture a_killed_run_leaves_nothing \
                           an_interrupt_ends_a_working_vm an_interrupt_releases_idle_instances";
const CONTAINER: &str = "container --nocapture";
const ATTACKS: &str = "attacks --nocapture";
const CONFINEMENT: &str = "confinement --nocapture";
const JAILED: &str = "jailed --nocapture";
const ROOTFS: &str = "rootfs --nocapture";

/// What a machine's kernel runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An emulated processor with SVM: it has KVM.
    Svm,
    /// This host, as one of its programs: no KVM, and faster.
    Uml,
}

/// A machine and what is done in it.
pub struct Bed {
    pub name: &'static str,
    pub kind: Kind,
    steps: &'static [Step],
}

/// All of them, two at a time, so that each has a core of this host.
pub const BEDS: [&Bed; 4] = [&GROUPS, &CONTAINERS, &SVM, &LINUX];

/// What a micro-VM needs.
pub const SVM: Bed = Bed {
    name: "svm",
    kind: Kind::Svm,
    steps: &[
        json("doctor", DOCTOR, everything_works),
        json("doctor-delegated", DOCTOR, everything_works).delegated(),
        json("doctor-nobody", DOCTOR, everything_works).delegated_to_nobody(),
        tests("machines", MACHINES, 7, &[]),
        tests("microvm", "microvm --nocapture", 13, &[]),
        tests("microvm-nobody", "microvm --nocapture", 13, &[]).delegated_to_nobody(),
        tests("microvm-copies", "microvm_copies --nocapture", 8, &[]),
        tests("adversaries", "adversaries --nocapture", 5, &[]),
        tests("memory", "memory --nocapture", 5, &[]).delegated(),
        tests("kills", MACHINE_KILLS, 2, &[]).delegated(),
        tests("soak", "soak --nocapture micro_vms", 1, &[]).delegated(),
        tests("kills-time", TIME_KILLS, 1, &[OLD_TIME])
            .delegated()
            .killing("container:with=user+time"),
    ],
};

/// A distribution's kernel with KVM, time namespaces and calls of other architectures: what tells these
/// apart, the confined VMM, and whole runs.
pub const CONTAINERS: Bed = Bed {
    name: "containers",
    kind: Kind::Svm,
    steps: &[
        tests("container", CONTAINER, 9, &[]),
        tests("container-delegated", CONTAINER, 9, &[]).delegated(),
        tests("container-nobody", CONTAINER, 9, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("jailed", JAILED, 5, &[]),
        tests("jailed-nobody", JAILED, 5, &[]).delegated_to_nobody(),
        tests("attacks", ATTACKS, 12, &[VERSION_1, X32]).delegated(),
        tests("attacks-nobody", ATTACKS, 12, &[VERSION_1, X32]).delegated_to_nobody(),
        tests("mechanisms", "mechanisms --nocapture", 3, &[OLD_TIME]).delegated(),
        tests("isolation", "isolation --nocapture", 7, &[OLD_KERNEL]).delegated(),
        tests("isolation-harness", "isolation_harness --nocapture", 4, &[]).delegated(),
        tests("interrupted-runs", INTERRUPTED, 3, &[]).delegated(),
        json("run", RUN, all_measured).delegated(),
        json("ladder", LADDER, all_measured).delegated(),
    ],
};

/// Machines inside the machine, each with a kernel to boot.
pub const LINUX: Bed = Bed {
    name: "linux",
    kind: Kind::Svm,
    steps: &[
        tests("linux-vm", LINUX_VM, 9, &[]),
        tests("linux-vm-devices", LINUX_DEVICES, 1, &[]),
        json("linux-vm-run", LINUX_RUN, kernel_measured),
        tests("firecracker", VMMS, 2, &[NO_FIRECRACKER]),
        tests("qemu", QEMU, 3, &[NO_QEMU]),
    ],
};

/// What a container needs of a host, at length.
pub const GROUPS: Bed = Bed {
    name: "cgroup2",
    kind: Kind::Uml,
    steps: &[
        json("doctor-groups", DOCTOR, containers_work).delegated(),
        json("doctor-groups-nobody", DOCTOR, containers_work).delegated_to_nobody(),
        tests("lib", LIB, 95, &[NO_GIT]).delegated(),
        tests("kills", CONTAINER_KILLS, 4, &[NO_TIME]).delegated(),
        tests("process", "process --nocapture", 6, &[]),
        tests("container", CONTAINER, 9, &[]),
        tests("container-delegated", CONTAINER, 9, &[]).delegated(),
        tests("container-nobody", CONTAINER, 9, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("confinement", CONFINEMENT, 7, &[]),
        tests("confinement-delegated", CONFINEMENT, 7, &[]).delegated(),
        tests("confinement-nobody", CONFINEMENT, 7, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("rootfs", ROOTFS, 5, &[]).delegated(),
        tests("rootfs-nobody", ROOTFS, 5, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("network", "network --nocapture", 8, &[]).delegated(),
        tests("soak", "soak --nocapture --skip micro_vms", 2, &[NO_TIME]).delegated(),
        json("ladder", LADDER, containers_measured).delegated(),
    ],
};

/// Excuses of tests, in their words.
const ONLY_ROOT: &str = "only root can";
const VERSION_1: &str = "no memory hierarchy of version 1";
/// Debian's kernel has no x32.
const X32: &str = "x32 system calls: this kernel has no such call";
/// Debian 12's kernel is 6.1.
pub const OLD_TIME: &str = "time_offsets: Permission denied";
const NO_FIRECRACKER: &str = "firecracker is not on the path";
const NO_QEMU: &str = "qemu-system-x86_64 is not on the path";
const NO_GIT: &str = "no git";
const OLD_KERNEL: &str = "a container with one of them cannot be made here";
/// User-Mode Linux has no time namespaces.
const NO_TIME: &str = "container:with=user+time: a first launch failed: clone3: Invalid argument";

const fn step(name: &'static str, command: &'static str, expect: Expect) -> Step {
    Step {
        name,
        command,
        user: User::Root,
        group: Group::Root,
        kills_of: None,
        limit: Duration::from_secs(600),
        expect,
    }
}

const fn json(name: &'static str, command: &'static str, takes: Takes) -> Step {
    step(name, command, Expect::Json(takes))
}

pub const fn tests(
    name: &'static str,
    command: &'static str,
    at_least: u64,
    excuses: &'static [&'static str],
) -> Step {
    step(name, command, Expect::Tests { at_least, excuses })
}

impl Step {
    const fn delegated(self) -> Self {
        Self {
            group: Group::Delegated,
            ..self
        }
    }

    const fn delegated_to_nobody(self) -> Self {
        Self {
            group: Group::Delegated,
            user: User::Nobody,
            ..self
        }
    }

    const fn killing(self, kills_of: &'static str) -> Self {
        Self {
            kills_of: Some(kills_of),
            ..self
        }
    }

    pub fn limit(&self) -> Duration {
        self.limit * if full() { 20 } else { 1 }
    }

    pub fn program(&self) -> &'static str {
        self.command.split(' ').next().unwrap_or_default()
    }

    pub fn arguments(&self) -> impl Iterator<Item = &'static str> {
        self.command.split_whitespace().skip(1)
    }
}

impl Bed {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        BEDS.into_iter().find(|bed| bed.name == name)
    }

    /// The steps to be done: all of them, or those that [`CHOICE`] names.
    pub fn chosen(&self) -> impl Iterator<Item = &'static Step> {
        let words = env::var(CHOICE).unwrap_or_default();
        self.steps
            .iter()
            .filter(move |step| words.split(',').any(|word| step.name.contains(word)))
    }
}
