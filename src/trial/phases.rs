//! The steps of a start, by name.

use std::io;

use super::Failure;
#[cfg(test)]
use super::pause;
use crate::delay;
use crate::metric::Ticks;

/// A named interval inside `t0..t1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The system call, ioctl or step.
    pub name: &'static str,
    /// Its start.
    pub start: Ticks,
    /// Its end. A phase that only the payload's first instruction can end, ends at `t1`.
    pub end: Ticks,
}

/// Names intervals while a start is under way. Two counter reads a phase; never allocates, so it
/// can be used between `clone3` and `execve`, and lies in memory that both sides share.
#[derive(Debug)]
pub struct PhaseLog {
    phases: [Phase; Self::CAPACITY],
    len: usize,
    open: Option<(&'static str, Ticks)>,
}

impl PhaseLog {
    /// More phases than any backend has.
    pub const CAPACITY: usize = 48;

    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        let none = Phase {
            name: "",
            start: Ticks(0),
            end: Ticks(0),
        };
        Self {
            phases: [none; Self::CAPACITY],
            len: 0,
            open: None,
        }
    }

    /// Times one step.
    pub fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        #[cfg(test)]
        pause::at(name);
        let start = crate::sys::clock::now();
        let value = step();
        delay::at(name);
        self.push(Phase {
            name,
            start,
            end: crate::sys::clock::now(),
        });
        value
    }

    /// Times one step of a set-up, and gives its failure the step's name.
    ///
    /// # Errors
    /// [`Failure::Setup`].
    pub fn step<T, E: Into<io::Error>>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.time(name, step)
            .map_err(|cause| Failure::setup(name, cause))
    }

    /// Begins a phase that ends somewhere else: at [`Self::close`], or at `t1`.
    pub fn open(&mut self, name: &'static str) {
        #[cfg(test)]
        pause::at(name);
        self.open = Some((name, crate::sys::clock::now()));
        delay::at(name);
    }

    /// Notes a phase whose start and end were both observed elsewhere.
    pub fn note(&mut self, name: &'static str, start: Ticks, end: Ticks) {
        self.push(Phase { name, start, end });
    }

    /// Ends the open phase now.
    pub fn close(&mut self) {
        self.close_at(crate::sys::clock::now());
    }

    /// Ends the open phase at an instant observed elsewhere (`t1`).
    pub fn close_at(&mut self, end: Ticks) {
        if let Some((name, start)) = self.open.take() {
            self.push(Phase { name, start, end });
        }
    }

    /// The phase that is open, to say where a start failed.
    #[must_use]
    pub fn current(&self) -> Option<&'static str> {
        self.open.map(|(name, _)| name)
    }

    /// What was recorded, in order of ending.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases[..self.len]
    }

    /// A phase beyond the capacity is dropped and shows as unaccounted time.
    fn push(&mut self, phase: Phase) {
        if let Some(slot) = self.phases.get_mut(self.len) {
            *slot = phase;
            self.len += 1;
        }
    }
}

impl Default for PhaseLog {
    fn default() -> Self {
        Self::new()
    }
}
