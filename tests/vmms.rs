//! `linux-vm` beside Firecracker: the same kernel, the same initramfs, the same command line but for where the
//! payload speaks, interleaved; what each VMM adds before the kernel is entered, and what is left of that at
//! the payload's first instruction. Where Firecracker is not on the path, or no kernel can run, it says so
//! (tests/nested.rs runs it where `ISOBENCH_NESTED_FIRECRACKER` names one).
// Helpers of tests are tests: they state their expectations with panic.
#![allow(clippy::panic, clippy::unwrap_used)]
#![allow(clippy::print_stdout)]

#[path = "vmms/entries.rs"]
mod entries;
mod support;

use std::time::{Duration, Instant};

use entries::Entries;
use isobench::backend::{Backend, Provided, open_with};
use isobench::trial::{Launch, Observation};
use isobench::workload::{Task, Workload};
use support::measurement::right;

/// Firecracker adds `pci=off` to what it is given; here both have it.
const OURS: &str = "linux-vm:save=quiet+pci";
const THEIRS: &str = "firecracker";
/// Pairs, unless an emulated machine takes too long for so many.
const PAIRS: usize = 5;
const TIME: Duration = Duration::from_secs(150);

fn open(test: &str, id: &str) -> Option<Box<dyn Backend>> {
    match open_with(&id.parse().unwrap(), &Provided::default()) {
        Ok(backend) => Some(backend),
        Err(why) => {
            let excuses = [
                "not on the path",
                "/dev/kvm",
                "cannot run a kernel",
                "no kernel",
            ];
            let excused = excuses.iter().any(|words| why.reason.contains(words));
            assert!(excused, "{id}: {why} ({})", why.remedy);
            support::skipped(test, &format!("{id}: {why}"));
            None
        }
    }
}

fn noop() -> Launch {
    Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline: Duration::from_secs(120),
    }
}

/// One start: the ticks from t0 to the first entry of a virtual CPU, and to the payload's first instruction.
struct Start {
    entered: Option<i64>,
    /// Of `entered`, what lies behind the request to start: without the VMM's own start and configuration.
    asked: Option<i64>,
    t1: i64,
    seen: Observation,
}

fn start(backend: &mut dyn Backend, entries: Option<&Entries>) -> Start {
    let launch = noop();
    let (seen, entered) = match entries {
        Some(entries) => entries.first(|| backend.trial(&launch).unwrap()),
        None => (backend.trial(&launch).unwrap(), None),
    };
    right(&launch, &seen);
    let i = seen.instants;
    assert!(
        entries.is_none() || entered.is_some(),
        "no entry was traced"
    );
    if let Some(entered) = entered {
        assert!(
            entered - i.t0 > 0 && i.t1 - entered > 0,
            "{entered:?} {i:?}"
        );
    }
    // The guest's own reading, where it has one, comes after the entry that the kernel below has seen.
    let own = seen.phases.iter().find(|p| p.name == "enter_kernel");
    if let (Some(own), Some(entered)) = (own, entered) {
        let bound = seen.clock.bound.cast_signed();
        assert!(own.end - entered > -bound, "{own:?} {entered:?}");
    }
    let asked = seen.phases.iter().find(|p| p.name == "instance_start");
    Start {
        entered: entered.map(|at| at - i.t0),
        asked: entered.zip(asked).map(|(at, phase)| at - phase.start),
        t1: i.t1 - i.t0,
        seen,
    }
}

fn tell(name: &str, start: &Start) {
    let millions = |ticks: i64| ticks as f64 / 1e6;
    let phases = start
        .seen
        .phases
        .iter()
        .map(|phase| format!("{} {:.2}", phase.name, millions(phase.end - phase.start)));
    let phases = phases.collect::<Vec<_>>().join(", ");
    let entered = start
        .entered
        .map_or("not seen".to_owned(), |e| format!("{:.2}", millions(e)));
    println!(
        "timeline {name}: millions of ticks from t0: entered {entered}, t1 {:.1}; {phases}",
        millions(start.t1)
    );
}

fn median(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let middle = match ratios.len() {
        0 => return "not measured".to_owned(),
        n if n % 2 == 1 => ratios[n / 2],
        n => (ratios[n / 2 - 1] + ratios[n / 2]) / 2.0,
    };
    format!(
        "{middle:.3} (median of {}, from {:.3} to {:.3})",
        ratios.len(),
        ratios[0],
        ratios[ratios.len() - 1]
    )
}

/// How long it takes is told and not asserted.
#[test]
fn what_a_vmm_adds_before_the_kernel_is_entered() {
    let test = "what_a_vmm_adds_before_the_kernel_is_entered";
    let Some(mut theirs) = open(test, THEIRS) else {
        return;
    };
    let Some(mut ours) = open(test, OURS) else {
        return;
    };
    let facts = theirs.engine().unwrap();
    println!("timeline {THEIRS}: {}", facts.version);
    for difference in &facts.differences {
        println!("timeline {THEIRS}: {difference}");
    }
    for (name, backend) in [(OURS, &ours), (THEIRS, &theirs)] {
        let line = backend.guest_kernel().unwrap().command_line;
        println!("timeline {name}: command line {line}");
    }
    let entries = match Entries::new() {
        Ok(entries) => Some(entries),
        Err(why) => {
            println!("timeline: the kernel's entry is not seen: {why}");
            None
        }
    };
    let begun = Instant::now();
    let mut pairs: Vec<[Start; 2]> = Vec::new();
    while pairs.len() < PAIRS && (pairs.is_empty() || begun.elapsed() < TIME) {
        let mut ours = || start(ours.as_mut(), entries.as_ref());
        let mut theirs = || start(theirs.as_mut(), entries.as_ref());
        // Each is first in turn.
        let pair = if pairs.len().is_multiple_of(2) {
            let first = ours();
            [first, theirs()]
        } else {
            let first = theirs();
            [ours(), first]
        };
        tell(OURS, &pair[0]);
        tell(THEIRS, &pair[1]);
        pairs.push(pair);
    }
    let ratios = |of: fn(&Start) -> Option<i64>, to: fn(&Start) -> Option<i64>| {
        let each = pairs
            .iter()
            .filter_map(|[ours, theirs]| Some(of(ours)? as f64 / to(theirs)? as f64));
        median(each.collect())
    };
    let entered = ratios(|s| s.entered, |s| s.entered);
    println!("timeline ratio {OURS} to {THEIRS}, t0 to kernel entered: {entered}");
    let asked = ratios(|s| s.entered, |s| s.asked);
    println!("timeline ratio, {THEIRS} only from its InstanceStart on: {asked}");
    let t1 = ratios(|s| Some(s.t1), |s| Some(s.t1));
    println!("timeline ratio, t0 to t1: {t1}");
}
