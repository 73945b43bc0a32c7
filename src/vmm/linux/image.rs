//! Kernel and initramfs as memory files, prepared once: a virtual machine maps them privately and
//! copies nothing until its guest writes.

use std::io::{self, Cursor};
use std::os::fd::{AsFd, OwnedFd};

use isobench_abi::DRIVERS;
use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::kernel::{Format, Kernel, KernelError, Placement};
use super::layout;
use crate::sys::fd::sealed_memory;
use crate::vmm::initramfs::{Initramfs, InitramfsError};
use crate::vmm::layout::PAGE;
use crate::vmm::memory::Piece;

/// Kernel and initramfs cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The kernel is not acceptable, or did not land where it should.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The payload cannot be put into an initramfs.
    #[error("the initramfs: {0}")]
    Initramfs(#[from] InitramfsError),
    /// A memory file cannot be made.
    #[error("the memory files of kernel and initramfs: {0}")]
    File(#[from] io::Error),
}

/// What every virtual machine of a backend starts from.
#[derive(Debug)]
pub struct Image {
    kernel: OwnedFd,
    initramfs: OwnedFd,
    initramfs_bytes: u64,
    placement: Placement,
    base: u64,
    header: Option<setup_header>,
}

impl Image {
    /// Loads the kernel, checks what was loaded byte by byte, and packs `payload` as `/init`.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn new(kernel: &Kernel, payload: &[u8]) -> Result<Self, ImageError> {
        Self::with_drivers(kernel, payload, &[])
    }

    /// As [`Self::new`], with modules that `/init` can load, in this order.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn with_drivers(
        kernel: &Kernel,
        payload: &[u8],
        drivers: &[Vec<u8>],
    ) -> Result<Self, ImageError> {
        let archive = pack(payload, drivers)?;
        let placement = kernel.placement.clone();
        let memory = placement.start + placement.memory;
        let base = layout::base(memory, pages(archive.len() as u64))
            .ok_or(KernelError::TooLarge(placement.memory))?;
        Ok(Self {
            kernel: sealed_memory(c"isobench-kernel", &load(kernel)?)?,
            initramfs: sealed_memory(c"isobench-initramfs", &archive)?,
            initramfs_bytes: archive.len() as u64,
            placement,
            base,
            header: kernel.header,
        })
    }

    /// Where the kernel goes.
    #[must_use]
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Header of a bzImage.
    #[must_use]
    pub const fn header(&self) -> Option<&setup_header> {
        self.header.as_ref()
    }

    /// Guest-physical start and size of the initramfs.
    #[must_use]
    pub const fn initramfs(&self) -> (u64, u64) {
        (
            self.base - pages(self.initramfs_bytes),
            self.initramfs_bytes,
        )
    }

    /// Memory before the payload's ([`layout::base`]).
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// What is to be seen in guest memory.
    #[must_use]
    pub fn pieces(&self) -> [Piece<'_>; 2] {
        [
            Piece {
                at: self.placement.start,
                file: self.kernel.as_fd(),
                len: self.placement.loaded,
            },
            Piece {
                at: self.initramfs().0,
                file: self.initramfs.as_fd(),
                len: self.initramfs_bytes,
            },
        ]
    }
}

const fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

/// The root file system of the guest: the payload, and what the kernel adds by itself (`/dev/console`).
fn pack(payload: &[u8], drivers: &[Vec<u8>]) -> Result<Vec<u8>, ImageError> {
    let mut tree = Initramfs::new();
    tree.file("/init", 0o755, payload)?;
    for (number, driver) in drivers.iter().enumerate() {
        tree.file(&format!("{DRIVERS}/{number}"), 0o644, driver)?;
    }
    let mut archive = Vec::new();
    tree.write_to(&mut archive)?;
    Ok(archive)
}

/// Has the loader put the kernel into memory, and takes it out again once it is as the checked
/// placement says.
fn load(kernel: &Kernel) -> Result<Vec<u8>, KernelError> {
    let wrong = |why: String| KernelError::LoadedWrong(why);
    let Placement {
        start,
        loaded,
        entry,
        pieces,
        ..
    } = &kernel.placement;
    let len = usize::try_from(*loaded).map_err(|e| wrong(e.to_string()))?;
    let memory: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&[(GuestAddress(*start), len)])
        .map_err(|e| wrong(e.to_string()))?;
    let mut file = Cursor::new(kernel.bytes.as_slice());
    let at = GuestAddress(*start);
    let high = Some(GuestAddress(layout::HIGH));
    let expected = match kernel.format {
        // Without the lowest address: that is compared with where a 16-bit loader would put it.
        Format::BzImage => BzImage::load(&memory, Some(at), &mut file, None).map(|r| (r, at.0)),
        Format::Vmlinux => Elf::load(&memory, None, &mut file, high).map(|r| (r, *entry)),
    };
    let (result, first) = expected.map_err(|e| wrong(e.to_string()))?;
    if result.kernel_load.0 != first {
        return Err(wrong(format!("loaded at {:#x}", result.kernel_load.0)));
    }
    let mut bytes = vec![0; len];
    memory
        .read_slice(&mut bytes, at)
        .map_err(|e| wrong(e.to_string()))?;
    for (address, range) in pieces {
        let from = (address - start) as usize;
        let there = bytes.get(from..from + range.len());
        if there.is_none() || there != kernel.bytes.get(range.clone()) {
            return Err(wrong(format!("other bytes at {address:#x}")));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::payload;

    #[test]
    fn the_same_payload_gives_the_same_archive() {
        let archive = pack(payload::BYTES, &[]).unwrap();
        assert_eq!(archive, pack(payload::BYTES, &[]).unwrap());
        let found = archive
            .windows(payload::BYTES.len())
            .position(|window| window == payload::BYTES);
        assert!(found.is_some(), "the payload's very bytes");
    }
}
