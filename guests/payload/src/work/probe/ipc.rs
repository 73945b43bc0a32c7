//! System V objects and POSIX message queues of the IPC namespace (ipc_namespaces(7)).

use isobench_abi::question::{CANARY_BYTES, CANARY_NAME};

use super::files::close;
use crate::sys::{Errno, Kernel, nr};

/// Shared memory segments, and those of the canary's size (shmctl(2)).
pub fn segments(kernel: Kernel) -> Result<(u64, u64), Errno> {
    const SHM_INFO: usize = 14;
    const SHM_STAT_ANY: usize = 15;
    const EINVAL: Errno = 22;
    const EIDRM: Errno = 43;
    /// A table of more entries is not read to its end.
    const MOST: usize = 4096;
    // struct shm_info has 48 bytes; struct shmid64_ds 112, the size of the segment at 48
    // (`include/uapi/asm-generic/{ipcbuf,shmbuf}.h`).
    let mut words = [0u64; 16];
    let mut ask = |index: usize, command: usize| {
        let at = words.as_mut_ptr() as usize;
        // SAFETY: `words` is larger than what either command writes.
        let answer = unsafe { kernel.call(nr::SHMCTL, index, command, at) };
        answer.map(|highest| (highest, words[6]))
    };
    let (highest, _) = ask(0, SHM_INFO)?;
    let (mut count, mut canaries) = (0, 0);
    for index in 0..=highest.min(MOST) {
        match ask(index, SHM_STAT_ANY) {
            Ok((_, bytes)) => {
                count += 1;
                canaries += u64::from(bytes == CANARY_BYTES);
            }
            // An entry of the table that is not, or no longer, in use.
            Err(EINVAL | EIDRM) => {}
            Err(other) => return Err(other),
        }
    }
    Ok((count, canaries))
}

/// Message queues (msgctl(2)): `msgpool` of struct msginfo.
pub fn queues(kernel: Kernel) -> Result<u64, Errno> {
    const MSG_INFO: usize = 12;
    let mut info = [0u32; 16];
    // SAFETY: struct msginfo has 32 bytes.
    unsafe { kernel.call(nr::MSGCTL, 0, MSG_INFO, info.as_mut_ptr() as usize) }?;
    Ok(info[0].into())
}

/// Semaphore sets (semctl(2)): `semusz` of struct seminfo.
pub fn semaphores(kernel: Kernel) -> Result<u64, Errno> {
    const SEM_INFO: usize = 19;
    let mut info = [0u32; 16];
    let arguments = [0, 0, SEM_INFO, info.as_mut_ptr() as usize, 0, 0];
    // SAFETY: struct seminfo has 40 bytes.
    unsafe { kernel.call6(nr::SEMCTL, arguments) }?;
    Ok(info[7].into())
}

/// Opens the canary for reading. The system call takes the name without mq_open(3)'s slash.
pub fn reach_canary(kernel: Kernel) -> Result<(), Errno> {
    let arguments = [CANARY_NAME.as_ptr() as usize, 0, 0, 0, 0, 0];
    // SAFETY: the name is NUL-terminated and only read.
    let fd = unsafe { kernel.call6(nr::MQ_OPEN, arguments) }?;
    close(kernel, fd);
    Ok(())
}
