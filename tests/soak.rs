//! A thousand starts and stops, one after the other and twenty at once, leave processes, control
//! groups of every hierarchy, mounts, namespaces, links and descriptors exactly as they were.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests state expectations, too.

mod stage;

use std::time::{Duration, Instant};

use isobench::backend::{Backend, Configuration, open};
use isobench::workload::Workload;
use stage::world::{self, World};
use stage::{INNER, launch};

const CYCLES: usize = 1_000;
const AT_ONCE: usize = 20;
const ROUNDS: usize = 50;

/// `ISOBENCH_SOAK=N` does the Nth part of everything, for a machine that is emulated.
fn part() -> usize {
    std::env::var("ISOBENCH_SOAK").map_or(1, |text| text.parse().unwrap())
}

fn one_after_the_other(backend: &mut dyn Backend, cycles: usize) {
    for _ in 0..cycles {
        backend.trial(&launch(Workload::Noop)).unwrap();
    }
}

fn many_at_once(backend: &mut dyn Backend, rounds: usize) {
    for _ in 0..rounds {
        let held: Vec<_> = (0..AT_ONCE)
            .map(|_| backend.hold(&launch(Workload::Idle)).unwrap())
            .collect();
        for instance in held {
            instance.release().unwrap();
        }
    }
}

/// The world without containers. Their interfaces go with their network namespaces, which the kernel
/// takes down on a worker thread: for these, and nothing else, there is some time.
fn quiet() -> World {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let world = World::look();
        let has_port = world.links().iter().any(|name| name.starts_with("isob"));
        if !has_port || Instant::now() > end {
            return world;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As process 1 of a world of its own: the backend is opened, the world looked at, and nothing may
/// differ after the trials. A configuration is tried in full, or only this fraction of it.
fn soak(test: &str, configurations: &[(&str, usize)]) {
    if std::env::var_os(INNER).is_none() {
        return world::enter(test, (INNER, "soak"));
    }
    for &(name, fraction) in configurations {
        let fraction = fraction * part();
        let configuration: Configuration = name.parse().unwrap();
        let mut backend = match open(&configuration) {
            Ok(backend) => backend,
            Err(why) => {
                println!("skipped: {test}: {configuration}: {why}");
                continue;
            }
        };
        // What a configuration keeps from a task's first trial on belongs to no trial.
        backend.trial(&launch(Workload::Noop)).unwrap();
        backend
            .hold(&launch(Workload::Idle))
            .unwrap()
            .release()
            .unwrap();
        let before = quiet();
        one_after_the_other(&mut *backend, CYCLES / fraction);
        assert_eq!(quiet().difference(&before), [""; 0], "{name}");
        let held = backend.hold(&launch(Workload::Idle)).unwrap();
        assert_ne!(World::look(), before, "{name}: an instance can be seen");
        held.release().unwrap();
        many_at_once(&mut *backend, ROUNDS / fraction);
        assert_eq!(quiet().difference(&before), [""; 0], "{name}");
    }
}

#[test]
fn containers_leave_nothing() {
    soak(
        "containers_leave_nothing",
        &[
            ("container", 1),
            ("container:with=user+time", 10),
            ("container:rootfs=bind", 10),
            ("container:with=cpu:rootfs=overlay", 10),
            ("container:with=veth", 10),
        ],
    );
}

#[test]
fn processes_leave_nothing() {
    soak(
        "processes_leave_nothing",
        &[("process", 1), ("container:none", 10)],
    );
}

#[test]
fn micro_vms_leave_nothing() {
    soak(
        "micro_vms_leave_nothing",
        &[("microvm", 1), ("microvm:snapshot", 1), ("microvm:pool", 1)],
    );
}
