//! A new process, from `clone3` to `execve`.
//!
//! The child shares the parent's memory and the parent waits until the child has executed or died
//! (CLONE_VM | CLONE_VFORK, clone(2)): no page tables are copied, and what the child notes (phases,
//! an errno) needs no pipe. This is also what glibc's posix_spawn(3) does.
//!
//! ```text
//!   parent                          child, on its own stack
//!   ──────                          ───────────────────────
//!   clone3 ───────────────────────► first instruction
//!     ┆ suspended (its thread)      step, step, step … noted in the shared log
//!     ┆                             execve ─► the payload        or: errno, exit_group
//!   returns ◄───────────────────────┘
//! ```
//!
//! Handlers never run in the child: CLONE_CLEAR_SIGHAND resets them in the clone itself, so the
//! parent need not block signals around it.
#![allow(unsafe_code)]

use std::arch::asm;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;

use super::dumpable;
use super::perform::{Surroundings, own_table, perform};
use super::pidfd;
use super::program::{Arguments, Descriptors, Op, Program};
use crate::trial::{Failure, PhaseLog};

/// Stack of the child between clone and exec; made once, used by one child at a time.
#[derive(Debug)]
pub struct Stack {
    base: NonNull<libc::c_void>,
}

/// Room for the deepest step several times over, also in a build without optimisation.
const STACK_BYTES: usize = 128 << 10;
/// `linux/sched.h`: beyond the 32 bits of libc's constants.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// As above.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Never accessible: an overflow is a fault and not a corruption of the harness.
const GUARD_BYTES: usize = 4096;

// SAFETY: the mapping belongs to this value alone; nothing in it is tied to a thread.
unsafe impl Send for Stack {}

impl Stack {
    /// Maps a stack with a guard page below it.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new private mapping where the kernel likes; nothing else refers to it.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                GUARD_BYTES + STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self {
            base: NonNull::new(base).ok_or_else(|| io::Error::other("stack at address 0"))?,
        };
        // SAFETY: the first page of the mapping just made.
        Errno::result(unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) })?;
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, unmapped once; a child that used it has executed or died
        // before `spawn` returned.
        unsafe { libc::munmap(self.base.as_ptr(), GUARD_BYTES + STACK_BYTES) };
    }
}

/// A process that has executed its image.
#[derive(Debug)]
pub struct Spawned {
    /// Its id in the harness's pid namespace; only meaningful until it is reaped.
    pub pid: i32,
    /// Its descriptor.
    pub pidfd: OwnedFd,
}

/// Where and how a child is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// `CLONE_NEW*` (namespaces(7)).
    pub namespaces: u64,
    /// Directory of a v2 cgroup that the child is born into (CLONE_INTO_CGROUP).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Whether the child gets a descriptor table with no more in it than it needs. A clone's table
    /// is as large as the parent's highest descriptor asks for, and an exec does not shrink it:
    /// instances held by a harness with many descriptors would take more memory each, the more
    /// there are.
    pub small_table: bool,
}

/// How far the child came.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Still in its steps: if it is gone, something killed it.
    Underway,
    /// About to execute; stays so if that succeeds.
    Executing,
    /// A step refused.
    Refused(&'static str, Errno),
}

struct Shared<'a> {
    program: &'a Program,
    around: Surroundings<'a>,
    /// The first descriptor that is not to be in the child's table, which until then it shares.
    table_end: Option<u32>,
    log: &'a mut PhaseLog,
    progress: Progress,
}

/// Starts a process that carries out `program`. Each step is a phase of `log`; the last one, the
/// exec, is left open.
///
/// # Errors
/// [`Failure::Setup`] with the phase and errno of the step that refused; the child is reaped.
pub fn spawn(
    stack: &mut Stack,
    place: Place<'_>,
    program: &Program,
    descriptors: Descriptors<'_>,
    arguments: &Arguments,
    log: &mut PhaseLog,
) -> Result<Spawned, Failure> {
    let argv = arguments.pointers();
    let envp = arguments.environment_pointers();
    log.open("clone3");
    let mut shared = Shared {
        program,
        around: Surroundings {
            descriptors,
            argv: &argv,
            envp: &envp,
        },
        table_end: place.small_table.then(|| descriptors.end()),
        log,
        progress: Progress::Underway,
    };
    let guard = program.changes_ids().then(dumpable::Guard::new);
    let made = clone_vm(stack, place, &mut shared);
    drop(guard);
    let Shared { log, progress, .. } = shared;
    let refused = |child: Spawned, phase, cause: io::Error| {
        // The child is past its steps or dead: this cannot block for long.
        match pidfd::kill(child.pidfd.as_fd()).and_then(|()| pidfd::reap(child.pidfd.as_fd())) {
            Ok(_) => Failure::setup(phase, cause),
            Err(left) => Failure::Leftover(format!(
                "child {} after {phase} failed ({cause}): {left}",
                child.pid
            )),
        }
    };
    match (made, progress) {
        (Err(errno), _) => Err(Failure::setup("clone3", errno)),
        (Ok(child), Progress::Executing) => Ok(child),
        (Ok(child), Progress::Refused(phase, errno)) => Err(refused(child, phase, errno.into())),
        (Ok(child), Progress::Underway) => {
            let phase = log.current().unwrap_or("clone3");
            let cause = io::Error::other("the child was killed during its set-up");
            Err(refused(child, phase, cause))
        }
    }
}

