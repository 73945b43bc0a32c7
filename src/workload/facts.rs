//! The catalogue of facts: what each is called, how it is read, and what its verdicts mean.

use isobench_abi::Question;

/// One row of the isolation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Name in tables and results.
    pub name: &'static str,
    /// Heading it stands under.
    pub group: &'static str,
    /// How the payload reads it.
    pub how: &'static str,
    /// Which value counts as which verdict.
    pub meaning: &'static str,
}

/// The `/proc/self/ns` entries that are asked about.
pub const NAMESPACES: [(Question, &str); 8] = [
    (Question::NsCgroup, "cgroup"),
    (Question::NsIpc, "ipc"),
    (Question::NsMnt, "mnt"),
    (Question::NsNet, "net"),
    (Question::NsPid, "pid"),
    (Question::NsTime, "time"),
    (Question::NsUser, "user"),
    (Question::NsUts, "uts"),
];

const EQUAL: &str = "the harness's own value is shared, another one own";
const NAMESPACE: &str = "the harness's own inode number is shared, another one own";
const CAPABILITIES: &str = "absent: none; shared: the harness's own; limited: others; own: over its own \
                            user namespace only";

const fn fact(
    name: &'static str,
    group: &'static str,
    how: &'static str,
    meaning: &'static str,
) -> Fact {
    Fact {
        name,
        group,
        how,
        meaning,
    }
}

