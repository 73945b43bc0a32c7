//! The kernel's deferred clean-up, measured as a debt over a burst.
//!
//! What a launch leaves to the kernel's worker threads (network namespaces, dead control groups,
//! mounts) is not in `teardown`, which ends where user space sees nothing any more. Many launches
//! one right after the other, and a pause: the processor time that the host spent meanwhile, less
//! what the harness and its children spent themselves, is what others paid for them.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::backend::{Backend, Configuration};
use crate::host::work::HostWork;
use crate::measure::session::{EndedEarly, Observer, Opened, RunError};
use crate::metric::Nanos;
use crate::store::record::{BurstRecord, FailureRecord, Record};
use crate::sys::interrupt;
use crate::trial::{Failure, Launch};
use crate::workload::{Task, Workload};

/// How bursts are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// Which configurations make them.
    pub configurations: Vec<Configuration>,
    /// Launches of one burst.
    pub instances: u32,
    /// Bursts of each configuration.
    pub rounds: u32,
    /// How long the kernel is watched after the last launch.
    pub pause: Duration,
}

/// Runs every round, the configurations shuffled in each.
///
/// # Errors
/// A record cannot be kept.
pub fn run(
    bursts: &Bursts,
    opened: &mut [Opened],
    (seed, deadline): (u64, Duration),
    until: Instant,
    (mut done, planned): (u64, u64),
    observer: &mut dyn Observer,
) -> Result<Option<EndedEarly>, RunError> {
    let work = HostWork::find();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Another stream than those of the schedule and of the density rounds, from the same seed.
    rng.set_stream(2);
    for round in 0..bursts.rounds {
        let mut order: Vec<usize> = (0..opened.len())
            .filter(|&i| bursts.configurations.contains(&opened[i].configuration))
            .collect();
        order.shuffle(&mut rng);
        for position in order {
            let Opened {
                configuration,
                backend,
            } = &mut opened[position];
            let Ok(backend) = backend else { continue };
            if let Some(signal) = interrupt::requested() {
                return Ok(Some(EndedEarly::Interrupted(signal)));
            }
            if Instant::now() >= until {
                return Ok(Some(EndedEarly::MaxTime));
            }
            observer.progress(done, planned, &format!("{configuration} burst"));
            let outcome = burst(backend.as_mut(), bursts, deadline, &work);
            if matches!(outcome, Err(Failure::Interrupted)) {
                continue;
            }
            observer.record(Record::Burst(record(
                configuration,
                bursts,
                round,
                &work,
                outcome,
            )))?;
            done += 1;
        }
    }
    Ok(interrupt::requested().map(EndedEarly::Interrupted))
}

/// What one burst took.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    wall: Nanos,
    own: Nanos,
    host: Nanos,
}

fn burst(
    backend: &mut dyn Backend,
    bursts: &Bursts,
    deadline: Duration,
    work: &HostWork,
) -> Result<Spent, Failure> {
    let launch = Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline,
    };
    let unreadable = || Failure::setup(work.name(), std::io::Error::other("cannot be read"));
    let host = work.read().ok_or_else(unreadable)?;
    let own = own_work()?;
    let begin = Instant::now();
    for _ in 0..bursts.instances {
        backend.trial(&launch)?;
    }
    let wall = begin.elapsed();
    std::thread::sleep(bursts.pause);
    let after = work.read().ok_or_else(unreadable)?;
    Ok(Spent {
        wall: Nanos(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
        own: Nanos(own_work()?.0 - own.0),
        host: Nanos(after.0 - host.0),
    })
}

/// Processor time of this process and of its children that were reaped (getrusage(2)).
fn own_work() -> Result<Nanos, Failure> {
    let of = |who| {
        let usage = getrusage(who).map_err(|e| Failure::setup("getrusage", e))?;
        Ok::<_, Failure>((usage.user_time() + usage.system_time()).num_nanoseconds())
    };
    Ok(Nanos(
        of(UsageWho::RUSAGE_SELF)? + of(UsageWho::RUSAGE_CHILDREN)?,
    ))
}

fn record(
    configuration: &Configuration,
    bursts: &Bursts,
    round: u32,
    work: &HostWork,
    outcome: Result<Spent, Failure>,
) -> BurstRecord {
    let (spent, failure) = match outcome {
        Ok(spent) => (spent, None),
        Err(failure) => (Spent::default(), Some(FailureRecord::from(&failure))),
    };
    BurstRecord {
        backend: configuration.id(),
        round,
        instances: bursts.instances,
        wall: spent.wall,
        own: spent.own,
        host: spent.host,
        source: work.name().to_owned(),
        failure,
    }
}
