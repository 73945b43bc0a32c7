//! What one more idle instance takes: several are started, the host's accounts are read at each
//! count, all are released. What is made of the readings: [`super::balance`].

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::plan::{Density, Plan};
use super::session::{EndedEarly, Observer, RunError};
use crate::backend::{Backend, Configuration, Instance};
use crate::host::accounts::Accounts;
use crate::host::charge::Group;
use crate::host::limits::{Room, room};
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
/// Descriptors that the harness holds for one idle instance: two ends of pipes and the process; or
/// KVM, VM and vCPU.
const DESCRIPTORS: u64 = 3;
/// At most so many instances are looked at one by one: they are alike, and looking takes long.
const LOOKED_AT: usize = 16;

/// Runs the rounds of the density measurement, the configurations shuffled in each. A round that
/// would end after `until` or the density's own budget is not begun: the rounds that there are
/// have every configuration.
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
    let budget_until = Instant::now() + density.budget;
    let patience = patience(density, backends.len());
    let mut longest = Duration::ZERO;
    for round in 0..density.rounds {
        let begun = Instant::now();
        if begun + longest > budget_until && round > 0 {
            break;
        }
        if begun >= until || begun + longest > until {
            return Ok(Some(EndedEarly::MaxTime));
        }
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
            settle(patience);
            for record in one_round(density, configuration, *backend, plan, round) {
                observer.record(Record::Memory(Box::new(record)))?;
            }
            done += 1;
        }
        longest = longest.max(begun.elapsed());
    }
    Ok(interrupt::requested().map(EndedEarly::Interrupted))
}

/// The soft limit, often 1024, is for programs that use select(2); instances take three each.
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
    let Room { instances, short } = room(DESCRIPTORS);
    let counts = density.counts(configuration, instances);
    let group = Group::own();
    let limited = counts != density.counts(configuration, u32::MAX);
    let mut held: Vec<Box<dyn Instance>> = Vec::new();
    let mut records = Vec::new();
    let mut failure = None;
    for &count in &counts {
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
        let last = counts.last() == Some(&count);
        match reading(configuration, round, &held, group.as_ref(), last) {
            Ok(record) => records.push(record),
            Err(refused) => failure = Some(refused),
        }
    }
    if limited && let Some(last) = records.last_mut() {
        last.limited_by = Some(short.to_owned());
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
    group: Option<&Group>,
    with_footprints: bool,
) -> Result<MemoryRecord, Failure> {
    let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let mut record = empty(configuration, round, count);
    record.accounts = Some(Accounts::read().map_err(|e| Failure::setup("read the accounts", e))?);
    record.guest_given = held.first().and_then(|instance| instance.guest_memory());
    if let Some(charge) = group.and_then(Group::kernel) {
        (record.charged, record.charged_named) = (Some(charge.kernel), charge.named);
    }
    if !with_footprints {
        return Ok(record);
    }
    for instance in held.iter().step_by(held.len().div_ceil(LOOKED_AT)) {
        let footprint = instance.footprint()?;
        record.pss.push(footprint.pss);
        record.private.push(footprint.private);
        if let Some(group) = footprint.group {
            record.cgroup_usage.extend(group.memory);
            record.cgroup_kernel.extend(group.kernel);
        }
    }
    Ok(record)
}

fn empty(configuration: &Configuration, round: u32, instances: u32) -> MemoryRecord {
    MemoryRecord {
        backend: configuration.id(),
        round,
        instances,
        accounts: None,
        charged: None,
        charged_named: None,
        pss: Vec::new(),
        private: Vec::new(),
        cgroup_usage: Vec::new(),
        cgroup_kernel: Vec::new(),
        guest_given: None,
        limited_by: None,
        failure: None,
    }
}

/// How long a round may wait for the host to stand still: a sixth of the budget for all of them.
fn patience(density: &Density, backends: usize) -> Duration {
    let waits = u128::from(density.rounds) * backends as u128;
    let most = density.budget / 6 / u32::try_from(waits.max(1)).unwrap_or(u32::MAX);
    most.min(Duration::from_millis(500))
}

/// Waits until the host's used memory stands still, or patience ends: what the round before left
/// for the kernel's workers (network namespaces, RCU) is not to be freed during this one.
fn settle(patience: Duration) {
    const STILL: i64 = 64 << 10;
    const PAUSE: Duration = Duration::from_millis(20);
    let end = Instant::now() + patience;
    // Accounts that cannot be read are the readings' failure, not this pause's.
    let Ok(mut before) = Accounts::read() else {
        return;
    };
    while Instant::now() + PAUSE <= end {
        std::thread::sleep(PAUSE);
        let Ok(now) = Accounts::read() else {
            return;
        };
        if (now.left().0 - before.left().0).abs() <= STILL {
            return;
        }
        before = now;
    }
}
