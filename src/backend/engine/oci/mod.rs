//! `crun`, `runc`, `youki`: a bundle through an OCI runtime, called as a shim calls it.
//!
//! ```text
//!   harness                                     runtime
//!   ───────                                     ───────
//!   bundle: config.json
//!   create ───────────────────────────────────► namespaces, control groups, root; the payload's process
//!                                               waits behind a FIFO; the command ends, the process is
//!                                               now the harness's child (PR_SET_CHILD_SUBREAPER(2const))
//!   start ────────────────────────────────────► opens the FIFO: execve /payload
//!   poll pipe and pidfd ◄────── frames ──────── the payload
//!   wait, delete ─────────────────────────────► control groups, state
//!   bundle_remove
//! ```
//! `:run` has one command instead, which stays until the payload ends.

pub(super) mod bundle;
mod instance;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;

use bundle::Wishes;
use instance::Instance;

use super::command::{Invocation, Patience};
use super::detect::Found;
use super::groups::EngineGroups;
use super::kind::{Lifecycle, OciRuntime};
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Order, Running};
use crate::backend::container::is_privileged;
use crate::backend::services::Services;
use crate::backend::{Limitation, Provided, Unavailable};
use crate::sys::{fd, pidfd};
use crate::trial::{EngineEnd, Failure, PhaseLog};

/// A runtime that was found.
pub struct Oci {
    runtime: OciRuntime,
    lifecycle: Lifecycle,
    found: Found,
    workspace: Rc<Workspace>,
    /// Where the runtime keeps what it knows of its containers.
    state: PathBuf,
    groups: Option<EngineGroups>,
    wishes: Wishes,
    /// Whether it passes over the wish for a filter.
    filterless: bool,
    limitations: Vec<Limitation>,
}

impl Oci {
    /// Looks for the runtime.
    ///
    /// # Errors
    /// It is not there, or there is no place for what it makes.
    pub fn open(
        runtime: OciRuntime,
        lifecycle: Lifecycle,
        provided: &Provided,
        services: &mut Services,
    ) -> Result<Self, Unavailable> {
        let found = match &provided.runtime {
            Some(program) => Found::asked(program.clone(), |asked| asked)?,
            None => Found::engine(&EngineKind::Oci(runtime, lifecycle))?,
        };
        let workspace = services.get(Workspace::new)?;
        let state = workspace
            .folder(runtime.name())
            .map_err(|error| found.unusable(&format!("its folder: {error}"), "free space"))?;
        let mut limitations = workspace.limitations();
        let privileged = is_privileged();
        let groups = if privileged {
            EngineGroups::find(&mut limitations).map_err(|reason| no_group(reason, None))
        } else {
            let reason = "an ordinary user's runtime makes no control groups".to_owned();
            Err(no_group(reason, None))
        };
        let groups = groups
            .map_err(|limitation| limitations.push(limitation))
            .ok();
        let user = (!privileged).then(|| {
            let ids = (nix::unistd::geteuid(), nix::unistd::getegid());
            (ids.0.as_raw(), ids.1.as_raw())
        });
        Ok(Self {
            runtime,
            lifecycle,
            found,
            wishes: Wishes {
                root: workspace.root(),
                group: None,
                seccomp: true,
                user,
            },
            workspace,
            state,
            groups,
            filterless: false,
            limitations,
        })
    }

    /// The runtime with the options that every command takes.
    fn command(&self, name: &str) -> Invocation {
        let mut command = self.found.command().marked(name).with(["--root"]);
        command = command.with([&self.state]);
        if self.groups.is_none() && self.runtime == OciRuntime::Crun {
            command = command.with(["--cgroup-manager=disabled"]);
        }
        command
    }

    fn write_bundle(&self, order: &Order<'_>) -> io::Result<PathBuf> {
        let bundle = self.workspace.folder(order.name)?;
        let wishes = Wishes {
            group: self.groups.as_ref().map(|groups| groups.path(order.name)),
            ..self.wishes.clone()
        };
        let config = bundle::config(order.name, &order.launch.task, &wishes);
        let text = serde_json::to_vec(&config.map_err(io::Error::other)?)?;
        fs::write(bundle.join("config.json"), text)?;
        Ok(bundle)
    }

