//! One crossing, one clock reading of each backend's payload by criterion, and the ruler: one reading
//! of the counter in the harness. The launchers' floors have benches of their own (`floor`, `ladder`).
//!
//! A trial makes many crossings; a sample is the time of as many as criterion asks for, scaled from the
//! trials that it takes.

use isobench::sys::clock;
use isobench::workload::{Profile, Workload};

#[path = "trials/mod.rs"]
mod trials;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = trials::criterion().sample_size(10);
    let mut all = trials::Trials::open()?;
    for workload in [Workload::Crossing, Workload::Clock] {
        let task = Profile::Smoke.task(workload, 0);
        let mut group = criterion.benchmark_group(workload.name());
        for (index, id) in all.ids().iter().enumerate() {
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|n| {
                    let (mut units, mut nanos) = (0, 0.0);
                    // At most eight trials a sample: they are a hundred crossings and more each.
                    while units < n.min(8 * task.reps) {
                        let measured = all.one(index, &task);
                        units += measured.units.max(1);
                        nanos += measured.timed.0 as f64;
                    }
                    std::time::Duration::from_nanos((nanos * n as f64 / units as f64) as u64)
                });
            });
        }
        group.finish();
    }
    criterion.bench_function("ruler", |bencher| bencher.iter(clock::now));
    trials::end(&criterion);
    Ok(())
}
