//! Escape attempts from inside a container. Each is tried three times: in the full container, where
//! the seccomp filter ends it; without the filter, where the layer beneath must refuse it by itself;
//! and in a container that lacks what refuses, where it must succeed, or it would prove nothing.
//!
//! Nothing here does harm where it succeeds: files are opened and not written to, mounts are made in
//! the container's own mount namespace, signals are signal 0, and what would end the host (kexec,
//! modules, reboot) has arguments that the kernel refuses right after it has checked the permission.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests state expectations, too.

mod stage;

#[path = "attacks/files.rs"]
mod files;
#[path = "attacks/kernel.rs"]
mod kernel;
#[path = "attacks/others.rs"]
mod others;
#[path = "attacks/script.rs"]
mod script;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use isobench::backend::Backend;
use isobench::backend::container::Container;
use isobench::backend::container::mechanism::Mechanism::{self, *};
use isobench::backend::container::mechanism::Mechanisms;
use isobench::backend::container::options::{Options, Root};
use isobench::backend::process::Process;
use isobench::trial::Failure;
use isobench::workload::Workload;
use script::{Arg, Call, SUCCEEDED, program, sys};
use stage::{INNER, alone, container, grouped, launch};

/// What became of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The seccomp filter ended it (SIGSYS).
    Killed,
    /// A call was refused with this errno.
    Refused(i32),
    /// Every call succeeded.
    Succeeded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("SIGSYS"),
            Self::Refused(errno) => write!(f, "{:?}", nix::errno::Errno::from_raw(*errno)),
            Self::Succeeded => f.write_str("succeeds"),
        }
    }
}

fn outcome(backend: &mut dyn Backend) -> Outcome {
    match backend.trial(&launch(Workload::Noop)).unwrap_err() {
        Failure::Signal(libc::SIGSYS) => Outcome::Killed,
        Failure::Status(status) if status == u32::from(SUCCEEDED) => Outcome::Succeeded,
        Failure::Status(errno) => Outcome::Refused(errno.try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// How an attack is shown to be one.
#[derive(Clone, Debug)]
enum Control {
    /// It succeeds without these mechanisms.
    Without(&'static [Mechanism]),
    /// Without these the permission is checked and given, and the arguments are then refused.
    Past(&'static [Mechanism], i32),
    /// It succeeds as soon as the filter is gone: nothing else refuses it.
    OnlySeccomp,
    /// Nobody here can do it; why.
    Impossible(&'static str),
}

/// Why an ordinary user's payload has no capability to try it with.
const NO_CAPABILITY: Control =
    Control::Impossible("no capability survives the exec of a payload that is not uid 0 inside");

/// One attack.
#[derive(Clone, Debug)]
struct Attack {
    name: &'static str,
    /// What brings it into position, where that is possible. Not done in the full container.
    prepare: Vec<Call>,
    /// What must be refused.
    calls: Vec<Call>,
    /// With what, where there is no filter.
    refused: i32,
    /// For root.
    root: Control,
    /// For an ordinary user.
    user: Control,
}

impl Attack {
    fn program(&self, prepared: bool) -> Vec<u8> {
        let mut calls: Vec<Call> = Vec::new();
        if prepared {
            calls.extend(self.prepare.iter().cloned().map(Call::or_not));
        }
        calls.extend(self.calls.clone());
        program(&calls)
    }

    fn control(&self) -> &Control {
        if stage::is_root() {
            &self.root
        } else {
            &self.user
        }
    }
}

/// What an attack is tried in.
struct Target {
    /// Whether control groups can be made.
    grouped: bool,
}

impl Target {
    fn outcome(&self, elf: &[u8], without: &[Mechanism]) -> Outcome {
        self.outcome_on(None, elf, without)
    }

    /// The same on this kind of root, or on none of its own or the default.
    fn outcome_on(&self, root: Option<Root>, elf: &[u8], without: &[Mechanism]) -> Outcome {
        let mut mechanisms = without
            .iter()
            .fold(Mechanisms::DEFAULT, |all, one| all.without(*one));
        if !self.grouped {
            mechanisms = mechanisms.without(Cgroup);
        }
        let bare = Options::of(mechanisms);
        let options = root.map_or(bare, |root| bare.rooted(root));
        outcome(&mut Container::with_payload(options, elf).unwrap())
    }

    /// Tries one attack and says what came of it.
    fn attempt(&self, attack: &Attack) {
        let name = attack.name;
        let full = self.outcome(&attack.program(false), &[]);
        assert_eq!(full, Outcome::Killed, "{name}, in the full container");
        let whole = attack.program(true);
        let beneath = self.outcome(&whole, &[Seccomp]);
        for root in [Root::Bind, Root::Overlay] {
            let other = self.outcome_on(Some(root), &whole, &[Seccomp]);
            assert_eq!(other, beneath, "{name}, on {root:?}");
        }
        let (without, expected) = match attack.control() {
            Control::OnlySeccomp => (&[Seccomp][..], Outcome::Succeeded),
            Control::Without(without) => (*without, Outcome::Succeeded),
            Control::Past(without, errno) => (*without, Outcome::Refused(*errno)),
            Control::Impossible(_) => (&[Seccomp][..], Outcome::Refused(attack.refused)),
        };
        let control = self.outcome(&whole, without);
        if [libc::ENOSYS, libc::EAFNOSUPPORT]
            .map(Outcome::Refused)
            .contains(&control)
        {
            println!("skipped: {name}: this kernel has no such call");
            return;
        }
        assert_eq!(control, expected, "{name}: the control");
        match attack.control() {
            Control::OnlySeccomp => println!("{name}: {full}; nothing else refuses it"),
            Control::Impossible(why) => {
                println!("{name}: {full}; without seccomp {beneath}; no control: {why}");
            }
            Control::Without(_) | Control::Past(..) => {
                assert_eq!(beneath, Outcome::Refused(attack.refused), "{name}");
                println!("{name}: {full}; without seccomp {beneath}; control {control}");
            }
        }
    }

    /// The container, or `None` with the reason on standard output.
    fn find(test: &str) -> Option<Self> {
        let container = container(test)?;
        Some(Self {
            grouped: grouped(&container),
        })
    }
}

/// A program run as a bare process, to put a canary out or to take it in again.
fn unconfined(calls: &[Call]) -> Outcome {
    outcome(&mut Process::with_payload(&program(calls)).unwrap())
}

/// A file of the host that no container may see; anybody on the host may read it.
fn canary() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("canary");
    fs::write(&path, "canary").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn programs_of_calls_say_which_errno_they_met() {
    let open = |path: &str| sys!(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY);
    assert_eq!(unconfined(&[open("/")]), Outcome::Succeeded);
    assert_eq!(
        unconfined(&[open("/nowhere")]),
        Outcome::Refused(libc::ENOENT)
    );
    let passed = [
        open("/nowhere").or_not(),
        open("/dev/null"),
        sys!(libc::SYS_fcntl, Arg::Earlier(1), libc::F_GETFD),
    ];
    assert_eq!(unconfined(&passed), Outcome::Succeeded);
    let after = [open("/"), sys!(libc::SYS_fcntl, 99, libc::F_GETFD)];
    assert_eq!(unconfined(&after), Outcome::Refused(libc::EBADF));
}
