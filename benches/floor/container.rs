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
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;

use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::host::cgroup::Hierarchies;
use isobench::sys::{clock, fd};
use isobench::workload::payload;
use isobench_abi::{FRAME_BYTES, Frame, Mark, Message};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

#[path = "pair.rs"]
pub mod pair;
#[path = "steps.rs"]
mod steps;

use pair::Pair;
use steps::{Child, check, put, run};

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
    /// Interfaces; `None` without [`Mechanism::Veth`].
    pair: Option<Pair>,
    held: u32,
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
    /// Prepares the payload, the filter, the names of the cgroup, and a bridge where there is one.
    /// Without any mechanism it is the floor of `process`: clone with shared memory, exec.
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
        let mapped = mechanisms.has(Mechanism::User);
        let pair = mechanisms
            .has(Mechanism::Veth)
            .then(|| Pair::new(mapped))
            .transpose()?;
        Ok(Self {
            mechanisms,
            last_capability: last.trim().parse().map_err(io::Error::other)?,
            image: fd::sealed_memory(c"floor", payload::BYTES)?,
            null: fd::null()?,
            filter,
            groups: groups(mechanisms, 0)?,
            pair,
            held: 0,
            stack: vec![0; (64 << 10) / 16].into_boxed_slice(),
        })
    }

    /// One launch of `noop`.
    pub fn start(&mut self) -> io::Result<FloorSample> {
        let groups = std::mem::take(&mut self.groups);
        let sample = self.start_in(&groups);
        self.groups = groups;
        sample
    }

    fn start_in(&mut self, groups: &[Group]) -> io::Result<FloorSample> {
        let t0 = clock::now();
        let launched = self.launch(groups, c"noop", self.null.as_raw_fd())?;
        let mut bytes = [0u8; 4 * FRAME_BYTES];
        let len = launched.listen(&mut bytes, |_| false)?;
        let status = launched.wait()?;
        let t4 = clock::now();
        launched.remove(groups)?;
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

    /// One more instance that waits (`idle`), in groups of its own where there are any.
    pub fn hold(&mut self) -> io::Result<HeldFloor> {
        self.held += 1;
        let groups = groups(self.mechanisms, self.held)?;
        let mut ends = [-1; 2];
        // SAFETY: room for two descriptors, which are owned from here on.
        let [input, wake] = unsafe {
            check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
            ends.map(|fd| OwnedFd::from_raw_fd(fd))
        };
        let launched = self.launch(&groups, c"idle", input.as_raw_fd())?;
        let mut bytes = [0u8; 8 * FRAME_BYTES];
        let waits = |bytes: &[u8]| {
            bytes.chunks_exact(FRAME_BYTES).any(|frame| {
                let said = Frame::decode(frame);
                matches!(said, Ok((_, Message::Mark(Mark::Waiting(_)))))
            })
        };
        let len = launched.listen(&mut bytes, waits)?;
        if !waits(&bytes[..len]) {
            return Err(io::Error::other("the floor's payload does not wait"));
        }
        Ok(HeldFloor {
            launched,
            groups,
            wake,
        })
    }

    fn launch(&mut self, groups: &[Group], workload: &CStr, input: i32) -> io::Result<Launched> {
        let argv = [
            c"/payload".as_ptr(),
            workload.as_ptr(),
            c"0".as_ptr(),
            c"1".as_ptr(),
            null(),
        ];
        let mut entries = [-1; 3];
        let mut birthplace = -1;
        for (group, entry) in groups.iter().zip(&mut entries) {
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
            input,
            stdout: ends[1],
            entries,
            filter: &self.filter,
            pair: self.pair.as_ref(),
            pid: 0,
            argv: argv.as_ptr(),
            errno: 0,
            line: 0,
        };
        let pid = clone(&mut self.stack, birthplace, &mut child)?;
        // A change of ids has marked this memory, which is the bench's own, as not dumpable.
        // SAFETY: takes integers.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        // SAFETY: opened above.
        unsafe { libc::close(ends[1]) };
        if child.errno != 0 {
            let cause = io::Error::from_raw_os_error(child.errno);
            return Err(io::Error::other(format!(
                "floor step {}: {cause}",
                child.line
            )));
        }
        let [a, b, c] = entries;
        Ok(Launched {
            pid,
            output: ends[0],
            entries: [a, b, c, birthplace],
        })
    }
}

