//! A stop at the start of a phase, for the tests that kill a harness there. Works on both sides of
//! `clone3`, also behind the seccomp filter, which allows read(2) and write(2).

use std::fs::File;
use std::io::{Read, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

struct Pause {
    phase: String,
    reached: File,
    go: File,
}

static PAUSE: OnceLock<Pause> = OnceLock::new();
static OVER: AtomicBool = AtomicBool::new(false);

/// The next start of this phase writes [`REACHED`] to one file and waits for a byte, or the end, of
/// the other. Once in a process.
pub(crate) fn arm(phase: &str, reached: File, go: File) {
    let phase = phase.to_owned();
    assert!(PAUSE.set(Pause { phase, reached, go }).is_ok());
}

/// Nothing else that a test binary prints has it.
pub(crate) const REACHED: u8 = 1;

/// Called at the start of each phase. Like all that runs between `clone3` and `execve`, it does not
/// allocate.
pub(crate) fn at(phase: &str) {
    if let Some(pause) = PAUSE.get()
        && pause.phase == phase
        && !OVER.swap(true, Ordering::Relaxed)
    {
        // If whoever waits is gone, there is nobody to stop for.
        let _ = (&pause.reached).write(&[REACHED]);
        let _ = (&pause.go).read(&mut [0]);
    }
}
