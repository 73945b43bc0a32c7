//! The work of each workload on each backend by criterion, on the trials of `isobench run`: the time
//! between the payload's own marks, for the units it did.
//!
//! `cargo bench --bench throughput -- sha256` chooses by id; `cargo test --benches` runs each once.

use criterion::Throughput;
use isobench::workload::{Profile, Workload};

#[path = "trials/mod.rs"]
mod trials;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = trials::criterion().sample_size(10);
    let mut all = trials::Trials::open()?;
    for task in Profile::Smoke.tasks() {
        // These do no work between marks, or have a bench of their own.
        if matches!(
            task.workload,
            Workload::Noop | Workload::Warm | Workload::Crossing | Workload::Clock
        ) {
            continue;
        }
        let mut group = criterion.benchmark_group(task.to_string());
        for (index, id) in all.ids().iter().enumerate() {
            let units = all.one(index, &task).units;
            group.throughput(match task.workload {
                Workload::Sha256 | Workload::Triad => Throughput::Bytes(units),
                _ => Throughput::Elements(units),
            });
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|n| trials::sum(n, || all.one(index, &task).timed.0));
            });
        }
        group.finish();
    }
    trials::end(&criterion);
    Ok(())
}
