//! What a run does with its time, by a clock that only moves when a trial passes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::plan::{self, Plan};
use super::super::selftest::fake::{Fake, World};
use super::*;
use crate::backend::Instance;
use crate::store::record::TrialRecord;
use crate::transcript::Answer as Heard;
use crate::trial::Observation;
use crate::workload::{Profile, Task, Workload};

/// A backend whose trials take longer in one task than in another, and end at their deadline.
struct Uneven {
    world: World,
    /// Where the noise comes from, if there is any: half to one and a half times as long.
    noise: Option<ChaCha8Rng>,
    /// How long a trial takes, in ns.
    cost: fn(&Task) -> f64,
}

impl Backend for Uneven {
    fn hear(&mut self, launch: &Launch, _: &mut Vec<Heard>) -> Result<Observation, Failure> {
        let noise = self
            .noise
            .as_mut()
            .map_or(0.0, |rng| rng.random::<f64>() - 0.5);
        let cost = (self.cost)(&launch.task) * (1.0 + noise);
        if cost > launch.deadline.as_nanos() as f64 {
            self.world.pass(launch.deadline.as_nanos() as f64);
            return Err(Failure::Timeout(launch.deadline));
        }
        // A fake takes 370 µs in all.
        let mut fake = Fake::calm(&self.world).slower(cost / 370_000.0);
        fake.trial(launch)
    }

    fn hold(&mut self, _: &Launch) -> Result<Box<dyn Instance>, Failure> {
        Err(Failure::Protocol("nothing is held here"))
    }
}

/// Fails every time, at once.
struct Broken;

impl Backend for Broken {
    fn hear(&mut self, _: &Launch, _: &mut Vec<Heard>) -> Result<Observation, Failure> {
        Err(Failure::Status(7))
    }

    fn hold(&mut self, _: &Launch) -> Result<Box<dyn Instance>, Failure> {
        Err(Failure::Status(7))
    }
}

#[derive(Default)]
struct Kept(Vec<TrialRecord>);

impl Observer for Kept {
    fn record(&mut self, record: Record) -> Result<(), RunError> {
        if let Record::Trial(trial) = record {
            self.0.push(*trial);
        }
        Ok(())
    }

    fn progress(&mut self, done: u64, planned: u64, _: &str) {
        assert!(done <= planned, "{done} of {planned}");
    }
}

impl Kept {
    fn blocks(&self, task: &Task) -> usize {
        let of = self
            .0
            .iter()
            .filter(|t| t.workload == task.to_string() && !t.warmup);
        of.filter(|t| t.backend == "process").count()
    }
}

fn plan(max_time: Duration) -> Plan {
    let profile = Profile::Quick;
    let tasks = [Workload::Noop, Workload::Sha256, Workload::Branch]
        .map(|workload| profile.tasks_of(workload)[0]);
    Plan {
        configurations: vec![Configuration::Process, Configuration::microvm()],
        tasks: tasks.map(|task| (task, 1_000_000)).to_vec(),
        density: None,
        isolation: false,
        boundary: false,
        ladder: None,
        bursts: None,
        seed: 3,
        profile,
        max_time,
        target: Some(plan::target(profile)),
        warmups: 1,
        deadline: Duration::from_secs(30),
    }
}

/// Runs it; hands back why it ended, how long it took and what was recorded.
fn run_uneven(
    plan: &Plan,
    noise: bool,
    cost: fn(&Task) -> f64,
) -> (Option<EndedEarly>, Duration, Kept) {
    let world = World::new(11);
    let uneven = |seed| Uneven {
        world: world.clone(),
        noise: noise.then(|| ChaCha8Rng::seed_from_u64(seed)),
        cost,
    };
    run_on(plan, &world, [Box::new(uneven(1)), Box::new(uneven(2))])
}

