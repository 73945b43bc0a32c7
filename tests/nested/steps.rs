//! What is done inside, in this order, and what must come of it.

use std::env;
use std::time::Duration;

use serde_json::Value;

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

/// What is worth saying of a document, or what is wrong with it.
pub type Takes = fn(&Value) -> Result<String, String>;

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
/// The modules that touch the machine.
/// Without the tests of engines, whose false programs are scripts for tools that the bed has not.
const LIB: &str = "lib --nocapture backend:: host:: sys:: vmm:: --skip kill_tests --skip engine:: --skip daemons::";
/// Of containers where control groups are looked at, of the rest where machines are.
const CONTAINER_KILLS: &str = "lib --nocapture backend::kill_tests::a_killed_container";
const KILLS: &str = "lib --nocapture backend::kill_tests --skip a_killed_container";
/// Those of machines; what becomes of a run's files does not depend on the host.
const INTERRUPTED: &str = "interrupted_runs --nocapture a_killed_run_leaves_nothing \
                           an_interrupt_ends_a_working_vm an_interrupt_releases_idle_instances";
const CONTAINER: &str = "container --nocapture";
const ATTACKS: &str = "attacks --nocapture";
const CONFINEMENT: &str = "confinement --nocapture";
const JAILED: &str = "jailed --nocapture";
const ROOTFS: &str = "rootfs --nocapture";

/// A machine and what is done in it.
pub struct Bed {
    pub name: &'static str,
    steps: &'static [Step],
}

/// All of them, two at a time, so that each has a core of this host.
pub const BEDS: [&Bed; 3] = [&SVM, &GROUPS, &LINUX];

/// What a micro-VM needs, and whole runs.
pub const SVM: Bed = Bed {
    name: "svm",
    steps: &[
        json("doctor", DOCTOR, everything_works),
        json("doctor-delegated", DOCTOR, everything_works).delegated(),
        json("doctor-nobody", DOCTOR, everything_works).delegated_to_nobody(),
        tests("microvm", "microvm --nocapture", 13, &[]),
        tests("microvm-nobody", "microvm --nocapture", 13, &[]).delegated_to_nobody(),
        tests("microvm-copies", "microvm_copies --nocapture", 7, &[]),
        tests("adversaries", "adversaries --nocapture", 5, &[]),
        tests("jailed", JAILED, 5, &[]),
        tests("jailed-nobody", JAILED, 5, &[]).delegated_to_nobody(),
        tests("memory", "memory --nocapture", 5, &[]).delegated(),
        tests("interrupted-runs", INTERRUPTED, 3, &[]).delegated(),
        tests("isolation-harness", "isolation_harness --nocapture", 4, &[]).delegated(),
        tests("kills", KILLS, 5, &[]).delegated(),
        json("run", RUN, all_measured).delegated(),
    ],
};

/// Machines inside the machine, each with a kernel to boot.
pub const LINUX: Bed = Bed {
    name: "linux",
    steps: &[
        tests("linux-vm", LINUX_VM, 8, &[]),
        tests("linux-vm-devices", LINUX_DEVICES, 1, &[]),
        json("linux-vm-run", LINUX_RUN, kernel_measured),
        tests("firecracker", VMMS, 2, &[NO_FIRECRACKER]),
        tests("qemu", QEMU, 3, &[NO_QEMU]),
    ],
};

