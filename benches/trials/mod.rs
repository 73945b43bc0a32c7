//! What criterion's benches share: the trials of `isobench run`, one at a time.
#![allow(dead_code)] // each bench uses its own part
#![allow(clippy::print_stderr, clippy::panic)] // for whoever runs the bench

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use isobench::backend::{Backend, Configuration, open};
use isobench::measure::check;
use isobench::measure::clock::Clock;
use isobench::store::record::Measured;
use isobench::trial::Launch;
use isobench::workload::{Task, known_answer, payload};

/// Every kind of backend that runs here.
pub struct Trials {
    clock: Clock,
    image: u64,
    backends: Vec<(String, Box<dyn Backend>)>,
}

impl Trials {
    /// Opens what a run opens by default; what cannot run here is said and left out.
    ///
    /// # Errors
    /// The clock, or the payload, cannot be used.
    pub fn open() -> Result<Self, Box<dyn std::error::Error>> {
        // criterion draws with the plotters of this build, which knows no font of the host.
        isobench::report::draw::font::register()?;
        let mut backends = Vec::new();
        for configuration in Configuration::defaults() {
            match open(&configuration) {
                Ok(backend) => backends.push((configuration.id(), backend)),
                Err(why) => eprintln!("skipped: {configuration}: {why}"),
            }
        }
        Ok(Self {
            clock: Clock::calibrate(Duration::from_millis(100))?,
            image: payload::image_fold()?,
            backends,
        })
    }

    /// The ids, in the order of a run.
    pub fn ids(&self) -> Vec<String> {
        self.backends.iter().map(|(id, _)| id.clone()).collect()
    }

    /// One trial, checked as in a run. A failure ends the bench: it is no number.
    pub fn one(&mut self, backend: usize, task: &Task) -> Measured {
        let (id, backend) = &mut self.backends[backend];
        let launch = Launch {
            task: *task,
            deadline: Duration::from_secs(30),
        };
        let measured = known_answer(task)
            .map_err(|e| e.to_string())
            .and_then(|answer| {
                let seen = backend.trial(&launch).map_err(|e| e.to_string())?;
                let checked = check::measured(&seen, task, answer, self.image, &self.clock);
                checked.map_err(|e| e.to_string())
            });
        match measured {
            Ok(measured) => measured,
            Err(why) => panic!("{id} {task}: {why}"),
        }
    }
}

/// The sum of a reading over so many trials.
pub fn sum(iterations: u64, mut one: impl FnMut() -> i64) -> Duration {
    let all: u64 = (0..iterations).map(|_| one().max(0).unsigned_abs()).sum();
    Duration::from_nanos(all)
}

/// criterion with what its own flags say.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args()
}

/// Its last word.
pub fn end(criterion: &Criterion) {
    criterion.final_summary();
    let plots = Path::new("target/criterion/report/index.html");
    if plots.exists() {
        eprintln!("plots: {}", plots.display());
    }
}
