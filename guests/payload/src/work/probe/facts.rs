//! One fact after the other. What each is and how it is read says `isobench_abi::question`.

use core::arch::x86_64::__cpuid;
use core::ffi::CStr;

use isobench_abi::question::{DESCRIPTORS, Question};

use super::{Answer, Asked, files, ipc, net};
use crate::sys::{Errno, Kernel, nr};

/// No such process; its errno where there is nobody to ask about.
const ESRCH: Errno = 3;

/// How a fact is read. As data, since an instance carries this program's size in its memory.
#[derive(Clone, Copy)]
enum Way {
    /// A call whose arguments are all 0.
    Plain(usize),
    /// A field of uname(2).
    Name(usize),
    /// The text of a file.
    Text(&'static CStr),
    /// What a symbolic link says.
    Link(&'static CStr),
    /// Device and inode of a file.
    Identity(&'static CStr),
    /// A set of capget(2).
    Capabilities(usize),
    /// A set of prctl(2): option, and its second argument if that is not the capability.
    CapabilitySet(usize, Option<usize>),
    /// An option of prctl(2).
    Process(usize),
    /// A number.
    Number(fn(Kernel) -> Result<u64, Errno>),
    /// A number that is read out of files.
    Read(fn(Kernel, &mut [u8]) -> Result<u64, Errno>),
    /// Two numbers that belong together.
    Pair(fn(Kernel, &mut [u8]) -> Result<Two, Errno>),
    /// Whether something can be done.
    Reach(fn(Kernel) -> Result<(), Errno>),
    /// Interface names.
    Interfaces,
    /// From the CPU itself: no kernel is asked.
    Cpu(fn(&mut [u8]) -> &[u8]),
}

/// What [`Way::Pair`] reads.
type Two = (u64, u64);

const fn way(question: Question) -> Way {
    match question {
        Question::Pid => Way::Plain(nr::GETPID),
        Question::Parent => Way::Plain(nr::GETPPID),
        Question::SignalParent => Way::Reach(signal_parent),
        Question::Processes => Way::Pair(processes),
        Question::Session => Way::Pair(session),
        Question::Terminal => Way::Read(terminal),
        Question::Descriptors => Way::Number(descriptors),
        Question::Hostname => Way::Name(1),
        Question::KernelRelease => Way::Name(2),
        Question::KernelVersion => Way::Name(3),
        Question::Machine => Way::Name(4),
        Question::DomainName => Way::Name(5),
        Question::BootId => Way::Text(c"/proc/sys/kernel/random/boot_id"),
        Question::Uptime => Way::Number(uptime),
        Question::Root => Way::Identity(c"/"),
        Question::RootWritable => Way::Reach(|kernel| files::is_writable(kernel, c"/")),
        Question::Mounts => Way::Read(mounts),
        Question::Devices => Way::Read(devices),
        Question::Kvm => Way::Reach(|kernel| files::open_both_ways(kernel, c"/dev/kvm")),
        Question::DevShm => Way::Identity(c"/dev/shm"),
        Question::Interfaces => Way::Interfaces,
        Question::AbstractSocket => Way::Reach(net::reach_canary),
        Question::SharedMemory => Way::Pair(|kernel, _| ipc::segments(kernel)),
        Question::MessageQueues => Way::Number(ipc::queues),
        Question::Semaphores => Way::Number(ipc::semaphores),
        Question::PosixQueue => Way::Reach(ipc::reach_canary),
        Question::Uid => Way::Plain(nr::GETEUID),
        Question::Gid => Way::Plain(nr::GETEGID),
        Question::Groups => Way::Plain(nr::GETGROUPS),
        Question::UidMap => Way::Text(c"/proc/self/uid_map"),
        Question::CapEffective => Way::Capabilities(0),
        Question::CapPermitted => Way::Capabilities(1),
        Question::CapInheritable => Way::Capabilities(2),
        Question::CapBounding => Way::CapabilitySet(PR_CAPBSET_READ, None),
        Question::CapAmbient => Way::CapabilitySet(PR_CAP_AMBIENT, Some(PR_CAP_AMBIENT_IS_SET)),
        Question::NoNewPrivs => Way::Process(PR_GET_NO_NEW_PRIVS),
        Question::Seccomp => Way::Process(PR_GET_SECCOMP),
        Question::Cgroup => Way::Text(c"/proc/self/cgroup"),
        Question::Memory => Way::Number(memory),
        Question::Cpus => Way::Number(cpus),
        Question::NsCgroup => Way::Link(c"/proc/self/ns/cgroup"),
        Question::NsIpc => Way::Link(c"/proc/self/ns/ipc"),
        Question::NsMnt => Way::Link(c"/proc/self/ns/mnt"),
        Question::NsNet => Way::Link(c"/proc/self/ns/net"),
        Question::NsPid => Way::Link(c"/proc/self/ns/pid"),
        Question::NsTime => Way::Link(c"/proc/self/ns/time"),
        Question::NsUser => Way::Link(c"/proc/self/ns/user"),
        Question::NsUts => Way::Link(c"/proc/self/ns/uts"),
        Question::CpuVendor => Way::Cpu(vendor),
        Question::CpuBrand => Way::Cpu(brand),
        Question::Hypervisor => Way::Cpu(hypervisor),
    }
}

/// [`way`], as a table.
static WAYS: [Way; Question::ALL.len()] = {
    let mut ways = [Way::Interfaces; Question::ALL.len()];
    let mut at = 0;
    while at < ways.len() {
        ways[at] = way(Question::ALL[at]);
        at += 1;
    }
    ways
};

/// Answers a question. `buffer` is scratch memory.
#[inline(never)]
pub fn answer<'a>(question: Question, kernel: Option<Kernel>, buffer: &'a mut [u8]) -> Asked<'a> {
    let way = WAYS[question as usize];
    if let Way::Cpu(read) = way {
        return Ok(Answer::Text(read(buffer)));
    }
    let Some(kernel) = kernel else {
        return Ok(Answer::NoKernel);
    };
    let number = match way {
        Way::Plain(call) => plain(kernel, call)?,
        Way::Capabilities(set) => capabilities(kernel, set)?,
        Way::CapabilitySet(option, second) => capability_set(kernel, option, second)?,
        Way::Process(option) => prctl(kernel, option, 0, 0)?,
        Way::Number(read) => read(kernel)?,
        Way::Read(read) => read(kernel, buffer)?,
        Way::Reach(reach) => {
            reach(kernel)?;
            0
        }
        Way::Name(field) => return Ok(Answer::Text(name_of_system(kernel, field, buffer)?)),
        Way::Text(path) => return Ok(Answer::Text(files::text(kernel, path, buffer)?)),
        Way::Link(path) => return Ok(Answer::Text(files::link(kernel, path, buffer)?)),
        Way::Identity(path) => {
            let (device, inode) = files::identity(kernel, path)?;
            return Ok(Answer::Pair(device, inode));
        }
        Way::Pair(read) => {
            let (first, second) = read(kernel, buffer)?;
            return Ok(Answer::Pair(first, second));
        }
        Way::Interfaces => {
            let (names, messages) = buffer.split_at_mut(buffer.len() / 2);
            return Ok(Answer::Text(net::interfaces(kernel, names, messages)?));
        }
        Way::Cpu(_) => return Ok(Answer::NoKernel),
    };
    Ok(Answer::Number(number))
}

fn processes(kernel: Kernel, buffer: &mut [u8]) -> Result<(u64, u64), Errno> {
    let is_process = |_, name: &[u8]| name.iter().all(u8::is_ascii_digit);
    let count = files::entries(kernel, c"/proc", buffer, &is_process)?;
    let own = crate::start::decimal(files::link(kernel, c"/proc/self", buffer)?);
    Ok((count, own.unwrap_or(0)))
}

fn devices(kernel: Kernel, buffer: &mut [u8]) -> Result<u64, Errno> {
    const DT_CHR: u8 = 2;
    const DT_BLK: u8 = 6;
    let is_device = |kind, _: &[u8]| kind == DT_CHR || kind == DT_BLK;
    files::entries(kernel, c"/dev", buffer, &is_device)
}

fn mounts(kernel: Kernel, buffer: &mut [u8]) -> Result<u64, Errno> {
    files::lines(kernel, c"/proc/self/mountinfo", buffer)
}

fn session(kernel: Kernel, _: &mut [u8]) -> Result<(u64, u64), Errno> {
    Ok((plain(kernel, nr::GETSID)?, plain(kernel, nr::GETPID)?))
}

/// A call whose arguments are all 0: who am I, what of this process?
fn plain(kernel: Kernel, number: usize) -> Result<u64, Errno> {
    // SAFETY: the callers pass getters. With 0 `getsid` and `getgroups` ask about the caller and
    // for the number only.
    unsafe { kernel.call(number, 0, 0, 0) }.map(|n| n as u64)
}

fn signal_parent(kernel: Kernel) -> Result<(), Errno> {
    let parent = plain(kernel, nr::GETPPID)? as usize;
    if parent == 0 {
        // To kill(2), 0 would be this process's own group.
        return Err(ESRCH);
    }
    // SAFETY: signal 0 is not sent (kill(2)).
    unsafe { kernel.call(nr::KILL, parent, 0, 0) }.map(drop)
}

/// `tty_nr` (proc_pid_stat(5)): the fifth word behind the name, which may hold blanks and brackets.
fn terminal(kernel: Kernel, buffer: &mut [u8]) -> Result<u64, Errno> {
    const EPROTO: Errno = 71;
    let stat = files::text(kernel, c"/proc/self/stat", buffer)?;
    let name_ends = stat.iter().rposition(|&b| b == b')').ok_or(EPROTO)?;
    let (mut word, mut number) = (0, 0);
    for &byte in &stat[name_ends..] {
        if byte == b' ' {
            word += 1;
        } else if word == 5 {
            number = number * 10 + u64::from(byte.wrapping_sub(b'0'));
        }
    }
    Ok(number)
}

fn descriptors(kernel: Kernel) -> Result<u64, Errno> {
    const F_GETFD: usize = 1;
    const EBADF: Errno = 9;
    let mut count = 0;
    for fd in 0..DESCRIPTORS {
        // SAFETY: F_GETFD reads a flag.
        match unsafe { kernel.call(nr::FCNTL, fd as usize, F_GETFD, 0) } {
            Ok(_) => count += 1,
            Err(EBADF) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(count)
}

/// Field of struct new_utsname: six texts of 65 bytes, NUL-terminated (uname(2)).
#[inline(never)]
fn name_of_system(kernel: Kernel, field: usize, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    const FIELD: usize = 65;
    let buffer = &mut buffer[..6 * FIELD];
    // SAFETY: `buffer` has the size that the kernel writes.
    unsafe { kernel.call(nr::UNAME, buffer.as_mut_ptr() as usize, 0, 0) }?;
    Ok(files::until_nul(&buffer[field * FIELD..][..FIELD]))
}

/// Seconds since the boot, time asleep included.
fn uptime(kernel: Kernel) -> Result<u64, Errno> {
    const CLOCK_BOOTTIME: usize = 7;
    let mut time = [0u64; 2];
    let at = time.as_mut_ptr() as usize;
    // SAFETY: struct timespec is two words.
    unsafe { kernel.call(nr::CLOCK_GETTIME, CLOCK_BOOTTIME, at, 0) }?;
    Ok(time[0])
}

/// Total memory of struct sysinfo, at byte 32, in units of its word at byte 104 (sysinfo(2)).
fn memory(kernel: Kernel) -> Result<u64, Errno> {
    let mut info = [0u64; 14];
    // SAFETY: struct sysinfo has 112 bytes.
    unsafe { kernel.call(nr::SYSINFO, info.as_mut_ptr() as usize, 0, 0) }?;
    Ok(info[4].saturating_mul(info[13] & 0xffff_ffff))
}

/// CPUs in this thread's mask, among the first 8192.
fn cpus(kernel: Kernel) -> Result<u64, Errno> {
    let mut mask = [0u64; 128];
    let (size, at) = (size_of_val(&mask), mask.as_mut_ptr() as usize);
    // SAFETY: `mask` is writable for the size given.
    unsafe { kernel.call(nr::SCHED_GETAFFINITY, 0, size, at) }?;
    let mut count = 0;
    for mut word in mask {
        while word != 0 {
            word &= word - 1;
            count += 1;
        }
    }
    Ok(count)
}

/// A set of this process: 0 effective, 1 permitted, 2 inheritable (capget(2)).
#[inline(never)]
fn capabilities(kernel: Kernel, set: usize) -> Result<u64, Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    let (header, at) = (header.as_mut_ptr() as usize, sets.as_mut_ptr() as usize);
    // SAFETY: a header of two words and two triples of sets, as version 3 has them.
    unsafe { kernel.call(nr::CAPGET, header, at, 0) }?;
    Ok(u64::from(sets[1][set]) << 32 | u64::from(sets[0][set]))
}

const PR_GET_SECCOMP: usize = 21;
const PR_CAPBSET_READ: usize = 23;
const PR_GET_NO_NEW_PRIVS: usize = 39;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_IS_SET: usize = 1;

/// Some options demand that unused arguments are 0.
fn prctl(kernel: Kernel, option: usize, first: usize, second: usize) -> Result<u64, Errno> {
    // SAFETY: the options used here ask, and take no address.
    let answer = unsafe { kernel.call6(nr::PRCTL, [option, first, second, 0, 0, 0]) }?;
    Ok(answer as u64)
}

/// A set that is told capability by capability, up to the first that the kernel does not know.
fn capability_set(kernel: Kernel, option: usize, second: Option<usize>) -> Result<u64, Errno> {
    const EINVAL: Errno = 22;
    let mut set = 0;
    for cap in 0..64 {
        let asked = match second {
            None => prctl(kernel, option, cap, 0),
            Some(second) => prctl(kernel, option, second, cap),
        };
        match asked {
            Ok(has) => set |= u64::from(has == 1) << cap,
            Err(EINVAL) if cap > 0 => break,
            Err(other) => return Err(other),
        }
    }
    Ok(set)
}

/// The registers of a CPUID leaf as text, in the order given.
#[inline(never)]
fn registers<'a>(words: &[u32], buffer: &'a mut [u8]) -> &'a [u8] {
    for (slot, word) in buffer.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    files::until_nul(&buffer[..4 * words.len()]).trim_ascii()
}

fn vendor(buffer: &mut [u8]) -> &[u8] {
    let leaf = __cpuid(0);
    registers(&[leaf.ebx, leaf.edx, leaf.ecx], buffer)
}

/// Intel SDM vol. 2, CPUID, "processor brand string".
fn brand(buffer: &mut [u8]) -> &[u8] {
    const FIRST: u32 = 0x8000_0002;
    if __cpuid(0x8000_0000).eax < FIRST + 2 {
        return &[];
    }
    let mut words = [0; 12];
    for (slot, number) in words.chunks_exact_mut(4).zip(FIRST..) {
        let leaf = __cpuid(number);
        slot.copy_from_slice(&[leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
    }
    registers(&words, buffer)
}

/// `Documentation/virt/kvm/x86/cpuid.rst`; every hypervisor keeps to it.
fn hypervisor(buffer: &mut [u8]) -> &[u8] {
    const PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & PRESENT == 0 {
        return &[];
    }
    let leaf = __cpuid(0x4000_0000);
    registers(&[leaf.ebx, leaf.ecx, leaf.edx], buffer)
}
