//! Does an idle instance take more memory than its isolation does? Each container on the way up the namespace
//! ladder beside processes made by the bare system calls of the same mechanisms (`floor/`), the same payload in
//! both; a micro-VM beside VMs made by the bare ioctls, which have run up to their first exit: what one more
//! instance takes of the host's memory that is left over, as the ratio of the slopes of the same round.
//!
//! `cargo bench --bench memory` measures; any other way of running it makes one small round to show
//! that it works, and fails if it does not. Containers as root only, as their floors are. Nothing else should run on the host meanwhile.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::time::{Duration, Instant};

use isobench::backend::container::is_privileged;
use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::backend::microvm::MicroVm;
use isobench::backend::{Backend, Configuration, MicroVmKind, open};
use isobench::host::accounts::Accounts;
use isobench::measure::ladder::{Ladder, container as configuration_of};
use isobench::stats::{Sample, quantile, slope};
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};

#[allow(dead_code)] // the times are reported by `floor` and `ladder`
#[path = "floor/container.rs"]
mod container;
#[allow(dead_code)]
#[path = "floor/microvm.rs"]
mod microvm;

use microvm::Model;

/// Instances at which memory is read.
const COUNTS: [u32; 5] = [20, 40, 60, 80, 100];

/// Bytes of one more instance of a floor.
type Bare = Box<dyn FnMut(&[u32]) -> Result<f64, String>>;

/// A backend and its floor; bytes of one more instance.
struct Pair {
    name: String,
    backend: Box<dyn Backend>,
    floor: Bare,
    rounds: Vec<[f64; 2]>,
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, counts) = if bench {
        (10, COUNTS.to_vec())
    } else {
        (1, vec![2, 3, 4, 5, 6])
    };
    let mut pairs = Vec::new();
    if is_privileged() {
        pairs.extend(containers().into_iter().filter_map(pair));
    } else {
        println!("skipped: memory of containers: their floors run as root only");
    }
    let models = [("", Model::Avx), (", floor without AVX", Model::None)];
    pairs.extend(models.into_iter().filter_map(micro_vm));
    let mut failures = 0;
    for _ in 0..rounds {
        for pair in &mut pairs {
            match pair.round(&counts) {
                Ok(row) => pair.rounds.push(row),
                Err(failure) => {
                    failures += 1;
                    println!("failed: {}: {failure}", pair.name);
                }
            }
        }
    }
    println!("{:<66} {:>8} {:>8}  KiB / floor", "", "KiB", "floor");
    for pair in &pairs {
        pair.report();
    }
    drop(pairs);
    match container::pair::bridges() {
        Ok(left) if left.is_empty() => {}
        other => {
            failures += 1;
            println!("failed: bridges left behind: {other:?}");
        }
    }
    if !bench && failures > 0 {
        std::process::exit(1);
    }
}

/// The way up the ladder of what this host has, and the default.
fn containers() -> Vec<Configuration> {
    let can = |one: &Mechanism| open(&configuration_of(Mechanisms::of([*one]))).is_ok();
    let available = Mechanisms::of(Mechanism::ALL.into_iter().filter(can));
    let mut all = Ladder::of(available, true).way_up();
    all.push(Configuration::container());
    all
}

fn pair(configuration: Configuration) -> Option<Pair> {
    let Configuration::Container(options) = configuration else {
        return None;
    };
    let floor = container::Floor::new(options.mechanisms()).map_err(|e| e.to_string());
    let backend = open(&configuration).map_err(|why| why.to_string());
    match (backend, floor) {
        (Ok(backend), Ok(mut floor)) => Some(Pair {
            name: configuration.id(),
            backend,
            floor: Box::new(move |counts| {
                let hold = || floor.hold().map_err(text);
                slope_of(counts, hold, |instance| instance.release().map_err(text))
            }),
            rounds: Vec::new(),
        }),
        (Err(why), _) | (_, Err(why)) => {
            println!("skipped: {configuration}: {why}");
            None
        }
    }
}

fn micro_vm((what, model): (&str, Model)) -> Option<Pair> {
    let configuration = Configuration::MicroVm(MicroVmKind::Cold);
    let made = || -> Result<Pair, String> {
        let ram = MicroVm::new().map_err(|why| why.to_string())?.base_memory();
        let floor = microvm::Floor::new(ram, model).map_err(text)?;
        Ok(Pair {
            name: format!("{configuration}{what}"),
            backend: open(&configuration).map_err(|why| why.to_string())?,
            floor: Box::new(move |counts| {
                slope_of(counts, || floor.hold().map_err(text), |_| Ok(()))
            }),
            rounds: Vec::new(),
        })
    };
    made()
        .inspect_err(|why| println!("skipped: {configuration}{what}: {why}"))
        .ok()
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

impl Pair {
    /// Both sides, one right after the other.
    fn round(&mut self, counts: &[u32]) -> Result<[f64; 2], String> {
        let launch = Launch {
            task: Task {
                workload: Workload::Idle,
                size: 0,
                reps: 1,
            },
            deadline: Duration::from_secs(10),
        };
        let ours = slope_of(
            counts,
            || self.backend.hold(&launch).map_err(|e| e.to_string()),
            |instance| instance.release().map_err(|e| e.to_string()),
        )?;
        Ok([ours, (self.floor)(counts)?])
    }

    fn report(&self) {
        let of = |value: &dyn Fn(&[f64; 2]) -> f64| {
            let values: Vec<f64> = self.rounds.iter().map(value).collect();
            Sample::new(values).ok()
        };
        let median = |value: &dyn Fn(&[f64; 2]) -> f64| {
            of(value).map_or(f64::NAN, |sample| quantile::median(&sample))
        };
        let interval = of(&|row| row[0] / row[1]).and_then(|s| quantile::median_ci(&s, 0.95));
        let interval = interval.map_or("too few".to_owned(), |ci| {
            format!("[{:.2}, {:.2}]", ci.low, ci.high)
        });
        println!(
            "{:<66} {:>8.1} {:>8.1}  {:.2} {interval}",
            self.name,
            median(&|row| row[0]) / 1024.0,
            median(&|row| row[1]) / 1024.0,
            median(&|row| row[0] / row[1]),
        );
    }
}

/// Theil–Sen slope of the memory that is no longer left over: bytes for one more instance.
fn slope_of<T>(
    counts: &[u32],
    mut hold: impl FnMut() -> Result<T, String>,
    release: impl Fn(T) -> Result<(), String>,
) -> Result<f64, String> {
    settle()?;
    let mut held = Vec::new();
    let mut points = Vec::new();
    for &count in counts {
        while held.len() < count as usize {
            held.push(hold()?);
        }
        points.push((f64::from(count), -(left()? as f64)));
    }
    for instance in held {
        release(instance)?;
    }
    let line = slope::theil_sen(&points, 0.95).map_err(|e| e.to_string())?;
    Ok(line.slope)
}

fn left() -> Result<i64, String> {
    let accounts = Accounts::read().map_err(|e| e.to_string())?;
    Ok(accounts.left().0)
}

/// Until the host's memory stands still, or a second has passed: network namespaces go late.
fn settle() -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(1);
    let mut before = left()?;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(30));
        let now = left()?;
        if (now - before).abs() <= 64 << 10 {
            break;
        }
        before = now;
    }
    Ok(())
}
