//! A thousand micro-VMs at once, five hundred again, and a thousand in a row: each answers, and the
//! process that held them has no descriptor, thread, mapping or memory more than before.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod support;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isobench::backend::{Backend, Configuration, open};
use isobench::host::accounts::kibibytes;
use isobench::host::cgroup::Hierarchies;
use isobench::host::charge::Group;
use isobench::host::limits::room;
use isobench::trial::Launch;
use isobench::workload::{Profile, Workload};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of one: KVM, VM, vCPU.
const DESCRIPTORS: u64 = 3;

fn launch(workload: Workload, size: u64) -> Launch {
    Launch {
        task: Profile::Smoke.task(workload, size),
        deadline: Duration::from_secs(60),
    }
}

/// Descriptors, threads, and mappings that belong to VMs.
fn held_by_this_process() -> [usize; 3] {
    let entries = |path| fs::read_dir(path).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let guests = maps
        .lines()
        .filter(|line| line.contains("isobench-") || line.contains("kvm"));
    [
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
        guests.count(),
    ]
}

/// Resident memory in KiB.
fn resident() -> i64 {
    kibibytes(&fs::read_to_string("/proc/self/status").unwrap(), "VmRSS").unwrap() >> 10
}

/// Kernel memory that 1,500 VMs may leave, in bytes: less than a page each. It is what the kernel keeps
/// for the next one (free objects in slabs, and a page table of each) and charges in batches of 64 pages
/// a CPU; a VM here takes half a MiB.
const KEPT: i64 = 4 << 20;

/// A control group of this process's own, so that nobody else's kernel memory is in its account.
struct Alone {
    parent: PathBuf,
    own: PathBuf,
    account: Group,
}

impl Alone {
    /// In words, why there is none.
    fn new() -> Result<Self, String> {
        let all = Hierarchies::read().map_err(|error| error.to_string())?;
        let found = all.v1("memory").or_else(|| all.v2());
        let found = found.ok_or("there is no memory controller")?;
        let parent = found
            .own
            .clone()
            .ok_or("this process is in no group that it sees")?;
        let own = parent.join(format!("isobench-test-{}", std::process::id()));
        let refused = |what: &Path, error: io::Error| format!("{}: {error}", what.display());
        fs::create_dir(&own).map_err(|error| refused(&own, error))?;
        let account = Group::at(found.version, own.clone());
        // Dropped, and so removed, from here on.
        let made = Self {
            parent,
            own,
            account,
        };
        if made.kernel().is_none() {
            return Err("a group here has no account of kernel memory".to_owned());
        }
        let procs = made.own.join("cgroup.procs");
        match fs::write(&procs, "0") {
            Ok(()) => Ok(made),
            Err(error) => Err(refused(&procs, error)),
        }
    }

    /// Bytes of kernel memory that the group is charged with.
    fn kernel(&self) -> Option<i64> {
        Some(self.account.kernel()?.kernel.0)
    }

    /// Waits until no more than [`KEPT`] is charged beyond this: KVM frees much of a VM in work of its
    /// own, after a grace period.
    fn back_to(&self, before: i64, what: &str) {
        let begun = Instant::now();
        let grown = || self.kernel().unwrap() - before;
        while grown() > KEPT && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let grown = grown();
        eprintln!("kernel memory after {what}: {grown} bytes more");
        assert!(grown <= KEPT, "{what}: {grown} bytes of kernel memory more");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = fs::write(self.parent.join("cgroup.procs"), "0");
        let end = Instant::now() + Duration::from_secs(10);
        while let Err(error) = fs::remove_dir(&self.own) {
            if Instant::now() > end {
                eprintln!("left behind: {}: {error}", self.own.display());
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// KVM ends threads of its own, where it has some, in its own time.
fn back_to(before: [usize; 3], what: &str) {
    let begun = Instant::now();
    while held_by_this_process() != before && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(held_by_this_process(), before, "{what}");
}

fn at_once(backend: &mut dyn Backend, count: usize, launch: &Launch) {
    let held: Vec<_> = (0..count).map(|_| backend.hold(launch).unwrap()).collect();
    let [descriptors, ..] = held_by_this_process();
    assert!(descriptors as u64 >= DESCRIPTORS * count as u64);
    for instance in held {
        instance.release().unwrap();
    }
}

/// The test again in a process of its own, where tests beside it do not change the counts.
fn alone(test: &str) -> bool {
    const ALONE: &str = "ISOBENCH_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=2"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
fn a_thousand_at_once_and_in_a_row_leave_nothing() {
    let test = "a_thousand_at_once_and_in_a_row_leave_nothing";
    if !alone(test) {
        return;
    }
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard.max(soft), hard).unwrap();
    }
    let room = room(DESCRIPTORS);
    if room.instances < 1000 {
        return support::skipped(
            test,
            &format!("room for {} only: {}", room.instances, room.short),
        );
    }
    let group = match Alone::new() {
        Ok(group) => Some(group),
        Err(why) => {
            support::skipped(test, &format!("kernel memory: {why}"));
            None
        }
    };
    for (name, workload, size) in [
        ("microvm", Workload::Idle, 0),
        ("microvm:snapshot", Workload::Warm, 1 << 20),
    ] {
        let mut backend = match open(&name.parse::<Configuration>().unwrap()) {
            Ok(backend) => backend,
            Err(why) => {
                support::skipped(test, &format!("{name}: {why}"));
                continue;
            }
        };
        let backend = backend.as_mut();
        let held = launch(workload, size);
        let noop = launch(Workload::Noop, 0);
        // What is kept for a task from its first trial on, and what the allocator keeps.
        at_once(backend, 10, &held);
        backend.trial(&noop).unwrap();
        let before = held_by_this_process();
        at_once(backend, 1000, &held);
        back_to(before, name);
        let kernel = group.as_ref().map(|group| group.kernel().unwrap());
        let (full, size) = (resident(), fs::read_dir("/proc/self/fd").unwrap().count());
        at_once(backend, 500, &held);
        for _ in 0..1000 {
            backend.trial(&noop).unwrap();
        }
        back_to(before, name);
        let grown = resident() - full;
        assert!(grown < 1024, "{name}: {grown} KiB with {size} descriptors");
        if let (Some(group), Some(kernel)) = (&group, kernel) {
            group.back_to(kernel, &format!("1,500 of {name}"));
        }
    }
}
