//! What a configuration lets its payload see and reach: the payload is asked (`probe`), the harness
//! looks for itself, and the two are compared fact by fact.
//!
//! A configuration with a seccomp filter ends a payload that asks. The ending call is known (it is
//! the first question without an answer), so the filter is never changed: the next launch goes on
//! behind it. What the namespaces behind the filter hide is then asked again in the same
//! configuration without the filter, and the result is marked as *guarded*.

mod calls;
mod host;
mod interview;
mod judge;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use isobench_abi::Question;
use isobench_abi::question::{END, FACTS, FIRST_CALL};

use self::calls::Calls;
use self::host::HostView;
use self::interview::{Interview, Outcome, interview};
use self::judge::Findings;
use super::clock::Clock;
use super::session::{Observer, Opened, RunError};
use crate::backend::container::mechanism::Mechanism;
use crate::backend::container::options::Options;
use crate::backend::{Backend, Configuration, Limitation, open};
use crate::store::document::IsolationFact;
use crate::store::record::{FailureRecord, ProbeRecord, Record};
use crate::sys::canary::Canary;
use crate::sys::interrupt;
use crate::trial::Failure;

/// What every interview needs.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// Each launch is ended by force after this time.
    pub deadline: Duration,
    /// The run's clock.
    pub clock: &'a Clock,
    /// The payload's fold.
    pub image: u64,
}

/// Asks every configuration that can run. `None` is an interrupt.
///
/// # Errors
/// A record cannot be kept. A configuration that cannot be asked is a record with a failure.
pub(super) fn run(
    opened: &mut [Opened],
    terms: Terms<'_>,
    observer: &mut dyn Observer,
) -> Result<Option<()>, RunError> {
    let reference = reference(opened, terms);
    for Opened {
        configuration,
        backend,
    } in opened
    {
        let Ok(backend) = backend else { continue };
        if interrupt::requested().is_some() {
            return Ok(None);
        }
        observer.progress(0, 0, &format!("{configuration} probe"));
        let (facts, failure) = match ask(configuration, backend.as_mut(), &reference, terms) {
            Ok(facts) => (facts, None),
            Err(Failure::Interrupted) => return Ok(None),
            Err(failure) => (Vec::new(), Some(FailureRecord::from(&failure))),
        };
        observer.record(Record::Probe(Box::new(ProbeRecord {
            backend: configuration.id(),
            facts,
            failure,
        })))?;
    }
    Ok(Some(()))
}

/// System calls of a bare process, which others are compared with; nothing where none can be had.
fn reference(opened: &mut [Opened], terms: Terms<'_>) -> Calls {
    let here = opened
        .iter_mut()
        .find(|o| o.configuration == Configuration::Process)
        .and_then(|o| o.backend.as_mut().ok());
    let asked = match here {
        Some(process) => calls_of(process.as_mut(), terms),
        None => match open(&Configuration::Process) {
            Ok(mut process) => calls_of(process.as_mut(), terms),
            Err(_) => return Calls::default(),
        },
    };
    asked.unwrap_or_default()
}

fn calls_of(backend: &mut dyn Backend, terms: Terms<'_>) -> Result<Calls, Failure> {
    interview(backend, FIRST_CALL..END, terms).map(Calls::new)
}

/// Everything about one configuration.
fn ask(
    configuration: &Configuration,
    backend: &mut dyn Backend,
    reference: &Calls,
    terms: Terms<'_>,
) -> Result<Vec<IsolationFact>, Failure> {
    /// Another harness may own the canaries, and end before or between the questions.
    const TRIES: u32 = 5;
    let mut tried = 1;
    let findings = loop {
        let canary = Canary::raise();
        let mut host = HostView::look(&canary);
        let answers = facts_of(interview(backend, 0..FACTS, terms)?);
        let (open_answers, note) = unguarded(configuration, backend, &answers, terms)?;
        let lasted = host.canaries_last(&HostView::look(&canary));
        if !lasted && tried == TRIES {
            host.forget_canaries();
        }
        if lasted || tried == TRIES {
            break Findings {
                host,
                answers,
                open_answers,
                note,
            };
        }
        tried += 1;
    };
    let id = configuration.id();
    let mut facts: Vec<IsolationFact> = Question::ALL
        .into_iter()
        .filter_map(|question| findings.judge(&id, question))
        .collect();
    let calls = if findings.has_kernel() {
        Some(calls_of(backend, terms)?)
    } else {
        None
    };
    facts.extend(calls::judge(&id, calls.as_ref(), reference));
    Ok(facts)
}

type Answers = BTreeMap<Question, Outcome>;

