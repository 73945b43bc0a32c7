//! What a process does to itself, by the same steps that a launched one does before its exec.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use super::perform::{Surroundings, perform};
use super::program::{Descriptors, Grants, Program};
use crate::trial::{Failure, PhaseLog};

/// Carries out every step in the calling process, which has no other thread; each is a phase of `log`.
/// `harness` is what [`Op::ParentLives`](super::program::Op::ParentLives) looks at.
///
/// # Errors
/// [`Failure::Setup`] with the phase and errno of the step that was refused. Steps before it stay done.
pub fn carry_out(
    program: &Program,
    harness: BorrowedFd<'_>,
    log: &mut PhaseLog,
) -> Result<(), Failure> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let around = Surroundings {
        descriptors: Descriptors {
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            harness,
            image: None,
            grants: Grants::default(),
        },
        argv: &[std::ptr::null()],
        envp: &[std::ptr::null()],
    };
    for step in program.steps() {
        if log.current() != Some(step.phase) {
            log.close();
            log.open(step.phase);
        }
        perform(&step.op, &around).map_err(|errno| Failure::setup(step.phase, errno))?;
    }
    log.close();
    Ok(())
}

/// Ends this process at once: no destructor, no handler (`exit_group`, _exit(2)).
pub fn leave(status: u8) -> ! {
    // SAFETY: ends the process; takes an integer.
    unsafe { libc::_exit(i32::from(status)) }
}
