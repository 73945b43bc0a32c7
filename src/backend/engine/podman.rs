//! `podman`: without a daemon, with its monitor conmon and an OCI runtime; with a store of its own, so
//! that the user's is never touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use isobench_guardian::MARK;

use super::command::{Invocation, Patience};
use super::detect::{Found, on_path, path_of};
use super::front::{Front, Remover};
use super::groups::EngineGroups;
use super::workspace::Workspace;
use super::{
    CLEAN_UP, Engine, EngineFacts, EngineKind, Failure, Limitation, Order, PhaseLog, Running,
    leftover,
};
use crate::backend::Unavailable;
use crate::backend::child::Deadline;
use crate::backend::container::cgroup::Limits;
use crate::backend::container::{PAYLOAD_ID, is_privileged, memory_limit};
use crate::backend::services::Services;

/// How long podman may take to make a store.
const FIRST: Duration = Duration::from_secs(20);

/// podman, found.
pub struct Podman {
    found: Found,
    _workspace: Rc<Workspace>,
    folder: PathBuf,
    root: PathBuf,
    /// Everything that says which store it is.
    podman: Invocation,
    groups: Option<EngineGroups>,
    /// Name of what belongs to the run: the group above those of the instances, for an ordinary user the
    /// process that holds the user namespace.
    parent: String,
    /// The runtime to try if podman's own choice cannot run here.
    other_runtime: Option<&'static str>,
    limitations: Vec<Limitation>,
}

impl Podman {
    /// Looks for it.
    ///
    /// # Errors
    /// It is not there, or there is no place for its store.
    pub fn open(services: &mut Services) -> Result<Self, Unavailable> {
        let path = path_of(&EngineKind::Podman)?;
        let workspace = services.get(Workspace::new)?;
        // podman makes directories in a root that it mounts on.
        let prepared = workspace.folder("podman").and_then(|folder| {
            let root = workspace.copy_of_root("podman-root", &[])?;
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&folder, private)?;
            Ok((folder, root, workspace.short()?.join("podman")))
        });
        let (folder, root, short) = prepared.map_err(|error| Unavailable {
            reason: format!("found {}, but {error}", path.display()),
            remedy: "free space".to_owned(),
        })?;
        let privileged = is_privileged();
        // An ordinary user's podman keeps things there, whatever else it is told.
        let at_home = |podman: Invocation| {
            if privileged {
                podman
            } else {
                podman
                    .env("HOME", &short)
                    .env("XDG_RUNTIME_DIR", &short)
                    .env("TMPDIR", &short)
            }
        };
        let found = Found::asked(path, at_home)?;
        let mut limitations = workspace.limitations();
        let groups = privileged
            .then(|| EngineGroups::find(&mut limitations).ok())
            .flatten();
        let podman = at_home(found.command())
            .with([
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
                "--root",
            ])
            .with([short.join("store")])
            // It refuses a name of more than 50 bytes.
            .with(["--runroot"])
            .with([short.join("run")])
            .with(["--tmpdir"])
            .with([short.join("tmp")]);
        let parent = workspace.new_name();
        if !privileged {
            // What podman does first is to start a process that holds the user namespace for all that
            // come: it is the run's and no instance's.
            let first = podman.clone().marked(&parent).with(["ps"]);
            let answer = first.run(Patience::until(Deadline::after(FIRST)));
            answer.map_err(|failure| {
                leftover::end(&parent);
                let remedy = super::remedy(&failure).unwrap_or("see what it printed");
                found.unusable(&failure.to_string(), remedy)
            })?;
        }
        Ok(Self {
            found,
            parent,
            _workspace: workspace,
            folder,
            root,
            podman,
            groups,
            other_runtime: ["runc", "crun"]
                .into_iter()
                .find(|runtime| on_path(runtime).is_some()),
            limitations,
        })
    }
}

