//! A user's own backend: `[[backend]]` in `isobench.toml`.
//!
//! | | `start` | the payload's messages | the end |
//! |---|---|---|---|
//! | without `ready` | stays in the foreground | its standard output, or `{output}` | its end |
//! | with `ready` | detaches what it starts, and succeeds | `{output}`, a FIFO | the FIFO's writers are gone |
//!
//! `ready` is asked again and again until it succeeds. `stop` comes at the end of every trial.

mod definition;

pub use definition::{DefinitionError, OwnBackend, Placeholder, Template, Values};

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::command::{Invocation, Patience};
use super::detect::{Found, on_path};
use super::front::{Front, Output, Remover, read_until_end};
use super::workspace::Workspace;
use super::{
    Engine, EngineEnd, EngineFacts, EngineFailure, Failure, Limitation, Order, PhaseLog, Running,
    Sources, leftover,
};
use crate::backend::Unavailable;
use crate::backend::services::Services;
use crate::sys::fd;
use crate::sys::pidfd::Exit;

/// Between two questions whether the instance is ready.
const PAUSE: Duration = Duration::from_millis(10);

/// The backend.
pub struct Own {
    definition: OwnBackend,
    workspace: Rc<Workspace>,
    folder: PathBuf,
    root: PathBuf,
    found: Found,
}

impl Own {
    /// Looks for its program.
    ///
    /// # Errors
    /// It is not there, or nobody has defined such a backend.
    pub fn open(
        name: &str,
        all: &[OwnBackend],
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        let definition = all.iter().find(|own| own.name == name).cloned();
        let definition = definition.ok_or_else(|| Unavailable {
            reason: format!("no [[backend]] of isobench.toml has the name {name:?}"),
            remedy: "--config with the file that defines it".to_owned(),
        })?;
        let program = definition.start.program();
        let path = match program_path(program) {
            Some(path) => path,
            None if definition.start.has_fixed_program() => {
                return Err(Unavailable {
                    reason: format!("start: {program:?} is no program that can be executed"),
                    remedy: "install it, or name its path".to_owned(),
                });
            }
            None => program.into(),
        };
        let found = Found {
            path,
            version: "a backend of isobench.toml".to_owned(),
        };
        let workspace = services.get(Workspace::new)?;
        let prepared = workspace.folder("own").and_then(|folder| {
            let root = workspace.copy_of_root("own-root", &[])?;
            Ok((folder, root))
        });
        let (folder, root) =
            prepared.map_err(|error| found.unusable(&error.to_string(), "free space"))?;
        Ok(Self {
            definition,
            workspace,
            folder,
            root,
            found,
        })
    }

    fn values(&self, order: &Order<'_>, output: Option<&Path>) -> Values {
        let [_, workload, args @ ..] = order.launch.task.argv();
        let shown = |path: &Path| path.display().to_string();
        let mut texts = vec![
            (Placeholder::Payload, shown(&self.root.join("payload"))),
            (Placeholder::Rootfs, shown(&self.root)),
            (Placeholder::Workload, workload),
            (Placeholder::Name, order.name.to_owned()),
        ];
        texts.extend(output.map(|path| (Placeholder::Output, shown(path))));
        Values::new(texts, &args)
    }

    /// Starts what detaches, and waits until it is there.
    fn detached(
        &self,
        order: &Order<'_>,
        ready: &Template,
        values: &Values,
        patience: Patience,
        log: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let start = invocation(&self.definition.start, values, order.name);
        log.time("start", || start.run(patience))?;
        let ready = invocation(ready, values, order.name);
        log.open("ready");
        loop {
            match ready.run(patience) {
                Ok(_) => return Ok(()),
                // It says "not yet".
                Err(Failure::Engine(failure)) if matches!(failure.how, EngineEnd::Status(_)) => {
                    if patience.deadline.left() <= PAUSE {
                        return Err(failure.as_ref().timed_out(patience.deadline.allowed()));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(other) => return Err(other),
            }
        }
    }
}

/// Where a program is: a path, or a name on the search path.
#[must_use]
pub fn program_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        let path = std::path::absolute(program).ok()?;
        super::detect::is_executable(&path).then_some(path)
    } else {
        on_path(program)
    }
}

fn invocation(template: &Template, values: &Values, name: &str) -> Invocation {
    let words = template.filled(values);
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(p, a)| (p, a));
    let path = program_path(program).unwrap_or_else(|| program.into());
    Invocation::of(&path).with(arguments).marked(name)
}