/// A process of the floor and the descriptors that belong to it, as bare as it is.
struct Launched {
    pid: i32,
    output: i32,
    entries: [i32; 4],
}

impl Launched {
    /// Reads until `enough` of it is there, or to the end: how many bytes.
    fn listen(&self, bytes: &mut [u8], enough: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
        let mut len = 0;
        loop {
            let room = &mut bytes[len..];
            // SAFETY: `room` is writable for its length.
            let n = unsafe { libc::read(self.output, room.as_mut_ptr().cast(), room.len()) };
            if check(n)? == 0 {
                return Ok(len);
            }
            len += n.cast_unsigned();
            if enough(&bytes[..len]) {
                return Ok(len);
            }
        }
    }

    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: room for the status.
        check(unsafe { libc::waitpid(self.pid, &raw mut status, 0) })?;
        Ok(status)
    }

    fn remove(&self, groups: &[Group]) -> io::Result<()> {
        // SAFETY: descriptors that were opened for this launch and are closed once; NUL-terminated
        // paths.
        unsafe {
            libc::close(self.output);
            for fd in self.entries.into_iter().filter(|fd| *fd >= 0) {
                libc::close(fd);
            }
            for group in groups {
                while libc::rmdir(group.directory.as_ptr()) != 0 {
                    let error = io::Error::last_os_error();
                    if error.raw_os_error() != Some(libc::EBUSY) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An instance that waits until its input ends.
pub struct HeldFloor {
    launched: Launched,
    groups: Vec<Group>,
    wake: OwnedFd,
}

impl HeldFloor {
    /// Wakes it and waits for its end.
    pub fn release(self) -> io::Result<()> {
        drop(self.wake);
        self.launched.listen(&mut [0; 8 * FRAME_BYTES], |_| false)?;
        self.launched.wait()?;
        self.launched.remove(&self.groups)
    }
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
    // Into the memory that both share, before the child runs.
    args.flags |= libc::CLONE_PARENT_SETTID as u64;
    args.parent_tid = (&raw mut child.pid) as u64;
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

/// Names of the groups: v1, or v2 beside the own group, or none.
fn groups(mechanisms: Mechanisms, serial: u32) -> io::Result<Vec<Group>> {
    if !mechanisms.has(Mechanism::Cgroup) {
        return Ok(Vec::new());
    }
    let has_cpu = mechanisms.has(Mechanism::Cpu);
    let all = Hierarchies::read()?;
    let group = |parent: &Path, limits: &[(&str, &'static [u8])], entry: &str, v2| {
        let directory = parent.join(format!("isobench-{}-floor-{serial}", std::process::id()));
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
    const CPU: &[u8] = b"200000";
    let own = |name| all.v1(name).and_then(|h| h.own.clone());
    if let (Some(memory), Some(pids)) = (own("memory"), own("pids")) {
        let mut found = vec![
            group(
                &memory,
                &[("memory.limit_in_bytes", MEMORY)],
                "tasks",
                false,
            )?,
            group(&pids, &[("pids.max", PIDS)], "tasks", false)?,
        ];
        if has_cpu {
            let cpu = own("cpu").ok_or_else(|| io::Error::other("no cpu controller"))?;
            found.push(group(&cpu, &[("cpu.cfs_quota_us", CPU)], "tasks", false)?);
        }
        return Ok(found);
    }
    let Some(own) = all.v2().and_then(|h| h.own.clone()) else {
        return Ok(Vec::new());
    };
    let parent = if own.join("cgroup.type").exists() {
        own.parent().map(Path::to_path_buf).unwrap_or(own)
    } else {
        own
    };
    let mut limits = vec![("memory.max", MEMORY), ("pids.max", PIDS)];
    if has_cpu {
        limits.push(("cpu.max", CPU));
    }
    Ok(vec![group(&parent, &limits, ".", true)?])
}
