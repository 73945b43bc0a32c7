//! A container of dockerd, from its first request to its last.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::super::command::Patience;
use super::super::http::{Answer, Body, Connection, NoAnswer};
use super::super::kind::EngineNetwork;
use super::super::{CLEAN_UP, Order, Running, Sources, leftover, pids};
use super::api::Docker;
use super::stream::Attached;
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

/// The container. Dropping it removes it.
pub struct Instance {
    docker: Rc<Docker>,
    name: String,
    /// Its id, once there is one.
    id: Option<String>,
    attached: Option<Attached>,
    /// Answered at the end.
    wait: Option<Connection>,
    /// Answered when it runs.
    start: Option<Connection>,
    exit: Option<Exit>,
    /// Nothing is left, or whoever had it is gone.
    removed: bool,
    /// The daemon did not answer a removal: it will not answer the next one.
    forsaken: bool,
}

impl Instance {
    pub fn new(docker: &Rc<Docker>) -> Self {
        Self {
            docker: Rc::clone(docker),
            name: String::new(),
            id: None,
            attached: None,
            wait: None,
            start: None,
            exit: None,
            removed: false,
            forsaken: false,
        }
    }

    /// Creates, attaches, waits and starts; the answer to the last is not waited for.
    pub fn start(
        &mut self,
        order: &Order<'_>,
        network: EngineNetwork,
        log: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let docker = Rc::clone(&self.docker);
        let failed = |what: &'static str| {
            let docker = Rc::clone(&docker);
            move |why| docker.failure(what, why)
        };
        let patience = Patience::until(order.deadline);
        self.name = order.name.to_owned();
        let socket = docker.endpoint.socket.clone();
        let connect = || Connection::open(&socket).map_err(NoAnswer::from);
        let mut control = log
            .time("create", || {
                let mut control = connect()?;
                let path = format!("/containers/create?name={}", order.name);
                let body = docker.container(order, network);
                let answer = control.ask("POST", &path, Body::Json(&body), patience)?;
                let answer = answer.json()?;
                let id = answer["Id"].as_str().map(str::to_owned);
                self.id = Some(id.ok_or_else(|| {
                    NoAnswer::Engine(EngineEnd::Garbage("a container without an id".to_owned()))
                })?);
                Ok(control)
            })
            .map_err(failed("create"))?;
        let id = self.id.clone().unwrap_or_default();
        self.attached = Some(
            log.time("attach", || {
                let input = u8::from(order.hold);
                let path = format!("/containers/{id}/attach?stream=1&stdout=1&stdin={input}");
                let mut connection = connect()?;
                let answer = connection.ask("POST", &path, Body::Upgrade, patience)?;
                if answer.status != 101 {
                    answer.success()?;
                    let what = "not upgraded".to_owned();
                    return Err(NoAnswer::Engine(EngineEnd::Garbage(what)));
                }
                let (stream, received) = connection.upgraded();
                Ok(Attached::new(stream, received))
            })
            .map_err(failed("attach"))?,
        );
        self.wait = Some(
            log.time("wait_request", || {
                let mut connection = connect()?;
                let path = format!("/containers/{id}/wait?condition=next-exit");
                connection.send("POST", &path, Body::None)?;
                // It has a head now and a body at the end: with the head it is known to be waiting.
                connection.begun(patience)?;
                Ok(connection)
            })
            .map_err(failed("wait"))?,
        );
        log.open("start");
        let path = format!("/containers/{id}/start");
        let sent = control.send("POST", &path, Body::None);
        sent.map_err(|error| failed("start")(error.into()))?;
        self.start = Some(control);
        Ok(())
    }

    /// After a start that failed.
    pub fn give_up(&mut self) {
        if self.id.is_none() && !self.name.is_empty() {
            // It may have been made although nobody was told.
            self.id = Some(self.name.clone());
        }
        let name = self.name.clone();
        leftover::give_up(self, &name);
    }

    fn failed(&self, what: &str, why: NoAnswer) -> Failure {
        self.docker.failure(what, why)
    }

    fn note_exit(&mut self, answer: Answer) -> Result<(), NoAnswer> {
        let answer = answer.json()?;
        let status = answer["StatusCode"].as_u64();
        let status = status.and_then(|status| u32::try_from(status).ok());
        let status = status.ok_or_else(|| {
            NoAnswer::Engine(EngineEnd::Garbage("a wait without a status".to_owned()))
        })?;
        self.exit = Some(super::super::command::as_shell(Exit::Status(status)));
        Ok(())
    }
}

impl Running for Instance {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.attached.as_ref().and_then(Attached::output),
            noise: None,
            ends: [
                self.wait.as_ref().map(Connection::answering),
                self.start.as_ref().map(Connection::answering),
            ],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.attached {
            Some(attached) => attached.read(buffer),
            None => Ok(0),
        }
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        let ends = self.sources().ends;
        let ready = fd::any_readable(ends, Duration::ZERO);
        let [ended, started] = ready.map_err(|error| Failure::setup("poll", error))?;
        if started && let Some(start) = &mut self.start {
            match start
                .take_in()
                .and_then(|a| a.map(Answer::success).transpose())
            {
                Ok(None) => {}
                Ok(Some(_)) => self.start = None,
                Err(why) => {
                    self.start = None;
                    return Err(self.failed("start", why));
                }
            }
        }
        if ended && let Some(wait) = &mut self.wait {
            match wait.take_in() {
                Ok(None) => return Ok(false),
                Ok(Some(answer)) => {
                    self.wait = None;
                    self.note_exit(answer)
                        .map_err(|why| self.failed("wait", why))?;
                    return Ok(true);
                }
                Err(why) => {
                    self.wait = None;
                    return Err(self.failed("wait", why));
                }
            }
        }
        Ok(false)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        let woken = match &self.attached {
            Some(attached) => attached.close_input(),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        woken.map_err(|error| self.failed("attach", error.into()))
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        if let Some(mut start) = self.start.take() {
            let started = teardown.time("start_answer", || {
                let answer = start.answer(Patience::to_clean_up(CLEAN_UP))?;
                answer.success().map(drop)
            });
            started.map_err(|why| self.failed("start", why))?;
        }
        let no_end = || Failure::Leftover(format!("container {} has no end", self.name));
        self.exit.ok_or_else(no_end)
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        let Some(id) = self.id.clone().filter(|_| !self.removed) else {
            return Ok(());
        };
        (self.attached, self.wait, self.start) = (None, None, None);
        if self.forsaken {
            // What is left goes with the daemon's folder; the payload is ended by its mark.
            self.removed = true;
            return Ok(());
        }
        let path = format!("/containers/{id}?force=1&v=1");
        let patience = Patience::to_clean_up(CLEAN_UP);
        let docker = Rc::clone(&self.docker);
        let removed = teardown.time("remove", || {
            docker.ask("DELETE", &path, Body::None, patience)
        });
        match removed {
            // Never made, or gone already.
            Ok(answer) if answer.status == 404 => {}
            Ok(answer) => drop(answer.success().map_err(|why| self.failed("remove", why))?),
            Err(failure) => {
                self.forsaken = true;
                return Err(failure);
            }
        }
        self.removed = true;
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        let id = self.id.clone().unwrap_or_default();
        self.docker.process(&id).map(pids::with_shim)
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        EngineFailure {
            command: "dockerd".to_owned(),
            how,
            tail: self.docker.endpoint.last_words(),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.removed && self.id.is_some() {
            self.give_up();
        }
    }
}
