//! An instance that touches exactly 64 MiB shows 64 MiB in every account that is to show it, on
//! every backend that works here.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests state expectations, too.

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isobench::backend::{self, Backend, Configuration, Footprint};
use isobench::host::accounts::Accounts;
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};

/// What the payload is asked to touch.
const TOUCHED: i64 = 64 << 20;
/// Two per cent of it.
const TOLERANCE: i64 = TOUCHED / 50;
/// Others use this host too: the host's accounts are read so often, and the median counts.
const READINGS: usize = 9;

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

/// Holds one instance and lets it go: what it has of its own, and how far the host's accounts of
/// user memory went down when it left.
fn one(backend: &mut dyn Backend, size: i64) -> (Footprint, i64) {
    let held = backend.hold(&idle(size)).unwrap();
    let footprint = held.footprint().unwrap();
    let with = user_memory();
    held.release().unwrap();
    (footprint, with - user_memory())
}

fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn is_64_mib(what: &str, grown: i64) {
    let off = (grown - TOUCHED).abs();
    assert!(
        off <= TOLERANCE,
        "{what}: {grown} bytes, {off} off {TOUCHED}"
    );
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
    match (full.cgroup_usage, empty.cgroup_usage) {
        (Some(full), Some(empty)) => {
            is_64_mib(&format!("{configuration}, cgroup"), full.0 - empty.0);
        }
        _ if *configuration == Configuration::Container => {
            support::skipped("64 MiB, container, cgroup", "no memory controller");
        }
        _ => {}
    }
    let grown = (0..READINGS).map(|_| one(backend, TOUCHED).1 - one(backend, 0).1);
    is_64_mib(
        &format!("{configuration}, AnonPages and Shmem"),
        median(grown.collect()),
    );
}

#[test]
fn a_process_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::Process);
}

#[test]
fn a_container_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::Container);
}

#[test]
fn a_micro_vm_that_touches_64_mib_shows_64_mib() {
    check(&Configuration::MicroVm);
}

/// The size is part of the task everywhere: a payload that is asked for a size it cannot have is
/// refused, not started with another.
#[test]
fn a_size_that_is_no_whole_number_of_pages_is_refused() {
    for configuration in &Configuration::DEFAULT {
        if let Ok(mut backend) = backend::open(configuration) {
            assert!(backend.hold(&idle(4097)).is_err(), "{configuration}");
        }
    }
}
