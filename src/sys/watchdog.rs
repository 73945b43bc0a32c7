//! Gets a thread out of a system call that would last for ever: a POSIX timer that signals exactly
//! this thread (timer_create(2), SIGEV_THREAD_ID), again and again until it is disarmed, so that a
//! signal that lands just before the call is made up for by the next one.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::interrupt;

/// How often a running call is interrupted to see whether the user asked to stop. A hundredth of a
/// thousandth of the time even where an interruption costs tens of microseconds.
const POLL: Duration = Duration::from_millis(100);
/// How often it is interrupted once the deadline has passed.
const INSIST: Duration = Duration::from_millis(10);

/// What to do after an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// The deadline has passed.
    Expired,
    /// The user asked to stop.
    Requested,
}

struct Timer(libc::timer_t);

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer was created by `Timer::new` and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

thread_local! {
    static TIMER: OnceCell<Timer> = const { OnceCell::new() };
}

/// The signal: a real-time one, so that it is nobody's default, and not the first, which debuggers
/// and sanitizers like.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 5
}

extern "C" fn ignore(_: libc::c_int) {}

/// Installs the handler once a process. Without SA_RESTART: interrupting is its only purpose.
fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    let errno = *INSTALLED.get_or_init(|| {
        // SAFETY: a zeroed sigaction is valid (empty mask, no flags); the handler does nothing and
        // is therefore async-signal-safe; the old action is not asked for.
        let answer = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal(), &raw const action, ptr::null_mut())
        };
        if answer == 0 {
            0
        } else {
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EINVAL)
        }
    });
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

impl Timer {
    fn new() -> io::Result<Self> {
        install_handler()?;
        // SAFETY: plain system calls on local variables that outlive them: the signal set is
        // initialised by sigemptyset, the sigevent is zeroed and then filled in as
        // timer_create(2) wants it for SIGEV_THREAD_ID.
        unsafe {
            let mut set: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal());
            // A mask inherited from whoever started this thread must not swallow the signal.
            let errno = libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = ptr::null_mut();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(timer))
        }
    }

    /// First shot after `first`, then every `interval`; a zero `first` disarms.
    fn set(&self, first: Duration, interval: Duration) -> io::Result<()> {
        let spec = |duration: Duration| libc::timespec {
            tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        };
        let value = libc::itimerspec {
            it_interval: spec(interval),
            it_value: spec(first),
        };
        // SAFETY: the timer exists until `self` is dropped; `value` outlives the call.
        let answer = unsafe { libc::timer_settime(self.0, 0, &raw const value, ptr::null_mut()) };
        if answer == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

fn with_timer<T>(use_it: impl FnOnce(&Timer) -> io::Result<T>) -> io::Result<T> {
    TIMER.with(|cell| match cell.get() {
        Some(timer) => use_it(timer),
        None => {
            let timer = Timer::new()?;
            use_it(cell.get_or_init(|| timer))
        }
    })
}

/// Creates this thread's timer, so that [`arm`] costs one system call.
///
/// # Errors
/// sigaction(2), timer_create(2).
pub fn prepare() -> io::Result<()> {
    with_timer(|_| Ok(()))
}

/// An armed watchdog; disarmed when dropped. Belongs to the thread that armed it, and there is one
/// at a time on a thread.
#[derive(Debug)]
pub struct Armed {
    deadline: Instant,
    _not_send: PhantomData<*const ()>,
}

/// Arms this thread's watchdog for `limit` after `since`.
///
/// # Errors
/// As [`prepare`], and timer_settime(2).
pub fn arm(since: Instant, limit: Duration) -> io::Result<Armed> {
    // A deadline beyond what the clock can express never comes: a century stands for it.
    let deadline = since
        .checked_add(limit)
        .unwrap_or_else(|| since + Duration::from_secs(3_000_000_000));
    let armed = Armed {
        deadline,
        _not_send: PhantomData,
    };
    armed.schedule(deadline.saturating_duration_since(Instant::now()))?;
    Ok(armed)
}

impl Armed {
    fn schedule(&self, left: Duration) -> io::Result<()> {
        // A zero value would disarm: an overdue deadline fires at once instead.
        let first = left.clamp(Duration::from_nanos(1), POLL);
        let interval = if left <= POLL { INSIST } else { POLL };
        with_timer(|timer| timer.set(first, interval))
    }

    /// To be asked after an interruption.
    ///
    /// # Errors
    /// timer_settime(2).
    pub fn verdict(&self) -> io::Result<Verdict> {
        if interrupt::requested().is_some() {
            return Ok(Verdict::Requested);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Verdict::Expired);
        }
        if left < POLL {
            self.schedule(left)?;
        }
        Ok(Verdict::Continue)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Disarming a timer that exists cannot fail; were it to, the handler does nothing.
        let _ = with_timer(|timer| timer.set(Duration::ZERO, Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocking_call_comes_back_at_the_deadline() {
        let limit = Duration::from_millis(150);
        let start = Instant::now();
        let armed = arm(start, limit).unwrap();
        let mut interruptions = 0;
        let verdict = loop {
            // SAFETY: no descriptors, no mask: poll(2) only waits.
            let answer = unsafe { libc::poll(ptr::null_mut(), 0, 5_000) };
            assert_eq!(answer, -1, "poll waited five seconds undisturbed");
            interruptions += 1;
            match armed.verdict().unwrap() {
                Verdict::Continue => {}
                other => break other,
            }
        };
        assert_eq!(verdict, Verdict::Expired);
        assert!(start.elapsed() >= limit);
        assert!(interruptions >= 1);
    }

    #[test]
    fn a_disarmed_watchdog_is_silent() {
        drop(arm(Instant::now(), Duration::from_millis(1)).unwrap());
        // SAFETY: as above.
        let answer = unsafe { libc::poll(ptr::null_mut(), 0, 50) };
        assert_eq!(answer, 0);
    }
}
