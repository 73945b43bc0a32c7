//! `microvm` against its floor: starts interleaved in one process, the median of the paired ratios
//! with a distribution-free interval. It prints, and fails on no number:
//! `cargo test --release --test microvm_floor -- --ignored --nocapture`.

#[path = "../benches/floor/microvm.rs"]
mod floor;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use isobench::backend::Backend;
use isobench::backend::microvm::MicroVm;
use isobench::trial::Launch;
use isobench::workload::{Task, Workload};

/// Median with the order statistics that hold it in 95 % of samples (n/2 ± 0.98·√n).
fn median(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    [
        n / 2.0,
        n / 2.0 - 0.98 * n.sqrt(),
        n / 2.0 + 0.98 * n.sqrt(),
    ]
    .map(|rank| values[(rank.max(0.0) as usize).min(values.len() - 1)])
}

#[test]
#[ignore = "a measurement: wants a quiet machine and a release build"]
fn startup_against_the_floor() {
    let mut vm = MicroVm::new().unwrap();
    let mut bare = floor::Floor::new(vm.base_memory(), floor::Model::None).unwrap();
    let mut floor = floor::Floor::new(vm.base_memory(), floor::Model::Avx).unwrap();
    let noop = Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline: Duration::from_secs(10),
    };
    let (begun, mark) = (Instant::now(), isobench::sys::clock::now());
    let mut phases: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    let [mut ratio, mut ours, mut theirs] = [const { Vec::new() }; 3];
    let [mut bare_ratio, mut bare_startup] = [const { Vec::new() }; 2];
    let [mut down_ratio, mut down, mut down_theirs] = [const { Vec::new() }; 3];
    let blocks = std::env::var("BLOCKS").map_or(500, |n| n.parse().unwrap());
    for block in 0..blocks {
        let swap = block % 2 == 0;
        let mut sample = if swap {
            Some(floor.start().unwrap())
        } else {
            None
        };
        let seen = vm.trial(&noop).unwrap();
        let sample = *sample.get_or_insert_with(|| floor.start().unwrap());
        let without = bare.start().unwrap().startup as f64;
        let startup = (seen.instants.t1 - seen.instants.t0) as f64;
        let teardown = (seen.instants.t5 - seen.instants.t4) as f64;
        ratio.push(startup / sample.startup as f64);
        bare_ratio.push(startup / without);
        bare_startup.push(without);
        ours.push(startup);
        theirs.push(sample.startup as f64);
        down_ratio.push(teardown / sample.teardown as f64);
        down.push(teardown);
        down_theirs.push(sample.teardown as f64);
        let rest = (seen.instants.t2 - seen.instants.t1) as f64;
        phases.entry((50, "(t1..t2)")).or_default().push(rest);
        let rest = (seen.instants.t4 - seen.instants.t2) as f64;
        phases.entry((51, "(t2..t4)")).or_default().push(rest);
        for (offset, list) in [(0, &seen.phases), (100, &seen.teardown)] {
            for (index, phase) in list.iter().enumerate() {
                let ticks = (phase.end - phase.start) as f64;
                phases
                    .entry((offset + index, phase.name))
                    .or_default()
                    .push(ticks);
            }
        }
    }
    let elapsed = (isobench::sys::clock::now() - mark) as f64;
    let per_us = elapsed / begun.elapsed().as_secs_f64() / 1e6;
    let show = |name: &str, values: &mut [f64], unit: f64| {
        let [middle, low, high] = median(values).map(|v| v / unit);
        println!("{name:28} {middle:9.3} [{low:.3}, {high:.3}]");
    };
    show("startup, us", &mut ours, per_us);
    show("floor, us", &mut theirs, per_us);
    show("startup / floor", &mut ratio, 1.0);
    show("floor without AVX, us", &mut bare_startup, per_us);
    show("startup / floor without AVX", &mut bare_ratio, 1.0);
    show("teardown, us", &mut down, per_us);
    show("floor teardown, us", &mut down_theirs, per_us);
    show("teardown / floor", &mut down_ratio, 1.0);
    for ((_, name), values) in &mut phases {
        show(name, values, per_us);
    }
}