impl Engine for Podman {
    fn facts(&self) -> EngineFacts {
        let differences = [
            "its monitor conmon stays beside each instance, and so does podman itself, through which the \
             payload's output comes",
            "its root is a directory that all instances share, with what podman adds (/etc/hosts is left \
             out); all of /proc and /sys are there, with podman's masks",
            "its seccomp filter is podman's default where podman was built with one",
        ];
        self.found.facts(&differences)
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    /// The runtime that podman prefers may not be able to run here, where another one is.
    fn compromise(&mut self, failure: &Failure) -> bool {
        let Some(runtime) = self.other_runtime.take() else {
            return false;
        };
        self.podman = self.podman.clone().with(["--runtime", runtime]);
        self.limitations.push(Limitation {
            mechanism: "runtime",
            reason: format!("with {runtime}, because with podman's own choice: {failure}"),
            remedy: super::remedy(failure)
                .unwrap_or("a runtime that runs on this host")
                .to_owned(),
        });
        true
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let task = &order.launch.task;
        let limits = Limits::with_memory(memory_limit(task));
        let id = self.folder.join(order.name);
        // An ordinary user may have no other id to give than their own, which is 0 inside.
        let user = if is_privileged() { PAYLOAD_ID } else { 0 };
        let mut command = self
            .podman
            .clone()
            .with(["run", "--interactive", "--name", order.name, "--cidfile"])
            .with([&id])
            .with([
                "--network=none",
                "--hostname=isobench",
                "--no-hosts",
                "--passwd=false",
            ])
            .with(["--cap-drop=all", "--security-opt=no-new-privileges"])
            .with([format!("--user={user}:{user}")])
            .with(["--read-only", "--read-only-tmpfs=false", "--systemd=false"])
            // The harness keeps what the payload writes; podman's own limits may be above the host's.
            .with(["--log-driver=none", "--ulimit=nofile=1024:1024"])
            .with(["--ulimit=nproc=1024:1024"])
            .with([format!("--env={MARK}={}", order.name)]);
        if let Some(groups) = &self.groups {
            let parent = groups.path(&self.parent);
            command = command
                .with([format!("--memory={}", limits.memory.0)])
                .with([format!("--pids-limit={}", limits.tasks)])
                .with([format!("--cgroup-parent={}", parent.display())]);
        }
        let command = command
            .with(["--rootfs"])
            .with([&self.root])
            .with(task.argv());
        let remover = Remove {
            podman: self.podman.clone(),
            name: order.name.to_owned(),
            id,
        };
        let front = Front::start(&command, order, log, Box::new(remover))?;
        Ok(Box::new(front))
    }
}

struct Remove {
    podman: Invocation,
    name: String,
    /// The file with podman's own name for it.
    id: PathBuf,
}

impl Remover for Remove {
    fn remove(&mut self, by_force: bool, teardown: &mut PhaseLog) -> Result<(), Failure> {
        // podman's own name for it, which is all that the podman started by the monitor has.
        let id = fs::read_to_string(&self.id).unwrap_or_default();
        let rm = self.podman.clone().marked(&self.name).with(["rm"]);
        let rm = if by_force {
            // Also where podman was ended before it had made a container.
            rm.with(["--force", "--ignore", "--time=0"])
        } else {
            rm
        };
        let removed = teardown.time("rm", || {
            rm.with([&self.name]).run(Patience::to_clean_up(CLEAN_UP))
        });
        // The monitor ends a moment after its container, and what it starts then.
        let is_its = |word: &str| word == self.name || (word == id && !id.is_empty());
        teardown.time("monitor_exit", || leftover::wait(is_its, by_force));
        // There is none where podman was ended before it had made a container.
        let _ = fs::remove_file(&self.id);
        removed.map(drop)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        leftover::end(&self.parent);
        if let Some(groups) = &self.groups {
            groups.sweep(&self.parent);
        }
        // What podman mounts for itself in its store.
        if let Err(error) = isobench_guardian::remove_folder(&self.folder) {
            tracing::error!(path = %self.folder.display(), %error, "podman's store left behind");
        }
    }
}
