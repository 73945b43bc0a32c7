//! A pod with one container, from its first call to its last.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use isobench_abi::LINES_ENVIRONMENT;
use isobench_guardian::MARK;
use prost::Message;

use super::super::caller::Undoing;
use super::super::command::{Patience, as_shell};
use super::super::containerd::messages::Empty;
use super::super::groups::EngineGroups;
use super::super::grpc::{Call, NoAnswer};
use super::super::{CLEAN_UP, Order, Running, Sources, leftover, pids};
use super::Shared;
use super::log::Log;
use super::messages::{
    Capabilities, Container, ContainerConfig, ContainerMetadata, ContainerSecurity,
    CreateContainer, Id, ImageSpec, KeyValue, LinuxContainer, LinuxSandbox, Mode, Namespaces,
    Profile, Resources, RunPodSandbox, Sandbox, SandboxConfig, SandboxMetadata, SandboxSecurity,
    State, StatusAnswer,
};
use crate::backend::container::{PAYLOAD_ID, memory_limit};
use crate::sys::fd;
use crate::sys::pidfd::Exit;
use crate::trial::{EngineEnd, EngineFailure, Failure, PhaseLog};

const RUN_SANDBOX: &str = "/runtime.v1.RuntimeService/RunPodSandbox";
const STOP_SANDBOX: &str = "/runtime.v1.RuntimeService/StopPodSandbox";
const REMOVE_SANDBOX: &str = "/runtime.v1.RuntimeService/RemovePodSandbox";
const CREATE: &str = "/runtime.v1.RuntimeService/CreateContainer";
const START: &str = "/runtime.v1.RuntimeService/StartContainer";
const REMOVE: &str = "/runtime.v1.RuntimeService/RemoveContainer";
const STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";
/// Between two looks at the status.
const PAUSE: Duration = Duration::from_millis(1);
/// The log's file.
const LOG: &str = "log";

/// The pod. Dropping it removes it.
pub struct Instance {
    shared: Rc<Shared>,
    name: String,
    folder: Option<PathBuf>,
    sandbox: Option<String>,
    container: Option<String>,
    fifo: Option<File>,
    /// Its writers have gone.
    closed: bool,
    log: Log,
    start: Option<Call<Empty>>,
    patience: Option<Patience>,
    exit: Option<Exit>,
    undoing: Undoing,
}

impl Instance {
    pub fn new(shared: &Rc<Shared>, name: &str) -> Self {
        Self {
            shared: Rc::clone(shared),
            name: name.to_owned(),
            folder: None,
            sandbox: None,
            container: None,
            fifo: None,
            closed: false,
            log: Log::default(),
            start: None,
            patience: None,
            exit: None,
            undoing: Undoing::default(),
        }
    }

    /// Pod, container, start, whose answer is not waited for.
    pub fn start(&mut self, order: &Order<'_>, log: &mut PhaseLog) -> Result<(), Failure> {
        let shared = Rc::clone(&self.shared);
        let patience = Patience::until(order.deadline);
        self.patience = Some(patience);
        let failed = |why: NoAnswer| shared.caller.failed(why);
        let folder = log.time("fifo", || self.fifo());
        let folder = folder.map_err(|error| Failure::setup("fifo", error))?;
        let config = self.sandbox_config(&folder);
        let run = RunPodSandbox {
            config: Some(config.clone()),
        };
        let sandbox: Sandbox = log
            .time("run_pod_sandbox", || {
                shared.caller.grpc.ask(RUN_SANDBOX, run, patience)
            })
            .map_err(failed)?;
        self.sandbox = Some(sandbox.id.clone());
        let create = CreateContainer {
            sandbox: sandbox.id,
            config: Some(self.container_config(order)),
            sandbox_config: Some(config),
        };
        let container: Container = log
            .time("create_container", || {
                shared.caller.grpc.ask(CREATE, create, patience)
            })
            .map_err(failed)?;
        self.container = Some(container.id.clone());
        log.open("start_container");
        let start = shared.caller.grpc.send(START, container);
        self.start = Some(start.map_err(|error| Failure::setup("start_container", error))?);
        Ok(())
    }

