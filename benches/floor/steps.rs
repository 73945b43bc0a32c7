//! The child's side of the floor: the straight line from clone3 to the exec.

use std::ffi::CStr;
use std::io;
use std::ptr::null;

use isobench::backend::container::mechanism::{Mechanism, Mechanisms};
use isobench::workload::payload;
use seccompiler::BpfProgram;

use super::pair::Pair;

/// Everything the child needs, in memory it shares with its parent.
pub struct Child<'a> {
    pub mechanisms: Mechanisms,
    pub last_capability: u32,
    pub image: i32,
    pub null: i32,
    /// Standard input.
    pub input: i32,
    pub stdout: i32,
    pub entries: [i32; 3],
    pub filter: &'a BpfProgram,
    pub pair: Option<&'a Pair>,
    /// Its process id on the host, written by the kernel.
    pub pid: i32,
    pub argv: *const *const libc::c_char,
    pub errno: i32,
    pub line: u32,
}

pub extern "C" fn run(child: *mut Child<'_>) -> ! {
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
    step!(libc::dup2(child.input, 0));
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
    if let Some(pair) = child.pair {
        child.line = line!();
        pair.make(child.pid)?;
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

pub fn put(path: &CStr, flags: i32, mode: u32, bytes: &[u8]) -> io::Result<()> {
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

pub fn check(answer: impl TryInto<i64>) -> io::Result<i64> {
    match answer.try_into().unwrap_or(-1) {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}
