//! Serving trials to whoever started this process (`isobench worker`, which is hidden).

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use serde::Serialize;

use super::protocol::{Hello, LONGEST, Opened, Order, PROTOCOL, Request, Seen};
use crate::backend::services::Services;
use crate::backend::{self, Backend, Configuration, Provided};
use crate::measure::check;
use crate::measure::clock::Clock;
use crate::measure::injection::{self, Injection};
use crate::measure::session;
use crate::measure::taint::Watch;
use crate::store::record::FailureRecord;
use crate::trial::{Failure, Launch};
use crate::workload::{Task, Workload, known_answer, payload};

/// Answers until the other end closes.
///
/// # Errors
/// The pipe; a line that is no request.
pub fn serve(
    clock: &Clock,
    injections: &[Injection],
    provided: &Provided,
    input: impl Read,
    output: impl Write,
) -> io::Result<()> {
    let mut worker = Worker {
        clock,
        injections,
        provided,
        services: Services::default(),
        backends: Vec::new(),
        watch: Watch::begin(),
    };
    let (mut input, mut output) = (io::BufReader::new(input), output);
    say(
        &mut output,
        &Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("ISOBENCH_COMMIT").to_owned(),
            payload: payload::SHA256.to_owned(),
            injected: injections.iter().map(ToString::to_string).collect(),
        },
    )?;
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut input).take(LONGEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        match serde_json::from_str(&line)? {
            Request::Open(ids) => say(&mut output, &worker.open(&ids))?,
            Request::Trial(order) => say(&mut output, &worker.trial(&order))?,
        }
    }
}

fn say(output: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

struct Worker<'a> {
    clock: &'a Clock,
    injections: &'a [Injection],
    provided: &'a Provided,
    services: Services,
    backends: Vec<Option<Box<dyn Backend>>>,
    watch: Watch,
}

impl Worker<'_> {
    fn open(&mut self, ids: &[String]) -> Opened {
        let mut reasons = Vec::new();
        self.backends.clear();
        for id in ids {
            let opened = match id.parse::<Configuration>() {
                Ok(configuration) => session::Opened {
                    backend: backend::open_in(&configuration, self.provided, &mut self.services),
                    configuration,
                },
                Err(error) => {
                    self.backends.push(None);
                    reasons.push(Some(error.to_string()));
                    continue;
                }
            };
            let mut opened = [opened];
            injection::put_in(self.injections, &mut opened, self.clock);
            let [opened] = opened;
            reasons.push(opened.backend.as_ref().err().map(ToString::to_string));
            self.backends.push(opened.backend.ok());
        }
        Opened { opened: reasons }
    }

    fn trial(&mut self, order: &Order) -> Seen {
        // Between trials is no trial's.
        drop(self.watch.look());
        match self.run(order) {
            Ok(measured) => Seen::Measured {
                measured: Box::new(measured),
                tainted: self.watch.look(),
            },
            Err(failure) => Seen::Failed {
                failure: FailureRecord::from(&failure),
            },
        }
    }

    fn run(&mut self, order: &Order) -> Result<crate::store::record::Measured, Failure> {
        let unknown = || Failure::Protocol("a task or configuration that this build does not know");
        let task = Task {
            workload: Workload::from_name(order.task.as_bytes()).ok_or_else(unknown)?,
            size: order.size,
            reps: order.reps,
        };
        let answer = known_answer(&task).map_err(|_| unknown())?;
        let image = payload::image_fold().map_err(|_| Failure::Protocol("no payload"))?;
        let backend = self.backends.get_mut(order.configuration);
        let backend = backend.and_then(Option::as_mut).ok_or_else(unknown)?;
        let seen = backend.trial(&Launch {
            task,
            deadline: Duration::from_millis(order.deadline_ms),
        })?;
        check::measured(&seen, &task, answer, image, self.clock)
    }
}
