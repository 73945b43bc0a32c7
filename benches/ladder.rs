//! Is the launcher at the kernel's own speed on every rung? Each container of the namespace ladder
//! beside the bare system calls that the same set of mechanisms cannot do without, interleaved at
//! random in one process: the ratio of the medians and of the 99th percentiles of time to the first
//! instruction, with 95 % intervals from a bootstrap over whole blocks.
//!
//! `cargo bench --bench ladder` measures; any other way of running it makes one round to show that it
//! works, and fails if it does not. Root only: the floors change the host's own mounts into private copies as root does.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::time::Duration;

use isobench::backend::container::is_privileged;
use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::backend::{Backend, Configuration, open};
use isobench::measure::clock::Clock;
use isobench::measure::ladder::Ladder;
use isobench::measure::schedule;
use isobench::stats::{Sample, bootstrap, quantile};
use isobench::trial::Launch;
use isobench::workload::{Profile, Workload};

#[allow(dead_code)] // the teardown is reported by `floor`
#[path = "floor/container.rs"]
mod container;

/// A container and its floor; times to the first instruction in ns, `None` where one failed.
struct Pair {
    id: String,
    backend: Box<dyn Backend>,
    floor: container::Floor,
    times: Vec<[Option<f64>; 2]>,
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, warmups) = if bench { (1000, 10) } else { (1, 0) };
    if !is_privileged() {
        return println!("skipped: ladder: the floors run as root only");
    }
    let clock = match Clock::calibrate(Duration::from_millis(100)) {
        Ok(clock) => clock,
        Err(refused) => return println!("skipped: ladder: {refused}"),
    };
    let mut pairs: Vec<Pair> = containers().into_iter().filter_map(pair).collect();
    let mut failures = 0;
    let launch = Launch {
        task: Profile::Smoke.task(Workload::Noop, 0),
        deadline: Duration::from_secs(10),
    };
    for block in schedule::blocks(&[rounds], 2 * pairs.len(), warmups, 1) {
        let row = pairs.iter().map(|p| p.times.len()).max().unwrap_or(0);
        for pair in &mut pairs {
            pair.times.push([None; 2]);
        }
        for position in block.order {
            let pair = &mut pairs[position / 2];
            let ticks = if position % 2 == 0 {
                let seen = pair.backend.trial(&launch).map_err(|e| e.to_string());
                seen.map(|seen| seen.instants.t1 - seen.instants.t0)
            } else {
                let sample = pair.floor.start().map_err(|e| e.to_string());
                sample.map(|sample| sample.start)
            };
            match ticks {
                Ok(ticks) => pair.times[row][position % 2] = Some(clock.nanos(ticks).0 as f64),
                Err(failure) => {
                    failures += 1;
                    println!("failed: {}: {failure}", pair.id);
                }
            }
        }
        if block.warmup {
            for pair in &mut pairs {
                pair.times.clear();
            }
        }
    }
    println!(
        "{:<66} {:>8} {:>8}  {:<20} p99 / floor",
        "", "p50 µs", "floor", "p50 / floor"
    );
    for pair in &pairs {
        report(pair);
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

/// Every container of the ladder of what this host has, and the default.
fn containers() -> Vec<Configuration> {
    let alone = |one: &Mechanism| {
        let configuration = isobench::measure::ladder::container(Mechanisms::of([*one]));
        open(&configuration).is_ok()
    };
    let available = Mechanisms::of(Mechanism::ALL.into_iter().filter(alone));
    let mut all = Ladder::of(available, true).configurations();
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
        (Ok(backend), Ok(floor)) => Some(Pair {
            id: configuration.id(),
            backend,
            floor,
            times: Vec::new(),
        }),
        (Err(why), _) | (_, Err(why)) => {
            println!("skipped: {configuration}: {why}");
            None
        }
    }
}

fn report(pair: &Pair) {
    let rows: Vec<[f64; 2]> = pair
        .times
        .iter()
        .filter_map(|[ours, bare]| Some([(*ours)?, (*bare)?]))
        .collect();
    let at = |side: usize, p: f64| {
        move |drawn: &[usize], rows: &[[f64; 2]]| {
            let values: Vec<f64> = drawn.iter().map(|&row| rows[row][side]).collect();
            Sample::new(values).map_or(f64::NAN, |sample| {
                quantile::quantile(&sample, p).unwrap_or(f64::NAN)
            })
        }
    };
    let all: Vec<usize> = (0..rows.len()).collect();
    let ratio = |p: f64| {
        let of = |drawn: &[usize]| at(0, p)(drawn, &rows) / at(1, p)(drawn, &rows);
        match bootstrap::percentile(rows.len(), of, 0.95, 500, 1) {
            Ok(interval) => format!(
                "{:.2} [{:.2}, {:.2}]",
                of(&all),
                interval.low,
                interval.high
            ),
            Err(_) => "too few".to_owned(),
        }
    };
    let median = |side: usize| at(side, 0.5)(&all, &rows) / 1e3;
    println!(
        "{:<66} {:>8.1} {:>8.1}  {:<20} {}",
        pair.id,
        median(0),
        median(1),
        ratio(0.5),
        ratio(0.99)
    );
}
