//! What `ISOBENCH_INJECT` puts into a run, so that whoever runs a gate can see it catch something:
//! delays in starts and teardowns, memory that each idle instance takes more.
//!
//! Such a run says so in `run.json` (`injected`) and wherever it is shown; it becomes no baseline
//! and enters no history.

use std::fmt;
use std::str::FromStr;

use super::clock::Clock;
use super::selftest::inject::{Delayed, Place};
use super::session::Opened;
use crate::backend::wrapper::Wrapper;
use crate::backend::{Backend, Footprint, Instance};
use crate::delay;
use crate::metric::Bytes;
use crate::store::record::{Record, TrialRecord};
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation};

/// The variable.
pub const VARIABLE: &str = "ISOBENCH_INJECT";
/// Longest delay: a second, ns.
const LONGEST: u64 = 1_000_000_000;
/// Largest leak of an instance: 16 MiB.
const LARGEST: u64 = 16 << 20;
/// A page: what a leak touches once each.
const PAGE: usize = 4096;

/// One thing that is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Id of the configuration it is put into.
    pub backend: String,
    /// What.
    pub what: What,
}

/// A delay or a leak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A busy wait.
    Delay {
        /// In the start or the teardown.
        place: Place,
        /// Inside this phase; `None` is a phase of its own, `injected`.
        phase: Option<String>,
        /// For so long.
        nanos: u64,
    },
    /// Memory of each idle instance, touched and kept until it is released.
    Leak {
        /// So much.
        bytes: u64,
    },
}

/// Text that is no injection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item:?}: {problem}")]
pub struct InjectionError {
    /// The item of the list.
    pub item: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Reads a list: `container/startup/clone3=200us,microvm/teardown=1ms,container/memory=256KiB`.
///
/// # Errors
/// The first item that is none.
pub fn parse(list: &str) -> Result<Vec<Injection>, InjectionError> {
    list.split(',').map(str::parse).collect()
}

impl FromStr for Injection {
    type Err = InjectionError;

    fn from_str(item: &str) -> Result<Self, InjectionError> {
        let refuse = |problem| InjectionError {
            item: item.to_owned(),
            problem,
        };
        // A configuration's options have `=`, too; none has a slash.
        let (place, size) = item
            .trim()
            .rsplit_once('=')
            .ok_or_else(|| refuse("expected BACKEND/PLACE[/PHASE]=SIZE"))?;
        let (backend, place) = place
            .split_once('/')
            .ok_or_else(|| refuse("expected BACKEND/PLACE[/PHASE]=SIZE"))?;
        let (place, phase) = match place.split_once('/') {
            Some((place, phase)) => (place, Some(phase)),
            None => (place, None),
        };
        let named = |phase: &str| !phase.is_empty() && !phase.contains('/');
        if backend.is_empty() || phase.is_some_and(|phase| !named(phase)) {
            return Err(refuse("an empty name"));
        }
        let place = match (place, phase) {
            ("memory", None) => {
                let bytes = sized(size, &[("KiB", 1 << 10), ("MiB", 1 << 20)])
                    .filter(|bytes| (1..=LARGEST).contains(bytes))
                    .ok_or_else(|| refuse("expected a size from 1KiB to 16MiB"))?;
                return Ok(Self {
                    backend: backend.to_owned(),
                    what: What::Leak { bytes },
                });
            }
            ("startup", _) => Place::Startup,
            ("teardown", _) => Place::Teardown,
            _ => return Err(refuse("the place is startup, teardown or memory")),
        };
        let nanos = sized(size, &[("ns", 1), ("us", 1_000), ("ms", 1_000_000)])
            .filter(|nanos| (1..=LONGEST).contains(nanos))
            .ok_or_else(|| refuse("expected a time from 1ns to 1000ms"))?;
        Ok(Self {
            backend: backend.to_owned(),
            what: What::Delay {
                place,
                phase: phase.map(str::to_owned),
                nanos,
            },
        })
    }
}

/// A whole number with a unit.
fn sized(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Delay {
                place,
                phase,
                nanos,
            } => {
                let phase = phase.as_ref().map(|p| format!("/{p}")).unwrap_or_default();
                write!(f, "{}/{}{phase}={nanos}ns", self.backend, place.name())
            }
            What::Leak { bytes } => write!(f, "{}/memory={}KiB", self.backend, bytes >> 10),
        }
    }
}

/// Puts everything into the backends it is meant for. Hands back what has no backend.
pub fn put_in(injections: &[Injection], opened: &mut [Opened], clock: &Clock) -> Vec<Injection> {
    let mut nowhere = injections.to_vec();
    for one in opened.iter_mut() {
        let id = one.configuration.id();
        let of: Vec<&Injection> = injections.iter().filter(|i| i.backend == id).collect();
        if of.is_empty() {
            continue;
        }
        nowhere.retain(|i| i.backend != id);
        let placeholder = crate::backend::Unavailable {
            reason: String::new(),
            remedy: String::new(),
        };
        // A backend that cannot run has nothing to be put into and keeps its reason.
        one.backend = std::mem::replace(&mut one.backend, Err(placeholder))
            .map(|backend| wrap(backend, &of, clock));
    }
    nowhere
}

