//! A container of containerd, from its first call to its last.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;

use super::super::caller::Undoing;
use super::super::command::{Patience, as_shell};
use super::super::grpc::{Call, NoAnswer};
use super::super::oci::bundle::{self, Wishes};
use super::super::{CLEAN_UP, Order, Running, Sources, leftover, pids};
use super::messages::{
    Any, CloseIo, Container, CreateContainer, CreateTask, CreatedTask, DeleteContainer, Empty,
    KillTask, OfTask, PrepareSnapshot, PreparedSnapshot, RemoveSnapshot, Runtime, Waited,
};
use super::{SNAPSHOTTER, Shared};
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

const PREPARE: &str = "/containerd.services.snapshots.v1.Snapshots/Prepare";
const REMOVE: &str = "/containerd.services.snapshots.v1.Snapshots/Remove";
const CONTAINER_CREATE: &str = "/containerd.services.containers.v1.Containers/Create";
const CONTAINER_DELETE: &str = "/containerd.services.containers.v1.Containers/Delete";
const TASK_CREATE: &str = "/containerd.services.tasks.v1.Tasks/Create";
const TASK_START: &str = "/containerd.services.tasks.v1.Tasks/Start";
const TASK_WAIT: &str = "/containerd.services.tasks.v1.Tasks/Wait";
const TASK_DELETE: &str = "/containerd.services.tasks.v1.Tasks/Delete";
const TASK_KILL: &str = "/containerd.services.tasks.v1.Tasks/Kill";
const CLOSE_IO: &str = "/containerd.services.tasks.v1.Tasks/CloseIO";
/// The label of what is not to be collected as garbage, and some time as its value.
const KEEP: &str = "containerd.io/gc.root";
const KEPT_SINCE: &str = "2026-01-01T00:00:00Z";
/// What the specification is, for whoever decodes it.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// What there is of it, in the order in which it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    #[default]
    Nothing,
    Folder,
    Snapshot,
    Container,
    Task,
}

/// The container. Dropping it removes it.
pub struct Instance {
    shared: Rc<Shared>,
    name: String,
    folder: PathBuf,
    made: Made,
    pid: u32,
    stdout: Option<File>,
    stdin: Option<OwnedFd>,
    wait: Option<Call<Waited>>,
    start: Option<Call<Empty>>,
    exit: Option<Exit>,
    undoing: Undoing,
}

impl Instance {
    pub fn new(shared: &Rc<Shared>, name: &str) -> Self {
        Self {
            shared: Rc::clone(shared),
            name: name.to_owned(),
            folder: PathBuf::new(),
            made: Made::default(),
            pid: 0,
            stdout: None,
            stdin: None,
            wait: None,
            start: None,
            exit: None,
            undoing: Undoing::default(),
        }
    }

