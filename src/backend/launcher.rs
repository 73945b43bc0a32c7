//! What `process` and `container` prepare once, and how both start the payload with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::backend::Unavailable;
use crate::backend::child::Child;
use crate::sys::program::{Arguments, Descriptors, Grants, Program};
use crate::sys::spawn::{Place, Stack, spawn};
use crate::sys::{fd, pidfd};
use crate::trial::{Failure, Launch, PhaseLog};
use crate::workload::{Task, Workload};

/// A program to carry out in a child, and the descriptors every child gets.
#[derive(Debug)]
pub struct Launcher {
    image: Option<OwnedFd>,
    null: OwnedFd,
    harness: OwnedFd,
    stack: Stack,
    program: Program,
    traced: Option<Program>,
}

impl Launcher {
    /// Opens what every start needs. `image` is what [`crate::sys::program::Op::ExecImage`] runs.
    ///
    /// # Errors
    /// Which of it cannot be had.
    pub fn new(program: Program, image: Option<OwnedFd>) -> Result<Self, Unavailable> {
        let because = |what: &'static str| move |error: io::Error| refusal(what, &error);
        Ok(Self {
            image,
            null: fd::null().map_err(because("no usable /dev/null"))?,
            harness: pidfd::own().map_err(because("no pidfd_open"))?,
            stack: Stack::new().map_err(because("no memory for a stack"))?,
            program,
            traced: None,
        })
    }

    /// From now on starts payloads that this thread traces, or no more.
    pub fn trace(&mut self, on: bool) {
        self.traced = on.then(|| self.program.traced());
    }

    /// Starts a program that talks on its standard output, told what to do through its standard input,
    /// with a standard error and descriptors of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_service(
        &mut self,
        arguments: &Arguments,
        place: Place<'_>,
        (stderr, passed): (BorrowedFd<'_>, [Option<BorrowedFd<'_>>; 2]),
        cgroups: [Option<BorrowedFd<'_>>; 3],
        log: &mut PhaseLog,
    ) -> Result<Child, Failure> {
        let pipes = log.time("pipe", || Ok((fd::pipe()?, fd::pipe()?)));
        let ((child_stdin, stdin), (stdout, child_stdout)) =
            pipes.map_err(|e: io::Error| Failure::setup("pipe", e))?;
        let harness = self.harness.as_fd();
        let [first, second] = passed;
        let descriptors = Descriptors {
            stdin: child_stdin.as_fd(),
            stdout: child_stdout.as_fd(),
            stderr,
            harness,
            image: self.image.as_ref().map(AsFd::as_fd),
            grants: Grants {
                passed: [first, second, Some(harness)],
                cgroups,
                ..Grants::default()
            },
        };
        let (stack, program) = (&mut self.stack, &self.program);
        let spawned = spawn(stack, place, program, descriptors, arguments, log)?;
        Ok(Child::new(spawned, Some(stdin), stdout))
    }

    /// pidfd of the harness, which a service can pass to [`crate::sys::program::Op::ParentLives`].
    #[must_use]
    pub fn harness(&self) -> BorrowedFd<'_> {
        self.harness.as_fd()
    }

    /// Starts the payload. With `hold` its input is a pipe that it can wait on, else `/dev/null`,
    /// where a wait ends at once.
    ///
    /// # Errors
    /// The step that refused; nothing is left of the child.
    pub fn start(
        &mut self,
        arguments: &Arguments,
        place: Place<'_>,
        grants: Grants<'_>,
        hold: bool,
        log: &mut PhaseLog,
    ) -> Result<Child, Failure> {
        let pipes = log.time("pipe", || -> io::Result<_> {
            let stdin = if hold { Some(fd::pipe()?) } else { None };
            Ok((stdin, fd::pipe()?))
        });
        let (stdin, (stdout, child_stdout)) = pipes.map_err(|e| Failure::setup("pipe", e))?;
        let (child_stdin, stdin) = stdin.unzip();
        let descriptors = Descriptors {
            stdin: child_stdin.as_ref().unwrap_or(&self.null).as_fd(),
            stdout: child_stdout.as_fd(),
            stderr: self.null.as_fd(),
            harness: self.harness.as_fd(),
            image: self.image.as_ref().map(AsFd::as_fd),
            grants,
        };
        let spawned = spawn(
            &mut self.stack,
            place,
            self.traced.as_ref().unwrap_or(&self.program),
            descriptors,
            arguments,
            log,
        )?;
        Ok(Child::new(spawned, stdin, stdout))
    }
}

/// The payload as an executable memory file, for [`crate::sys::program::Op::ExecImage`].
///
/// # Errors
/// Memory files cannot be made, or not executed, here.
pub(crate) fn image(bytes: &[u8]) -> Result<OwnedFd, Unavailable> {
    fd::sealed_memory(c"payload", bytes)
        .map_err(|e| refusal("no executable memory file (memfd_create)", &e))
}

/// The cheapest launch there is, to find out whether launching works.
pub(crate) fn probe() -> Launch {
    Launch {
        task: Task {
            workload: Workload::Noop,
            size: 0,
            reps: 1,
        },
        deadline: std::time::Duration::from_secs(10),
    }
}

pub(crate) fn refusal(what: &str, error: &io::Error) -> Unavailable {
    let remedy = error.raw_os_error().and_then(shortage);
    let remedy = remedy.unwrap_or(match error.raw_os_error() {
        Some(libc::EACCES) => "sysctl -w vm.memfd_noexec=0",
        Some(libc::ENOSYS) => "Linux 5.11 or newer is needed",
        _ => "see the error",
    });
    Unavailable {
        reason: format!("{what}: {error}"),
        remedy: remedy.to_owned(),
    }
}

/// What helps where a resource has run out, whatever was asked for it.
pub(crate) fn shortage(errno: i32) -> Option<&'static str> {
    match errno {
        libc::EMFILE => Some("raise the limit of open files (ulimit -n)"),
        libc::ENFILE => Some("raise the system's limit of open files (sysctl fs.file-max)"),
        libc::EAGAIN => {
            Some("raise the limits of processes (ulimit -u, pids.max of the control group)")
        }
        libc::ENOMEM => Some("free memory, or raise its limit (ulimit -v)"),
        _ => None,
    }
}
