//! Backends around backends: what is not theirs is the inner one's.

use super::{Backend, GuestKernel, Instance, Limitation};
use crate::backend::engine::{DaemonFacts, EngineFacts};
use crate::exits::Crossings;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation};

/// A backend that does something to the trials, or the instances, of another one.
pub trait Wrapper {
    /// The other one.
    fn inner(&self) -> &dyn Backend;

    /// As [`Self::inner`], to run it.
    fn inner_mut(&mut self) -> &mut dyn Backend;

    /// [`Backend::hear`].
    ///
    /// # Errors
    /// As there.
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure>;

    /// [`Backend::hold`].
    ///
    /// # Errors
    /// As there.
    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        self.inner_mut().hold(launch)
    }
}

impl<W: Wrapper> Backend for W {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        Wrapper::hear(self, launch, answers)
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        Wrapper::hold(self, launch)
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        self.inner_mut().count(launch)
    }

    fn guest_kernel(&self) -> Option<GuestKernel> {
        self.inner().guest_kernel()
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.inner().limitations()
    }

    fn daemons(&self) -> Vec<DaemonFacts> {
        self.inner().daemons()
    }

    fn set_filter(&mut self, on: bool) -> bool {
        self.inner_mut().set_filter(on)
    }

    fn engine(&self) -> Option<EngineFacts> {
        self.inner().engine()
    }
}