/// The one call, and the switch to the child's stack.
fn clone_vm(
    stack: &mut Stack,
    place: Place<'_>,
    shared: &mut Shared<'_>,
) -> Result<Spawned, Errno> {
    let mut pidfd: i32 = -1;
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64
        | CLONE_CLEAR_SIGHAND
        | place.namespaces;
    // SAFETY: all-zero bytes are valid `clone_args`: it is plain data, and zero means "unused".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.stack = stack.base.as_ptr() as u64 + GUARD_BYTES as u64;
    arguments.stack_size = STACK_BYTES as u64;
    if place.small_table {
        arguments.flags |= libc::CLONE_FILES as u64;
    }
    if let Some(cgroup) = place.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    let answer: i64;
    // SAFETY:
    // - the parent's thread is suspended until the child has executed or died, so the child alone
    //   uses `shared`, this thread's TLS and `stack` in the meantime (`&mut` proves that nobody
    //   else does), and everything `shared` refers to outlives it;
    // - the child starts at the instruction behind `syscall` with rax = 0, on the top of `stack`,
    //   16-byte aligned, calls `child`, which never returns, and so never runs the code below;
    // - in the parent the kernel preserves every register but rax, rcx and r11; memory may have
    //   been changed by the child, hence no `nomem`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") &raw mut arguments,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") child as *const (),
            in("r13") std::ptr::from_mut(shared),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if answer < 0 {
        return Err(Errno::from_raw(
            i32::try_from(-answer).unwrap_or(libc::EINVAL),
        ));
    }
    Ok(Spawned {
        pid: i32::try_from(answer).unwrap_or(-1),
        // SAFETY: clone3 stored a new close-on-exec descriptor there; nothing else owns it.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    })
}

/// The child. `extern "C"`: a panic, should one get here, aborts it instead of unwinding into a
/// stack that is not its own.
extern "C" fn child(shared: *mut Shared<'_>) -> ! {
    // SAFETY: the pointer comes from `clone_vm`, whose thread is suspended meanwhile.
    let shared = unsafe { &mut *shared };
    let Shared {
        program,
        around,
        table_end,
        log,
        progress,
    } = shared;
    // First of all: a step must not change a table that is the parent's too.
    if let Some(Err(errno)) = table_end.map(own_table) {
        *progress = Progress::Refused("close_range", errno);
        leave();
    }
    for step in program.steps() {
        if log.current() != Some(step.phase) {
            log.close();
            log.open(step.phase);
        }
        if matches!(step.op, Op::Exec(_) | Op::ExecImage) {
            *progress = Progress::Executing;
        }
        if let Err(errno) = perform(&step.op, around) {
            *progress = Progress::Refused(step.phase, errno);
            break;
        }
    }
    leave();
}

/// Ends the child.
fn leave() -> ! {
    loop {
        // SAFETY: ends this process only; the raw call runs no exit handlers of the harness.
        unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    }
}

/// Signals this process ignores (bit n−1 is signal n), which an exec would hand on: Rust's own
/// start-up ignores SIGPIPE, nohup(1) ignores SIGHUP.
#[must_use]
pub fn ignored_signals() -> u64 {
    (1..=64i32)
        .filter(|&signal| {
            // struct kernel_sigaction: handler, flags, restorer, mask. The raw call, since glibc
            // hides the two signals that it uses itself.
            let mut action = [0u64; 4];
            // SAFETY: a null new action only asks; `action` has the layout the kernel writes, and
            // signal sets have eight bytes.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    std::ptr::null::<u64>(),
                    action.as_mut_ptr(),
                    8,
                )
            };
            answer == 0 && action[0] == libc::SIG_IGN as u64
        })
        .fold(0, |set, signal| set | 1 << (signal - 1))
}
