//! Files and folders, read into a buffer that is given.

use core::ffi::CStr;

use crate::sys::{Errno, Kernel, nr};

const AT_FDCWD: usize = -100isize as usize;
const O_RDWR: usize = 2;
const O_DIRECTORY: usize = 0o200_000;
const O_CLOEXEC: usize = 0o2_000_000;

/// An open file, closed when it goes.
struct File(Kernel, usize);

impl Drop for File {
    fn drop(&mut self) {
        close(self.0, self.1);
    }
}

/// Closes a descriptor that this program has just been given.
pub fn close(kernel: Kernel, fd: usize) {
    // SAFETY: the descriptor is this program's own; nothing else refers to it. There is nothing to
    // do about an error.
    let _ = unsafe { kernel.call(nr::CLOSE, fd, 0, 0) };
}

#[inline(never)]
fn open(kernel: Kernel, path: &CStr, flags: usize) -> Result<File, Errno> {
    let (path, flags) = (path.as_ptr() as usize, flags | O_CLOEXEC);
    // SAFETY: `path` is NUL-terminated and only read.
    Ok(File(kernel, unsafe {
        kernel.call(nr::OPENAT, AT_FDCWD, path, flags)
    }?))
}

/// Whether a file can be opened for reading and writing. Nothing is done with it.
pub fn open_both_ways(kernel: Kernel, path: &CStr) -> Result<(), Errno> {
    open(kernel, path, O_RDWR).map(drop)
}

impl File {
    /// One call that fills `buffer` (read(2), getdents64(2)).
    fn fill(&self, number: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
        let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: `buffer` is writable for its length.
        unsafe { self.0.call(number, self.1, at, length) }
    }
}

/// As much of a file as fits, without blanks at its end.
pub fn text<'a>(kernel: Kernel, path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = open(kernel, path, 0)?;
    let mut length = 0;
    while length < buffer.len() {
        match file.fill(nr::READ, &mut buffer[length..])? {
            0 => break,
            n => length += n,
        }
    }
    Ok(buffer[..length].trim_ascii())
}

/// The text before the first NUL byte, or all of it.
#[inline(never)]
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or(bytes)
}

/// Number of line ends in a file.
pub fn lines(kernel: Kernel, path: &CStr, buffer: &mut [u8]) -> Result<u64, Errno> {
    let file = open(kernel, path, 0)?;
    let mut count = 0;
    loop {
        let n = file.fill(nr::READ, buffer)?;
        if n == 0 {
            return Ok(count);
        }
        count += buffer[..n].split(|&b| b == b'\n').count() as u64 - 1;
    }
}

/// Number of entries of a folder that are wanted, by type (`DT_*`, readdir(3)) and name.
#[inline(never)]
pub fn entries(
    kernel: Kernel,
    path: &CStr,
    buffer: &mut [u8],
    wanted: &dyn Fn(u8, &[u8]) -> bool,
) -> Result<u64, Errno> {
    // struct linux_dirent64: inode, offset, length (u16 at 16), type (u8 at 18), name.
    const LENGTH: usize = 16;
    const TYPE: usize = 18;
    const NAME: usize = 19;
    let folder = open(kernel, path, O_DIRECTORY)?;
    let mut count = 0;
    loop {
        let n = folder.fill(nr::GETDENTS64, buffer)?;
        if n == 0 {
            return Ok(count);
        }
        let mut rest = &buffer[..n];
        while rest.len() > NAME {
            let length = usize::from(u16::from_le_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            if length <= NAME || length > rest.len() {
                break;
            }
            let (entry, others) = rest.split_at(length);
            count += u64::from(wanted(entry[TYPE], until_nul(&entry[NAME..])));
            rest = others;
        }
    }
}

/// Device and inode of a file (stat(2)).
pub fn identity(kernel: Kernel, path: &CStr) -> Result<(u64, u64), Errno> {
    // struct stat of x86-64 has 144 bytes: st_dev, st_ino, …
    let mut stat = [0u64; 18];
    let (path, at) = (path.as_ptr() as usize, stat.as_mut_ptr() as usize);
    // SAFETY: `path` is NUL-terminated; `stat` has the size that the kernel writes.
    unsafe { kernel.call(nr::STAT, path, at, 0) }?;
    Ok((stat[0], stat[1]))
}

/// Whether a folder may be written to, with the effective ids (faccessat2(2)).
pub fn is_writable(kernel: Kernel, path: &CStr) -> Result<(), Errno> {
    const W_OK: usize = 2;
    const AT_EACCESS: usize = 0x200;
    let path = path.as_ptr() as usize;
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { kernel.call6(nr::FACCESSAT2, [AT_FDCWD, path, W_OK, AT_EACCESS, 0, 0]) }.map(drop)
}

/// What a symbolic link says (readlink(2)).
pub fn link<'a>(kernel: Kernel, path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let (path, at) = (path.as_ptr() as usize, buffer.as_mut_ptr() as usize);
    // SAFETY: `path` is NUL-terminated; `buffer` is writable for its length.
    let length = unsafe { kernel.call(nr::READLINK, path, at, buffer.len()) }?;
    Ok(&buffer[..length])
}
