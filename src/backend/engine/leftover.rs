//! Processes of an instance that are still there when it should be gone.

use std::time::{Duration, Instant};

use isobench_guardian::{end_marked, marked};

use super::Running;
use crate::trial::{Failure, PhaseLog};

/// How long they may take to go once they are killed, or once their engine says they are gone: a
/// process that has ended is a zombie, without an environment, until it is reaped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks that no process carries this name any more; those that do are ended.
///
/// # Errors
/// There were some.
pub fn none_of(name: &str) -> Result<(), Failure> {
    let left = marked(|mark| mark == name);
    if left.is_empty() {
        return Ok(());
    }
    end(name);
    Err(Failure::Leftover(format!("processes {left:?} of {name}")))
}

/// Waits for the end of processes that carry such a name, which are about to end by themselves; `by_force`
/// they are ended.
pub fn wait(wanted: impl Fn(&str) -> bool, by_force: bool) {
    let until = Instant::now() + PATIENCE;
    while !by_force && !marked(&wanted).is_empty() {
        if Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if by_force {
        end_all(&wanted);
    }
}

/// Removes an instance of this name for which nobody waits, and ends its processes. What stays is logged.
pub(super) fn give_up(instance: &mut dyn Running, name: &str) {
    if let Err(failure) = instance.remove(&mut PhaseLog::new()) {
        tracing::error!(name, %failure, "instance left behind");
    }
    end(name);
}

/// Ends the processes that carry this name, and waits for their end.
pub fn end(name: &str) {
    end_all(|mark| mark == name);
}

fn end_all(wanted: impl Fn(&str) -> bool) {
    /// Looks without a find, one after the other, before it is believed once there was one: a process
    /// that is just becoming another program cannot be recognised.
    const CALM: u32 = 3;
    let until = Instant::now() + PATIENCE;
    let mut calm = CALM - 1;
    while calm < CALM {
        let ended = end_marked(&wanted);
        if ended.is_empty() {
            calm += 1;
        } else {
            calm = 0;
        }
        if Instant::now() > until {
            tracing::error!(?ended, "processes left behind");
            return;
        }
        if calm < CALM {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
