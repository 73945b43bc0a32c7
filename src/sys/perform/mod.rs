//! Carries out the steps of a [`Program`](crate::sys::program::Program) in the child. Raw calls
//! only: nothing here allocates, locks or unwinds. glibc's `setuid` family is avoided because it
//! signals every thread of the *parent* (nptl(7)); the raw calls concern the caller alone.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

mod mounts;
mod network;

use super::program::{Descriptors, Op};

type Done = Result<(), Errno>;

/// Everything of one trial that the steps refer to.
pub(super) struct Surroundings<'a> {
    pub descriptors: Descriptors<'a>,
    /// `argv`, closed by a null.
    pub argv: &'a [*const libc::c_char],
    /// `envp`, closed by a null.
    pub envp: &'a [*const libc::c_char],
}

/// Carries out one step.
pub(super) fn perform(op: &Op, around: &Surroundings<'_>) -> Done {
    let fds = &around.descriptors;
    match op {
        Op::DieWithParent => prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize),
        Op::ParentLives => parent_lives(fds.harness.as_raw_fd()),
        Op::Signals(ignored) => signals(*ignored),
        Op::Stdio => {
            dup(fds.stdin.as_raw_fd(), 0)?;
            dup(fds.stdout.as_raw_fd(), 1)?;
            dup(fds.stderr.as_raw_fd(), 2)
        }
        Op::Write(path, bytes) => put(path, libc::O_WRONLY, 0, bytes),
        Op::JoinCgroups => {
            for tasks in fds.grants.cgroups.iter().flatten() {
                write_once(tasks.as_raw_fd(), b"0")?;
            }
            Ok(())
        }
        // SAFETY: none of the flags used share memory: the call touches kernel state only.
        Op::Unshare(flags) => done(unsafe { libc::unshare(*flags) }),
        Op::JoinMounts => {
            let [process, ..] = fds.grants.passed;
            let process = process.ok_or(Errno::EBADF)?.as_raw_fd();
            // SAFETY: takes integers; the caller shares its memory, but not its file system context,
            // which is all that the call changes.
            done(unsafe { libc::setns(process, libc::CLONE_NEWNS) })
        }
        Op::Mount(mount) => mounts::mount(mount),
        Op::MountWithin(mount) => mounts::mount_within(mount),
        Op::BindDirectory {
            source,
            target,
            attributes,
        } => mounts::bind_directory(source, target, *attributes),
        Op::Enter(directory) => mounts::enter(directory),
        // SAFETY: `path` is NUL-terminated.
        Op::Chdir(path) => done(unsafe { libc::chdir(path.as_ptr()) }),
        Op::Umask(mask) => {
            // SAFETY: takes an integer, cannot fail.
            unsafe { libc::umask(*mask) };
            Ok(())
        }
        // SAFETY: `path` is NUL-terminated.
        Op::Mkdir(path, mode) => done(unsafe { libc::mkdir(path.as_ptr(), *mode) }),
        Op::Mknod(path, mode, device) => {
            // SAFETY: `path` is NUL-terminated.
            done(unsafe { libc::mknod(path.as_ptr(), *mode, *device) })
        }
        Op::BindDevice {
            source,
            target,
            device,
        } => mounts::bind_device(source, target, *device),
        Op::Create(path, mode, bytes) => put(
            path,
            libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL,
            *mode,
            bytes,
        ),
        Op::PivotRoot => {
            // SAFETY: both paths are NUL-terminated literals.
            done64(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
        }
        Op::UnmountOldRoot => {
            // SAFETY: the path is a NUL-terminated literal.
            done(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) })
        }
        Op::AtRoot => at_root(),
        // SAFETY: the pointer is valid for the length given with it.
        Op::HostName(name) => done(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }),
        Op::LoopbackUp => network::loopback_up(),
        Op::HostNetwork(message) => network::tell_host(message, fds.grants.network.as_ref()),
        Op::AskAgent => network::ask_agent(fds.grants.network.as_ref(), fds.harness.as_raw_fd()),
        Op::OwnNetwork { message, interface } => {
            network::tell_own(message, interface, fds.grants.network.as_ref())
        }
        // SAFETY: takes nothing.
        Op::NewSession => done(unsafe { libc::setsid() }),
        Op::NoCoreDump => {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: `none` outlives the call.
            done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })
        }
        Op::EmptyBoundingSet(last) => {
            (0..=*last).try_for_each(|cap| prctl(libc::PR_CAPBSET_DROP, cap as usize))
        }
        Op::SetIds(id) => set_ids(*id),
        Op::EmptyCapabilities => empty_capabilities(),
        Op::NoNewPrivileges => prctl(libc::PR_SET_NO_NEW_PRIVS, 1),
        Op::Seccomp(filter) => seccomp(filter),
        // SAFETY: the request takes no other argument and touches no memory.
        Op::TraceMe => done64(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }),
        Op::Pass => {
            for fd in fds.grants.passed.iter().flatten() {
                // SAFETY: takes integers and touches no memory.
                done(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) })?;
            }
            Ok(())
        }
        // SAFETY: the call marks descriptors and touches no memory.
        Op::CloseOnExec => done64(unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        }),
        Op::Exec(path) => execute(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW, around),
        Op::ExecImage => {
            let image = fds.image.ok_or(Errno::EBADF)?;
            execute(image.as_raw_fd(), c"", libc::AT_EMPTY_PATH, around)
        }
    }
}

