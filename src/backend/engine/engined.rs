//! Every engine as a backend.

use std::time::Duration;

use isobench_abi::question::Question;

use super::chronicle::Watch;
use super::conversation::Conversation;
use super::{DaemonFacts, Engine, EngineFacts, Order, leftover, remedy, workspace};
use crate::backend::child::{self, Deadline};
use crate::backend::services::Services;
use crate::backend::{
    Backend, Footprint, GuestKernel, Instance, Limitation, Unavailable, launcher,
};
use crate::metric::{Bytes, Ticks};
use crate::sys::clock;
use crate::transcript::{Answer, Found};
use crate::trial::{Failure, Instants, Launch, Observation, PhaseLog};
use crate::workload::{Task, Workload};

/// Every engine as a backend.
pub struct Engined {
    pub(super) engine: Box<dyn Engine>,
    pub(super) workspace: std::rc::Rc<workspace::Workspace>,
}

impl Engined {
    pub(super) fn new(
        engine: Box<dyn Engine>,
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        let mut engined = Self {
            engine,
            workspace: services.get(workspace::Workspace::new)?,
        };
        engined.first_launch()?;
        Ok(engined)
    }

    /// What is found out by one launch need not fail in every trial.
    fn first_launch(&mut self) -> Result<(), Unavailable> {
        let mut launch = launcher::probe();
        launch.deadline = self.engine.timeout().unwrap_or(launch.deadline);
        let mut first = self.trial(&launch);
        while let Err(failure) = &first
            && self.engine.compromise(failure)
        {
            first = self.trial(&launch);
        }
        match first {
            Ok(_) => {
                self.look_for_filter(launch.deadline);
                Ok(())
            }
            Err(failure) => {
                let facts = self.engine.facts();
                Err(Unavailable {
                    reason: format!(
                        "found {} ({}), but a first launch failed: {failure}",
                        facts.program, facts.version
                    ),
                    remedy: remedy(&failure).unwrap_or("see what it printed").to_owned(),
                })
            }
        }
    }

    /// The payload says itself whether a filter is over it. One that ends it for that is there, too.
    fn look_for_filter(&mut self, deadline: Duration) {
        if !self.engine.may_lack_filter() {
            return;
        }
        let task = Task {
            workload: Workload::Probe,
            size: Question::Seccomp as u64,
            reps: 1,
        };
        let mut answers = Vec::new();
        let seen = self.hear(&Launch { task, deadline }, &mut answers);
        let none = |answer: &Answer| answer.found == Found::Number(0);
        if seen.is_ok() && answers.iter().any(none) {
            self.engine.lacks_filter();
        }
    }

    fn deadline(&self, launch: &Launch) -> Deadline {
        let timeout = self.engine.timeout().unwrap_or(Duration::MAX);
        Deadline::after(launch.deadline.min(timeout))
    }

    fn start(
        &mut self,
        launch: &Launch,
        hold: bool,
        deadline: Deadline,
        log: &mut PhaseLog,
    ) -> Result<(Ticks, Conversation), Failure> {
        let name = self.workspace.new_name();
        let order = Order {
            name: &name,
            launch,
            hold,
            deadline,
        };
        let t0 = clock::now();
        match self.engine.start(&order, log) {
            Ok(running) => Ok((t0, Conversation::new(running, name))),
            Err(failure) => {
                leftover::end(&name);
                Err(failure)
            }
        }
    }
}

impl Backend for Engined {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let mut log = PhaseLog::new();
        let mut teardown = PhaseLog::new();
        let deadline = self.deadline(launch);
        let watch = self.engine.chronicle().map(|_| Watch::begin());
        let (t0, mut talk) = self.start(launch, false, deadline, &mut log)?;
        let t4 = talk.until_exit(deadline)?;
        let exit = talk.exit(&mut teardown)?;
        talk.remove(&mut teardown)?;
        let t5 = clock::now();
        let watch = watch.map(Watch::end);
        answers.append(&mut talk.transcript.take_answers());
        // Ended in any case; what the payload did comes first.
        let leftovers = talk.look_for_leftovers();
        talk.verdict(exit)?;
        leftovers?;
        let (ready, t2, report) = talk.transcript.finish()?;
        let clock = talk.clock();
        let instants = Instants {
            t0,
            t1: clock.host(ready.first_instruction),
            t2,
            t3: clock.host(report.end),
            t4,
            t5,
        };
        log.close_at(instants.t1);
        let chronicle = self.engine.chronicle().zip(watch);
        Ok(Observation {
            instants,
            reply: talk.transcript.replied(),
            phases: log.phases().to_vec(),
            teardown: teardown.phases().to_vec(),
            report,
            clock,
            exits: None,
            throttled: None,
            told: chronicle.map(|(chronicle, watched)| watched.told(chronicle, talk.name())),
        })
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let deadline = self.deadline(launch);
        let (_, mut talk) = self.start(launch, true, deadline, &mut PhaseLog::new())?;
        talk.until_waiting(deadline, launch.task.heap_bytes())?;
        talk.set_apart();
        Ok(Box::new(Held {
            talk,
            launch: launch.clone(),
        }))
    }

    fn guest_kernel(&self) -> Option<GuestKernel> {
        self.engine.guest_kernel()
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.engine.limitations()
    }

    fn set_filter(&mut self, on: bool) -> bool {
        self.engine.set_filter(on)
    }

    fn engine(&self) -> Option<EngineFacts> {
        Some(self.engine.facts())
    }

    fn daemons(&self) -> Vec<DaemonFacts> {
        self.engine.daemons()
    }
}

struct Held {
    talk: Conversation,
    launch: Launch,
}

impl Instance for Held {
    fn footprint(&self) -> Result<Footprint, Failure> {
        let mut footprint = Footprint::default();
        for pid in self.talk.processes()? {
            let one = child::footprint(pid)?;
            footprint.pss.0 += one.pss.0;
            footprint.private.0 += one.private.0;
        }
        footprint.group = self.talk.group();
        Ok(footprint)
    }

    fn guest_memory(&self) -> Option<Bytes> {
        self.talk.guest_memory()
    }

    fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let deadline = Deadline::after(self.launch.deadline);
        let mut teardown = PhaseLog::new();
        self.talk.wake()?;
        self.talk.until_exit(deadline)?;
        let exit = self.talk.exit(&mut teardown)?;
        self.talk.remove(&mut teardown)?;
        let leftovers = self.talk.look_for_leftovers();
        self.talk.verdict(exit)?;
        leftovers?;
        match self.talk.transcript.replied() {
            Some(_) => Ok(()),
            None => Err(Failure::Protocol("the payload did not answer the request")),
        }
    }
}
