//! Does the gate hold what it promises, on this host, today? It is shown changes of known size in
//! chosen phases, instances that take more memory, and nothing at all.
//!
//! | check | how |
//! |---|---|
//! | false alarms | two runs of the same, compared as `compare --gate` does |
//! | delays in a phase | two lanes in the same blocks as `ab` has them, one with a delay in that phase |
//! | the phase named | of the delays that were found, those whose phase comes first in the explanation |
//! | leaks | two density measurements, one whose instances take 256 KiB more |

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::finding::{Check, Rate, Report, Target};
use super::gate::evidence;
use super::inject::Place;
use super::lanes::Track;
use super::{Budget, Stop, go_on};
use crate::backend::{self, Backend, Configuration};
use crate::measure::ab::judge::parts;
use crate::measure::clock::Clock;
use crate::measure::compare::judge;
use crate::measure::comparison::{Compared, REFERENCE, Rule, Word};
use crate::measure::injection::Injected;
use crate::measure::plan::{Density, Plan};
use crate::measure::series::{Gathered, Paired, Quantity, series};
use crate::measure::session::{self, Observer, Opened, RunError};
use crate::metric::{Bytes, Metric, STARTUP, TEARDOWN};
use crate::stats::quantile::median;
use crate::stats::{Sample, Verdict};
use crate::store::record::{Measured, Record};
use crate::workload::{Profile, Workload};

/// Bytes of a leak.
const LEAK: u64 = 256 << 10;
/// Pairs without a delay before the first comparison, for the size of it.
const SIZING: u32 = 100;
/// Blocks of a run that is compared with another.
const BLOCKS: u32 = 200;

/// Where a delay is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    backend: &'static str,
    place: Place,
    phase: &'static str,
}

/// Phases of every kind of backend, at both ends of a life, on both sides of `clone3`.
const PHASES: [Spot; 5] = [
    Spot {
        backend: "container",
        place: Place::Startup,
        phase: "clone3",
    },
    Spot {
        backend: "container",
        place: Place::Startup,
        phase: "pivot_root",
    },
    Spot {
        backend: "container",
        place: Place::Teardown,
        phase: "cgroup_remove",
    },
    Spot {
        backend: "microvm",
        place: Place::Startup,
        phase: "create_vm",
    },
    Spot {
        backend: "microvm",
        place: Place::Teardown,
        phase: "close_vm",
    },
];

impl Spot {
    const fn metric(self) -> Metric {
        match self.place {
            Place::Startup => STARTUP,
            Place::Teardown => TEARDOWN,
        }
    }
}

/// A size of delays, and what is claimed about finding them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    /// Share of the metric's median.
    share: f64,
    /// Pairs of a comparison.
    pairs: u32,
    /// The share of comparisons that must find it.
    target: f64,
}

const TEN: Size = Size {
    share: 0.10,
    pairs: 400,
    target: 0.95,
};
const FIVE: Size = Size {
    share: 0.05,
    pairs: 800,
    target: 0.90,
};

/// How much a profile looks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Effort {
    alarms: Budget,
    ten: Budget,
    five: Budget,
    leaks: Budget,
}

impl Effort {
    /// smoke stays near 30 s on a quiet machine and leaves the small delays out, quick near 4 minutes;
    /// full makes 300 comparisons of a run with another.
    fn of(profile: Profile) -> Self {
        let (alarms, ten, five, leaks) = match profile {
            Profile::Smoke => ((4, 6), (2, 3), (0, 0), (1, 6)),
            Profile::Quick => ((40, 50), (15, 20), (8, 15), (5, 40)),
            Profile::Full => ((300, 1200), (100, 300), (60, 300), (40, 900)),
        };
        let budget = |(comparisons, seconds)| Budget {
            comparisons,
            time: std::time::Duration::from_secs(seconds),
        };
        Self {
            alarms: budget(alarms),
            ten: budget(ten),
            five: budget(five),
            leaks: budget(leaks),
        }
    }
}

/// Runs every check of a profile. `watch` is told what comes next.
#[must_use]
pub fn run(profile: Profile, seed: u64, clock: &Clock, watch: &mut dyn FnMut(&str)) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(profile, seed);
    let interrupted = checks(&mut report, profile, seed, clock, watch).err();
    report.finish(interrupted, begun.elapsed());
    report
}

