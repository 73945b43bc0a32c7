//! KVM's own counters of a VM or a vCPU (KVM API, 4.135, KVM_GET_STATS_FD, since Linux 5.14): what it
//! handles without the VMM, and would otherwise not be seen.
//!
//! ```text
//!   header │ id string │ descriptor + name, num_desc times │ data, u64 each
//! ```
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_bindings::{KVM_STATS_TYPE_CUMULATIVE, KVM_STATS_TYPE_MASK};
use kvm_ioctls::{VcpuFd, VmFd};

/// `_IO(KVMIO, 0xce)` (include/uapi/linux/kvm.h): kvm-ioctls has no wrapper.
pub(crate) const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// Bytes of `struct kvm_stats_header`: six u32.
const HEADER: usize = 24;
/// Bytes of `struct kvm_stats_desc` without its name.
const DESCRIPTOR: usize = 16;
/// More descriptors, or longer names, than any kernel has: a file that says so is not understood.
const MOST: usize = 4096;

/// The counters of a vCPU and of its VM.
///
/// # Errors
/// As [`read`].
pub fn of(vcpu: &VcpuFd, vm: &VmFd) -> io::Result<Vec<(String, u64)>> {
    let mut all = read(vcpu)?;
    all.extend(read(vm)?);
    Ok(all)
}

/// The counters of this VM or vCPU that only grow and are not 0, by name.
///
/// # Errors
/// This KVM keeps none, or in a form that is not understood.
pub fn read(of: &impl AsRawFd) -> io::Result<Vec<(String, u64)>> {
    // SAFETY: a VM's or vCPU's descriptor; the call takes no argument and opens a descriptor.
    let fd = unsafe { libc::ioctl(of.as_raw_fd(), KVM_GET_STATS_FD, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, owned by nothing else.
    let file = unsafe { File::from_raw_fd(fd) };
    let mut header = [0u8; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let [name_size, descriptors, _, at, data] = [4, 8, 12, 16, 20].map(|at| word(&header, at));
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "KVM statistics of another form");
    if name_size == 0 || name_size > MOST || descriptors > MOST {
        return Err(strange());
    }
    let mut block = vec![0u8; descriptors * (DESCRIPTOR + name_size)];
    file.read_exact_at(&mut block, at as u64)?;
    let mut counters = Vec::new();
    for descriptor in block.chunks_exact(DESCRIPTOR + name_size) {
        let (flags, offset) = (word(descriptor, 0), word(descriptor, 8));
        let values = usize::from(u16::from_le_bytes([descriptor[6], descriptor[7]]));
        // Not a histogram, not a level that also falls.
        if flags as u32 & KVM_STATS_TYPE_MASK != KVM_STATS_TYPE_CUMULATIVE || values != 1 {
            continue;
        }
        let mut value = [0u8; 8];
        file.read_exact_at(&mut value, (data + offset) as u64)?;
        let value = u64::from_le_bytes(value);
        let name = descriptor[DESCRIPTOR..].split(|byte| *byte == 0).next();
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        if value != 0 {
            counters.push((name.ok_or_else(strange)?.to_owned(), value));
        }
    }
    Ok(counters)
}

/// A u32; the callers' offsets lie inside by the lengths above.
fn word(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word) as usize)
}
