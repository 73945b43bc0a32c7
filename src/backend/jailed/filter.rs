//! What a VMM may ask of the kernel once its VM is made: the seccomp filter of its one thread, in force
//! before the first KVM_RUN. A guest that has taken over the VMM has this, the VM and two pipes.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::backend::Unavailable;
use crate::vmm::{statistics, vcpu};

/// Without a condition, and what for.
const PLAIN: [i64; 11] = [
    // The wait for a request; messages, the report.
    libc::SYS_read,
    libc::SYS_write,
    // The memory allocator.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    // Taking the VM down, hanging up.
    libc::SYS_close,
    // The watchdog: its handler's return, its next shot.
    libc::SYS_rt_sigreturn,
    libc::SYS_timer_settime,
    // The clock, where the vDSO cannot read it.
    libc::SYS_clock_gettime,
    // A signal that came during one of these.
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// `_IO(KVMIO, 0x80)`, `_IOR(KVMIO, 0x81, struct kvm_regs)`, `_IOR(KVMIO, 0x83, struct kvm_sregs)`
/// (include/uapi/linux/kvm.h): to run, and to say what a fault did.
const IOCTLS: [u64; 4] = [0xae80, 0x8090_ae81, 0x8138_ae83, vcpu::KVM_GET_DEVICE_ATTR];

/// Compiles the filter; with `counting` for a launch that reads KVM's counters at its end.
///
/// # Errors
/// seccompiler refuses, which no input of a user can cause.
pub(super) fn compile(counting: bool) -> Result<BpfProgram, Unavailable> {
    build(counting).map_err(|error| Unavailable {
        reason: format!("the VMM's seccomp filter does not compile: {error}"),
        remedy: "report this as a bug".to_owned(),
    })
}

fn build(counting: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        PLAIN.into_iter().map(|call| (call, Vec::new())).collect();
    let mut requests = IOCTLS.to_vec();
    if counting {
        requests.push(statistics::KVM_GET_STATS_FD);
        rules.insert(libc::SYS_pread64, Vec::new());
    }
    // The second argument is an `unsigned int`: what stands above it is not read by the kernel.
    let second = |value| {
        let equal = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![equal])
    };
    let requests: Result<Vec<_>, _> = requests.into_iter().map(second).collect();
    // Rust's own check, in builds with debug assertions, that what it closes is open.
    rules.insert(libc::SYS_fcntl, vec![second(libc::F_GETFD as u64)?]);
    rules.insert(libc::SYS_ioctl, requests?);
    // Memory, but none to execute.
    let execute = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    let never = SeccompCondition::new(2, SeccompCmpArgLen::Dword, execute, 0)?;
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![never])?]);
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .and_then(BpfProgram::try_from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::program::{Arguments, Descriptors, Grants, Op, Program};
    use crate::sys::spawn::{Place, Stack, spawn};
    use crate::sys::{fd, pidfd};
    use crate::trial::PhaseLog;

    /// Whether a child that carries out this step behind the filter (or without it) lives to say so:
    /// its last step is refused by the kernel, which a dead child cannot hear.
    fn survives(op: &Op, filtered: bool) -> bool {
        let mut program = Program::new();
        program.push("no_new_privs", Op::NoNewPrivileges);
        if filtered {
            program.push("seccomp", Op::Seccomp(compile(false).unwrap()));
        }
        program.push("attempt", op.clone());
        program.push("last", Op::Chdir(c"/nowhere/at/all".to_owned()));
        let null = fd::null().unwrap();
        let own = pidfd::own().unwrap();
        let descriptors = Descriptors {
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: null.as_fd(),
            harness: own.as_fd(),
            image: None,
            grants: Grants {
                passed: [Some(null.as_fd()), None, None],
                ..Grants::default()
            },
        };
        let arguments = Arguments::new(&["x"]);
        let mut log = PhaseLog::new();
        let mut stack = Stack::new().unwrap();
        let place = Place::default();
        let made = spawn(
            &mut stack,
            place,
            &program,
            descriptors,
            &arguments,
            &mut log,
        );
        match made {
            Err(failure) => !failure.to_string().contains("killed"),
            // An exec is taken for done until the child's end says otherwise.
            Ok(child) => matches!(
                pidfd::reap(child.pidfd.as_fd()).unwrap(),
                pidfd::Exit::Status(_)
            ),
        }
    }

    /// Each with the same step without the filter, which the child survives. None of them may succeed
    /// in changing anything that is not the child's alone: pivot_root(2) would, from a working directory
    /// that is a mount point.
    #[test]
    fn what_a_vmm_does_not_need_ends_it() {
        let path = || c"/nowhere/at/all".to_owned();
        for op in [
            Op::Chdir(path()),
            Op::Write(path(), Vec::new()),
            Op::Mkdir(path(), 0),
            Op::Mknod(path(), libc::S_IFREG, 0),
            Op::Mount(Box::default()),
            Op::Unshare(0),
            Op::AtRoot,
            Op::LoopbackUp,
            Op::NewSession,
            Op::NoCoreDump,
            Op::EmptyCapabilities,
            Op::NoNewPrivileges,
            Op::Seccomp(Vec::new()),
            Op::ParentLives,
            Op::TraceMe,
            Op::CloseOnExec,
            // fcntl(2) for anything but the one question.
            Op::Pass,
            Op::Exec(path()),
        ] {
            assert!(!survives(&op, true), "{op:?}");
            assert!(survives(&op, false), "{op:?}");
        }
    }

    #[test]
    fn a_launch_that_counts_may_ask_for_one_thing_more() {
        assert!(compile(true).unwrap().len() > compile(false).unwrap().len());
    }
}