    /// From the snapshot to the start, whose answer is not waited for.
    pub fn start(
        &mut self,
        order: &Order<'_>,
        seccomp: bool,
        log: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let shared = Rc::clone(&self.shared);
        let patience = Patience::until(order.deadline);
        let failed = |why: NoAnswer| shared.caller.failed(why);
        let fifos = log.time("fifos", || self.fifos(order.hold));
        let (stdin, stdout) = fifos.map_err(|error| Failure::setup("fifos", error))?;
        self.made = Made::Snapshot;
        let prepare = PrepareSnapshot {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: self.name.clone(),
            parent: shared.image.chain.clone(),
            // Until a container refers to it, it would be garbage to whoever collects it.
            labels: HashMap::from([(KEEP.to_owned(), KEPT_SINCE.to_owned())]),
        };
        let prepared: PreparedSnapshot = log
            .time("snapshot_prepare", || {
                shared.caller.grpc.ask(PREPARE, prepare, patience)
            })
            .map_err(failed)?;
        let spec = self
            .spec(order, seccomp)
            .map_err(|e| Failure::setup("spec", e))?;
        self.made = Made::Container;
        let create = CreateContainer {
            container: Some(Container {
                id: self.name.clone(),
                labels: HashMap::from([("isobench".to_owned(), self.name.clone())]),
                image: shared.image.name.clone(),
                runtime: Some(Runtime {
                    name: "io.containerd.runc.v2".to_owned(),
                }),
                spec: Some(Any {
                    type_url: SPEC.to_owned(),
                    value: spec,
                }),
                snapshotter: SNAPSHOTTER.to_owned(),
                snapshot_key: self.name.clone(),
            }),
        };
        log.time("container_create", || {
            shared
                .caller
                .grpc
                .ask::<_, Empty>(CONTAINER_CREATE, create, patience)
        })
        .map_err(failed)?;
        self.made = Made::Task;
        let create = CreateTask {
            container_id: self.name.clone(),
            rootfs: prepared.mounts,
            stdin,
            stdout,
            stderr: "/dev/null".to_owned(),
        };
        let task: CreatedTask = log
            .time("task_create", || {
                shared.caller.grpc.ask(TASK_CREATE, create, patience)
            })
            .map_err(failed)?;
        self.pid = task.pid;
        // Before the start, so that no end is missed.
        let send = |error: io::Error| Failure::setup("task_start", error);
        self.wait = Some(
            shared
                .caller
                .grpc
                .send(TASK_WAIT, self.of_task())
                .map_err(send)?,
        );
        log.open("task_start");
        self.start = Some(
            shared
                .caller
                .grpc
                .send(TASK_START, self.of_task())
                .map_err(send)?,
        );
        Ok(())
    }

    fn of_task(&self) -> OfTask {
        OfTask {
            container_id: self.name.clone(),
        }
    }

    /// Makes the FIFOs and opens our ends; their paths.
    fn fifos(&mut self, hold: bool) -> io::Result<(String, String)> {
        self.folder = self.shared.workspace.folder(&self.name)?;
        self.made = Made::Folder;
        let stdout = self.folder.join("stdout");
        fifo(&stdout)?;
        // A reader that does not wait for the writer, who would wait for it.
        let mut options = File::options();
        let reader = options.read(true).custom_flags(libc::O_NONBLOCK);
        self.stdout = Some(reader.open(&stdout)?);
        let mut path = String::new();
        if hold {
            let stdin = self.folder.join("stdin");
            fifo(&stdin)?;
            // For reading as well: a writer alone would have to wait for the shim.
            let mut options = File::options();
            let both = options.read(true).write(true);
            self.stdin = Some(fd::above_standard(both.open(&stdin)?.into())?);
            path = stdin.display().to_string();
        }
        Ok((path, stdout.display().to_string()))
    }

    fn spec(&self, order: &Order<'_>, seccomp: bool) -> io::Result<Vec<u8>> {
        let parent = self.shared.caller.endpoint.parent.as_ref();
        let group = match parent {
            Some(parent) => Some(parent.join(&self.name)),
            None => self.shared.groups.as_ref().map(|g| g.path(&self.name)),
        };
        let wishes = Wishes {
            // Below the bundle that the shim makes.
            root: "rootfs".into(),
            group,
            seccomp,
            user: None,
        };
        let config = bundle::config(&self.name, &order.launch.task, &wishes);
        Ok(serde_json::to_vec(&config.map_err(io::Error::other)?)?)
    }

    fn failed(&self, why: NoAnswer) -> Failure {
        self.shared.caller.failed(why)
    }

    fn undo<Q: Message + Send + Sync + 'static>(
        &mut self,
        step: (&'static str, &'static str),
        request: Q,
        teardown: &mut PhaseLog,
    ) -> Result<(), Failure> {
        let caller = &self.shared.caller;
        self.undoing.undo(caller, step, request, teardown)
    }

    /// Ends what still runs, so that the task can be deleted.
    fn end_by_force(&mut self) -> Result<(), Failure> {
        let kill = KillTask {
            container_id: self.name.clone(),
            signal: libc::SIGKILL.unsigned_abs(),
            all: true,
        };
        // Gone already, or not started: then the deletion does it.
        let killed = self.undo(("task_kill", TASK_KILL), kill, &mut PhaseLog::new());
        if self.undoing.is_forsaken {
            return killed;
        }
        if let Some(wait) = self.wait.take() {
            match wait.wait(Patience::to_clean_up(CLEAN_UP)) {
                Ok(_) | Err(NoAnswer::NotFound) => {}
                Err(why) => return Err(self.undoing.note(&self.shared.caller, why)),
            }
        }
        Ok(())
    }
}

