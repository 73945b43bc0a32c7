//! How far are the launchers from what the kernel itself costs? Each backend's start beside its
//! floor, the barest sequence of system calls or ioctls that such an isolation cannot do without,
//! interleaved at random in one process.
//!
//! `cargo bench --bench floor` prints medians and paired ratios; any other way of running it (as
//! `cargo test --benches` does) makes a few rounds to show that it works, and fails if it does not.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::time::Duration;

use isobench::backend::container::mechanism::Mechanisms;
use isobench::backend::microvm::MicroVm;
use isobench::backend::{Backend, Configuration, open};
use isobench::measure::clock::Clock;
use isobench::measure::schedule;
use isobench::metric::Unit;
use isobench::report::format::{quantity, ratio_with_interval};
use isobench::stats::{Sample, paired, quantile};
use isobench::trial::Launch;
use isobench::workload::{Profile, Workload};

#[allow(dead_code)] // `memory` holds instances
#[path = "floor/container.rs"]
mod container;
#[path = "floor/microvm.rs"]
mod microvm;

/// Start and teardown in nanoseconds.
type Times = (f64, f64);

/// One side of a comparison.
struct Lane {
    name: String,
    /// Whether it is the floor of the backend before it.
    is_floor: bool,
    start: Box<dyn FnMut() -> Result<Times, String>>,
    times: Vec<(u64, Times)>,
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, warmups) = if bench { (600, 20) } else { (3, 1) };
    let clock = match Clock::calibrate(Duration::from_millis(100)) {
        Ok(clock) => clock,
        Err(refused) => return println!("skipped: floor: {refused}"),
    };
    let mut lanes: Vec<Lane> = Vec::new();
    for configuration in Configuration::defaults() {
        match lanes_of(&configuration, clock) {
            Ok(more) => lanes.extend(more),
            Err(reason) => println!("skipped: floor of {configuration}: {reason}"),
        }
    }
    let mut failures = 0;
    for block in schedule::blocks(&[rounds], lanes.len(), warmups, 1) {
        for position in block.order {
            let lane = &mut lanes[position];
            match (lane.start)() {
                Ok(times) if !block.warmup => lane.times.push((u64::from(block.round), times)),
                Ok(_) => {}
                Err(failure) => {
                    failures += 1;
                    println!("failed: {}: {failure}", lane.name);
                }
            }
        }
    }
    let columns = ["", "", "backend", "floor", "backend / floor, 95 % interval"];
    println!(
        "{:<28} {:<9} {:>10} {:>10}   {}",
        columns[0], columns[1], columns[2], columns[3], columns[4]
    );
    let mut real = None;
    for lane in &lanes {
        match real {
            Some(real) if lane.is_floor => report(real, lane),
            _ => real = Some(lane),
        }
    }
    if !bench && failures > 0 {
        std::process::exit(1);
    }
}

/// A backend, followed by its floors.
fn lanes_of(configuration: &Configuration, clock: Clock) -> Result<Vec<Lane>, String> {
    let mut backend = open(configuration).map_err(|why| why.to_string())?;
    let mut lanes = vec![Lane {
        name: configuration.id(),
        is_floor: false,
        start: Box::new(move || through(backend.as_mut(), &clock)),
        times: Vec::new(),
    }];
    for (name, start) in floors(configuration, clock)? {
        lanes.push(Lane {
            name: name.to_owned(),
            is_floor: true,
            start,
            times: Vec::new(),
        });
    }
    Ok(lanes)
}

/// One `noop` trial through the backend.
fn through(backend: &mut dyn Backend, clock: &Clock) -> Result<Times, String> {
    let task = Profile::Smoke.task(Workload::Noop, 0);
    let launch = Launch {
        task,
        deadline: Duration::from_secs(10),
    };
    let seen = backend
        .trial(&launch)
        .map_err(|failure| failure.to_string())?;
    let t = seen.instants;
    let nanos = |a, b| clock.between(a, b).0 as f64;
    Ok((nanos(t.t0, t.t1), nanos(t.t4, t.t5)))
}

type Start = Box<dyn FnMut() -> Result<Times, String>>;

fn floors(
    configuration: &Configuration,
    clock: Clock,
) -> Result<Vec<(&'static str, Start)>, String> {
    let child = |mechanisms| -> Result<Start, String> {
        let mut floor = container::Floor::new(mechanisms).map_err(text)?;
        Ok(Box::new(move || {
            let sample = floor.start().map_err(text)?;
            Ok((
                clock.nanos(sample.start).0 as f64,
                clock.nanos(sample.teardown).0 as f64,
            ))
        }))
    };
    let vm = |model| -> Result<Start, String> {
        let bytes = MicroVm::new().map_err(|why| why.to_string())?.base_memory();
        let mut floor = microvm::Floor::new(bytes, model).map_err(text)?;
        Ok(Box::new(move || {
            let sample = floor.start().map_err(text)?;
            let nanos = |ticks: u64| clock.nanos(ticks.cast_signed()).0 as f64;
            Ok((nanos(sample.startup), nanos(sample.teardown)))
        }))
    };
    Ok(match configuration {
        Configuration::Process => vec![("process", child(Mechanisms::NONE)?)],
        Configuration::Container(options) if nix::unistd::geteuid().is_root() => {
            let all = options.mechanisms();
            let namespaces = Mechanisms::of(all.iter().filter(|m| m.namespace().is_some()));
            vec![
                ("container", child(all)?),
                ("container, clone3+execve", child(namespaces)?),
            ]
        }
        Configuration::Container(_) => {
            return Err("the container's floor runs as root only".to_owned());
        }
        Configuration::LinuxVm(_) => {
            return Err("a start of linux-vm is its kernel's".to_owned());
        }
        Configuration::Engine(_) => {
            return Err("what an engine cannot do without is its own affair".to_owned());
        }
        Configuration::MicroVm(_) => vec![
            ("microvm", vm(microvm::Model::Avx)?),
            ("microvm, floor without AVX", vm(microvm::Model::None)?),
        ],
    })
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn report(real: &Lane, floor: &Lane) {
    for (what, of) in [
        ("startup", (|t: &Times| t.0) as fn(&Times) -> f64),
        ("teardown", |t| t.1),
    ] {
        let values =
            |lane: &Lane| Sample::new(lane.times.iter().map(|(_, t)| of(t)).collect::<Vec<_>>());
        let (Ok(a), Ok(b)) = (values(real), values(floor)) else {
            println!("{:<28} {what:<9} no trial came to its end", floor.name);
            continue;
        };
        let pairs: Vec<(f64, f64)> = floor
            .times
            .iter()
            .filter_map(|(round, bare)| {
                let (_, ours) = real.times.iter().find(|(other, _)| other == round)?;
                Some((of(bare), of(ours)))
            })
            .collect();
        let ratio = paired::ratio(&pairs, 0.95).map_or_else(
            |error| format!("no ratio: {error}"),
            |r| ratio_with_interval(r.ratio, Some([r.low, r.high])),
        );
        println!(
            "{:<28} {what:<9} {:>10} {:>10}   {ratio} ({} pairs)",
            floor.name,
            quantity(quantile::median(&a), Unit::Nanoseconds),
            quantity(quantile::median(&b), Unit::Nanoseconds),
            pairs.len()
        );
    }
}
