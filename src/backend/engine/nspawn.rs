//! `nspawn`: systemd-nspawn on a directory, without systemd around it.

use std::path::Path;
use std::rc::Rc;

use isobench_guardian::MARK;

use super::command::Invocation;
use super::detect::Found;
use super::front::{Front, Remover};
use super::groups::EngineGroups;
use super::workspace::Workspace;
use super::{Engine, EngineFacts, EngineKind, Failure, Limitation, Order, PhaseLog, Running};
use crate::backend::Unavailable;
use crate::backend::container::is_privileged;
use crate::backend::services::Services;
use crate::sys::pidfd::Exit;

/// systemd-nspawn, found.
pub struct Nspawn {
    found: Found,
    _workspace: Rc<Workspace>,
    command: Invocation,
    groups: EngineGroups,
    limitations: Vec<Limitation>,
}

impl Nspawn {
    /// Looks for it.
    ///
    /// # Errors
    /// It is not there, or the user is not root.
    pub fn open(services: &mut Services) -> Result<Self, Unavailable> {
        let found = Found::engine(&EngineKind::Nspawn)?;
        if !is_privileged() {
            return Err(found.unusable("only root may use it", "run as root"));
        }
        let workspace = services.get(Workspace::new)?;
        // It wants to see an operating system, of which /usr is enough, and what it mounts on.
        let root = workspace
            .copy_of_root("nspawn-root", &["usr", "sys", "run", "tmp"])
            .map_err(|error| found.unusable(&error.to_string(), "free space"))?;
        let mut limitations = workspace.limitations();
        let groups = EngineGroups::of_systemd(&mut limitations)
            .map_err(|why| found.unusable(&why, "mount the control groups"))?;
        let command = found
            .command()
            .with(["--pipe", "--read-only", "--directory"])
            .with([&root])
            .with(["--private-network", "--register=no", "--keep-unit"])
            .with(["--timezone=off", "--resolv-conf=off", "--link-journal=no"])
            .with(["--drop-capability=all", "--no-new-privileges=yes"])
            .with(["--hostname=isobench"]);
        Ok(Self {
            found,
            _workspace: workspace,
            command,
            groups,
            limitations,
        })
    }
}

/// Enters the groups that are named up to `--`, and becomes what is named behind it. nspawn puts itself
/// and its payload into groups of fixed names below the one that it is started in
/// (`create_subcgroup` in `nspawn-cgroup.c`), and leaves them there: so it is started in one that has our
/// name.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 125; shift; done
shift; exec "$@""#;

impl Engine for Nspawn {
    fn facts(&self) -> EngineFacts {
        let differences = [
            "the payload is user 0 of the host's user namespace, without capabilities",
            "it has no limits; a shell puts nspawn into a group of its own before it starts",
            "its seccomp filter is nspawn's list of what is refused, with EPERM",
            "its root is a directory that all instances share, read-only, with /usr and with what nspawn \
             mounts (/sys, /run, /tmp, all of /proc)",
            "nspawn itself stays beside each instance",
        ];
        self.found.facts(&differences)
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.limitations.clone()
    }

    fn start(
        &mut self,
        order: &Order<'_>,
        log: &mut PhaseLog,
    ) -> Result<Box<dyn Running>, Failure> {
        log.time("cgroup_create", || self.groups.create(order.name))
            .map_err(|error| Failure::setup("cgroup_create", error))?;
        let command = Invocation::of(Path::new("/bin/sh"))
            .with(["-c", ENTER, "sh"])
            .with(self.groups.directories(order.name))
            .with(["--"])
            .with(self.command.words())
            .with(["--machine", order.name])
            .with([format!("--setenv={MARK}={}", order.name)])
            .with(order.launch.task.argv());
        let remover = Remove {
            groups: self.groups.clone(),
            name: order.name.to_owned(),
        };
        let front = Front::start(&command, order, log, Box::new(remover))?;
        Ok(Box::new(front))
    }
}

struct Remove {
    groups: EngineGroups,
    name: String,
}

/// The signal that nspawn says ended the payload.
fn signal_of(printed: &str) -> Option<i32> {
    let (_, behind) = printed.rsplit_once(" terminated by signal ")?;
    let name = behind.split(['.', ' ']).next()?;
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    Some(signal as i32)
}

impl Remover for Remove {
    /// nspawn has status 1 for every payload that was ended by a signal, and says which one.
    fn payload_exit(&self, exit: Exit, printed: &str) -> Exit {
        match (exit, signal_of(printed)) {
            (Exit::Status(1), Some(signal)) => Exit::Signal(signal),
            _ => exit,
        }
    }

    fn goes_silently(&self) -> bool {
        true
    }

    fn remove(&mut self, _: bool, teardown: &mut PhaseLog) -> Result<(), Failure> {
        teardown.time("cgroup_remove", || self.groups.sweep(&self.name));
        match self.groups.left(&self.name) {
            None => Ok(()),
            Some(path) => Err(Failure::Leftover(path.display().to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_is_read_from_what_nspawn_says() {
        let said = "Spawning container x on /r. | Container x terminated by signal SYS.";
        assert_eq!(signal_of(said), Some(libc::SIGSYS));
        assert_eq!(signal_of("Container x exited successfully."), None);
        assert_eq!(signal_of("Container x terminated by signal 99."), None);
    }
}
