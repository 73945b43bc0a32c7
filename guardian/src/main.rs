//! The guardian: outlives one harness, removes what that left, and ends.
//!
//! Standard input is a pipe whose write end only the harness has; the argument says who it is. It
//! is started with no other descriptor, in a session of its own and in `/`.

use std::io::BufRead;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use isobench_guardian::{Harness, Place, fork, ignore_signals};

/// How long the kernel may call a group busy after its processes were killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds in which nothing is found, one after the other, before it is believed: a process that is just
/// becoming another program cannot be recognised.
const CALM: u32 = 5;
/// Between two tries: doubled from the first to the second of these.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let Some(harness) = Harness::from_argument(&argument) else {
        return ExitCode::from(2);
    };
    // Nobody's child: the harness, which reaps the parent, need not know of another one, and
    // whoever reaps orphans here does so anyway.
    match fork() {
        Ok(0) => {}
        Ok(_) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    // Who ends everything politely ends the harness, too; it ends its guardian by its own end.
    ignore_signals();
    // Only a name in lists of processes.
    let _ = std::fs::write("/proc/self/comm", "isobench-guard");

    let mut places = Vec::new();
    for record in std::io::stdin().lock().split(0) {
        // Whoever cannot be told of the end of the harness must not act on it.
        let Ok(record) = record else {
            return ExitCode::FAILURE;
        };
        places.extend(Place::from_record(record));
    }
    // A harness that merely closed the pipe, as closefrom(3) does, is still at work.
    let mut pause = Pauses::new();
    while harness.lives() {
        pause.next();
    }
    let end = Instant::now() + PATIENCE;
    let mut pause = Pauses::new();
    let wanted = if places.contains(&Place::Processes) {
        CALM
    } else {
        1
    };
    let mut calm = 0;
    while calm < wanted && Instant::now() < end {
        let swept = places
            .iter()
            .map(|place| place.sweep(|owner| owner == harness.owner));
        // Every place in every round: what is ended last may have made something anew.
        let found = swept.filter(|swept| !swept.is_empty()).count();
        calm = if found == 0 { calm + 1 } else { 0 };
        if calm < wanted {
            pause.next();
        }
    }
    ExitCode::SUCCESS
}

struct Pauses(Duration);

impl Pauses {
    const fn new() -> Self {
        Self(PAUSES[0])
    }

    fn next(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(PAUSES[1]);
    }
}
