//! SIGINT and SIGTERM: noted once, looked at between and inside trials. SIGCONT: noted, because it
//! tells that a trial was stopped. A second signal changes
//! nothing: ending what runs takes a fraction of a second either way.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static REQUESTED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
static CONTINUED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts to note SIGINT and SIGTERM instead of dying of them.
///
/// # Errors
/// sigaction(2) refused.
pub fn install() -> io::Result<()> {
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register_usize(
            signal,
            Arc::clone(flag),
            signal.unsigned_abs() as usize,
        )?;
    }
    let continued = CONTINUED.get_or_init(Arc::default);
    signal_hook::flag::register(libc::SIGCONT, Arc::clone(continued))?;
    Ok(())
}

/// Whether this process was continued after a stop (SIGCONT) since the last question: a trial during
/// which that happened was stopped by someone.
#[must_use]
pub fn continued() -> bool {
    CONTINUED
        .get()
        .is_some_and(|flag| flag.swap(false, Ordering::Relaxed))
}

/// The signal that asked for an end, if any.
#[must_use]
pub fn requested() -> Option<i32> {
    let signal = REQUESTED.get()?.load(Ordering::Relaxed);
    i32::try_from(signal).ok().filter(|&signal| signal != 0)
}