    /// `create`, then `start`, whose end is not waited for.
    fn create_and_start(
        &self,
        order: &Order<'_>,
        bundle: &std::path::Path,
        log: &mut PhaseLog,
        instance: &mut Instance,
    ) -> Result<(), Failure> {
        let pid_file = bundle.join("pid");
        let command = self
            .command(order.name)
            .with(["create", "--bundle"])
            .with([bundle])
            .with(["--pid-file"])
            .with([&pid_file])
            .with([order.name]);
        let (stdin, stdout) = instance.pipes(order.hold)?;
        log.time("create", || -> Result<(), Failure> {
            // Its child becomes ours when it ends.
            let adopting = Adopting::begin()?;
            let created = instance.create(&command, stdin, stdout, Patience::until(order.deadline));
            drop(adopting);
            created?;
            let payload = pid_of(&pid_file).and_then(|pid| Ok((pid, pidfd::open(pid)?)));
            let (pid, pidfd) = payload
                .map_err(|error| command.failure(EngineEnd::Unreachable(error), String::new()))?;
            instance.adopt(pid, pidfd);
            Ok(())
        })?;
        log.open("start");
        let command = self.command(order.name).with(["start", order.name]);
        instance.start(command.start(Stdio::null(), Stdio::null())?);
        Ok(())
    }

    fn run(
        &self,
        order: &Order<'_>,
        bundle: &std::path::Path,
        log: &mut PhaseLog,
        instance: &mut Instance,
    ) -> Result<(), Failure> {
        let command = self
            .command(order.name)
            .with(["run", "--bundle"])
            .with([bundle])
            .with([order.name]);
        let (stdin, stdout) = instance.pipes(order.hold)?;
        log.open("run");
        instance.run(command.start(stdin, stdout)?);
        Ok(())
    }
}

impl Engine for Oci {
    fn facts(&self) -> EngineFacts {
        let wishes = Wishes {
            group: self.groups.as_ref().map(|groups| groups.path("")),
            ..self.wishes.clone()
        };
        self.found.facts(&bundle::differences(&wishes))
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    fn set_filter(&mut self, on: bool) -> bool {
        self.wishes.seccomp = on && !self.filterless;
        !self.filterless
    }

    /// Runtimes have it as an option of their build, and pass over the wish without.
    fn may_lack_filter(&self) -> bool {
        self.wishes.seccomp
    }

    fn lacks_filter(&mut self) {
        self.wishes.seccomp = false;
        self.filterless = true;
        let remedy = match self.runtime {
            OciRuntime::Youki => "cargo install youki --locked --features v1,seccomp",
            OciRuntime::Crun | OciRuntime::Runc => "a build with libseccomp",
        };
        self.limitations.push(Limitation {
            mechanism: "seccomp",
            reason: "this build of the runtime sets no filter up".to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// A runtime that cannot make control groups here may still run without. Once the payload has begun, they
    /// were there.
    fn compromise(&mut self, failure: &Failure) -> bool {
        if !matches!(failure, Failure::Engine(_)) || self.groups.take().is_none() {
            return false;
        }
        self.limitations
            .push(no_group(failure.to_string(), Some(failure)));
        true
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        let bundle = log
            .time("bundle", || self.write_bundle(order))
            .map_err(|error| Failure::setup("bundle", error))?;
        let mut instance = Instance::new(
            order.name,
            bundle.clone(),
            self.command(order.name),
            self.state.join(order.name),
            self.groups.clone(),
        );
        let started = match self.lifecycle {
            Lifecycle::Steps => self.create_and_start(order, &bundle, log, &mut instance),
            Lifecycle::Run => self.run(order, &bundle, log, &mut instance),
        };
        match started {
            Ok(()) => Ok(Box::new(instance)),
            Err(failure) => {
                instance.give_up();
                Err(failure)
            }
        }
    }
}

/// The harness takes over orphans of its descendants while this lives.
struct Adopting;

impl Adopting {
    fn begin() -> Result<Self, Failure> {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| Failure::setup("subreaper", errno))?;
        Ok(Self)
    }
}

impl Drop for Adopting {
    fn drop(&mut self) {
        // What could be set can be unset.
        let _ = nix::sys::prctl::set_child_subreaper(false);
    }
}

/// The number in a file that the runtime has written.
fn pid_of(file: &std::path::Path) -> io::Result<u32> {
    let text = fd::text(file)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| io::Error::other(format!("{}: no process id", file.display())))
}

fn no_group(reason: String, failure: Option<&Failure>) -> Limitation {
    Limitation {
        mechanism: "cgroup",
        reason,
        remedy: failure
            .and_then(super::remedy)
            .unwrap_or("run as root, on a host whose control groups the runtime can use")
            .to_owned(),
    }
}