    /// The log's place, as a FIFO.
    fn fifo(&mut self) -> io::Result<PathBuf> {
        use nix::sys::stat::Mode;
        let folder = self.shared.workspace.folder(&self.name)?;
        self.folder = Some(folder.clone());
        let path = folder.join(LOG);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut options = File::options();
        // A reader that does not wait for the writer, who would wait for it.
        let reader = options.read(true).custom_flags(libc::O_NONBLOCK);
        self.fifo = Some(reader.open(&path)?);
        Ok(folder)
    }

    fn sandbox_config(&self, folder: &Path) -> SandboxConfig {
        let parent = self.shared.caller.endpoint.parent.as_ref();
        SandboxConfig {
            metadata: Some(SandboxMetadata {
                name: self.name.clone(),
                uid: self.name.clone(),
                namespace: "isobench".to_owned(),
            }),
            // In the host's network it is the host's.
            hostname: String::new(),
            log_directory: folder.display().to_string(),
            labels: self.labels(),
            linux: Some(LinuxSandbox {
                cgroup_parent: parent.map_or_else(String::new, |p| p.display().to_string()),
                security: Some(SandboxSecurity {
                    namespaces: Some(namespaces()),
                    seccomp: Some(Profile::default()),
                }),
            }),
        }
    }

    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([("isobench".to_owned(), self.name.clone())])
    }

    fn container_config(&self, order: &Order<'_>) -> ContainerConfig {
        let task = &order.launch.task;
        let id = Id {
            value: i64::from(PAYLOAD_ID),
        };
        let limit = memory_limit(task).0;
        let variable = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let (lines, on) = LINES_ENVIRONMENT
            .split_once('=')
            .unwrap_or((LINES_ENVIRONMENT, ""));
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "payload".to_owned(),
            }),
            image: Some(ImageSpec {
                image: self.shared.image.name.clone(),
            }),
            command: task.argv().to_vec(),
            environment: vec![variable(MARK, &self.name), variable(lines, on)],
            labels: self.labels(),
            log_path: LOG.to_owned(),
            stdin: order.hold,
            linux: Some(LinuxContainer {
                resources: Some(Resources {
                    memory_limit: limit,
                }),
                security: Some(ContainerSecurity {
                    capabilities: Some(Capabilities {
                        drop: vec!["ALL".to_owned()],
                    }),
                    namespaces: Some(namespaces()),
                    user: Some(id.clone()),
                    read_only: true,
                    no_new_privileges: true,
                    group: Some(id),
                    seccomp: Some(Profile::default()),
                }),
            }),
        }
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

    /// How it ended, if it has.
    fn status(&self, patience: Patience) -> Result<Option<Exit>, Failure> {
        let container = Container {
            id: self.container.clone().unwrap_or_default(),
        };
        let answer: StatusAnswer = self
            .shared
            .caller
            .grpc
            .ask(STATUS, container, patience)
            .map_err(|why| self.failed(why))?;
        let status = answer.status.unwrap_or_default();
        Ok((status.state() == State::Exited).then(|| {
            let code = u32::try_from(status.exit_code).unwrap_or(255);
            as_shell(Exit::Status(code))
        }))
    }

    /// The FIFO that containerd made for the container's input.
    fn input(&self) -> io::Result<PathBuf> {
        let id = self.container.as_deref().unwrap_or_default();
        let folder = self.shared.caller.endpoint.folder.as_deref();
        let state = match folder {
            Some(folder) => folder.join("containerd/state"),
            None => "/run/containerd".into(),
        };
        let io = state
            .join("io.containerd.grpc.v1.cri/containers")
            .join(id)
            .join("io");
        for entry in fs::read_dir(&io)?.flatten() {
            let path = entry.path().join(format!("{id}-stdin"));
            if path.exists() {
                return Ok(path);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no FIFO for input in {}", io.display()),
        ))
    }
}

/// Those of a pod in the host's network.
fn namespaces() -> Namespaces {
    Namespaces {
        network: Mode::Node.into(),
        pid: Mode::Container.into(),
        ipc: Mode::Pod.into(),
    }
}

