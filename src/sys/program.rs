//! What a new process does between `clone3` and `execve`, as data: a list of system calls that is
//! written down once, before any trial, and carried out by [`crate::sys::spawn`].
//!
//! Data and not a closure, because the child shares its parent's memory while other threads run:
//! nothing there may allocate, take a lock or unwind, and a list of prepared calls cannot.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// One system call, or a few that make no sense apart. Paths are relative to the child's working
/// directory. All of it is prepared by the parent.
#[derive(Clone, Debug)]
pub enum Op {
    /// Die by SIGKILL when the parent *thread* ends (PR_SET_PDEATHSIG(2const)). Cleared by a
    /// change of credentials: to be repeated after one.
    DieWithParent,
    /// Refuse to go on if the harness is gone already: [`Op::DieWithParent`] came too late then.
    ParentLives,
    /// Default dispositions for the signals of this set (bit n−1 is signal n), an empty mask.
    /// Handlers are gone already (CLONE_CLEAR_SIGHAND); ignored signals would stay ignored.
    Signals(u64),
    /// [`Descriptors::stdin`], `stdout` and `stderr` become 0, 1 and 2 (dup3(2)).
    Stdio,
    /// Opens an existing file, writes these bytes with one call, closes it.
    Write(CString, Vec<u8>),
    /// Writes "0" (the caller) to each of [`Grants::cgroups`].
    JoinCgroups,
    /// unshare(2).
    Unshare(i32),
    /// The mount namespace of the process that the first of [`Grants::passed`] is a pidfd of (setns(2),
    /// Linux 5.8).
    JoinMounts,
    /// mount(2).
    Mount(Box<Mount>),
    /// mount(2) on a directory below the working directory, whose path is resolved as
    /// [`Op::BindDevice`] resolves its target.
    MountWithin(Box<Mount>),
    /// Mounts a directory once more, by descriptor (open_tree(2), move_mount(2)), and makes it the
    /// working directory.
    BindDirectory {
        /// What is mounted.
        source: Box<Known>,
        /// Where.
        target: CString,
        /// `MOUNT_ATTR_*` that are set before anybody can see the mount (mount_setattr(2)).
        attributes: u64,
    },
    /// Makes a directory the working directory.
    Enter(Box<Known>),
    /// chdir(2).
    Chdir(CString),
    /// umask(2).
    Umask(u32),
    /// mkdir(2).
    Mkdir(CString, u32),
    /// mknod(2): path, mode with type, device.
    Mknod(CString, u32, u64),
    /// Binds a device node of the host onto a file, by descriptor (open_tree(2), move_mount(2)),
    /// once it is known to be the device.
    BindDevice {
        /// Node on the host.
        source: CString,
        /// File below the working directory; no symbolic link on the way is followed and nothing
        /// leads out of it (openat2(2), RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS).
        target: CString,
        /// Which character device it must be.
        device: u64,
    },
    /// Creates a file with these bytes and this mode, closed again.
    Create(CString, u32, Arc<[u8]>),
    /// pivot_root(".", "."): the working directory becomes the root, the old root lies on top.
    PivotRoot,
    /// umount2(2) of the working directory, detached.
    UnmountOldRoot,
    /// Refuse to go on unless the working directory is the root: one that lies outside of it would
    /// lead the payload to the host (CVE-2024-21626). getcwd(2) puts "(unreachable)" before such.
    AtRoot,
    /// sethostname(2).
    HostName(Vec<u8>),
    /// Brings the interface `lo` up (netdevice(7), SIOCSIFFLAGS).
    LoopbackUp,
    /// Sends a message to the network of the harness through [`Network::host`], and waits for the
    /// answer.
    HostNetwork(Message),
    /// Asks [`Network::agent`] to do the same: a user namespace has no say in the host's network. For
    /// a child that may change its own (CAP_NET_ADMIN).
    AskAgent,
    /// Sends a message to the child's own network and waits for the answer.
    OwnNetwork {
        /// The message.
        message: Message,
        /// What [`Fill::Interface`] stands for.
        interface: CString,
    },
    /// setsid(2): no controlling terminal.
    NewSession,
    /// No core dumps (RLIMIT_CORE).
    NoCoreDump,
    /// Empties the capability bounding set, from 0 to this capability (PR_CAPBSET_DROP).
    EmptyBoundingSet(u32),
    /// No supplementary groups, then all group and user ids become this one.
    SetIds(u32),
    /// Empties the permitted, effective and inheritable sets, and with them the ambient one
    /// (capset(2), capabilities(7)).
    EmptyCapabilities,
    /// PR_SET_NO_NEW_PRIVS(2const).
    NoNewPrivileges,
    /// seccomp(2) with this program.
    Seccomp(seccompiler::BpfProgram),
    /// The parent's thread traces this process from its exec on (PTRACE_TRACEME, ptrace(2)).
    TraceMe,
    /// Hands [`Grants::passed`] on across the exec, under the numbers they have.
    Pass,
    /// Marks every descriptor from 3 on as close-on-exec (close_range(2)).
    CloseOnExec,
    /// execve(2) of this path, which is no symbolic link (AT_SYMLINK_NOFOLLOW).
    Exec(CString),
    /// execveat(2) of [`Descriptors::image`].
    ExecImage,
}

