//! A daemon that is called, and the way back from what it was asked for.

use prost::Message;

use super::containerd::messages::Empty;
use super::endpoint::Endpoint;
use super::grpc::{Grpc, NoAnswer};
use crate::backend::Unavailable;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

/// A daemon by the name that failures tell.
pub struct Caller {
    /// The connection.
    pub grpc: Grpc,
    /// Which daemon.
    pub endpoint: Endpoint,
    name: &'static str,
}

impl Caller {
    /// A connection, made at the first call; with containerd's namespace, where one is told.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn new(
        name: &'static str,
        endpoint: Endpoint,
        namespace: Option<&'static str>,
    ) -> Result<Self, Unavailable> {
        let grpc = Grpc::new(&endpoint.socket, namespace).map_err(|error| Unavailable {
            reason: format!("{name} cannot be called: {error}"),
            remedy: "see the error".to_owned(),
        })?;
        Ok(Self {
            grpc,
            endpoint,
            name,
        })
    }

    /// Why there was no answer, with what the daemon logged last.
    #[must_use]
    pub fn failed(&self, why: NoAnswer) -> Failure {
        why.failure(self.name, self.endpoint.last_words())
    }

    /// A failure that is not of one call.
    #[must_use]
    pub fn failure(&self, how: EngineEnd) -> EngineFailure {
        EngineFailure {
            command: self.name.to_owned(),
            how,
            tail: self.endpoint.last_words(),
        }
    }
}

/// Removing an instance, step by step.
#[derive(Debug, Default)]
pub struct Undoing {
    /// The daemon did not answer a step: it will not answer the next one.
    pub is_forsaken: bool,
}

impl Undoing {
    /// One step back. What is not there any more was removed already.
    ///
    /// # Errors
    /// The daemon refuses, or does not answer.
    pub fn undo<Q: Message + Send + Sync + 'static>(
        &mut self,
        caller: &Caller,
        (phase, method): (&'static str, &'static str),
        request: Q,
        teardown: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let undone = caller
            .grpc
            .undo::<_, Empty>(phase, method, request, teardown);
        undone.map(drop).map_err(|why| self.note(caller, why))
    }

    /// Takes note of an answer that did not come.
    pub fn note(&mut self, caller: &Caller, why: NoAnswer) -> Failure {
        self.is_forsaken |= why.is_unreachable();
        caller.failed(why)
    }
}
