//! SIGINT and SIGTERM: noted once, looked at between and inside trials. A second signal changes
//! nothing: ending what runs takes a fraction of a second either way.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static REQUESTED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

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
    Ok(())
}

/// The signal that asked for an end, if any.
#[must_use]
pub fn requested() -> Option<i32> {
    let signal = REQUESTED.get()?.load(Ordering::Relaxed);
    i32::try_from(signal).ok().filter(|&signal| signal != 0)
}