/// Requests to the kernel's network (rtnetlink(7)), sent with one call; the last one asks for an
/// answer, the others only answer with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    fills: Vec<(usize, Fill)>,
}

/// Four bytes of a message that nobody knows before the child is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// The child's process id in its own pid namespace, in which the kernel looks it up
    /// (IFLA_NET_NS_PID).
    OwnPid,
    /// Index of an interface of the child's network.
    Interface,
    /// [`Network::address`].
    Address,
}

impl Message {
    /// Longest there is: the child keeps a copy on its stack.
    pub const MAX: usize = 512;

    /// Bytes, and where to fill in what; `None` if it is too long, too short for the header of a
    /// request, or something is to be filled in beyond its end.
    #[must_use]
    pub fn new(bytes: Vec<u8>, fills: Vec<(usize, Fill)>) -> Option<Self> {
        let inside = |(at, _): &(usize, Fill)| at.checked_add(4).is_some_and(|e| e <= bytes.len());
        let fits = (16..=Self::MAX).contains(&bytes.len()) && fills.iter().all(inside);
        fits.then_some(Self { bytes, fills })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is to be filled in where.
    #[must_use]
    pub fn fills(&self) -> &[(usize, Fill)] {
        &self.fills
    }
}

/// What a child with an address in the host's network is given.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// Netlink socket of the harness's network namespace.
    pub host: BorrowedFd<'a>,
    /// Somebody in the harness who sends what the child may not: takes [`Self::address`] with a
    /// descriptor of the child's network namespace, and answers with the address and an errno (two
    /// native 32-bit words).
    pub agent: Option<BorrowedFd<'a>>,
    /// IPv4 address, as it stands in a message.
    pub address: [u8; 4],
}

/// A directory that was made earlier: whatever has taken its place since is refused (ESTALE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it was.
    pub path: CString,
    /// Device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// Arguments of mount(2).
#[derive(Clone, Debug, Default)]
pub struct Mount {
    /// Device or source path.
    pub source: CString,
    /// Where.
    pub target: CString,
    /// File system type.
    pub kind: CString,
    /// `MS_*`.
    pub flags: u64,
    /// Options of the file system.
    pub data: CString,
}

/// A named step. Neighbours with the same name are one phase.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the phase.
    pub phase: &'static str,
    /// What is done.
    pub op: Op,
}

/// The steps, in order. The last one is an exec.
#[derive(Clone, Debug, Default)]
pub struct Program(Vec<Step>);