impl Engine for Own {
    fn facts(&self) -> EngineFacts {
        self.found
            .facts(&["whatever isobench.toml says: nothing is known about it"])
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.workspace.limitations()
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.definition.timeout)
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let timeout = self.definition.timeout;
        // Before there is anything to be removed.
        let (end, open) = fd::pipe().map_err(|error| Failure::setup("pipe", error))?;
        let fifo = self.definition.uses_output();
        let path = fifo.then(|| self.folder.join(order.name));
        let output = path.as_deref().map(open_fifo).transpose();
        let output = output.map_err(|error| Failure::setup("fifo", error))?;
        let values = self.values(order, path.as_deref());
        let stop = self.definition.stop.as_ref();
        let mut remover = Stop {
            stop: stop.map(|stop| invocation(stop, &values, order.name)),
            name: order.name.to_owned(),
            fifo: path,
            detached: self.definition.ready.is_some(),
            timeout,
        };
        let Some(ready) = &self.definition.ready else {
            let command = invocation(&self.definition.start, &values, order.name);
            let output = output.map_or(Output::Stdout, Output::Other);
            let front = Front::start_as(("start", output), &command, order, log, Box::new(remover));
            return Ok(Box::new(front?));
        };
        let patience = Patience::until(order.deadline);
        if let Err(failure) = self.detached(order, ready, &values, patience, log) {
            let removed = remover.remove(true, &mut PhaseLog::new());
            return Err(match removed {
                Ok(()) => failure,
                Err(left) => Failure::Leftover(format!("{left}, after \"{failure}\"")),
            });
        }
        Ok(Box::new(Detached {
            command: self.definition.start.program().to_owned(),
            output,
            end,
            open: Some(open),
            remover,
            removed: false,
            name: order.name.to_owned(),
        }))
    }
}

/// Makes a FIFO and opens it for reading, which waits for nobody.
fn open_fifo(path: &Path) -> io::Result<OwnedFd> {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut options = File::options();
    let fifo = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    fd::above_standard(fifo.into())
}

/// What comes at the end of every trial.
struct Stop {
    stop: Option<Invocation>,
    name: String,
    fifo: Option<PathBuf>,
    detached: bool,
    timeout: Duration,
}

impl Remover for Stop {
    fn remove(&mut self, by_force: bool, teardown: &mut PhaseLog) -> Result<(), Failure> {
        let stopped = match &self.stop {
            Some(stop) => {
                let patience = Patience::to_clean_up(self.timeout);
                teardown.time("stop", || stop.run(patience)).map(drop)
            }
            None => Ok(()),
        };
        if stopped.is_ok() {
            self.stop = None;
        }
        // What was detached and has nobody to stop it is ended.
        let by_force = by_force || self.detached && stopped.is_err();
        teardown.time("processes_end", || {
            leftover::wait(|mark| mark == self.name, by_force)
        });
        if let Some(fifo) = self.fifo.take() {
            let removed = std::fs::remove_file(&fifo);
            removed.map_err(|error| Failure::Leftover(format!("{}: {error}", fifo.display())))?;
        }
        stopped
    }
}

/// An instance that only its output tells of.
struct Detached {
    command: String,
    output: Option<OwnedFd>,
    /// Readable once the output has ended.
    end: OwnedFd,
    open: Option<OwnedFd>,
    remover: Stop,
    removed: bool,
    name: String,
}

impl Running for Detached {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.output.as_ref().map(AsFd::as_fd),
            noise: None,
            ends: [Some(self.end.as_fd()), None],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = read_until_end(&mut self.output, buffer)?;
        if n == 0 {
            self.open = None;
        }
        Ok(n)
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        Err(self
            .failure(EngineEnd::Refused(
                "nobody can tell a payload that was detached (ready) to go on".to_owned(),
            ))
            .into())
    }

    /// The end of the output is all that there is; what was said is judged.
    fn exit(&mut self, _: &mut PhaseLog) -> Result<Exit, Failure> {
        Ok(Exit::Status(0))
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        if self.removed {
            return Ok(());
        }
        let by_force = self.open.is_some();
        (self.output, self.open) = (None, None);
        self.remover.remove(by_force, teardown)?;
        self.removed = true;
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(isobench_guardian::marked(|mark| mark == self.name))
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        EngineFailure {
            command: self.command.clone(),
            how,
            tail: String::new(),
        }
    }
}
