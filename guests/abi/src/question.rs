//! What `probe` can be asked: facts about its surroundings, and system calls by number.
//!
//! ```text
//!   0 … FACTS-1                         facts ([`Question`])
//!   FIRST_CALL … +SYSTEM_CALLS-1        system call 0 … SYSTEM_CALLS-1 of x86-64 ([`manner`])
//!   … +1, +2                            one call by the x32 and one by the i386 entry
//! ```

/// One fact. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Question {
    /// Its process id: getpid(2).
    Pid,
    /// Its parent's process id, 0 if that is in no pid namespace it can see: getppid(2).
    Parent,
    /// May it signal its parent? kill(2) with signal 0, which sends nothing.
    SignalParent,
    /// Pair: process folders in `/proc`, and which of them is its own: getdents64(2), readlink(2) of
    /// `/proc/self`. In a `/proc` of another pid namespace that is not the number of getpid(2).
    Processes,
    /// Pair: its session and its process id: getsid(2), getpid(2).
    Session,
    /// Device number of its controlling terminal, 0 without one: field 7 of `/proc/self/stat`.
    Terminal,
    /// Open descriptors below [`DESCRIPTORS`]: fcntl(2), F_GETFD.
    Descriptors,
    /// Host name: uname(2).
    Hostname,
    /// NIS domain name: uname(2).
    DomainName,
    /// Kernel release: uname(2).
    KernelRelease,
    /// Kernel version: uname(2).
    KernelVersion,
    /// Machine: uname(2).
    Machine,
    /// `/proc/sys/kernel/random/boot_id`.
    BootId,
    /// Seconds on CLOCK_BOOTTIME: clock_gettime(2).
    Uptime,
    /// Pair: device and inode of `/`: stat(2).
    Root,
    /// May it write to `/`? faccessat2(2); nothing is written.
    RootWritable,
    /// Lines of `/proc/self/mountinfo`.
    Mounts,
    /// Character and block devices in `/dev` itself: getdents64(2).
    Devices,
    /// Can it open `/dev/kvm` for reading and writing? openat(2); closed at once.
    Kvm,
    /// Pair: device and inode of `/dev/shm`, where POSIX shared memory lies: stat(2).
    DevShm,
    /// Names of the network interfaces, blanks between them: rtnetlink(7), RTM_GETLINK.
    Interfaces,
    /// Can it reach the canary [`CANARY_NAME`] among abstract Unix sockets? connect(2).
    AbstractSocket,
    /// Pair: System V shared memory segments, and those among them of [`CANARY_BYTES`] bytes:
    /// shmctl(2), SHM_INFO and SHM_STAT_ANY.
    SharedMemory,
    /// System V message queues: msgctl(2), MSG_INFO.
    MessageQueues,
    /// System V semaphore sets: semctl(2), SEM_INFO.
    Semaphores,
    /// Can it open the canary [`CANARY_NAME`] among POSIX message queues? mq_open(2).
    PosixQueue,
    /// Effective user id: geteuid(2).
    Uid,
    /// Effective group id: getegid(2).
    Gid,
    /// Supplementary groups: getgroups(2).
    Groups,
    /// `/proc/self/uid_map`.
    UidMap,
    /// Inheritable capabilities: capget(2).
    CapInheritable,
    /// Permitted capabilities: capget(2).
    CapPermitted,
    /// Effective capabilities: capget(2).
    CapEffective,
    /// Bounding set: prctl(2), PR_CAPBSET_READ.
    CapBounding,
    /// Ambient capabilities: prctl(2), PR_CAP_AMBIENT.
    CapAmbient,
    /// prctl(2), PR_GET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// prctl(2), PR_GET_SECCOMP.
    Seccomp,
    /// `/proc/self/cgroup`.
    Cgroup,
    /// Memory in bytes: sysinfo(2).
    Memory,
    /// CPUs it may run on: sched_getaffinity(2).
    Cpus,
    /// `/proc/self/ns/cgroup`: readlink(2).
    NsCgroup,
    /// `/proc/self/ns/ipc`: readlink(2).
    NsIpc,
    /// `/proc/self/ns/mnt`: readlink(2).
    NsMnt,
    /// `/proc/self/ns/net`: readlink(2).
    NsNet,
    /// `/proc/self/ns/pid`: readlink(2).
    NsPid,
    /// `/proc/self/ns/time`: readlink(2).
    NsTime,
    /// `/proc/self/ns/user`: readlink(2).
    NsUser,
    /// `/proc/self/ns/uts`: readlink(2).
    NsUts,
    /// Vendor of the CPU: CPUID leaf 0.
    CpuVendor,
    /// Brand string of the CPU: CPUID leaves 0x8000_0002 to 4.
    CpuBrand,
    /// Signature of the hypervisor (CPUID leaf 0x4000_0000), nothing where CPUID.1:ECX.31 is clear.
    Hypervisor,
}