fn run_on(
    plan: &Plan,
    world: &World,
    backends: [Box<dyn Backend>; 2],
) -> (Option<EndedEarly>, Duration, Kept) {
    let mut opened: Vec<Opened> = plan
        .configurations
        .iter()
        .zip(backends)
        .map(|(configuration, backend)| Opened {
            configuration: configuration.clone(),
            backend: Ok(backend),
        })
        .collect();
    let (counter, base) = (world.clock(), Instant::now());
    let first = counter();
    let now = || base + Duration::from_nanos((counter() - first).unsigned_abs());
    let mut kept = Kept::default();
    let early = run_by(plan, &mut opened, &world.ruler(), &mut kept, &now).unwrap();
    (early, now() - base, kept)
}

/// A launch in a millisecond, hashing in 40, branching in 200.
fn uneven(task: &Task) -> f64 {
    match task.workload {
        Workload::Noop => 1e6,
        Workload::Sha256 => 40e6,
        _ => 200e6,
    }
}

#[test]
fn noise_without_end_takes_the_time_it_was_given_no_more_no_less() {
    for seconds in [10, 20, 60, 120] {
        let plan = plan(Duration::from_secs(seconds));
        // Far too noisy to be done: 1.9 % take some 3,000 blocks.
        let (early, took, kept) = run_uneven(&plan, true, uneven);
        assert_eq!(early, Some(EndedEarly::MaxTime));
        let share = took.as_secs_f64() / seconds as f64;
        assert!((0.95..=1.05).contains(&share), "{seconds} s: {share}");
        // The cheap task wants little and gets it; the others share what is left.
        let [noop, sha256, branch] = [0, 1, 2].map(|i| kept.blocks(&plan.tasks[i].0));
        if seconds >= 60 {
            assert!(noop > branch && sha256 > branch, "{noop} {sha256} {branch}");
        }
    }
}

#[test]
fn a_run_that_knows_enough_ends_before_its_time() {
    let plan = plan(Duration::from_secs(600));
    let (early, took, kept) = run_uneven(&plan, false, uneven);
    assert_eq!(early, None);
    for (task, _) in &plan.tasks {
        assert_eq!(kept.blocks(task), 12, "{task}");
    }
    assert!(took < Duration::from_secs(10));
}

#[test]
fn blocks_that_were_asked_for_are_all_run() {
    let mut plan = plan(Duration::from_secs(600));
    plan.target = None;
    plan.tasks.iter_mut().for_each(|(_, blocks)| *blocks = 20);
    let (early, _, kept) = run_uneven(&plan, true, uneven);
    assert_eq!(early, None);
    for (task, _) in &plan.tasks {
        assert_eq!(kept.blocks(task), 20, "{task}");
    }
    let trials: Vec<u64> = kept.0.iter().map(|t| t.trial).collect();
    assert!(trials.iter().copied().eq(0..126), "{trials:?}");
}

#[test]
fn a_trial_that_outlasts_the_run_is_cut_and_nobodys_failure() {
    let plan = plan(Duration::from_secs(10));
    let (early, took, kept) = run_uneven(&plan, false, |task| match task.workload {
        Workload::Branch => 25e9,
        _ => 1e6,
    });
    assert_eq!(early, Some(EndedEarly::MaxTime));
    assert!(kept.0.iter().all(|t| t.failure.is_none()));
    let share = took.as_secs_f64() / 10.0;
    assert!((0.95..=1.06).contains(&share), "{share}");
    // One that outlasts its own deadline has failed.
    let mut short = plan.clone();
    short.deadline = Duration::from_secs(1);
    let (_, _, kept) = run_uneven(&short, false, |_| 2e9);
    let failure = kept.0[0].failure.as_ref().unwrap();
    assert_eq!(failure.kind, "timeout");
}

#[test]
fn what_always_fails_does_not_spend_the_time_of_the_others() {
    let plan = plan(Duration::from_secs(600));
    let world = World::new(2);
    let calm = Uneven {
        world: world.clone(),
        noise: None,
        cost: uneven,
    };
    let (early, _, kept) = run_on(&plan, &world, [Box::new(calm), Box::new(Broken)]);
    assert_eq!(early, None);
    assert_eq!(kept.blocks(&plan.tasks[0].0), 12);
    let failed = kept.0.iter().filter(|t| t.failure.is_some());
    assert_eq!(failed.count(), 3 * 13);
}
