//! What a snapshot saves: copies and resets of a micro-VM beside its cold start, interleaved at random
//! in one process; and what one more copy takes, beside one more cold VM.
//!
//! `cargo bench --bench copies` prints medians, paired ratios and what they must be; any other way of
//! running it (as `cargo test --benches` does) makes a few rounds to show that it works.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::time::{Duration, Instant};

use isobench::backend::{Backend, Configuration, Instance, MicroVmKind, open};
use isobench::host::accounts::Accounts;
use isobench::measure::clock::Clock;
use isobench::measure::schedule;
use isobench::metric::Unit;
use isobench::report::format::{quantity, ratio_with_interval};
use isobench::stats::{Sample, paired, quantile};
use isobench::trial::{Launch, Observation};
use isobench::workload::{Profile, Task, Workload};

#[path = "copies/owned.rs"]
mod owned;

const MIB: u64 = 1 << 20;
/// Instances held at once to see what one more takes.
const AT_ONCE: usize = 64;

/// What is read off a trial, in nanoseconds after t0.
struct Metric {
    name: &'static str,
    read: fn(&Observation, &Clock) -> Option<i64>,
    /// Most that a copy and a reset may take of the cold start's.
    targets: [Option<f64>; 2],
}

const FIRST_INSTRUCTION: &str = "first instruction";

fn startup(seen: &Observation, clock: &Clock) -> Option<i64> {
    Some(clock.between(seen.instants.t0, seen.instants.t1).0)
}

fn first_message(seen: &Observation, clock: &Clock) -> Option<i64> {
    Some(clock.between(seen.instants.t0, seen.instants.t2).0)
}

fn reply(seen: &Observation, clock: &Clock) -> Option<i64> {
    Some(clock.between(seen.instants.t0, seen.reply?).0)
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let clock = match Clock::calibrate(Duration::from_millis(100)) {
        Ok(clock) => clock,
        Err(refused) => return println!("skipped: copies: {refused}"),
    };
    let mut kinds = Vec::new();
    for kind in [MicroVmKind::Cold, MicroVmKind::Snapshot, MicroVmKind::Pool] {
        let configuration = Configuration::MicroVm(kind);
        match open(&configuration) {
            Ok(backend) => kinds.push((configuration.id(), backend)),
            Err(why) => return println!("skipped: copies: {why}"),
        }
    }
    println!(
        "{:<12} {:<18} {:>10} {:>10}   copy or reset / cold start, 95 % interval",
        "", "", "it", "cold"
    );
    let metric = |name, read, targets| Metric {
        name,
        read,
        targets,
    };
    let noop = [
        metric(FIRST_INSTRUCTION, startup, [Some(1.15), Some(0.25)]),
        metric("first reply", first_message, [None; 2]),
    ];
    lanes(
        &mut kinds,
        Workload::Noop,
        0,
        &noop,
        &clock,
        if bench { 400 } else { 3 },
    );
    for (size, target) in [(MIB, None), (16 * MIB, None), (64 * MIB, Some(0.2))] {
        let warm = [
            metric(FIRST_INSTRUCTION, startup, [None; 2]),
            metric("first reply", reply, [target, None]),
        ];
        // A state of 64 MiB takes a while to make without optimisation.
        if bench || size == MIB {
            let rounds = if bench { 40 } else { 3 };
            lanes(&mut kinds, Workload::Warm, size, &warm, &clock, rounds);
        }
    }
    println!();
    if bench {
        memory(&mut kinds);
    }
    println!(
        "\n{:<14} {:>14} {:>18} {:>18} {:>16}",
        "private", "cold, answered", "copy, untouched", "copy, answered", "guest memory"
    );
    for size in [MIB, 16 * MIB, 64 * MIB] {
        if bench || size == MIB {
            let task = Profile::Quick.task(Workload::Warm, size);
            match owned::of(&task) {
                Ok(owned) => {
                    let [cold, untouched, answered, guest] =
                        owned.map(|bytes| quantity(bytes as f64, Unit::Bytes));
                    println!(
                        "{:<14} {cold:>14} {untouched:>18} {answered:>18} {guest:>16}",
                        task.to_string()
                    );
                }
                Err(why) => println!("failed: {task}: {why}"),
            }
        }
    }
}

fn launch(task: Task) -> Launch {
    Launch {
        task,
        deadline: Duration::from_secs(30),
    }
}