impl Running for Instance {
    fn sources(&self) -> Sources<'_> {
        Sources {
            output: self.stdout.as_ref().map(AsFd::as_fd),
            noise: None,
            ends: [
                self.wait.as_ref().map(Call::done),
                self.start.as_ref().map(Call::done),
            ],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::io::Read;
        let Some(stdout) = &mut self.stdout else {
            return Ok(0);
        };
        let n = stdout.read(buffer)?;
        if n == 0 {
            self.stdout = None;
        }
        Ok(n)
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        let ready = fd::any_readable(self.sources().ends, Duration::ZERO);
        let [ended, started] = ready.map_err(|error| Failure::setup("poll", error))?;
        if started && let Some(start) = self.start.take() {
            start.take().map_err(|why| self.failed(why))?;
        }
        if ended && let Some(wait) = self.wait.take() {
            let waited = wait.take().map_err(|why| self.failed(why))?;
            self.exit = Some(as_shell(Exit::Status(waited.exit_status)));
        }
        Ok(ended)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        self.stdin = None;
        // The shim keeps a writer of its own, so that clients may come and go.
        let close = CloseIo {
            container_id: self.name.clone(),
            stdin: true,
        };
        let patience = Patience::to_clean_up(CLEAN_UP);
        let closed = self
            .shared
            .caller
            .grpc
            .ask::<_, Empty>(CLOSE_IO, close, patience);
        closed.map(drop).map_err(|why| self.failed(why))
    }

    fn exit(&mut self, teardown: &mut PhaseLog) -> Result<Exit, Failure> {
        if let Some(start) = self.start.take() {
            let patience = Patience::to_clean_up(CLEAN_UP);
            let started = teardown.time("start_answer", || start.wait(patience));
            started.map_err(|why| self.failed(why))?;
        }
        let no_end = || Failure::Leftover(format!("container {} has no end", self.name));
        self.exit.ok_or_else(no_end)
    }

    fn remove(&mut self, teardown: &mut PhaseLog) -> Result<(), Failure> {
        (self.stdin, self.start) = (None, None);
        if self.made >= Made::Task && !self.undoing.is_forsaken {
            if self.exit.is_none() {
                self.end_by_force()?;
            }
            let task = self.of_task();
            self.undo(("task_delete", TASK_DELETE), task, teardown)?;
            self.made = Made::Container;
        }
        self.stdout = None;
        if self.made >= Made::Container && !self.undoing.is_forsaken {
            let container = DeleteContainer {
                id: self.name.clone(),
            };
            self.undo(("container_delete", CONTAINER_DELETE), container, teardown)?;
            self.made = Made::Snapshot;
        }
        if self.made >= Made::Snapshot && !self.undoing.is_forsaken {
            let snapshot = RemoveSnapshot {
                snapshotter: SNAPSHOTTER.to_owned(),
                key: self.name.clone(),
            };
            self.undo(("snapshot_remove", REMOVE), snapshot, teardown)?;
        }
        if self.made >= Made::Folder {
            // What a daemon that has gone leaves is removed with its own folder.
            let removed = teardown.time("fifos_remove", || std::fs::remove_dir_all(&self.folder));
            removed.map_err(|error| {
                Failure::Leftover(format!("{}: {error}", self.folder.display()))
            })?;
            self.made = Made::Nothing;
        }
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        Ok(pids::with_shim(self.pid))
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        self.shared.caller.failure(how)
    }

    fn set_apart(&mut self) {
        self.stdin.iter_mut().for_each(fd::set_apart);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.made != Made::Nothing {
            let name = self.name.clone();
            leftover::give_up(self, &name);
        }
    }
}

/// mkfifo(3), for root alone.
fn fifo(path: &Path) -> io::Result<()> {
    use nix::sys::stat::Mode;
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(io::Error::from)
}
