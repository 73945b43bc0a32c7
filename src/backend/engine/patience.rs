//! How long to wait for an engine, and whether the user can end it.

use std::time::Duration;

use crate::backend::child::{Deadline, SLICE};
use crate::sys::interrupt;

/// How long to wait, and whether the user's request to stop ends it: it ends what measures, not what
/// cleans up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until when.
    pub deadline: Deadline,
    /// Whether SIGINT and SIGTERM end it.
    pub heeds_interrupt: bool,
}

impl Patience {
    /// For what is part of a trial.
    #[must_use]
    pub const fn until(deadline: Deadline) -> Self {
        Self {
            deadline,
            heeds_interrupt: true,
        }
    }

    /// For what removes: this long, whatever the user wants.
    #[must_use]
    pub fn to_clean_up(allowed: Duration) -> Self {
        Self {
            deadline: Deadline::after(allowed),
            heeds_interrupt: false,
        }
    }

    /// The next slice of waiting.
    ///
    /// # Errors
    /// The time is up, or the user has asked for an end.
    pub fn slice(&self) -> Result<Duration, Impatience> {
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(Impatience::Timeout(self.deadline.allowed()));
        }
        if self.heeds_interrupt && interrupt::requested().is_some() {
            return Err(Impatience::Interrupted);
        }
        Ok(left.min(SLICE))
    }
}

/// Waiting for the answer to what was asked of a daemon. What is under way there goes on when its asker
/// leaves, and only the answer tells what there is to remove: the user's request to stop is heeded
/// before something is asked, and behind it a moment later.
#[derive(Clone, Copy, Debug)]
pub struct Answering {
    patience: Patience,
    interrupted: bool,
}

impl Answering {
    /// How long an answer is waited for that the user does not wait for.
    const GRACE: Duration = Duration::from_secs(2);

    /// To be made before something is asked.
    ///
    /// # Errors
    /// As [`Patience::slice`]: then it is not to be asked.
    pub fn begin(patience: Patience) -> Result<Self, Impatience> {
        patience.slice()?;
        Ok(Self {
            patience,
            interrupted: false,
        })
    }

    /// The next slice of waiting.
    ///
    /// # Errors
    /// As [`Patience::slice`].
    pub fn slice(&mut self) -> Result<Duration, Impatience> {
        match self.patience.slice() {
            Err(Impatience::Interrupted) => {
                self.interrupted = true;
                let left = self.patience.deadline.left();
                self.patience = Patience::to_clean_up(left.min(Self::GRACE));
                self.patience.slice()
            }
            Err(Impatience::Timeout(_)) if self.interrupted => Err(Impatience::Interrupted),
            other => other,
        }
    }
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impatience {
    /// After this time.
    Timeout(Duration),
    /// By the user.
    Interrupted,
}