/// The first process of the control group with this path, in whichever hierarchy it is.
fn in_group(path: &Path) -> Option<u32> {
    let groups = EngineGroups::look().ok()?;
    let name = path.strip_prefix(groups.path("")).ok()?;
    groups.all(&name.to_string_lossy()).find_map(|directory| {
        let text = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
        text.lines().find_map(|line| line.parse().ok())
    })
}

impl Running for Instance {
    fn sources(&self) -> Sources<'_> {
        let fifo = self.fifo.as_ref().map(AsFd::as_fd);
        let closed = fifo.filter(|_| self.closed);
        Sources {
            output: fifo.filter(|_| !self.closed),
            noise: None,
            // Without a writer it is "readable" for good.
            ends: [closed, self.start.as_ref().map(Call::done)],
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let Some(fifo) = &mut self.fifo else {
            return Ok(0);
        };
        let n = fifo.read(&mut bytes)?;
        self.closed = n == 0;
        self.log.take_in(&bytes[..n])?;
        match self.log.read(buffer) {
            // Half a line, or one of standard error.
            0 if !self.closed => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn ended(&mut self) -> Result<bool, Failure> {
        let ready = fd::any_readable(self.sources().ends, Duration::ZERO);
        let [closed, started] = ready.map_err(|error| Failure::setup("poll", error))?;
        if started && let Some(start) = self.start.take() {
            start.take().map_err(|why| self.failed(why))?;
        }
        let Some(patience) = self.patience.filter(|_| closed) else {
            return Ok(false);
        };
        while self.exit.is_none() {
            self.exit = self.status(patience)?;
            if self.exit.is_none() {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(true)
    }

    fn wake(&mut self) -> Result<(), Failure> {
        // From now on, however long it was held.
        self.patience = Some(Patience::to_clean_up(CLEAN_UP));
        let woken = self.input().and_then(|path| {
            let mut options = File::options();
            let mut fifo = options
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)?;
            fifo.write_all(b"\n")
        });
        woken.map_err(|error| Failure::setup("wake", error))
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
        self.start = None;
        if let Some(id) = self.container.clone().filter(|_| !self.undoing.is_forsaken) {
            let container = Container { id };
            // One that runs is ended by force.
            self.undo(("remove_container", REMOVE), container, teardown)?;
            self.container = None;
        }
        if let Some(id) = self.sandbox.clone().filter(|_| !self.undoing.is_forsaken) {
            let sandbox = Sandbox { id };
            self.undo(
                ("stop_pod_sandbox", STOP_SANDBOX),
                sandbox.clone(),
                teardown,
            )?;
            self.undo(("remove_pod_sandbox", REMOVE_SANDBOX), sandbox, teardown)?;
            self.sandbox = None;
        }
        self.fifo = None;
        if let Some(folder) = self.folder.take() {
            let removed = teardown.time("fifo_remove", || fs::remove_dir_all(&folder));
            removed.map_err(|e| Failure::Leftover(format!("{}: {e}", folder.display())))?;
        }
        // What a daemon that has gone leaves is removed with its own folder.
        (self.container, self.sandbox) = (None, None);
        Ok(())
    }

    fn processes(&self) -> Result<Vec<u32>, Failure> {
        let group = |id: &Option<String>| {
            let parent = self.shared.caller.endpoint.parent.as_ref()?;
            in_group(&parent.join(id.as_ref()?))
        };
        let unknown = || Failure::setup("processes", io::Error::other("no such control group"));
        let payload = group(&self.container).ok_or_else(unknown)?;
        let pause = group(&self.sandbox).ok_or_else(unknown)?;
        let mut all = pids::with_shim(payload);
        all.push(pause);
        Ok(all)
    }

    fn failure(&mut self, how: EngineEnd) -> EngineFailure {
        self.shared.caller.failure(how)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.folder.is_some() || self.sandbox.is_some() {
            let name = self.name.clone();
            leftover::give_up(self, &name);
        }
    }
}