/// What a container needs.
pub const GROUPS: Bed = Bed {
    name: "cgroup2",
    steps: &[
        json("doctor-groups", DOCTOR, everything_works).delegated(),
        tests("lib", LIB, 95, &[OLD_TIME, NO_GIT]).delegated(),
        tests("kills", CONTAINER_KILLS, 1, &[OLD_TIME]).delegated(),
        tests("process", "process --nocapture", 6, &[]),
        tests("container", CONTAINER, 9, &[]),
        tests("container-delegated", CONTAINER, 9, &[]).delegated(),
        tests("container-nobody", CONTAINER, 9, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("confinement", CONFINEMENT, 7, &[]),
        tests("confinement-delegated", CONFINEMENT, 7, &[]).delegated(),
        tests("confinement-nobody", CONFINEMENT, 7, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("attacks", ATTACKS, 12, &[VERSION_1, X32]).delegated(),
        tests("attacks-nobody", ATTACKS, 12, &[VERSION_1, X32]).delegated_to_nobody(),
        tests("mechanisms", "mechanisms --nocapture", 3, &[OLD_TIME]).delegated(),
        tests("rootfs", ROOTFS, 5, &[]).delegated(),
        tests("rootfs-nobody", ROOTFS, 5, &[ONLY_ROOT]).delegated_to_nobody(),
        tests("network", "network --nocapture", 8, &[]).delegated(),
        tests("isolation", "isolation --nocapture", 7, &[NO_TIME]).delegated(),
        tests("soak", "soak --nocapture", 3, &[OLD_TIME]).delegated(),
        json("ladder", LADDER, all_measured).delegated(),
    ],
};

/// Excuses of tests, in their words.
const ONLY_ROOT: &str = "only root can";
const VERSION_1: &str = "no memory hierarchy of version 1";
/// Debian's kernel has no x32.
const X32: &str = "x32 system calls: this kernel has no such call";
/// Debian 12's kernel is 6.1.
const OLD_TIME: &str = "time_offsets: Permission denied";
const NO_FIRECRACKER: &str = "firecracker is not on the path";
const NO_QEMU: &str = "qemu-system-x86_64 is not on the path";
const NO_GIT: &str = "no git";
const NO_TIME: &str = "a container with one of them cannot be made here";

const fn step(name: &'static str, command: &'static str, expect: Expect) -> Step {
    Step {
        name,
        command,
        user: User::Root,
        group: Group::Root,
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

/// `doctor`: the machine is what this bed is for, and every backend runs with all it can have.
fn everything_works(doctor: &Value) -> Result<String, String> {
    must_be(&doctor["clock_refused"], &Value::Null, "clock_refused")?;
    this_bed(&doctor["host"])?;
    let mut usable = Vec::new();
    for backend in backends(doctor)? {
        let id = backend["id"].as_str().unwrap_or_default();
        // Engines are programs, of which this bed has none.
        let reason = backend["reason"].as_str().unwrap_or_default();
        if reason.ends_with("is not on the path") {
            continue;
        }
        must_be(&backend["usable"], &true.into(), &format!("{id}: usable"))?;
        let none = Value::Array(Vec::new());
        must_be(
            &backend["limitations"],
            &none,
            &format!("{id}: limitations"),
        )?;
        usable.push(id);
    }
    let (kvm, cgroup) = (&doctor["host"]["kvm"], &doctor["host"]["cgroup"]);
    Ok(format!(
        "kvm {kvm}, cgroup {cgroup}, usable: {}",
        usable.join(", ")
    ))
}

/// `run` with a kernel: it gave a number, and the document says which kernel it was.
fn kernel_measured(run: &Value) -> Result<String, String> {
    this_bed(&run["host"])?;
    let vm = &run["backends"][1];
    must_be(&vm["id"], &"linux-vm:keep=console".into(), "second backend")?;
    must_be(&vm["status"], &"measured".into(), "linux-vm: status")?;
    must_be(&vm["failures"], &0.into(), "linux-vm: failures")?;
    let kernel = &vm["guest_kernel"];
    let digest = kernel["sha256"].as_str().unwrap_or_default();
    match kernel["version"].as_str() {
        Some(version) if digest.len() == 64 => Ok(format!("guest kernel {version}")),
        _ => Err(format!("guest_kernel: {kernel}")),
    }
}

/// `run`: every backend gave a number for everything, but for a time namespace on an old kernel.
fn all_measured(run: &Value) -> Result<String, String> {
    this_bed(&run["host"])?;
    must_be(&run["complete"], &true.into(), "complete")?;
    let mut measured = 0;
    let mut skipped = Vec::new();
    for backend in backends(run)? {
        let id = backend["id"].as_str().unwrap_or_default();
        let reason = backend["reason"].as_str().unwrap_or_default();
        if backend["status"] == "skipped" && reason.contains(OLD_TIME) {
            skipped.push(id);
            continue;
        }
        let status = format!("{id}: status ({reason})");
        must_be(&backend["status"], &"measured".into(), &status)?;
        must_be(&backend["failures"], &0.into(), &format!("{id}: failures"))?;
        measured += 1;
    }
    let skipped = match skipped[..] {
        [] => String::new(),
        _ => format!(", without {} ({OLD_TIME})", skipped.join(", ")),
    };
    Ok(format!("{measured} configurations measured{skipped}"))
}

fn this_bed(host: &Value) -> Result<(), String> {
    must_be(&host["kvm"], &"hardware-svm".into(), "kvm")?;
    must_be(&host["cgroup"], &"v2".into(), "cgroup")
}

/// The three default ones.
fn backends(document: &Value) -> Result<&Vec<Value>, String> {
    let all = document["backends"].as_array();
    all.filter(|all| all.len() >= 3)
        .ok_or_else(|| format!("backends: {}", document["backends"]))
}

fn must_be(found: &Value, wanted: &Value, field: &str) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{field} is {found} instead of {wanted}"))
    }
}
