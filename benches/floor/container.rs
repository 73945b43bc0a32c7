//! The floors of `process` and of every `container`: the barest system calls that the same set of
//! mechanisms cannot do without, as a straight line. What a backend takes beyond its floor is its
//! own overhead.
//!
//! Left out is what isolates further but belongs to no mechanism: the death with the parent, session,
//! rlimit, umask, the payload's signals, its host name, a read-only root, closed descriptors. Runs as
//! root only.
#![allow(unsafe_code)]

use std::arch::asm;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;

use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::host::cgroup::Hierarchies;
use isobench::sys::{clock, fd};
use isobench::workload::payload;
use isobench_abi::{FRAME_BYTES, Frame, Message};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// One launch of the floor, in ticks of the time-stamp counter.
#[derive(Clone, Copy, Debug)]
pub struct FloorSample {
    /// `t1 − t0`: from before the first system call to the payload's first instruction.
    pub start: i64,
    /// `t5 − t4`: from the observed exit until nothing is left.
    pub teardown: i64,
}

/// What a floor prepares once.
pub struct Floor {
    mechanisms: Mechanisms,
    last_capability: u32,
    image: OwnedFd,
    null: OwnedFd,
    filter: BpfProgram,
    /// Files to make and to write to, in order; empty without a cgroup.
    groups: Vec<Group>,
    stack: Box<[u128]>,
}

struct Group {
    directory: CString,
    /// Limit file and value.
    limits: Vec<(CString, &'static [u8])>,
    /// v1: `tasks`; v2: the directory, to be born into.
    entry: CString,
    v2: bool,
}

impl Floor {
    /// Prepares the payload, the filter and the names of the cgroup. Without any mechanism it is
    /// the floor of `process`: clone with shared memory, exec.
    pub fn new(mechanisms: Mechanisms) -> io::Result<Self> {
        // The same allowlist as the backend's (src/backend/container/confine.rs).
        let calls = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_mmap,
            libc::SYS_getppid,
            libc::SYS_exit_group,
            libc::SYS_execveat,
        ];
        let filter = SeccompFilter::new(
            calls.into_iter().map(|call| (call, Vec::new())).collect(),
            SeccompAction::KillProcess,
            SeccompAction::Allow,
            TargetArch::x86_64,
        )
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)?;
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        Ok(Self {
            mechanisms,
            last_capability: last.trim().parse().map_err(io::Error::other)?,
            image: fd::sealed_memory(c"floor", payload::BYTES)?,
            null: fd::null()?,
            filter,
            groups: if mechanisms.has(Mechanism::Cgroup) {
                groups()?
            } else {
                Vec::new()
            },
            stack: vec![0; (64 << 10) / 16].into_boxed_slice(),
        })
    }

    /// One launch of `noop`.
    pub fn start(&mut self) -> io::Result<FloorSample> {
        let argv = [
            c"/payload".as_ptr(),
            c"noop".as_ptr(),
            c"0".as_ptr(),
            c"1".as_ptr(),
            null(),
        ];
        let t0 = clock::now();
        let mut entries = [-1; 2];
        let mut birthplace = -1;
        for (group, entry) in self.groups.iter().zip(&mut entries) {
            // SAFETY: every path is NUL-terminated and every buffer as long as told.
            unsafe {
                check(libc::mkdir(group.directory.as_ptr(), 0o755))?;
                for (file, value) in &group.limits {
                    put(file, libc::O_WRONLY, 0, value)?;
                }
                let flags = if group.v2 {
                    libc::O_DIRECTORY
                } else {
                    libc::O_WRONLY
                };
                let opened = libc::open(group.entry.as_ptr(), flags | libc::O_CLOEXEC);
                check(opened)?;
                if group.v2 {
                    birthplace = opened;
                } else {
                    *entry = opened;
                }
            }
        }
        let mut ends = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
        let mut child = Child {
            mechanisms: self.mechanisms,
            last_capability: self.last_capability,
            image: self.image.as_fd().as_raw_fd(),
            null: self.null.as_fd().as_raw_fd(),
            stdout: ends[1],
            entries,
            filter: &self.filter,
            argv: argv.as_ptr(),
            errno: 0,
            line: 0,
        };
        let pid = clone(&mut self.stack, birthplace, &mut child)?;
        if child.errno != 0 {
            let cause = io::Error::from_raw_os_error(child.errno);
            return Err(io::Error::other(format!(
                "floor step {}: {cause}",
                child.line
            )));
        }
        let mut bytes = [0u8; 4 * FRAME_BYTES];
        let mut len = 0;
        let mut status = 0;
        // SAFETY: descriptors opened above and closed once; `bytes` has room for what is read.
        let t4 = unsafe {
            libc::close(ends[1]);
            loop {
                let room = bytes.len() - len;
                let n = libc::read(ends[0], bytes.as_mut_ptr().add(len).cast(), room);
                if n <= 0 {
                    break;
                }
                len += n.cast_unsigned();
            }
            check(libc::waitpid(pid, &raw mut status, 0))?;
            clock::now()
        };
        // SAFETY: as above.
        unsafe {
            libc::close(ends[0]);
            let groups = entries.into_iter().chain([birthplace]);
            for fd in groups.filter(|fd| *fd >= 0) {
                libc::close(fd);
            }
            for group in &self.groups {
                while libc::rmdir(group.directory.as_ptr()) != 0 {
                    let error = io::Error::last_os_error();
                    if error.raw_os_error() != Some(libc::EBUSY) {
                        return Err(error);
                    }
                }
            }
        }
        let t5 = clock::now();
        let first = bytes.get(..FRAME_BYTES).filter(|_| len >= FRAME_BYTES);
        match first.map(Frame::decode) {
            Some(Ok((_, Message::Ready(ready)))) if status == 0 => Ok(FloorSample {
                start: isobench::metric::Ticks(ready.first_instruction) - t0,
                teardown: t5 - t4,
            }),
            _ => Err(io::Error::other(format!(
                "the floor's payload ended with {status:#x}"
            ))),
        }
    }
}