fn checks(
    report: &mut Report,
    profile: Profile,
    seed: u64,
    clock: &Clock,
    watch: &mut dyn FnMut(&str),
) -> Result<(), i32> {
    let effort = Effort::of(profile);
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let container = Configuration::container();
    let contained = backend::open(&container).map(drop);
    if let Err(why) = &contained {
        for group in ["gate: false alarms", "gate: leaks"] {
            report.checks.push(Check::skipped(group, &container, why));
        }
    } else {
        watch("gate, false alarms");
        let found = alarms(clock, profile, effort.alarms, seeds.next_u64());
        report.keep("gate: false alarms", found.map(|c| vec![c]))?;
        watch("gate, leaks");
        let found = leaks(clock, profile, effort.leaks, seeds.next_u64());
        report.keep("gate: leaks", found.map(|c| vec![c]))?;
    }
    let track = match Track::new(clock) {
        Ok(track) => track,
        Err(stop) => return report.keep("gate: delays", Err(stop)),
    };
    let sizes = [(TEN, effort.ten), (FIVE, effort.five)].into_iter();
    for (size, budget) in sizes.filter(|(_, budget)| budget.comparisons > 0) {
        for spot in PHASES {
            watch(&format!("gate, {} {}", spot.backend, spot.phase));
            let Ok(configuration) = spot.backend.parse::<Configuration>() else {
                continue;
            };
            if let Err(why) = backend::open(&configuration) {
                let skipped = Check::skipped("gate: delays", &configuration, &why);
                report.checks.push(skipped);
                continue;
            }
            let seed = seeds.next_u64();
            let found = delays(&track, spot, &configuration, size, budget, seed);
            report.keep("gate: delays", found)?;
        }
    }
    Ok(())
}

/// Compares lanes that differ in one phase.
fn delays(
    track: &Track<'_>,
    spot: Spot,
    configuration: &Configuration,
    size: Size,
    budget: Budget,
    seed: u64,
) -> Result<Vec<Check>, Stop> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let mut race = |pairs, ticks| -> Result<Vec<[Measured; 2]>, Stop> {
        let lane = |ticks| -> Result<Box<dyn Backend>, Stop> {
            Ok(Box::new(Injected {
                inner: backend::open(configuration)?,
                phases: vec![(spot.phase.to_owned(), ticks)],
                leak: 0,
            }))
        };
        // Both are armed alike; a delay of 0 is the only difference.
        let mut lanes = [lane(0)?, lane(ticks)?];
        track.race_measured(&mut lanes, pairs, seeds.next_u64())
    };
    let metric = spot.metric();
    let typical = |pairs: &[[Measured; 2]]| -> Result<f64, Stop> {
        let values = pairs.iter().map(|[a, _]| match spot.place {
            Place::Startup => a.t1.0 as f64,
            Place::Teardown => (a.t5.0 - a.t4.0) as f64,
        });
        Ok(median(&Sample::new(values.collect::<Vec<_>>())?))
    };
    let mut level = typical(&race(SIZING, 0)?)?;
    let (mut found, mut doubts, mut named) = (0, 0, 0);
    let mut shares = Vec::new();
    let begun = Instant::now();
    while budget.allows(shares.len() as u32, begun) {
        go_on()?;
        let nanos = size.share * level;
        let pairs = race(size.pairs, track.ticks(nanos))?;
        level = typical(&pairs)?;
        shares.push(nanos / level);
        let judged = evidence(&track.family(&pairs), seed ^ shares.len() as u64)?;
        let Some(judged) = judged.iter().find(|j| j.metric == metric) else {
            continue;
        };
        // A gate that ignores effects up to 5 % is right to ignore one of 5 %.
        match judged.word(size.share / 2.0)? {
            Verdict::Worse => {
                found += 1;
                let changed = parts(&metric, &pairs, judged.evidence.ratio.ratio);
                named += u64::from(changed.first().is_some_and(|p| p.name == spot.phase));
            }
            Verdict::Inconclusive(_) => doubts += 1,
            Verdict::Better | Verdict::Same { .. } => {}
        }
    }
    let what = format!("{} {} +{} %", spot.backend, spot.phase, size.share * 100.0);
    let rate = Rate {
        target: Some(Target::AtLeast(size.target)),
        pairs: size.pairs,
        threshold: size.share / 2.0,
        inconclusive: doubts,
        injected: Some(median(&Sample::new(shares.clone())?)),
        ..Rate::of(found, shares.len() as u64)?
    };
    let mut checks = vec![Check::rate("gate: delays", what.clone(), rate)?];
    if found > 0 {
        let rate = Rate {
            target: Some(Target::AtLeast(size.target)),
            pairs: size.pairs,
            threshold: size.share / 2.0,
            ..Rate::of(named, found)?
        };
        checks.push(Check::rate("gate: phase named", what, rate)?);
    }
    Ok(checks)
}