impl Question {
    /// Every fact, in the order of its number.
    pub const ALL: [Self; 51] = [
        Self::Pid,
        Self::Parent,
        Self::SignalParent,
        Self::Processes,
        Self::Session,
        Self::Terminal,
        Self::Descriptors,
        Self::Hostname,
        Self::DomainName,
        Self::KernelRelease,
        Self::KernelVersion,
        Self::Machine,
        Self::BootId,
        Self::Uptime,
        Self::Root,
        Self::RootWritable,
        Self::Mounts,
        Self::Devices,
        Self::Kvm,
        Self::DevShm,
        Self::Interfaces,
        Self::AbstractSocket,
        Self::SharedMemory,
        Self::MessageQueues,
        Self::Semaphores,
        Self::PosixQueue,
        Self::Uid,
        Self::Gid,
        Self::Groups,
        Self::UidMap,
        Self::CapInheritable,
        Self::CapPermitted,
        Self::CapEffective,
        Self::CapBounding,
        Self::CapAmbient,
        Self::NoNewPrivs,
        Self::Seccomp,
        Self::Cgroup,
        Self::Memory,
        Self::Cpus,
        Self::NsCgroup,
        Self::NsIpc,
        Self::NsMnt,
        Self::NsNet,
        Self::NsPid,
        Self::NsTime,
        Self::NsUser,
        Self::NsUts,
        Self::CpuVendor,
        Self::CpuBrand,
        Self::Hypervisor,
    ];
}

/// Number of facts.
pub const FACTS: u16 = Question::ALL.len() as u16;
/// Number of the question about system call 0.
pub const FIRST_CALL: u16 = 0x100;
/// System calls of x86-64 that are asked about: all that Linux 6.18 has
/// (`arch/x86/entry/syscalls/syscall_64.tbl`). What a later one does with which arguments is not
/// known here.
pub const SYSTEM_CALLS: u16 = 470;
/// One more than the number of the last question.
pub const END: u16 = FIRST_CALL + SYSTEM_CALLS + 2;

const _: () = {
    assert!(FACTS <= FIRST_CALL);
    let mut at = 0;
    while at < Question::ALL.len() {
        assert!(Question::ALL[at] as usize == at);
        at += 1;
    }
};

/// Descriptors that are looked at: the default soft limit of open files.
pub const DESCRIPTORS: u64 = 1024;
/// Name of the harness's abstract Unix socket and of its POSIX message queue.
pub const CANARY_NAME: &core::ffi::CStr = c"isobench-canary";
/// Size in bytes of the harness's System V shared memory segment: one that nobody else has.
pub const CANARY_BYTES: u64 = 0x1505;
/// With this status `exit` and `exit_group` end the payload that is asked about them.
pub const ENDED: u8 = 77;

/// What a question's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// A fact.
    Fact(Question),
    /// A system call by its number.
    Call(u16),
    /// `getppid` by the x32 entry: bit 30 of the number set.
    X32,
    /// `getppid` by the i386 entry: `int 0x80`.
    I386,
}

impl Ask {
    /// The question with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        if number < FACTS as u64 {
            return Some(Self::Fact(Question::ALL[number as usize]));
        }
        if number < FIRST_CALL as u64 || number >= END as u64 {
            return None;
        }
        let call = number as u16 - FIRST_CALL;
        Some(match call {
            SYSTEM_CALLS => Self::X32,
            call if call > SYSTEM_CALLS => Self::I386,
            call => Self::Call(call),
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Fact(question) => question as u16,
            Self::Call(call) => FIRST_CALL + call,
            Self::X32 => FIRST_CALL + SYSTEM_CALLS,
            Self::I386 => FIRST_CALL + SYSTEM_CALLS + 1,
        }
    }
}