/// Everything the child needs, in memory it shares with its parent.
struct Child<'a> {
    mechanisms: Mechanisms,
    last_capability: u32,
    image: i32,
    null: i32,
    stdout: i32,
    entries: [i32; 2],
    filter: &'a BpfProgram,
    argv: *const *const libc::c_char,
    errno: i32,
    line: u32,
}

extern "C" fn run(child: *mut Child<'_>) -> ! {
    // SAFETY: the parent is suspended until this process executes or ends.
    let child = unsafe { &mut *child };
    if let Err(error) = steps(child) {
        child.errno = error.raw_os_error().unwrap_or(libc::EIO);
    }
    loop {
        // SAFETY: ends this process.
        unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    }
}

/// The straight line.
fn steps(child: &mut Child<'_>) -> io::Result<()> {
    macro_rules! step {
        ($call:expr) => {{
            child.line = line!();
            // SAFETY: raw calls with NUL-terminated paths and buffers as long as told; nothing
            // here allocates or locks.
            check(unsafe { $call })?
        }};
    }
    step!(libc::dup2(child.null, 0));
    step!(libc::dup2(child.stdout, 1));
    step!(libc::dup2(child.null, 2));
    let mechanisms = child.mechanisms;
    let has = |mechanism| mechanisms.has(mechanism);
    if has(Mechanism::User) {
        child.line = line!();
        put(c"/proc/self/setgroups", libc::O_WRONLY, 0, b"deny")?;
        put(c"/proc/self/uid_map", libc::O_WRONLY, 0, b"65532 0 1")?;
        put(c"/proc/self/gid_map", libc::O_WRONLY, 0, b"65532 0 1")?;
    }
    for entry in child.entries {
        if entry >= 0 {
            step!(libc::write(entry, b"0".as_ptr().cast(), 1));
        }
    }
    if has(Mechanism::CgroupNs) {
        step!(libc::unshare(libc::CLONE_NEWCGROUP));
    }
    if has(Mechanism::Rootfs) {
        root(child)?;
    }
    if has(Mechanism::Loopback) {
        let socket = step!(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0
        ));
        // SAFETY: plain data.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let socket = socket as i32;
        step!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        step!(libc::close(socket));
    }
    if has(Mechanism::Capabilities) {
        for capability in 0..=child.last_capability {
            step!(libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0));
        }
        if !has(Mechanism::User) {
            let id = 65532;
            step!(libc::syscall(libc::SYS_setgroups, 0, null::<u32>()));
            step!(libc::syscall(libc::SYS_setresgid, id, id, id));
            step!(libc::syscall(libc::SYS_setresuid, id, id, id));
            // The change marked this memory, which is the bench's own, as not dumpable.
            step!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0));
        }
        let (header, sets) = ([0x2008_0522_u32, 0], [0u32; 6]);
        step!(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            sets.as_ptr()
        ));
    }
    if has(Mechanism::Seccomp) {
        // Who has no capability any more may filter calls only with this.
        step!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        let program = libc::sock_fprog {
            len: child.filter.len() as u16,
            filter: child.filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        step!(libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program
        ));
    }
    let (directory, path, flags) = if has(Mechanism::Rootfs) {
        (libc::AT_FDCWD, c"/payload", 0)
    } else {
        (child.image, c"", libc::AT_EMPTY_PATH)
    };
    let empty: *const libc::c_char = null();
    step!(libc::syscall(
        libc::SYS_execveat,
        directory,
        path.as_ptr(),
        child.argv,
        &raw const empty,
        flags
    ));
    Ok(())
}