/// Two runs of the same, again and again: an alarm is any metric called better or worse.
fn alarms(clock: &Clock, profile: Profile, budget: Budget, seed: u64) -> Result<Check, Stop> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let (mut alarms, mut doubts, mut done) = (0, 0, 0);
    let begun = Instant::now();
    while budget.allows(done, begun) {
        let mut one = || {
            let plan = plan(profile, seeds.next_u64());
            quantities(&plan, clock, 0)
        };
        let metrics = compare(&one()?, &one()?);
        if metrics
            .iter()
            .any(|m| matches!(m.verdict, Word::Better | Word::Worse))
        {
            alarms += 1;
        } else if metrics.iter().any(|m| m.verdict == Word::Inconclusive) {
            doubts += 1;
        }
        done += 1;
    }
    let rate = Rate {
        target: Some(Target::AtMost(super::alarms::TARGET)),
        pairs: BLOCKS,
        threshold: 0.10,
        inconclusive: doubts,
        ..Rate::of(alarms, u64::from(done))?
    };
    Ok(Check::rate(
        "gate: false alarms",
        "two runs of the same".to_owned(),
        rate,
    )?)
}

/// Two density measurements, one of instances that take more.
fn leaks(clock: &Clock, profile: Profile, budget: Budget, seed: u64) -> Result<Check, Stop> {
    let mut seeds = ChaCha8Rng::seed_from_u64(seed);
    let (mut found, mut doubts, mut done) = (0, 0, 0);
    let begun = Instant::now();
    while budget.allows(done, begun) {
        let mut one = |leak| {
            let mut plan = plan(profile, seeds.next_u64());
            plan.tasks.clear();
            plan.density = Some(Density {
                configurations: None,
                instances: None,
                growth: Bytes(10 << 20),
                rounds: 8,
                budget: std::time::Duration::from_secs(20),
            });
            quantities(&plan, clock, leak)
        };
        let metrics = compare(&one(0)?, &one(LEAK)?);
        let marginal = metrics
            .iter()
            .find(|m| m.metric == crate::metric::MARGINAL.name);
        match marginal.map(|m| m.verdict) {
            Some(Word::Worse) => found += 1,
            Some(Word::Inconclusive) | None => doubts += 1,
            Some(Word::Better | Word::Same) => {}
        }
        done += 1;
    }
    let rate = Rate {
        target: Some(Target::AtLeast(0.95)),
        pairs: 8,
        threshold: 0.05,
        inconclusive: doubts,
        ..Rate::of(found, u64::from(done))?
    };
    Ok(Check::rate(
        "gate: leaks",
        "container 256 KiB more".to_owned(),
        rate,
    )?)
}

/// A run of `noop` on `process` and `container`.
fn plan(profile: Profile, seed: u64) -> Plan {
    Plan {
        configurations: vec![Configuration::Process, Configuration::container()],
        tasks: vec![(profile.task(Workload::Noop, 0), BLOCKS)],
        isolation: false,
        boundary: false,
        density: None,
        ladder: None,
        bursts: None,
        seed,
        profile,
        max_time: std::time::Duration::from_secs(120),
        target: None,
        warmups: 1,
        deadline: std::time::Duration::from_secs(30),
    }
}

/// Carries a plan out and reduces it to what is compared.
fn quantities(plan: &Plan, clock: &Clock, leak: u64) -> Result<Vec<Quantity>, Stop> {
    go_on()?;
    let mut opened = Vec::new();
    for configuration in &plan.configurations {
        let mut backend = backend::open(configuration)?;
        if leak > 0 && *configuration != Configuration::Process {
            backend = Box::new(Injected {
                inner: backend,
                phases: Vec::new(),
                leak,
            });
        }
        opened.push(Opened {
            configuration: configuration.clone(),
            backend: Ok(backend),
        });
    }
    let mut kept = Kept(Vec::new());
    session::run(plan, &mut opened, clock, &mut kept)?;
    go_on()?;
    let ids: Vec<String> = plan.configurations.iter().map(Configuration::id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let all = series(&Gathered::of(&kept.0), &ids, REFERENCE).into_iter();
    Ok(all.map(Paired::quantity).collect())
}

fn compare(base: &[Quantity], head: &[Quantity]) -> Vec<Compared> {
    let rule = Rule::default();
    judge(base, head, &rule, "", None).metrics
}

struct Kept(Vec<Record>);

impl Observer for Kept {
    fn record(&mut self, record: Record) -> Result<(), RunError> {
        self.0.push(record);
        Ok(())
    }

    fn progress(&mut self, _done: u64, _planned: u64, _next: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_claim_is_looked_at_in_full() {
        let full = Effort::of(Profile::Full);
        assert!(full.alarms.comparisons >= 300);
        assert_eq!((TEN.pairs, TEN.target), (400, 0.95));
        assert_eq!((FIVE.pairs, FIVE.target), (800, 0.90));
    }
}