/// How a system call is asked about without its work being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With these arguments, which it refuses (EFAULT, EBADF, EINVAL, …) or which leave everything
    /// but the caller as it was.
    With([u64; 6]),
    /// It ends the caller; it is called, and its end is the answer.
    Ends([u64; 6]),
    /// Not at all, for this reason.
    Skipped(&'static str),
}

/// No descriptor, no address, no process, no size and no set of flags is all ones: a call that is
/// let through fails on the first argument it looks at. Those that take "−1" for "as it is"
/// (`setresuid`, `personality`, …) change nothing.
const ONES: [u64; 6] = [u64::MAX; 6];

/// How a system call is asked about. The exceptions to all-ones are calls that cannot fail, that
/// mean something by −1, or that answer ENOSYS for an unknown operation, as if they were absent.
#[must_use]
pub const fn manner(call: u16) -> Manner {
    const NONE: [u64; 6] = [0; 6];
    const MAX_PID: u64 = i32::MAX as u64;
    match call {
        // rt_sigreturn
        15 => Manner::Skipped("it returns to wherever a signal frame says"),
        // shmget, semget, msgget: without IPC_CREAT nothing is made.
        29 | 64 | 68 => Manner::With([u64::MAX, 0, 0, 0, 0, 0]),
        // pause
        34 => Manner::Skipped("it waits for a signal"),
        // alarm(0) cancels none.
        37 => Manner::With(NONE),
        // fork, vfork
        57 | 58 => Manner::Skipped("it makes a process; clone and clone3 are asked about"),
        // exit, exit_group
        60 | 231 => Manner::Ends([ENDED as u64, 0, 0, 0, 0, 0]),
        // kill: −1 is everybody. No process has the largest pid (PID_MAX_LIMIT is 2²²).
        62 => Manner::With([MAX_PID, u64::MAX, 0, 0, 0, 0]),
        // flock: no operation. With all bits set it is LOCK_MAND, which is ignored, but logged.
        73 => Manner::With([u64::MAX, 0, 0, 0, 0, 0]),
        // setsid
        112 => Manner::Skipped("it leaves the session, or is refused like by a filter"),
        // vhangup
        153 => Manner::Skipped("it hangs up the terminal of whoever runs this"),
        // modify_ldt: reading none. Unknown operations are answered by ENOSYS.
        154 => Manner::With([0, u64::MAX, 0, 0, 0, 0]),
        // sync
        162 => Manner::Skipped("it writes out every file system of the host"),
        // init_module: a size of 0 is refused (ENOEXEC) before memory is taken for it.
        175 => Manner::With([u64::MAX, 0, u64::MAX, 0, 0, 0]),
        // futex: FUTEX_WAKE at an address that is not aligned.
        202 => Manner::With([u64::MAX, 1, 1, 0, 0, 0]),
        // set_tid_address(0): nobody is told of the end.
        218 => Manner::With(NONE),
        // uretprobe: SIGILL, unless it comes from the kernel's own trampoline.
        335 => Manner::Ends(NONE),
        _ => Manner::With(ONES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_and_nothing_else_is_a_question() {
        let mut count = 0;
        for number in 0..u64::from(END) + 1000 {
            if let Some(ask) = Ask::from_number(number) {
                assert_eq!(u64::from(ask.number()), number);
                count += 1;
            }
        }
        assert_eq!(count, u32::from(FACTS + SYSTEM_CALLS + 2));
        assert_eq!(Ask::from_number(u64::from(FACTS)), None);
        assert_eq!(Ask::from_number(u64::from(END)), None);
        assert_eq!(Ask::from_number(u64::MAX), None);
    }

    #[test]
    fn calls_that_cannot_fail_or_would_do_something_are_exceptions() {
        for call in [15, 34, 57, 58, 112, 153, 162] {
            assert!(matches!(manner(call), Manner::Skipped(_)), "{call}");
        }
        assert!(matches!(manner(231), Manner::Ends(_)));
        // kill(-1, …) is everybody; shmget with IPC_CREAT (0o1000) makes a segment.
        assert!(matches!(manner(62), Manner::With([pid, ..]) if pid as i32 > 0));
        assert!(matches!(manner(29), Manner::With([_, _, flags, ..]) if flags & 0o1000 == 0));
    }
}
