//! Asking a range of questions, over as many launches as the isolation ends.

use std::ops::Range;

use isobench_abi::Ask;
use isobench_abi::question::{ENDED, Manner, manner};

use super::Terms;
use crate::backend::Backend;
use crate::measure::check;
use crate::transcript::{Answer, Found};
use crate::trial::{Failure, Launch, Observation};
use crate::workload::{Task, Workload, known_answer};

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Found(Found),
    /// Asking ended the payload by SIGSYS: a seccomp filter.
    Killed,
    /// The call did its work and ended the payload, in these words.
    Ended(String),
}

/// Every question of a range with its outcome, in order.
pub type Interview = Vec<(Ask, Outcome)>;

/// Asks the questions with these numbers. Where one ends the payload, another launch goes on behind
/// it: at most one launch more than there are questions.
///
/// # Errors
/// The payload does not keep to the protocol, ends in a way that is no answer, or cannot be started.
pub fn interview(
    backend: &mut dyn Backend,
    range: Range<u16>,
    terms: Terms<'_>,
) -> Result<Interview, Failure> {
    let mut heard = Interview::new();
    let mut next = range.start;
    while next < range.end {
        let task = Task {
            workload: Workload::Probe,
            size: next.into(),
            reps: (range.end - next).into(),
        };
        let mut answers = Vec::new();
        let launch = Launch {
            task,
            deadline: terms.deadline,
        };
        let ended = backend.hear(&launch, &mut answers);
        for Answer { ask, found } in answers {
            if ask.number() != next || next == range.end {
                return Err(Failure::Protocol("an answer to what was not asked"));
            }
            heard.push((ask, Outcome::Found(found)));
            next += 1;
        }
        match (ended, Ask::from_number(next.into())) {
            (Ok(seen), _) => {
                verify(&seen, &task, terms)?;
                if next != range.end {
                    return Err(Failure::Protocol("a question is left out"));
                }
            }
            (Err(failure), Some(ask)) if next < range.end => {
                heard.push((ask, outcome(ask, failure)?));
                next += 1;
            }
            (Err(failure), _) => return Err(failure),
        }
    }
    Ok(heard)
}

/// The right payload was asked the right questions, whatever it found.
fn verify(seen: &Observation, task: &Task, terms: Terms<'_>) -> Result<(), Failure> {
    let answer = known_answer(task).map_err(|_| Failure::Protocol("no such questions"))?;
    check::measured(seen, task, answer, terms.image, terms.clock).map(drop)
}

/// What the end of a payload says about the question it was at.
fn outcome(ask: Ask, failure: Failure) -> Result<Outcome, Failure> {
    let ends = match ask {
        Ask::Call(call) => matches!(manner(call), Manner::Ends(_)),
        // Without an i386 entry the instruction faults.
        Ask::I386 => true,
        Ask::Fact(_) | Ask::X32 => false,
    };
    match failure {
        Failure::Signal(libc::SIGSYS) => Ok(Outcome::Killed),
        Failure::Signal(signal) if ends && signal != libc::SIGKILL => {
            Ok(Outcome::Ended(format!("signal {signal}")))
        }
        Failure::Status(status) if ends && status == u32::from(ENDED) => {
            Ok(Outcome::Ended(format!("exit status {status}")))
        }
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::backend::Instance;
    use crate::measure::clock::Clock;

    /// Hands out what is written down, launch by launch.
    struct Script(VecDeque<(Vec<Answer>, Failure)>, Vec<Task>);

    impl Backend for Script {
        fn hear(&mut self, launch: &Launch, out: &mut Vec<Answer>) -> Result<Observation, Failure> {
            self.1.push(launch.task);
            let (answers, failure) = self.0.pop_front().unwrap();
            out.extend(answers);
            Err(failure)
        }

        fn hold(&mut self, _: &Launch) -> Result<Box<dyn Instance>, Failure> {
            Err(Failure::Interrupted)
        }
    }

    fn answers(range: Range<u16>) -> Vec<Answer> {
        range
            .map(|number| Answer {
                ask: Ask::from_number(number.into()).unwrap(),
                found: Found::Number(number.into()),
            })
            .collect()
    }

    fn ask(
        range: Range<u16>,
        script: Vec<(Range<u16>, Failure)>,
    ) -> (Result<Interview, Failure>, Vec<Task>) {
        let lines = script.into_iter().map(|(said, end)| (answers(said), end));
        let mut backend = Script(lines.collect(), Vec::new());
        let clock = Clock {
            hz: 1e9,
            hz_error: 0.0,
            skew: 0,
            read_cost: (0, 0),
        };
        let terms = Terms {
            deadline: std::time::Duration::from_secs(1),
            clock: &clock,
            image: 0,
        };
        let heard = interview(&mut backend, range, terms);
        (heard, backend.1)
    }

    const SIGSYS: Failure = Failure::Signal(libc::SIGSYS);

    #[test]
    fn it_goes_on_behind_what_ends_the_payload() {
        let (heard, tasks) = ask(0..4, vec![(0..1, SIGSYS), (2..3, SIGSYS)]);
        let outcomes: Vec<Outcome> = heard.unwrap().into_iter().map(|(_, o)| o).collect();
        let number = |n| Outcome::Found(Found::Number(n));
        assert_eq!(
            outcomes,
            [number(0), Outcome::Killed, number(2), Outcome::Killed]
        );
        let ranges: Vec<_> = tasks.iter().map(|t| (t.size, t.reps)).collect();
        assert_eq!(ranges, [(0, 4), (2, 2)]);
    }

    #[test]
    fn only_some_ends_are_answers() {
        let exit = Ask::Call(60).number();
        let one = |number: u16, end| ask(number..number + 1, vec![(number..number, end)]).0;
        let ended = one(exit, Failure::Status(ENDED.into())).unwrap();
        assert_eq!(ended[0].1, Outcome::Ended("exit status 77".to_owned()));
        assert!(one(Ask::I386.number(), Failure::Signal(libc::SIGSEGV)).is_ok());
        assert!(one(exit, Failure::Status(1)).is_err());
        assert!(one(exit, Failure::Signal(libc::SIGKILL)).is_err());
        assert!(one(0, Failure::Signal(libc::SIGSEGV)).is_err());
        assert!(one(0, Failure::Timeout(std::time::Duration::ZERO)).is_err());
    }

    #[test]
    fn answers_to_other_questions_are_refused() {
        for said in [1..2, 0..3] {
            let (heard, _) = ask(0..2, vec![(said.clone(), SIGSYS)]);
            assert!(matches!(heard, Err(Failure::Protocol(_))), "{said:?}");
        }
        // All is answered, and then it dies: not by a question.
        assert!(ask(0..2, vec![(0..2, SIGSYS)]).0.is_err());
    }
}
