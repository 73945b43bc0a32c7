//! One of the two builds, in a process of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{Hello, LONGEST, Opened, Order, PROTOCOL, Request, Seen};
use super::subject::{Kind, Subject};
use crate::workload::Task;

/// How long a build may take to say who it is, or to make its configurations ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// A build cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// It cannot be started.
    #[error("cannot start {path}")]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It is nothing that could be compared.
    #[error(
        "{path} is neither isobench nor one of the runtimes crun, runc, youki: {said} (a build of one \
         of them that says something else: --runtime)"
    )]
    Unknown {
        /// The program.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// It is no isobench that serves trials.
    #[error("{path} is no isobench that serves trials: {problem}")]
    Foreign {
        /// The program.
        path: PathBuf,
        /// What it did instead.
        problem: String,
    },
    /// It served, and then did not.
    #[error("{path} {problem}")]
    Lost {
        /// The program.
        path: PathBuf,
        /// What it did.
        problem: String,
    },
}

/// A build, with the process that serves its trials. Dropping it ends the process.
#[derive(Debug)]
pub struct Lane {
    path: PathBuf,
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<io::Result<String>>,
    hello: Hello,
}

impl Lane {
    /// Starts what serves a build's trials and hears who it is: the build itself, or for a runtime this
    /// isobench.
    ///
    /// # Errors
    /// [`LaneError::Start`], [`LaneError::Foreign`].
    pub fn start(subject: &Subject) -> Result<Self, LaneError> {
        let path = &subject.path;
        let cannot = |cause| LaneError::Start {
            path: path.clone(),
            cause,
        };
        let mut command = match subject.kind {
            Kind::Isobench => Command::new(path),
            Kind::Runtime(_) => Command::new(std::env::current_exe().map_err(cannot)?),
        };
        command.arg("worker");
        if let Kind::Runtime(_) = subject.kind {
            command.arg("--runtime").arg(path);
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(cannot)?;
        let foreign = |problem: String| LaneError::Foreign {
            path: path.clone(),
            problem,
        };
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(foreign("no pipes".to_owned()));
        };
        let (sender, lines) = sync_channel(1);
        // Reads ahead by one line; ends with the pipe.
        std::thread::spawn(move || {
            let mut answers = BufReader::new(answers);
            loop {
                let mut line = String::new();
                let read = (&mut answers).take(LONGEST).read_line(&mut line);
                let end = !matches!(read, Ok(bytes) if bytes > 0);
                if sender.send(read.map(|_| line)).is_err() || end {
                    return;
                }
            }
        });
        let mut lane = Self {
            path: path.clone(),
            child,
            orders: Some(orders),
            lines,
            hello: Hello {
                protocol: 0,
                version: String::new(),
                commit: String::new(),
                payload: String::new(),
                injected: Vec::new(),
            },
        };
        lane.hello = lane.answer(PATIENCE).map_err(foreign)?;
        if lane.hello.protocol != PROTOCOL {
            let theirs = lane.hello.protocol;
            return Err(foreign(format!("protocol {theirs} and not {PROTOCOL}")));
        }
        Ok(lane)
    }

    /// Who it is.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Makes configurations ready; for each the reason, where it cannot run.
    ///
    /// # Errors
    /// [`LaneError::Lost`].
    pub fn open(&mut self, ids: &[String]) -> Result<Vec<Option<String>>, LaneError> {
        let opened: Opened = self.ask(&Request::Open(ids.to_vec()), PATIENCE)?;
        if opened.opened.len() == ids.len() {
            return Ok(opened.opened);
        }
        Err(self.lost("answered something else than it was asked".to_owned()))
    }

    /// Runs one trial of a configuration that was opened.
    ///
    /// # Errors
    /// [`LaneError::Lost`]. A trial that fails is an answer.
    pub fn trial(
        &mut self,
        configuration: usize,
        task: &Task,
        deadline: Duration,
    ) -> Result<Seen, LaneError> {
        let order = Order {
            configuration,
            task: task.workload.name().to_owned(),
            size: task.size,
            reps: task.reps,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        };
        self.ask(&Request::Trial(order), deadline + PATIENCE)
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        patience: Duration,
    ) -> Result<T, LaneError> {
        let asked = serde_json::to_vec(request)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                let orders = self.orders.as_mut();
                let orders = orders.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
                orders.write_all(&line)?;
                orders.flush()
            });
        if let Err(error) = asked {
            return Err(self.lost(format!("takes no more orders: {error}")));
        }
        let answer = self.answer(patience);
        answer.map_err(|problem| self.lost(problem))
    }

    fn answer<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T, String> {
        match self.lines.recv_timeout(patience) {
            Ok(Ok(line)) if line.is_empty() => Err(self.ended()),
            Ok(Ok(line)) => serde_json::from_str(&line)
                .map_err(|error| format!("says what is no answer: {error}")),
            Ok(Err(error)) => Err(format!("cannot be read from: {error}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("says nothing for {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> String {
        // Its end of the pipe is closed: it is about to end, if it has not.
        match self.child.wait() {
            Ok(status) => format!("ended ({status})"),
            Err(error) => format!("ended ({error})"),
        }
    }

    fn lost(&self, problem: String) -> LaneError {
        LaneError::Lost {
            path: self.path.clone(),
            problem,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // The end of its orders ends it; what does not listen is killed.
        drop(self.orders.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Its guardian removes what it leaves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