/// The row of a question.
#[must_use]
pub const fn of(question: Question) -> Fact {
    match question {
        Question::NsCgroup => fact("cgroup namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsIpc => fact("ipc namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsMnt => fact("mnt namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsNet => fact("net namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsPid => fact("pid namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsTime => fact("time namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsUser => fact("user namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::NsUts => fact("uts namespace", "namespaces", "/proc/self/ns", NAMESPACE),
        Question::Hostname => fact("host name", "kernel", "uname(2)", EQUAL),
        Question::DomainName => fact("domain name", "kernel", "uname(2)", EQUAL),
        Question::KernelRelease => fact("kernel release", "kernel", "uname(2)", EQUAL),
        Question::KernelVersion => fact("kernel version", "kernel", "uname(2)", EQUAL),
        Question::Machine => fact("machine", "kernel", "uname(2)", EQUAL),
        Question::BootId => fact(
            "boot id",
            "kernel",
            "/proc/sys/kernel/random/boot_id",
            EQUAL,
        ),
        Question::Uptime => fact(
            "uptime",
            "kernel",
            "clock_gettime(2), CLOCK_BOOTTIME",
            "shared: the harness's to two minutes; own: a time namespace, or another clock",
        ),
        Question::Pid => fact(
            "process id",
            "processes",
            "getpid(2)",
            "own: it counts in a pid namespace of its own, or is 1",
        ),
        Question::Parent => fact(
            "parent",
            "processes",
            "getppid(2)",
            "shared: the harness; hidden: 0, in no namespace it can see; own: somebody else",
        ),
        Question::SignalParent => fact(
            "signal to parent",
            "processes",
            "kill(2), signal 0",
            "shared: allowed; hidden: nobody there; denied: not permitted",
        ),
        Question::Processes => fact(
            "processes in /proc",
            "processes",
            "getdents64(2), readlink(2) of /proc/self",
            "hidden: none but its own; own: those of its pid namespace; shared: the host's, also \
             where it counts in a namespace of its own",
        ),
        Question::Session => fact(
            "session",
            "processes",
            "getsid(2)",
            "own: it leads its session; shared: the harness's",
        ),
        Question::Terminal => fact(
            "terminal",
            "processes",
            "/proc/self/stat",
            "absent: none; shared: the harness's, into which input could be pushed",
        ),
        Question::Descriptors => fact(
            "descriptors",
            "processes",
            "fcntl(2), F_GETFD",
            "own: 0 to 2; shared: more, which it can only have inherited",
        ),
        Question::Root => fact(
            "root folder",
            "files",
            "stat(2)",
            "shared: the harness's device and inode; own: others",
        ),
        Question::RootWritable => fact(
            "write to root",
            "files",
            "faccessat2(2)",
            "denied: not permitted or read-only; else as the root folder",
        ),
        Question::Mounts => fact(
            "mounts",
            "files",
            "/proc/self/mountinfo",
            "own: those of its mount namespace; shared: the host's",
        ),
        Question::Devices => fact(
            "devices",
            "files",
            "getdents64(2) of /dev",
            "shared: as many as the harness sees; own: another set; absent: none",
        ),
        Question::Kvm => fact(
            "/dev/kvm",
            "files",
            "openat(2)",
            "shared: can be opened; hidden: not there, but on the host; denied: not permitted",
        ),
        Question::DevShm => fact(
            "POSIX shared memory",
            "ipc",
            "stat(2) of /dev/shm",
            "shared: the harness's folder; hidden: none, but on the host",
        ),
        Question::SharedMemory => fact(
            "SysV segments",
            "ipc",
            "shmctl(2), SHM_INFO, SHM_STAT_ANY",
            "shared: it finds the harness's canary; hidden: it does not",
        ),
        Question::MessageQueues => fact(
            "SysV queues",
            "ipc",
            "msgctl(2), MSG_INFO",
            "shared or hidden as the segments, which lie in the same namespace; own: some of its own",
        ),
        Question::Semaphores => fact(
            "SysV semaphores",
            "ipc",
            "semctl(2), SEM_INFO",
            "shared or hidden as the segments, which lie in the same namespace; own: some of its own",
        ),
        Question::PosixQueue => fact(
            "POSIX queue",
            "ipc",
            "mq_open(2)",
            "shared: it can open the harness's canary; hidden: it finds none",
        ),
        Question::Interfaces => fact(
            "interfaces",
            "network",
            "rtnetlink(7), RTM_GETLINK",
            "own: those of its net namespace; shared: the host's",
        ),
        Question::AbstractSocket => fact(
            "abstract socket",
            "network",
            "connect(2)",
            "shared: it reaches the harness's canary; hidden: it finds none",
        ),
        Question::Uid => fact("user id", "privileges", "geteuid(2)", EQUAL),
        Question::Gid => fact("group id", "privileges", "getegid(2)", EQUAL),
        Question::Groups => fact(
            "groups",
            "privileges",
            "getgroups(2)",
            "absent: none; shared: some, which it can only have inherited",
        ),
        Question::UidMap => fact("uid map", "privileges", "/proc/self/uid_map", EQUAL),
        Question::CapInheritable => {
            fact("inheritable caps", "privileges", "capget(2)", CAPABILITIES)
        }
        Question::CapPermitted => fact("permitted caps", "privileges", "capget(2)", CAPABILITIES),
        Question::CapEffective => fact("effective caps", "privileges", "capget(2)", CAPABILITIES),
        Question::CapBounding => fact(
            "bounding caps",
            "privileges",
            "prctl(2), PR_CAPBSET_READ",
            CAPABILITIES,
        ),
        Question::CapAmbient => fact(
            "ambient caps",
            "privileges",
            "prctl(2), PR_CAP_AMBIENT",
            CAPABILITIES,
        ),
        Question::NoNewPrivs => fact(
            "gain by exec",
            "privileges",
            "prctl(2), PR_GET_NO_NEW_PRIVS",
            "denied: no_new_privs is set; shared: as for the harness",
        ),
        Question::Seccomp => fact(
            "seccomp",
            "privileges",
            "prctl(2), PR_GET_SECCOMP",
            "shared: the harness's mode; own: another one, or a filter that ends who asks",
        ),
        Question::Cgroup => fact(
            "cgroup path",
            "resources",
            "/proc/self/cgroup",
            "own: told from a cgroup namespace of its own; shared: its place in the host's tree",
        ),
        Question::Memory => fact(
            "memory",
            "resources",
            "sysinfo(2)",
            "shared: the host's; limited: less; own: more",
        ),
        Question::Cpus => fact(
            "CPUs",
            "resources",
            "sched_getaffinity(2)",
            "shared: the harness's; limited: fewer; own: more",
        ),
        Question::CpuVendor => fact("CPU vendor", "cpu", "CPUID leaf 0", EQUAL),
        Question::CpuBrand => fact("CPU brand", "cpu", "CPUID leaves 0x80000002 to 4", EQUAL),
        Question::Hypervisor => fact(
            "hypervisor",
            "cpu",
            "CPUID.1:ECX.31, leaf 0x40000000",
            EQUAL,
        ),
    }
}

/// Rows about system calls, behind those of the questions.
pub const CALLS: [Fact; 7] = [
    fact(
        "calls answered",
        CALL_GROUP,
        "each call with arguments that do nothing",
        "let through to the kernel; shared: exactly those that a bare process is let through",
    ),
    fact(
        "calls that kill",
        CALL_GROUP,
        "each call with arguments that do nothing",
        "SIGSYS: a seccomp filter; shared: exactly those that kill a bare process",
    ),
    fact(
        "calls refused",
        CALL_GROUP,
        "each call with arguments that do nothing",
        "EPERM or EACCES: no privilege, or a filter that says so",
    ),
    fact(
        "calls absent",
        CALL_GROUP,
        "each call with arguments that do nothing",
        "ENOSYS: not in this kernel, or a filter that says so",
    ),
    fact(
        "calls not made",
        CALL_GROUP,
        "none",
        "no arguments make them harmless; allowed or not, nobody knows",
    ),
    fact(
        "x32 entry",
        CALL_GROUP,
        "getppid with bit 30 of its number set",
        "shared: answered; absent: ENOSYS; denied: killed or refused",
    ),
    fact(
        "i386 entry",
        CALL_GROUP,
        "getppid by int 0x80",
        "shared: answered; absent: ENOSYS or a fault; denied: killed or refused",
    ),
];

const CALL_GROUP: &str = "system calls";

/// Whether a row counts system calls, so that its number says more than its verdict.
#[must_use]
pub fn is_count(name: &str) -> bool {
    name.starts_with("calls ")
}

/// The groups in the order of the table.
pub const GROUPS: [&str; 9] = [
    "namespaces",
    "kernel",
    "processes",
    "files",
    "ipc",
    "network",
    "privileges",
    "resources",
    "cpu",
];

/// Every row in the order of the table, each with its question if it has one.
pub fn all() -> impl Iterator<Item = (Option<Question>, Fact)> {
    let of_group = |group| {
        Question::ALL
            .into_iter()
            .map(|question| (Some(question), of(question)))
            .filter(move |(_, fact)| fact.group == group)
    };
    let questions = GROUPS.into_iter().flat_map(of_group);
    questions.chain(CALLS.into_iter().map(|fact| (None, fact)))
}

/// The row with this name.
#[must_use]
pub fn named(name: &str) -> Option<Fact> {
    all().map(|(_, fact)| fact).find(|fact| fact.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_question_has_one_row_with_a_name_of_its_own_that_fits_its_column() {
        let rows: Vec<_> = all().collect();
        assert_eq!(rows.len(), Question::ALL.len() + CALLS.len());
        let asked: BTreeSet<_> = rows.iter().filter_map(|(question, _)| *question).collect();
        assert_eq!(asked.len(), Question::ALL.len());
        let names: BTreeSet<_> = rows.iter().map(|(_, fact)| fact.name).collect();
        assert_eq!(names.len(), rows.len());
        assert!(
            names
                .iter()
                .all(|name| name.len() < 20 && named(name).is_some())
        );
        assert_eq!(named("nothing"), None);
    }

    /// docs/method.md has this table, row by row.
    #[test]
    fn the_method_says_the_same() {
        let method = include_str!("../../docs/method.md");
        for (
            _,
            Fact {
                name, how, meaning, ..
            },
        ) in all()
        {
            let row = format!("| {name} | {how} | {meaning} |");
            assert!(method.contains(&row), "docs/method.md lacks: {row}");
        }
    }

    #[test]
    fn namespaces_are_those_of_the_kernel() {
        for (question, name) in NAMESPACES {
            assert_eq!(of(question).name, format!("{name} namespace"));
        }
    }
}