/// Ends the sharing of the descriptor table (CLONE_FILES): a copy of what is below `end`
/// (CLOSE_RANGE_UNSHARE, close_range(2)).
pub(super) fn own_table(end: u32) -> Done {
    // SAFETY: the call leaves the shared table to the parent and touches no memory.
    done64(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            end,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    })
}

fn done(answer: i32) -> Done {
    Errno::result(answer).map(drop)
}

fn done64(answer: i64) -> Done {
    Errno::result(answer).map(drop)
}

/// prctl(2) for the options that take one integer and no pointer.
fn prctl(option: i32, argument: usize) -> Done {
    // SAFETY: the options passed here take integers only; unused arguments are 0, as some demand.
    done(unsafe { libc::prctl(option, argument, 0usize, 0usize, 0usize) })
}

/// ESRCH if the harness has ended. `getppid` cannot tell inside a new pid namespace.
fn parent_lives(harness: RawFd) -> Done {
    let mut set = libc::pollfd {
        fd: harness,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `set` is one initialised entry.
    match Errno::result(unsafe { libc::poll(&raw mut set, 1, 0) })? {
        0 => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// Size in bytes of the kernel's signal set on x86-64 (`_NSIG / 8`).
const SIGNAL_SET: usize = 8;

fn signals(ignored: u64) -> Done {
    let mut rest = ignored;
    while rest != 0 {
        let signal = rest.trailing_zeros() + 1;
        rest &= rest - 1;
        // struct kernel_sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
        let default = [0u64; 4];
        // SAFETY: `default` has the layout and size the kernel reads; no old action is asked for.
        done64(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGNAL_SET,
            )
        })?;
    }
    let empty = 0u64;
    // SAFETY: `empty` is a kernel signal set of `SIGNAL_SET` bytes; no old mask is asked for.
    done64(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            std::ptr::null_mut::<u64>(),
            SIGNAL_SET,
        )
    })
}

fn dup(from: RawFd, to: RawFd) -> Done {
    // SAFETY: takes integers; `to` is this process's own standard descriptor.
    done(unsafe { libc::dup3(from, to, 0) })
}

fn open(path: &CStr, flags: i32, mode: u32) -> Result<RawFd, Errno> {
    // SAFETY: `path` is NUL-terminated.
    Errno::result(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) })
}

fn close(fd: RawFd) {
    // SAFETY: the callers close what they opened. There is nothing to do about an error.
    unsafe { libc::close(fd) };
}

/// One write(2) that must take everything.
fn write_once(fd: RawFd, bytes: &[u8]) -> Done {
    // SAFETY: `bytes` is readable for its length.
    let written = Errno::result(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })?;
    if written.cast_unsigned() == bytes.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

fn put(path: &CStr, flags: i32, mode: u32, bytes: &[u8]) -> Done {
    let fd = open(path, flags, mode)?;
    let written = write_once(fd, bytes);
    close(fd);
    written
}

/// The raw call: glibc's getcwd(3) would search for a way to an unreachable directory.
fn at_root() -> Done {
    // Anything longer than "/" and its NUL is refused, with ERANGE or here.
    let mut path = [0u8; 2];
    // SAFETY: the kernel writes at most the length given with the pointer.
    let len =
        Errno::result(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) });
    match len {
        Ok(_) if path == *b"/\0" => Ok(()),
        _ => Err(Errno::ENOTDIR),
    }
}

fn set_ids(id: u32) -> Done {
    // SAFETY: an empty list: the pointer is not read. The raw call concerns the caller alone.
    done64(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) })?;
    // SAFETY: three integers; the raw call concerns the caller alone.
    done64(unsafe { libc::syscall(libc::SYS_setresgid, id, id, id) })?;
    // SAFETY: as above.
    done64(unsafe { libc::syscall(libc::SYS_setresuid, id, id, id) })
}

/// `_LINUX_CAPABILITY_VERSION_3` (`linux/capability.h`): two 32-bit halves of each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn empty_capabilities() -> Done {
    let header = [CAPABILITY_VERSION_3, 0];
    let sets = [0u32; 6];
    // SAFETY: header (version, pid 0 = caller) and two triples of sets, as version 3 reads them.
    done64(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
}

fn seccomp(filter: &seccompiler::BpfProgram) -> Done {
    // seccompiler's `sock_filter` and the kernel's are the same eight bytes (both repr(C)).
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` points at `len` instructions, which the kernel copies and checks.
    done64(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
}

/// Returns only on failure.
fn execute(directory: RawFd, path: &CStr, flags: i32, around: &Surroundings<'_>) -> Done {
    // SAFETY: `path` is NUL-terminated; `argv` and `envp` are closed by a null each. On success this
    // call does not return.
    done64(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            directory,
            path.as_ptr(),
            around.argv.as_ptr(),
            around.envp.as_ptr(),
            flags,
        )
    })
}