fn facts_of(interview: Interview) -> Answers {
    interview
        .into_iter()
        .filter_map(|(ask, outcome)| match ask {
            isobench_abi::Ask::Fact(question) => Some((question, outcome)),
            _ => None,
        })
        .collect()
}

/// The same questions without the filter, if it ended somebody who asked; or why that cannot be.
fn unguarded(
    configuration: &Configuration,
    backend: &mut dyn Backend,
    answers: &Answers,
    terms: Terms<'_>,
) -> Result<(Answers, Option<String>), Failure> {
    let guarded = answers.values().any(|o| matches!(o, Outcome::Killed));
    if guarded && backend.set_filter(false) {
        let told = interview(backend, 0..FACTS, terms);
        backend.set_filter(true);
        return Ok((facts_of(told?), Some("with the filter off".to_owned())));
    }
    let Some(open_configuration) = guarded
        .then(|| without_filter(configuration, &backend.limitations()))
        .flatten()
    else {
        return Ok((Answers::new(), None));
    };
    match open(&open_configuration) {
        Ok(mut backend) => {
            let mut answers = facts_of(interview(backend.as_mut(), 0..FACTS, terms)?);
            if !has(&open_configuration, Mechanism::Capabilities) {
                // It comes with the filter or with these: here the filter alone had brought it.
                answers.remove(&Question::NoNewPrivs);
            }
            let note = format!("with the filter off ({open_configuration})");
            Ok((answers, Some(note)))
        }
        Err(why) => {
            let note = format!("{open_configuration} cannot run here: {}", why.reason);
            Ok((Answers::new(), Some(note)))
        }
    }
}

fn has(configuration: &Configuration, mechanism: Mechanism) -> bool {
    matches!(configuration, Configuration::Container(o) if o.mechanisms().has(mechanism))
}

/// The same configuration without its seccomp filter, and without what it has to do without here.
fn without_filter(
    configuration: &Configuration,
    limitations: &[Limitation],
) -> Option<Configuration> {
    let Configuration::Container(options) = configuration else {
        return None;
    };
    let missing = limitations
        .iter()
        .filter_map(|l| Mechanism::from_name(l.mechanism));
    let fewer = missing.chain([Mechanism::Seccomp]);
    Some(Configuration::Container(
        fewer.fold(*options, Options::without),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Instance;
    use crate::transcript::Answer;
    use crate::trial::{Launch, Observation};

    /// A payload that crashes at once.
    struct Crash;

    impl Backend for Crash {
        fn hear(&mut self, _: &Launch, _: &mut Vec<Answer>) -> Result<Observation, Failure> {
            Err(Failure::Signal(libc::SIGSEGV))
        }

        fn hold(&mut self, _: &Launch) -> Result<Box<dyn Instance>, Failure> {
            Err(Failure::Signal(libc::SIGSEGV))
        }
    }

    struct Records(Vec<Record>);

    impl Observer for Records {
        fn record(&mut self, record: Record) -> Result<(), RunError> {
            self.0.push(record);
            Ok(())
        }

        fn progress(&mut self, _: u64, _: u64, _: &str) {}
    }

    /// What is not an answer is a failure that is counted, and no fact is made of it.
    #[test]
    fn a_payload_that_crashes_is_a_failure_and_no_isolation() {
        let mut opened = [Opened {
            configuration: Configuration::Process,
            backend: Ok(Box::new(Crash)),
        }];
        let clock = Clock {
            hz: 1e9,
            hz_error: 0.0,
            skew: 0,
            read_cost: (0, 0),
        };
        let terms = Terms {
            deadline: Duration::from_secs(1),
            clock: &clock,
            image: 0,
        };
        let mut records = Records(Vec::new());
        assert!(run(&mut opened, terms, &mut records).unwrap().is_some());
        let [Record::Probe(probe)] = &records.0[..] else {
            panic!("{:?}", records.0);
        };
        assert!(probe.facts.is_empty());
        assert_eq!(probe.failure.as_ref().unwrap().kind, "signal");
    }

    #[test]
    fn only_the_filter_is_taken_away_and_what_is_missing_anyway() {
        let missing = [Limitation {
            mechanism: "cgroup",
            reason: String::new(),
            remedy: String::new(),
        }];
        let without = |name: &str, limitations: &[Limitation]| {
            let configuration: Configuration = name.parse().unwrap();
            without_filter(&configuration, limitations).map(|c| c.id())
        };
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(without("container", &[]), id("container:without=seccomp"));
        assert_eq!(
            without("container", &missing),
            id("container:without=cgroup+seccomp")
        );
        assert_eq!(without("container:only=seccomp", &[]), id("container:none"));
        assert_eq!(without("microvm", &[]), None);
    }
}
