//! An instance that touches exactly 64 MiB shows 64 MiB in every account that is to show it, on
//! every backend that works here.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isobench::backend::{self, Backend, Configuration, Footprint};
use isobench::host::accounts::Accounts;
use isobench::stats::quantile::{median, median_ci};
use isobench::stats::{Interval, Sample};
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};

/// What the payload is asked to touch.
const TOUCHED: i64 = 64 << 20;
/// Two per cent of it.
const TOLERANCE: i64 = TOUCHED / 50;
/// After so many readings of the host's accounts they are looked at: 11 are the fewest that give a
/// median a 99.9 % interval.
const READINGS: [usize; 3] = [11, 22, 44];

fn idle(size: i64) -> Launch {
    Launch {
        task: Task {
            workload: Workload::Idle,
            size: size.unsigned_abs(),
            reps: 1,
        },
        deadline: Duration::from_secs(30),
    }
}

fn user_memory() -> i64 {
    let now = Accounts::read().unwrap();
    now.anon.0 + now.shmem.0
}

/// The tests read accounts of the whole host: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds one instance and lets it go: what it has of its own, and what the host's accounts of user
/// memory had more while it was there than a straight line from before to after it: a neighbour
/// that grows or shrinks steadily cancels.
fn one(backend: &mut dyn Backend, size: i64) -> (Footprint, f64) {
    let read = || (Instant::now(), user_memory() as f64);
    let before = read();
    let held = backend.hold(&idle(size)).unwrap();
    let footprint = held.footprint().unwrap();
    let with = read();
    held.release().unwrap();
    let after = read();
    let since = |at: Instant| at.duration_since(before.0).as_secs_f64();
    let line = before.1 + (after.1 - before.1) * since(with.0) / since(after.0);
    (footprint, with.1 - line)
}

fn is_64_mib(what: &str, grown: i64) {
    let off = (grown - TOUCHED).abs();
    assert!(
        off <= TOLERANCE,
        "{what}: {grown} bytes, {off} off {TOUCHED}"
    );
}

/// The host's accounts are everybody's: the median of as many readings as it takes for its interval
/// to be no wider than the tolerance, or a skip where the neighbours leave it wider.
fn host_shows_64_mib(name: &str, backend: &mut dyn Backend, empty: i64) {
    let mut readings = Vec::new();
    for enough in READINGS {
        readings.resize_with(enough, || one(backend, TOUCHED).1 - empty as f64);
        let sample = Sample::new(readings.clone()).unwrap();
        let Interval { low, high, .. } = median_ci(&sample, 0.999).unwrap();
        if high - low <= TOLERANCE as f64 {
            return is_64_mib(name, median(&sample) as i64);
        }
    }
    support::skipped(name, "other processes' memory moves too much meanwhile");
}

fn check(configuration: &Configuration) {
    let _alone = alone();
    let mut backend = match backend::open(configuration) {
        Ok(backend) => backend,
        Err(why) => return support::skipped(&format!("64 MiB, {configuration}"), &why.to_string()),
    };
    let backend = backend.as_mut();
    let (empty, _) = one(backend, 0);
    let (full, _) = one(backend, TOUCHED);
    is_64_mib(
        &format!("{configuration}, private"),
        full.private.0 - empty.private.0,
    );
    is_64_mib(&format!("{configuration}, PSS"), full.pss.0 - empty.pss.0);
    let charged = |footprint: &Footprint| footprint.group.and_then(|group| group.memory);
    match (charged(&full), charged(&empty)) {
        (Some(full), Some(empty)) => {
            is_64_mib(&format!("{configuration}, cgroup"), full.0 - empty.0);
        }
        _ if *configuration == Configuration::container() => {
            support::skipped("64 MiB, container, cgroup", "no memory controller");
        }
        _ => {}
    }
    let name = format!("64 MiB, {configuration}, AnonPages and Shmem");
    host_shows_64_mib(&name, backend, empty.private.0);
}

#[test]
fn a_process_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::Process);
}

#[test]
fn a_container_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::container());
}

#[test]
fn a_micro_vm_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::microvm());
}

/// The size is part of the task everywhere: a payload that is asked for a size it cannot have is
/// refused, not started with another.
#[test]
fn a_size_that_is_no_whole_number_of_pages_is_refused() {
    for configuration in &Configuration::defaults() {
        if let Ok(mut backend) = backend::open(configuration) {
            assert!(backend.hold(&idle(4097)).is_err(), "{configuration}");
        }
    }
}

/// This process's children.
fn children() -> Option<Vec<String>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let listed = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        children.extend(listed.split_whitespace().map(str::to_owned));
    }
    Some(children)
}

/// Size of a process's descriptor table (proc_pid_status(5), FDSize).
fn table(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|l| l.strip_prefix("FDSize:"));
    size.unwrap().trim().parse().unwrap()
}

/// What one more instance takes must not depend on how many there are: a table copied from the
/// harness's would grow with the descriptors that the harness holds for all of them.
#[test]
fn the_last_of_many_instances_has_no_larger_descriptor_table_than_the_first() {
    // Their descriptors outgrow tables of 64 and of 256.
    const MANY: usize = 100;
    for configuration in [Configuration::Process, Configuration::container()] {
        let _alone = alone();
        let name = format!("descriptor tables, {configuration}");
        let mut backend = match backend::open(&configuration) {
            Ok(backend) => backend,
            Err(why) => {
                support::skipped(&name, &why.to_string());
                continue;
            }
        };
        let Some(others) = children() else {
            support::skipped(&name, "the kernel does not list a process's children");
            continue;
        };
        let held: Vec<_> = (0..MANY).map(|_| backend.hold(&idle(0)).unwrap()).collect();
        let all = children().unwrap();
        let tables: Vec<u64> = all
            .iter()
            .filter(|pid| !others.contains(pid))
            .map(|pid| table(pid))
            .collect();
        for instance in held {
            instance.release().unwrap();
        }
        assert_eq!(tables.len(), MANY, "{name}");
        assert!(tables.iter().all(|t| *t == tables[0]), "{name}: {tables:?}");
    }
}