/// Trials of one task on every kind, and what they show.
fn lanes(
    kinds: &mut [(String, Box<dyn Backend>)],
    workload: Workload,
    size: u64,
    metrics: &[Metric],
    clock: &Clock,
    rounds: u32,
) {
    let task = Profile::Quick.task(workload, size);
    let mut seen: Vec<Vec<(u32, Observation)>> = kinds.iter().map(|_| Vec::new()).collect();
    for block in schedule::blocks(&[rounds], kinds.len(), 2, 1) {
        for position in block.order {
            let (name, backend) = &mut kinds[position];
            match backend.trial(&launch(task)) {
                Ok(one) if !block.warmup => seen[position].push((block.round, one)),
                Ok(_) => {}
                Err(failure) => println!("failed: {name} {task}: {failure}"),
            }
        }
    }
    let [cold, others @ ..] = &seen[..] else {
        return;
    };
    for metric in metrics {
        let values = |of: &[(u32, Observation)]| -> Vec<(u32, f64)> {
            let read = |(round, one): &(u32, Observation)| {
                Some((*round, (metric.read)(one, clock)? as f64))
            };
            of.iter().filter_map(read).collect()
        };
        let base = values(cold);
        for (index, other) in others.iter().enumerate() {
            let what = format!("{}, {task}", kinds[index + 1].0);
            report(
                &what,
                metric.name,
                &values(other),
                &base,
                metric.targets[index],
            );
        }
    }
}

fn report(what: &str, metric: &str, it: &[(u32, f64)], cold: &[(u32, f64)], target: Option<f64>) {
    let sample = |of: &[(u32, f64)]| Sample::new(of.iter().map(|(_, v)| *v).collect::<Vec<_>>());
    let (Ok(a), Ok(b)) = (sample(it), sample(cold)) else {
        return println!("{what} {metric}: no trial came to its end");
    };
    let pairs: Vec<(f64, f64)> = cold
        .iter()
        .filter_map(|(round, base)| {
            let (_, ours) = it.iter().find(|(other, _)| other == round)?;
            Some((*base, *ours))
        })
        .collect();
    let ratio = paired::ratio(&pairs, 0.95).map_or_else(
        |error| format!("no ratio: {error}"),
        |r| ratio_with_interval(r.ratio, Some([r.low, r.high])),
    );
    let target = target.map_or_else(String::new, |most| format!(", to be ≤ {most}"));
    println!(
        "{what:<30} {metric:<18} {:>10} {:>10}   {ratio} ({} pairs{target})",
        quantity(quantile::median(&a), Unit::Nanoseconds),
        quantity(quantile::median(&b), Unit::Nanoseconds),
        pairs.len()
    );
}

/// What one more instance takes of the host, and what of its guest's memory is its own.
fn memory(kinds: &mut [(String, Box<dyn Backend>)]) {
    println!(
        "{:<30} {:>12} {:>12}   one more of {AT_ONCE} at once; private guest memory and kvm_run",
        "", "host", "private"
    );
    for (position, workload, size) in [
        (0, Workload::Idle, 0),
        (1, Workload::Idle, 0),
        (1, Workload::Warm, MIB),
        (1, Workload::Warm, 16 * MIB),
        (1, Workload::Warm, 64 * MIB),
    ] {
        let (name, backend) = &mut kinds[position];
        let task = Profile::Quick.task(workload, size);
        let rounds: Result<Vec<(f64, f64)>, String> =
            (0..15).map(|_| many(backend.as_mut(), task)).collect();
        // The first round makes the snapshot, and fills the kernel's slabs.
        match rounds {
            Ok(rounds) => {
                let median = |of: fn(&(f64, f64)) -> f64| {
                    let values: Vec<f64> = rounds[1..].iter().map(of).collect();
                    Sample::new(values).map_or(f64::NAN, |sample| quantile::median(&sample))
                };
                let bytes = |value| quantity(value, Unit::Bytes);
                println!(
                    "{:<30} {:>12} {:>12}",
                    format!("{name}, {task}"),
                    bytes(median(|r| r.0)),
                    bytes(median(|r| r.1))
                );
            }
            Err(why) => println!("failed: {name} {task}: {why}"),
        }
    }
}

/// Bytes of the host, and private bytes, per instance. The host's are less a straight line from
/// before to after, so that a neighbour that grows or shrinks steadily cancels.
fn many(backend: &mut dyn Backend, task: Task) -> Result<(f64, f64), String> {
    let left = || -> Result<(Instant, f64), String> {
        let accounts = Accounts::read().map_err(|error| error.to_string())?;
        Ok((Instant::now(), accounts.left().0 as f64))
    };
    let before = left()?;
    let held: Result<Vec<Box<dyn Instance>>, _> =
        (0..AT_ONCE).map(|_| backend.hold(&launch(task))).collect();
    let held = held.map_err(|failure| failure.to_string())?;
    let with = left()?;
    let private = held[0].footprint().map_err(|failure| failure.to_string())?;
    for instance in held {
        instance.release().map_err(|failure| failure.to_string())?;
    }
    let after = left()?;
    let since = |at: Instant| at.duration_since(before.0).as_secs_f64();
    let line = before.1 + (after.1 - before.1) * since(with.0) / since(after.0);
    Ok(((line - with.1) / AT_ONCE as f64, private.private.0 as f64))
}
