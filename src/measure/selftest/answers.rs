//! Known answers: every workload of the smoke profile, once, as a bare process.

use std::time::Duration;

use super::finding::{Check, Finding, Outcome};
use super::{Stop, go_on};
use crate::backend::{self, Backend, Configuration};
use crate::measure::check;
use crate::measure::clock::Clock;
use crate::measure::session::RunError;
use crate::trial::{Failure, Launch};
use crate::workload::{Profile, Task, known_answer, payload};

/// Runs every task on `process` and compares its digest with the harness's own computation.
///
/// # Errors
/// `process` cannot be made ready, or an interruption.
pub fn check(clock: &Clock) -> Result<Vec<Check>, Stop> {
    let mut process = backend::open(&Configuration::Process)?;
    Ok(vec![ask(process.as_mut(), &Profile::Smoke.tasks(), clock)?])
}

fn ask(backend: &mut dyn Backend, tasks: &[Task], clock: &Clock) -> Result<Check, Stop> {
    let image = payload::image_fold().map_err(RunError::from)?;
    let mut first_wrong = None;
    let mut right = 0;
    for task in tasks {
        go_on()?;
        let answer = known_answer(task).map_err(RunError::from)?;
        let launch = Launch {
            task: *task,
            deadline: Duration::from_secs(30),
        };
        let outcome = backend
            .trial(&launch)
            .and_then(|seen| check::measured(&seen, task, answer, image, clock));
        match outcome {
            Ok(_) => right += 1,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted.into()),
            Err(failure) => {
                first_wrong.get_or_insert_with(|| format!("{task}: {failure}"));
            }
        }
    }
    let all = right == tasks.len();
    Ok(Check {
        group: "known answers",
        what: "every workload as a process".to_owned(),
        outcome: if all { Outcome::Pass } else { Outcome::Fail },
        finding: Finding::Answers {
            tasks: tasks.len(),
            right,
            first_wrong,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, World, launch};
    use super::*;

    #[test]
    fn a_wrong_answer_is_named() {
        let world = World::new(1);
        let clock = world.ruler();
        let task = launch().task;
        let good = ask(&mut Fake::calm(&world), &[task], &clock).unwrap();
        assert_eq!(good.outcome, Outcome::Pass);
        let bad = ask(&mut Fake::calm(&world).lying(), &[task, task], &clock).unwrap();
        assert_eq!(bad.outcome, Outcome::Fail);
        let Finding::Answers {
            right, first_wrong, ..
        } = bad.finding
        else {
            panic!("answers give answers");
        };
        assert_eq!(right, 0);
        assert!(first_wrong.unwrap().starts_with("noop: wrong answer"));
    }
}