fn wrap(mut backend: Box<dyn Backend>, of: &[&Injection], clock: &Clock) -> Box<dyn Backend> {
    let ticks = |nanos: u64| (nanos as f64 * clock.hz / 1e9).round() as u64;
    let (mut phases, mut leak) = (Vec::new(), 0);
    for injection in of {
        match &injection.what {
            What::Delay {
                phase: Some(phase),
                nanos,
                ..
            } => phases.push((phase.clone(), ticks(*nanos))),
            What::Delay {
                place,
                phase: None,
                nanos,
            } => backend = Box::new(Delayed::new(backend, *place, ticks(*nanos))),
            What::Leak { bytes } => leak += bytes,
        }
    }
    Box::new(Injected {
        inner: backend,
        phases,
        leak,
    })
}

/// Injections that no trial shows: their configuration has no phase of that name in that place. With
/// each, the phases there are.
#[must_use]
pub fn without_effect(
    injections: &[Injection],
    records: &[Record],
) -> Vec<(Injection, Vec<String>)> {
    let trials = |backend: &str| -> Vec<&TrialRecord> {
        let of = records.iter().filter_map(|record| match record {
            Record::Trial(trial) if trial.backend == backend => Some(trial.as_ref()),
            _ => None,
        });
        of.collect()
    };
    let missing = injections.iter().filter_map(|injection| {
        let What::Delay {
            place,
            phase: Some(phase),
            ..
        } = &injection.what
        else {
            return None;
        };
        let mut names: Vec<String> = Vec::new();
        for measured in trials(&injection.backend)
            .iter()
            .filter_map(|t| t.measured.as_ref())
        {
            let phases = match place {
                Place::Startup => &measured.phases,
                Place::Teardown => &measured.teardown,
            };
            for found in phases {
                if !names.contains(&found.name) {
                    names.push(found.name.clone());
                }
            }
        }
        (!names.contains(phase)).then(|| (injection.clone(), names))
    });
    missing.collect()
}

/// A backend with delays inside its phases and instances that take more memory.
pub struct Injected {
    /// What is slowed down.
    pub inner: Box<dyn Backend>,
    /// Phases with their delays in ticks.
    pub phases: Vec<(String, u64)>,
    /// Bytes that each idle instance takes more.
    pub leak: u64,
}

impl Wrapper for Injected {
    fn inner(&self) -> &dyn Backend {
        self.inner.as_ref()
    }

    fn inner_mut(&mut self) -> &mut dyn Backend {
        self.inner.as_mut()
    }

    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let _armed = delay::arm(&self.phases);
        self.inner.hear(launch, answers)
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let inner = self.inner.hold(launch)?;
        Ok(Box::new(Leaking {
            inner,
            _leaked: touched(self.leak),
        }))
    }
}

struct Leaking {
    inner: Box<dyn Instance>,
    _leaked: Vec<u8>,
}

/// Memory with a page behind every address.
fn touched(bytes: u64) -> Vec<u8> {
    let mut memory = vec![0_u8; usize::try_from(bytes).unwrap_or(0)];
    for byte in memory.iter_mut().step_by(PAGE) {
        *std::hint::black_box(byte) = 1;
    }
    memory
}

impl Instance for Leaking {
    fn footprint(&self) -> Result<Footprint, Failure> {
        self.inner.footprint()
    }

    fn guest_memory(&self) -> Option<Bytes> {
        self.inner.guest_memory()
    }

    fn release(self: Box<Self>) -> Result<(), Failure> {
        self.inner.release()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections_are_read_as_they_are_written() {
        let list = "container:only=pid/startup/clone3=200us,microvm/teardown=1ms,\
                    container/memory=256KiB";
        let read = parse(list).unwrap();
        assert_eq!(read[0].backend, "container:only=pid");
        assert_eq!(
            read[0].what,
            What::Delay {
                place: Place::Startup,
                phase: Some("clone3".to_owned()),
                nanos: 200_000,
            }
        );
        assert_eq!(read[2].what, What::Leak { bytes: 256 << 10 });
        for injection in read {
            assert_eq!(injection.to_string().parse(), Ok(injection));
        }
    }

    #[test]
    fn what_is_no_injection_is_refused() {
        for bad in [
            "",
            "container",
            "container=1us",
            "container/startup",
            "container/startup=",
            "container/startup=1",
            "container/startup=-1us",
            "container/startup=1s",
            "container/startup=0ns",
            "container/startup=1001ms",
            "container/startup=18446744073709551616ns",
            "container/startup/=1us",
            "container/startup/a/b=1us",
            "/startup=1us",
            "container/work=1us",
            "container/memory=1ns",
            "container/memory=17MiB",
            "container/memory/x=1KiB",
            "container/startup=1us,",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_leak_is_there_page_by_page() {
        let memory = touched(10 << 10);
        assert_eq!(memory.len(), 10 << 10);
        assert!(memory.iter().step_by(PAGE).all(|byte| *byte == 1));
    }
}
