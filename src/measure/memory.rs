//! What one more idle instance takes: several are started, memory is read at each count, all are
//! released.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::plan::{Density, Plan};
use super::session::{EndedEarly, Observer, RunError};
use crate::backend::{Backend, Configuration, Instance};
use crate::host::fingerprint::meminfo;
use crate::metric::Bytes;
use crate::store::record::{FailureRecord, MemoryRecord, Record};
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::{Task, Workload};

/// The waiting instance every backend starts.
const IDLE: Task = Task {
    workload: Workload::Idle,
    size: 0,
    reps: 1,
};

/// Runs every round of the density measurement, the configurations shuffled in each.
///
/// # Errors
/// A record cannot be kept.
pub fn run(
    density: &Density,
    backends: &mut [(&Configuration, &mut dyn Backend)],
    plan: &Plan,
    until: Instant,
    (mut done, planned): (u64, u64),
    observer: &mut dyn Observer,
) -> Result<Option<EndedEarly>, RunError> {
    raise_descriptor_limit();
    // Another stream than the schedule's, from the same seed.
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    rng.set_stream(1);
    for round in 0..density.rounds {
        let mut order: Vec<usize> = (0..backends.len()).collect();
        order.shuffle(&mut rng);
        for position in order {
            if let Some(signal) = interrupt::requested() {
                return Ok(Some(EndedEarly::Interrupted(signal)));
            }
            if Instant::now() >= until {
                return Ok(Some(EndedEarly::MaxTime));
            }
            let (configuration, backend) = &mut backends[position];
            observer.progress(done, planned, &format!("{configuration} idle × n"));
            for record in one_round(density, configuration, *backend, plan, round) {
                observer.record(Record::Memory(record))?;
            }
            done += 1;
        }
    }
    Ok(interrupt::requested().map(EndedEarly::Interrupted))
}

/// Up to five descriptors an instance: the soft limit, often 1024, is for programs that use select(2).
/// Where the hard limit is too low as well, starting an instance fails and says so.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Starts instances up to the largest count, reading at every count on the way. A round that the
/// user's signal cut short is no failure of the backend and leaves no record.
fn one_round(
    density: &Density,
    configuration: &Configuration,
    backend: &mut dyn Backend,
    plan: &Plan,
    round: u32,
) -> Vec<MemoryRecord> {
    let launch = Launch {
        task: IDLE,
        deadline: plan.deadline,
    };
    let mut held: Vec<Box<dyn Instance>> = Vec::new();
    let mut records = Vec::new();
    let mut failure = None;
    settle();
    for &count in &density.counts {
        while held.len() < count as usize && failure.is_none() {
            if interrupt::requested().is_some() {
                failure = Some(Failure::Interrupted);
                break;
            }
            match backend.hold(&launch) {
                Ok(instance) => held.push(instance),
                Err(refused) => failure = Some(refused),
            }
        }
        if failure.is_some() {
            break;
        }
        // Reading the instances' own accounts allocates kernel memory (procfs inodes and dentries):
        // only once the host's accounts have been read for the last time.
        let last = density.counts.last() == Some(&count);
        match reading(configuration, round, &held, last) {
            Ok(record) => records.push(record),
            Err(refused) => failure = Some(refused),
        }
    }
    for instance in held {
        if let Err(refused) = instance.release() {
            failure.get_or_insert(refused);
        }
    }
    if matches!(failure, Some(Failure::Interrupted)) {
        return Vec::new();
    }
    if let Some(failure) = failure {
        // One step that failed spoils its round: slopes need all counts from the same moment.
        records.clear();
        let mut record = empty(configuration, round, 0);
        record.failure = Some(FailureRecord::from(&failure));
        records.push(record);
    }
    records
}

fn reading(
    configuration: &Configuration,
    round: u32,
    held: &[Box<dyn Instance>],
    with_footprints: bool,
) -> Result<MemoryRecord, Failure> {
    let mut record = empty(
        configuration,
        round,
        u32::try_from(held.len()).unwrap_or(u32::MAX),
    );
    record.used = used()?;
    record.kernel = kernel()?;
    if !with_footprints {
        return Ok(record);
    }
    for instance in held {
        let footprint = instance.footprint()?;
        record.pss.push(footprint.pss);
        record.private.push(footprint.private);
        let kernel = footprint.group.and_then(|group| group.kernel);
        record.cgroup_kernel.extend(kernel);
    }
    Ok(record)
}

fn empty(configuration: &Configuration, round: u32, instances: u32) -> MemoryRecord {
    MemoryRecord {
        backend: configuration.id(),
        round,
        instances,
        used: Bytes(0),
        kernel: Bytes(0),
        pss: Vec::new(),
        private: Vec::new(),
        cgroup_kernel: Vec::new(),
        failure: None,
    }
}

/// Sum of `/proc/meminfo` fields.
///
/// # Errors
/// One of them is not there: a sum without it would not be what it is called.
fn sum(fields: &[&str]) -> Result<i64, Failure> {
    fields.iter().try_fold(0, |sum, name| {
        let bytes = meminfo(name).ok_or_else(|| {
            let missing = format!("/proc/meminfo has no field {name}");
            Failure::setup("meminfo", std::io::Error::other(missing))
        })?;
        Ok(sum + bytes.cast_signed())
    })
}

/// Waits until the host's used memory stands still, for half a second at most: what the round before
/// left for the kernel's workers (network namespaces, RCU) is not to be freed during this one.
fn settle() {
    const STILL: i64 = 64 << 10;
    let Ok(Bytes(mut before)) = used() else {
        return;
    };
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(25));
        let Ok(Bytes(now)) = used() else {
            return;
        };
        if (now - before).abs() <= STILL {
            return;
        }
        before = now;
    }
}

/// Makes the kernel add its per-CPU differences to the global counters now; without it a reading
/// can be off by some hundred KiB. Reading `/proc/sys/vm/stat_refresh` does it and is for root only
/// (`Documentation/admin-guide/sysctl/vm.rst`); without root the noise stays.
fn fold_counters() {
    let _ = std::fs::read("/proc/sys/vm/stat_refresh");
}

/// What the host's own accounts say is in use by instances: memory of processes (`AnonPages`), files
/// in memory (`Shmem`, a container's root) and the kernel's part. Not MemTotal − MemFree: the page
/// cache moves by more than an instance takes, and free pages cached per CPU count as used.
fn used() -> Result<Bytes, Failure> {
    fold_counters();
    Ok(Bytes(sum(&["AnonPages", "Shmem"])? + kernel()?.0))
}

/// The kernel's part. `KernelStack` is left out: with CONFIG_VMAP_STACK, the default on x86-64,
/// stacks are already in `VmallocUsed`. `SecPageTables` exists since Linux 6.1; before it, KVM's own
/// page tables were in no account.
fn kernel() -> Result<Bytes, Failure> {
    let secondary = sum(&["SecPageTables"]).unwrap_or(0);
    let always = sum(&["Slab", "PageTables", "Percpu", "VmallocUsed"])?;
    Ok(Bytes(always + secondary))
}
