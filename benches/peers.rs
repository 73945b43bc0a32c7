//! Our launcher beside those people use: crun, runc, youki and bubblewrap, through the backends of these
//! names, interleaved at random in one process. `:run` is one command, as ours is.
//!
//! Two lanes are ours: the library, as a harness uses it, and a process of its own that starts,
//! prepares everything, launches one container and ends, as the others do. Peers that cannot run here are
//! skipped by name.
//!
//! `cargo bench --bench peers` measures; any other way of running it makes one round.

#![allow(clippy::print_stdout)] // its results, for whoever runs the bench

use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use isobench::backend::container::Container;
use isobench::backend::container::options::Options;
use isobench::backend::engine::EngineKind;
use isobench::backend::engine::kind::{Lifecycle, OciRuntime};
use isobench::backend::services::Services;
use isobench::backend::{Backend, Configuration, Provided, open_in};
use isobench::measure::clock::Clock;
use isobench::measure::schedule;
use isobench::metric::{Ticks, Unit};
use isobench::report::format::{quantity, ratio_with_interval};
use isobench::stats::{Sample, paired, quantile};
use isobench::sys::clock;
use isobench::trial::Launch;
use isobench::workload::{Profile, Workload, payload};

/// From before the first call to the payload's first instruction, and until nothing is left; ticks.
type Times = [i64; 2];

struct Lane {
    name: String,
    start: Box<dyn FnMut() -> io::Result<Times>>,
    times: Vec<(u64, Times)>,
}

/// Set in the process that [`own_process`] starts.
const ONCE: &str = "--launch-once";

fn main() -> io::Result<()> {
    if std::env::args().any(|argument| argument == ONCE) {
        return once();
    }
    let bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, warmups) = if bench { (100, 3) } else { (1, 0) };
    let Ok(ticks) = Clock::calibrate(Duration::from_millis(100)) else {
        println!("skipped: peers: this host's clock cannot be used");
        return Ok(());
    };
    let mut lanes = Vec::new();
    for lane in lanes_of_all() {
        match lane {
            Ok(mut lane) => match (lane.start)() {
                Ok(_) => lanes.push(lane),
                Err(why) => println!("skipped: {}: a first launch failed: {why}", lane.name),
            },
            Err(why) => println!("skipped: {why}"),
        }
    }
    for block in schedule::blocks(&[rounds], lanes.len(), warmups, 1) {
        for position in block.order {
            let lane = &mut lanes[position];
            match (lane.start)() {
                Ok(times) if !block.warmup => lane.times.push((u64::from(block.round), times)),
                Ok(_) => {}
                Err(failure) => println!("failed: {}: {failure}", lane.name),
            }
        }
    }
    println!(
        "{:<24} {:>9} {:>9}  {:<20} {:<20} end / own process",
        "", "start", "end", "start / container", "end / container"
    );
    let [library, own] = [0, 1].map(|i| lanes.get(i).map(|lane| lane.times.clone()));
    for lane in &lanes {
        let median = |what: usize| {
            let values: Vec<f64> = lane
                .times
                .iter()
                .map(|(_, t)| ticks.nanos(t[what]).0 as f64)
                .collect();
            Sample::new(values).map_or_else(
                |_| "–".to_owned(),
                |s| quantity(quantile::median(&s), Unit::Nanoseconds),
            )
        };
        println!(
            "{:<24} {:>9} {:>9}  {:<20} {:<20} {}",
            lane.name,
            median(0),
            median(1),
            ratio(library.as_deref(), lane, 0),
            ratio(library.as_deref(), lane, 1),
            ratio(own.as_deref(), lane, 1)
        );
    }
    Ok(())
}

fn ratio(base: Option<&[(u64, Times)]>, lane: &Lane, what: usize) -> String {
    let pairs: Vec<(f64, f64)> = base
        .unwrap_or_default()
        .iter()
        .filter_map(|(round, a)| {
            let (_, b) = lane.times.iter().find(|(other, _)| other == round)?;
            Some((a[what] as f64, b[what] as f64))
        })
        .collect();
    paired::ratio(&pairs, 0.95).map_or_else(
        |_| "too few".to_owned(),
        |r| ratio_with_interval(r.ratio, Some([r.low, r.high])),
    )
}

fn launch() -> Launch {
    Launch {
        task: Profile::Smoke.task(Workload::Noop, 0),
        deadline: Duration::from_secs(10),
    }
}

/// `container` through the library and through a process of its own; `process` for scale; every peer, or
/// why not.
fn lanes_of_all() -> Vec<Result<Lane, String>> {
    let mut services = Services::default();
    let mut through = |configuration: Configuration| {
        let backend = open_in(&configuration, &Provided::default(), &mut services);
        let mut backend = backend.map_err(|why| format!("{configuration}: {why}"))?;
        Ok(Lane {
            name: configuration.id(),
            start: Box::new(move || {
                let seen = backend.trial(&launch()).map_err(io::Error::other)?;
                let t = seen.instants;
                Ok([t.t1 - t.t0, t.t5 - t.t0])
            }),
            times: Vec::new(),
        })
    };
    let own = Lane {
        name: "container, own process".to_owned(),
        start: Box::new(|| {
            let t0 = clock::now();
            let output = Command::new(std::env::current_exe()?).arg(ONCE).output()?;
            let end = clock::now();
            let t1: [u8; 8] = output.stdout.try_into().map_err(|_| {
                io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())
            })?;
            Ok([Ticks(u64::from_le_bytes(t1)) - t0, end - t0])
        }),
        times: Vec::new(),
    };
    let mut lanes = vec![
        through(Configuration::container()),
        Ok(own),
        through(Configuration::Process),
    ];
    for runtime in [OciRuntime::Crun, OciRuntime::Runc, OciRuntime::Youki] {
        for lifecycle in [Lifecycle::Steps, Lifecycle::Run] {
            let kind = EngineKind::Oci(runtime, lifecycle);
            lanes.push(through(Configuration::Engine(kind)));
        }
    }
    lanes.push(through(Configuration::Engine(EngineKind::Bwrap)));
    lanes
}

/// The other side of `container, own process`: prints the payload's first instruction in ticks.
fn once() -> io::Result<()> {
    let mut container =
        Container::with_payload(Options::default(), payload::BYTES).map_err(io::Error::other)?;
    let seen = container.trial(&launch()).map_err(io::Error::other)?;
    io::stdout().write_all(&seen.instants.t1.0.to_le_bytes())
}
