//! The bundle of an instance: what the OCI's runtime specification can say of `container`.

use std::path::{Path, PathBuf};

use isobench_guardian::MARK;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, Capabilities, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMappingBuilder,
    LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder,
    LinuxResourcesBuilder, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompBuilder,
    LinuxSyscallBuilder, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

use crate::backend::container::cgroup::Limits;
use crate::backend::container::{PAYLOAD_ID, memory_limit};
use crate::workload::Task;

/// What is asked for beside the task.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The root directory.
    pub root: PathBuf,
    /// Path of the control group; `None`: none, and no limits.
    pub group: Option<PathBuf>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// In a user namespace whose user 0 is this user and group of the host.
    pub user: Option<(u32, u32)>,
}

/// System calls of the payload, and those that runc, crun and youki make behind their filter, before
/// their exec.
const ALLOWED: [&str; 43] = [
    "read",
    "write",
    "mmap",
    "getppid",
    "exit_group",
    "execve",
    "execveat",
    "close",
    "close_range",
    "fcntl",
    "newfstatat",
    "openat",
    "futex",
    "prctl",
    "capget",
    "capset",
    "setresuid",
    "setresgid",
    "rt_sigprocmask",
    "rt_sigaction",
    "sigaltstack",
    "madvise",
    "munmap",
    "mprotect",
    "brk",
    "getpid",
    "gettid",
    "tgkill",
    "rt_sigreturn",
    "epoll_ctl",
    "epoll_pwait",
    "nanosleep",
    "fstat",
    "readlinkat",
    "fstatfs",
    "getdents64",
    "statx",
    "dup3",
    "lseek",
    "sched_yield",
    "sendmsg",
    "accept4",
    "recvfrom",
];

/// youki starts nothing without one, although the payload's path is absolute.
const PATH: &str = "PATH=/";
/// Without one every runtime adds it, and youki asks the name service for it, behind the filter.
const HOME: &str = "HOME=/";

/// `config.json`.
///
/// # Errors
/// A part that the specification wants is missing.
pub fn config(name: &str, task: &Task, wishes: &Wishes) -> Result<Spec, OciSpecError> {
    let id = match wishes.user {
        Some(_) => 0,
        None => PAYLOAD_ID,
    };
    let none = Capabilities::new();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(none.clone())
        .effective(none.clone())
        .permitted(none.clone())
        .inheritable(none.clone())
        .ambient(none)
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(id).gid(id).build()?)
        .args(task.argv())
        .env([format!("{MARK}={name}"), PATH.to_owned(), HOME.to_owned()])
        .cwd("/")
        .capabilities(capabilities)
        .rlimits([])
        .no_new_privileges(true)
        .build()?;
    SpecBuilder::default()
        .version("1.0.2")
        .process(process)
        .root(
            RootBuilder::default()
                .path(&wishes.root)
                .readonly(true)
                .build()?,
        )
        .hostname("isobench")
        .mounts([
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"])?,
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"])?,
        ])
        .linux(linux(task, wishes)?)
        .build()
}

fn linux(task: &Task, wishes: &Wishes) -> Result<oci_spec::runtime::Linux, OciSpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    if wishes.user.is_some() {
        kinds.push(LinuxNamespaceType::User);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let mut resources = LinuxResourcesBuilder::default();
    if wishes.group.is_some() {
        let limits = Limits::with_memory(memory_limit(task));
        resources = resources
            .memory(
                LinuxMemoryBuilder::default()
                    .limit(limits.memory.0)
                    .build()?,
            )
            .pids(
                LinuxPidsBuilder::default()
                    .limit(i64::from(limits.tasks))
                    .build()?,
            );
    }
    // Nothing is masked: like that of `container`, this /proc is of a pid namespace of its own, and the
    // payload has no capability and no right to write there.
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(resources.build()?)
        .masked_paths(Vec::<String>::new())
        .readonly_paths(Vec::<String>::new());
    if let Some(group) = &wishes.group {
        linux = linux.cgroups_path(group);
    }
    if wishes.seccomp {
        linux = linux.seccomp(filter()?);
    }
    if let Some((uid, gid)) = wishes.user {
        let one = |host| {
            LinuxIdMappingBuilder::default()
                .container_id(0_u32)
                .host_id(host)
                .size(1_u32)
                .build()
        };
        linux = linux.uid_mappings([one(uid)?]).gid_mappings([one(gid)?]);
    }
    linux.build()
}

fn filter() -> Result<LinuxSeccomp, OciSpecError> {
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActKillProcess)
        .architectures([Arch::ScmpArchX86_64])
        .syscalls([LinuxSyscallBuilder::default()
            .names(ALLOWED.map(str::to_owned))
            .action(LinuxSeccompAction::ScmpActAllow)
            .build()?])
        .build()
}

fn mount(at: &str, kind: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(at)
        .typ(kind)
        .source(Path::new(kind))
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
}

/// In what such an instance differs from one of `container`, whatever the runtime.
pub fn differences(wishes: &Wishes) -> Vec<String> {
    let mut all = vec![
        "its root is one read-only bind mount that all instances share, not a tmpfs with a copy of the \
         payload"
            .to_owned(),
        "all of /proc is there (of its own pid namespace), and the devices that a runtime adds itself"
            .to_owned(),
        "its environment has a variable by which the guardian finds it, PATH and HOME".to_owned(),
        "its control group is in every hierarchy that is mounted, with a list of devices".to_owned(),
    ];
    if wishes.group.is_none() {
        all.pop();
        all.push("it has no control group, and no limits".to_owned());
    }
    if wishes.seccomp {
        all.push(format!(
            "its seccomp filter lets {} system calls through where container's lets 6: those that \
             runtimes make behind it",
            ALLOWED.len()
        ));
    } else {
        all.push("it has no seccomp filter".to_owned());
    }
    if wishes.user.is_some() {
        all.push("it is user 0 of its user namespace".to_owned());
    }
    all
}