impl Program {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a step.
    pub fn push(&mut self, phase: &'static str, op: Op) {
        self.0.push(Step { phase, op });
    }

    /// Adds the steps of another program.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// The same, traced ([`Op::TraceMe`]): asked for as late as can be, since a traced child stops
    /// at a signal, and its parent is suspended until the exec.
    #[must_use]
    pub fn traced(&self) -> Self {
        let last = |step: &Step| matches!(step.op, Op::Seccomp(_) | Op::Exec(_) | Op::ExecImage);
        let at = self.0.iter().position(last).unwrap_or(self.0.len());
        let mut steps = self.0.clone();
        let trace = Step {
            phase: "trace_me",
            op: Op::TraceMe,
        };
        steps.insert(at, trace);
        Self(steps)
    }

    /// Whether some step is [`Op::SetIds`].
    #[must_use]
    pub fn changes_ids(&self) -> bool {
        self.0.iter().any(|step| matches!(step.op, Op::SetIds(_)))
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// What the harness has made for one child.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grants<'a> {
    /// `tasks` of the cgroups to join.
    pub cgroups: [Option<BorrowedFd<'a>>; 3],
    /// For [`Op::HostNetwork`], [`Op::AskAgent`] and [`Op::OwnNetwork`].
    pub network: Option<Network<'a>>,
    /// What [`Op::Pass`] hands on.
    pub passed: [Option<BorrowedFd<'a>>; 3],
}

/// The descriptors that belong to one trial.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors<'a> {
    /// Becomes 0.
    pub stdin: BorrowedFd<'a>,
    /// Becomes 1.
    pub stdout: BorrowedFd<'a>,
    /// Becomes 2.
    pub stderr: BorrowedFd<'a>,
    /// pidfd of the harness.
    pub harness: BorrowedFd<'a>,
    /// What [`Op::ExecImage`] executes.
    pub image: Option<BorrowedFd<'a>>,
    /// What this child alone is given.
    pub grants: Grants<'a>,
}

impl Descriptors<'_> {
    /// The first number above all of them.
    #[must_use]
    pub fn end(&self) -> u32 {
        let network = self.grants.network;
        [Some(self.stdin), Some(self.stdout), Some(self.stderr)]
            .into_iter()
            .chain([Some(self.harness), self.image])
            .chain(self.grants.cgroups)
            .chain(self.grants.passed)
            .chain([network.map(|n| n.host), network.and_then(|n| n.agent)])
            .flatten()
            .map(|fd| fd.as_raw_fd().unsigned_abs() + 1)
            .max()
            .unwrap_or(0)
    }
}

/// A command line and an environment, as execve(2) wants them.
#[derive(Clone, Debug)]
pub struct Arguments {
    words: Vec<CString>,
    environment: Vec<CString>,
}

impl Arguments {
    /// From text; anything behind a NUL byte is cut off. The environment is empty.
    #[must_use]
    pub fn new<S: AsRef<str>>(arguments: &[S]) -> Self {
        Self {
            words: arguments.iter().map(text).collect(),
            environment: Vec::new(),
        }
    }

    /// The same with this environment, each entry `NAME=value`.
    #[must_use]
    pub fn with_environment<S: AsRef<str>>(mut self, environment: &[S]) -> Self {
        self.environment = environment.iter().map(text).collect();
        self
    }

    /// Pointers to the arguments, closed by a null; valid as long as `self`.
    #[must_use]
    pub fn pointers(&self) -> Vec<*const libc::c_char> {
        pointers(&self.words)
    }

    /// Pointers to the environment, likewise.
    #[must_use]
    pub fn environment_pointers(&self) -> Vec<*const libc::c_char> {
        pointers(&self.environment)
    }
}

fn text<S: AsRef<str>>(text: &S) -> CString {
    let bytes = text.as_ref().as_bytes();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    let each = texts.iter().map(|text| text.as_ptr());
    each.chain([std::ptr::null()]).collect()
}
