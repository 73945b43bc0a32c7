//! A backend without a machine: synthetic instants on a counter that only moves when it is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use isobench_abi::Report;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backend::{Backend, Instance};
use crate::measure::clock::Clock;
use crate::metric::Ticks;
use crate::transcript::Answer;
use crate::trial::{ClockMap, Failure, Instants, Launch, Observation};
use crate::workload::{Task, Workload, known_answer, payload};

/// Ticks that pass with each reading.
const READ: u64 = 40;

/// A launch of `noop`.
pub fn launch() -> Launch {
    Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline: Duration::from_secs(1),
    }
}

/// A counter and a source of noise that all lanes share.
#[derive(Clone)]
pub struct World {
    counter: Rc<Cell<u64>>,
    rng: Rc<RefCell<ChaCha8Rng>>,
}

impl World {
    /// A world whose noise comes from a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            counter: Rc::new(Cell::new(1 << 40)),
            rng: Rc::new(RefCell::new(ChaCha8Rng::seed_from_u64(seed))),
        }
    }

    /// A world whose counter stands here.
    pub fn at(counter: u64) -> Self {
        let world = Self::new(1);
        world.counter.set(counter);
        world
    }

    /// The counter.
    pub fn clock(&self) -> impl Fn() -> Ticks + Clone + use<> {
        let counter = Rc::clone(&self.counter);
        move || {
            counter.set(counter.get().wrapping_add(READ));
            Ticks(counter.get())
        }
    }

    /// A ruler for it: 1 GHz.
    pub fn ruler(&self) -> Clock {
        Clock {
            hz: 1e9,
            hz_error: 0.0,
            skew: 0,
            read_cost: (READ, READ),
        }
    }

    /// Lets time pass.
    pub fn pass(&self, ticks: f64) -> Ticks {
        self.counter
            .set(self.counter.get().wrapping_add(ticks as u64));
        Ticks(self.counter.get())
    }
}

/// A backend that passes the time of a launch: 300 µs to the first instruction, 30 µs to clean up.
pub struct Fake {
    world: World,
    noise: bool,
    factor: f64,
    lie: bool,
}

impl Fake {
    /// Always the same.
    pub fn calm(world: &World) -> Self {
        Self {
            world: world.clone(),
            noise: false,
            factor: 1.0,
            lie: false,
        }
    }

    /// 20 % of spread, one launch in twenty a tick later, one in a hundred tenfold.
    pub fn noisy(world: &World) -> Self {
        Self {
            noise: true,
            ..Self::calm(world)
        }
    }

    /// Slower in everything.
    pub fn slower(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// With a wrong digest.
    pub fn lying(self) -> Self {
        Self { lie: true, ..self }
    }

    fn span(&self, typical: f64) -> f64 {
        if !self.noise {
            return typical * self.factor;
        }
        let mut rng = self.world.rng.borrow_mut();
        let body = 0.9 + 0.2 * rng.random::<f64>();
        let tick = if rng.random_bool(0.05) { 13.0 } else { 0.0 };
        let wild = if rng.random_bool(0.01) { 10.0 } else { 1.0 };
        typical * self.factor * (body + tick) * wild
    }
}

impl Backend for Fake {
    fn hear(
        &mut self,
        launch: &Launch,
        _answers: &mut Vec<Answer>,
    ) -> Result<Observation, Failure> {
        let t0 = self.world.pass(500.0);
        let t1 = self.world.pass(self.span(300_000.0));
        let t2 = self.world.pass(self.span(20_000.0));
        let t3 = self.world.pass(100.0);
        let t4 = self.world.pass(self.span(20_000.0));
        let t5 = self.world.pass(self.span(30_000.0));
        let known = known_answer(&launch.task)
            .map_err(|_| Failure::Protocol("the fake was given a task it does not know"))?;
        let image = payload::image_fold().map_err(|_| Failure::Protocol("no payload"))?;
        Ok(Observation {
            instants: Instants {
                t0,
                t1,
                t2,
                t3,
                t4,
                t5,
            },
            reply: None,
            phases: Vec::new(),
            teardown: Vec::new(),
            report: Report {
                start: t1.0,
                end: t3.0,
                units: known.units,
                digest: known.digest ^ u64::from(self.lie),
                image,
                isa: 0,
            },
            clock: ClockMap::SAME,
            exits: None,
            throttled: None,
            told: None,
        })
    }

    fn hold(&mut self, _launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        Err(Failure::Protocol("the fake holds nothing"))
    }
}