/// A fresh root with the payload, `/proc` and `/dev`.
fn root(child: &mut Child<'_>) -> io::Result<()> {
    macro_rules! step {
        ($call:expr) => {{
            child.line = line!();
            // SAFETY: as in `steps`.
            check(unsafe { $call })?
        }};
    }
    let private = libc::MS_REC | libc::MS_PRIVATE;
    step!(libc::mount(null(), c"/".as_ptr(), null(), private, null()));
    let options = c"mode=755,nr_inodes=16,size=1m";
    step!(libc::mount(
        c"floor".as_ptr(),
        c"/proc".as_ptr(),
        c"tmpfs".as_ptr(),
        libc::MS_NOSUID,
        options.as_ptr().cast()
    ));
    step!(libc::chdir(c"/proc".as_ptr()));
    let create = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    child.line = line!();
    put(c"payload", create, 0o555, payload::BYTES)?;
    let mapped = child.mechanisms.has(Mechanism::User);
    if child.mechanisms.has(Mechanism::Pid) || !mapped {
        step!(libc::mkdir(c"proc".as_ptr(), 0o555));
        step!(libc::mount(
            c"proc".as_ptr(),
            c"proc".as_ptr(),
            c"proc".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            c"subset=pid".as_ptr().cast()
        ));
    }
    step!(libc::mkdir(c"dev".as_ptr(), 0o755));
    for (name, host, minor) in [
        (c"dev/null", c"/dev/null", 3),
        (c"dev/zero", c"/dev/zero", 5),
        (c"dev/full", c"/dev/full", 7),
        (c"dev/random", c"/dev/random", 8),
        (c"dev/urandom", c"/dev/urandom", 9),
    ] {
        if mapped {
            // A user namespace makes no devices: the host's are bound.
            step!(libc::mknod(name.as_ptr(), libc::S_IFREG | 0o600, 0));
            let (from, to) = (host.as_ptr(), name.as_ptr());
            step!(libc::mount(from, to, null(), libc::MS_BIND, null()));
        } else {
            let device = libc::makedev(1, minor);
            step!(libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o666, device));
        }
    }
    step!(libc::syscall(
        libc::SYS_pivot_root,
        c".".as_ptr(),
        c".".as_ptr()
    ));
    step!(libc::umount2(c".".as_ptr(), libc::MNT_DETACH));
    Ok(())
}

/// vfork with a stack of its own: -> process id, once the child has executed or ended.
fn clone(stack: &mut [u128], birthplace: i32, child: &mut Child<'_>) -> io::Result<i32> {
    // SAFETY: plain data; zero means unused.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    let at_clone = child.mechanisms.without(Mechanism::CgroupNs);
    args.flags |= at_clone
        .iter()
        .filter_map(Mechanism::namespace)
        .fold(0, |all, flag| all | flag);
    if birthplace >= 0 {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = birthplace as u64;
    }
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = size_of_val(stack) as u64;
    let pid: i64;
    // SAFETY: as in src/sys/spawn.rs: the parent is suspended while the child uses its memory.
    unsafe {
        asm!(
            "syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r13", "call r12", "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") &raw mut args, in("rsi") size_of::<libc::clone_args>(),
            in("r12") run as *const (), in("r13") std::ptr::from_mut(child),
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if pid < 0 {
        return Err(io::Error::from_raw_os_error(-pid as i32));
    }
    Ok(pid as i32)
}

fn put(path: &CStr, flags: i32, mode: u32, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: NUL-terminated path, buffer as long as told, a descriptor opened and closed here.
    unsafe {
        let fd = libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode);
        check(fd)?;
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        let written = check(written);
        libc::close(fd);
        written.map(drop)
    }
}

fn check(answer: impl TryInto<i64>) -> io::Result<i64> {
    match answer.try_into().unwrap_or(-1) {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

/// Names of the groups: v1, or v2 beside the own group, or none.
fn groups() -> io::Result<Vec<Group>> {
    let all = Hierarchies::read()?;
    let group = |parent: &Path, limits: &[(&str, &'static [u8])], entry: &str, v2| {
        let directory = parent.join(format!("isobench-{}-floor", std::process::id()));
        let path = |p: &Path| CString::new(p.as_os_str().as_bytes()).map_err(io::Error::other);
        let limits = limits.iter();
        Ok::<_, io::Error>(Group {
            limits: limits
                .map(|(file, value)| Ok((path(&directory.join(file))?, *value)))
                .collect::<io::Result<_>>()?,
            entry: path(&directory.join(entry))?,
            directory: path(&directory)?,
            v2,
        })
    };
    const MEMORY: &[u8] = b"67108864";
    const PIDS: &[u8] = b"16";
    let own = |name| all.v1(name).and_then(|h| h.own.clone());
    if let (Some(memory), Some(pids)) = (own("memory"), own("pids")) {
        return Ok(vec![
            group(
                &memory,
                &[("memory.limit_in_bytes", MEMORY)],
                "tasks",
                false,
            )?,
            group(&pids, &[("pids.max", PIDS)], "tasks", false)?,
        ]);
    }
    let Some(own) = all.v2().and_then(|h| h.own.clone()) else {
        return Ok(Vec::new());
    };
    let parent = if own.join("cgroup.type").exists() {
        own.parent().map(Path::to_path_buf).unwrap_or(own)
    } else {
        own
    };
    let limits = [("memory.max", MEMORY), ("pids.max", PIDS)];
    Ok(vec![group(&parent, &limits, ".", true)?])
}
