//! Where a trial begins. Two builds are two processes, and a scheduler leaves each on the CPU that it
//! has: for seconds one of them has a busy one, the other an idle one, and every block says so. Both
//! trials of a block therefore begin on the same CPU, which changes from block to block; from there on
//! the scheduler may do what it likes.

use std::io;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const THIS: Pid = Pid::from_raw(0);

/// CPUs that this thread may run on (sched_getaffinity(2)); at least one.
///
/// # Errors
/// The system call's.
pub fn cpus() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(THIS)?;
    let all: Vec<usize> = (0..CpuSet::count())
        .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .collect();
    if all.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    Ok(all)
}

/// Takes this thread to a CPU, and lets it go again there.
///
/// # Errors
/// This thread may not run there, or sched_setaffinity(2)'s.
pub fn begin_on(cpu: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(THIS)?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(THIS, &only)?;
    Ok(sched_setaffinity(THIS, &allowed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_on_a_cpu_may_go_everywhere() {
        let before = cpus().unwrap();
        for cpu in &before {
            begin_on(*cpu).unwrap();
            assert_eq!(cpus().unwrap(), before);
        }
        assert!(begin_on(usize::MAX).is_err());
        assert_eq!(cpus().unwrap(), before);
    }
}
