//! Startup, ready and teardown of each backend by criterion, on the trials of `isobench run`.
//!
//! `cargo bench --bench startup -- container` chooses by id; `cargo test --benches` runs each once.
//! criterion measures one backend after the other: for a comparison of backends see `isobench run`,
//! of builds `isobench ab`.

use isobench::store::record::Measured;
use isobench::workload::{Profile, Workload};

#[path = "trials/mod.rs"]
mod trials;

/// How one time is read off a trial.
type Reading = (&'static str, fn(&Measured) -> i64);

/// What a launch is timed by.
const READINGS: [Reading; 3] = [
    ("startup", |m| m.t1.0),
    ("ready", |m| m.t2.0),
    ("teardown", |m| m.t5.0 - m.t4.0),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = trials::criterion();
    let mut all = trials::Trials::open()?;
    let noop = Profile::Smoke.task(Workload::Noop, 0);
    for (name, read) in READINGS {
        let mut group = criterion.benchmark_group(name);
        for (index, id) in all.ids().iter().enumerate() {
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|n| trials::sum(n, || read(&all.one(index, &noop))));
            });
        }
        group.finish();
    }
    trials::end(&criterion);
    Ok(())
}
