//! Starting one daemon, until it answers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isobench_guardian::MARK;

use super::Facts;
use super::home::Home;
use super::program::Program;
use crate::backend::Unavailable;
use crate::sys::program::{Arguments, Descriptors, Grants, Mount, Op, Program as Steps};
use crate::sys::spawn::{Place, Spawned, Stack, ignored_signals, spawn};
use crate::sys::{fd, interrupt, pidfd};
use crate::trial::PhaseLog;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// As much of its log as an error tells.
const TAIL: u64 = 1 << 10;
/// What a program is looked for in where the harness has no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be started.
pub(super) struct Order<'a> {
    pub name: &'static str,
    pub program: Program,
    pub arguments: Vec<String>,
    pub socket: PathBuf,
    pub ready: fn(&Path) -> io::Result<()>,
    /// Whose mount namespace it is to be in; `None`: a new one. Who mounts a root and who uses it must
    /// see the same mounts.
    pub beside: Option<&'a Daemon>,
    pub remedy: &'static str,
}

/// A daemon that answers.
#[derive(Debug)]
pub struct Daemon {
    facts: Facts,
    log: PathBuf,
    process: Spawned,
}

impl Daemon {
    /// Who it is.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.facts.socket
    }

    /// The end of its log, in one line.
    #[must_use]
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }

    /// Ends it by force and reaps it.
    pub(super) fn end(self) -> io::Result<()> {
        pidfd::kill(self.process.pidfd.as_fd())?;
        pidfd::reap(self.process.pidfd.as_fd()).map(drop)
    }

    /// Leaves it running when the harness ends.
    pub(super) fn leave(self) -> Facts {
        self.facts
    }
}

/// Starts it and waits until it answers. One that does not is ended.
pub(super) fn start(home: &Home, order: Order<'_>) -> Result<Daemon, Unavailable> {
    let log = home.file(&format!("{}.log", order.name));
    let refuse = |what: String| Unavailable {
        reason: format!("{} {what}", order.name),
        remedy: order.remedy.to_owned(),
    };
    let process = launch(home, &order, &log).map_err(|e| refuse(format!("cannot start: {e}")))?;
    let daemon = Daemon {
        facts: Facts {
            name: order.name.to_owned(),
            version: order.program.version,
            pid: process.pid,
            socket: order.socket,
        },
        log,
        process,
    };
    match answer(&daemon, order.ready) {
        Ok(()) => Ok(daemon),
        Err(why) => {
            let words = daemon.last_words();
            // What it has left is removed with its home.
            let _ = daemon.end();
            Err(Unavailable {
                reason: format!("{} {why}; it logged last: {words}", order.name),
                remedy: "see what it logged".to_owned(),
            })
        }
    }
}

fn answer(daemon: &Daemon, ready: fn(&Path) -> io::Result<()>) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let failed = match ready(daemon.socket()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if interrupt::requested().is_some() {
            return Err("was interrupted".to_owned());
        }
        let gone = fd::readable(None, daemon.process.pidfd.as_fd(), PAUSE);
        if gone.is_ok_and(|ready| ready.second) {
            return Err("ended before it was ready".to_owned());
        }
        if Instant::now() >= end {
            let patience = PATIENCE.as_secs();
            return Err(format!("does not answer within {patience} s: {failed}"));
        }
    }
}

/// In a mount namespace of its own (or of another daemon), whose `/run` is empty, and a session of its
/// own.
fn launch(home: &Home, order: &Order<'_>, log: &Path) -> io::Result<Spawned> {
    let mut options = File::options();
    let log = fd::above_standard(options.create(true).append(true).open(log)?.into())?;
    let null = fd::null()?;
    let harness = pidfd::own()?;
    let words: Vec<String> = [order.name.to_owned()]
        .into_iter()
        .chain(order.arguments.iter().cloned())
        .collect();
    let path = std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    let environment = [
        format!("PATH={path}"),
        format!("HOME={}", home.folder().display()),
        format!("TMPDIR={}", home.folder().display()),
        format!("{MARK}={}", home.name()),
    ];
    let descriptors = Descriptors {
        stdin: null.as_fd(),
        stdout: log.as_fd(),
        stderr: log.as_fd(),
        harness: harness.as_fd(),
        image: None,
        grants: Grants {
            passed: [order.beside.map(|d| d.process.pidfd.as_fd()), None, None],
            ..Grants::default()
        },
    };
    let new_mounts = libc::CLONE_NEWNS.cast_unsigned().into();
    let place = Place {
        namespaces: if order.beside.is_some() {
            0
        } else {
            new_mounts
        },
        ..Place::default()
    };
    spawn(
        &mut Stack::new()?,
        place,
        &steps(home, &order.program.path, order.beside.is_some())?,
        descriptors,
        &Arguments::new(&words).with_environment(&environment),
        &mut PhaseLog::new(),
    )
    .map_err(|failure| io::Error::other(failure.to_string()))
}

fn steps(home: &Home, program: &Path, beside: bool) -> io::Result<Steps> {
    use std::os::unix::ffi::OsStrExt;
    let program = std::ffi::CString::new(program.as_os_str().as_bytes())?;
    let private = Mount {
        target: c"/".into(),
        flags: libc::MS_REC | libc::MS_PRIVATE,
        ..Mount::default()
    };
    let run = Mount {
        source: c"isobench".into(),
        target: c"/run".into(),
        kind: c"tmpfs".into(),
        flags: libc::MS_NOSUID | libc::MS_NODEV,
        data: c"mode=755".into(),
    };
    let mut steps = Steps::new();
    steps.push("signals", Op::Signals(ignored_signals()));
    if !home.is_kept() {
        steps.push("parent_death", Op::DieWithParent);
        steps.push("parent_death", Op::ParentLives);
    }
    // Not in the way of Ctrl-C, which ends the run and not what the run cleans up with.
    steps.push("setsid", Op::NewSession);
    steps.push("umask", Op::Umask(0o022));
    if beside {
        steps.push("mounts", Op::JoinMounts);
    } else {
        steps.push("mounts", Op::Mount(Box::new(private)));
        steps.push("mounts", Op::Mount(Box::new(run)));
    }
    steps.push("chdir", Op::Chdir(c"/".into()));
    steps.push("stdio", Op::Stdio);
    steps.push("close_range", Op::CloseOnExec);
    steps.push("execve", Op::Exec(program));
    Ok(steps)
}

/// The end of a log, in one line.
#[must_use]
pub fn tail(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" | ");
    if last.is_empty() {
        "nothing".to_owned()
    } else {
        last
    }
}

/// A file of the home's that cannot be written.
pub(super) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> Unavailable {
    let path = path.display().to_string();
    move |error| Unavailable {
        reason: format!("{path}: {error}"),
        remedy: "see the error".to_owned(),
    }
}
