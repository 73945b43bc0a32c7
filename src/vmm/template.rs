//! The prepared guest-physical image, shared by all VMs of a backend: page tables, descriptors, stubs and the
//! payload's segments in a sealed memory file, of which every VM has a private view
//! ([`super::memory::GuestRam`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::elf::{ElfError, Image};
use super::paging::{self, Access};
use super::{descriptors, layout};
use crate::sys::fd;

/// The prepared image.
#[derive(Debug)]
pub struct Template {
    file: File,
    len: usize,
}

/// The image cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The payload is not acceptable, or did not land where it should.
    #[error("the payload's ELF: {0}")]
    Elf(#[from] ElfError),
    /// memfd_create(2), write(2) or fcntl(2) refused.
    #[error("the memory file of the guest image: {0}")]
    File(#[from] io::Error),
}

impl Template {
    /// Lays out tables and segments, checks what was laid out by walking the tables as the MMU
    /// will, and seals the result.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn new(payload: &[u8], image: &Image) -> Result<Self, TemplateError> {
        let bytes = compose(payload, image)?;
        verify(&bytes, payload, image)?;
        let mut file = fd::memory(c"isobench-guest")?;
        file.write_all(&bytes)?;
        fd::seal(&file)?;
        Ok(Self {
            file,
            len: bytes.len(),
        })
    }

    /// A template that another process has made and handed over.
    ///
    /// # Errors
    /// The file is shorter than it should be.
    pub fn handed_over(file: File, len: usize) -> io::Result<Self> {
        if file.metadata()?.len() < len as u64 || len == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(Self { file, len })
    }

    /// The sealed file, to hand it over.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Guest-physical bytes of the image: the RAM of a VM without a heap.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: it holds the tables at least.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The guest-physical image, byte for byte. `image` is checked, so that every segment lies inside
/// the window that `layout` leaves for it.
fn compose(payload: &[u8], image: &Image) -> Result<Vec<u8>, ElfError> {
    let mut bytes = vec![0u8; physical(image.end()) as usize];
    let mut put = |at: u64, what: &[u8]| {
        let slot = usize::try_from(at)
            .ok()
            .and_then(|at| bytes.get_mut(at..at.checked_add(what.len())?))
            .ok_or(ElfError::LoadedWrong(at))?;
        slot.copy_from_slice(what);
        Ok::<(), ElfError>(())
    };
    put(layout::DESCRIPTORS_PHYS, &descriptors::tables())?;
    put(layout::STUBS_PHYS, &descriptors::stubs())?;
    for (slot, entry) in paging::roots() {
        put(slot, &entry.to_le_bytes())?;
    }
    let system = |write, execute| Access {
        user: false,
        write,
        execute,
    };
    let mut pages = vec![
        (
            layout::DESCRIPTORS,
            layout::DESCRIPTORS_PHYS,
            system(true, false),
        ),
        (layout::STUBS, layout::STUBS_PHYS, system(false, true)),
        (
            layout::RING0_STACK,
            layout::RING0_STACK_PHYS,
            system(true, false),
        ),
        (layout::DOORBELL, layout::DOORBELL_PHYS, Access::USER_DATA),
    ];
    pages.extend(
        (0..layout::STACK_BYTES)
            .step_by(layout::PAGE as usize)
            .map(|offset| {
                (
                    layout::STACK + offset,
                    layout::STACK_PHYS + offset,
                    Access::USER_DATA,
                )
            }),
    );
    for segment in &image.segments {
        let access = Access {
            user: true,
            write: segment.write,
            execute: segment.execute,
        };
        pages.extend(
            segment
                .pages()
                .step_by(layout::PAGE as usize)
                .map(|page| (page, physical(page), access)),
        );
        let from = payload
            .get(segment.file.clone())
            .ok_or(ElfError::LoadedWrong(segment.address))?;
        put(physical(segment.address), from)?;
    }
    for (virt, phys, access) in pages {
        let (slot, entry) = paging::leaf(virt, phys, access).ok_or(ElfError::LoadedWrong(virt))?;
        put(slot, &entry.to_le_bytes())?;
    }
    Ok(bytes)
}

/// Guest-physical address of a byte of the image window.
const fn physical(virt: u64) -> u64 {
    virt - layout::IMAGE + layout::IMAGE_PHYS
}

/// After loading: every byte of every segment is where the guest will look for it, under exactly
/// the segment's permissions, and the rest of its memory is zero.
fn verify(bytes: &[u8], payload: &[u8], image: &Image) -> Result<(), ElfError> {
    let read = |at: u64| {
        let at = usize::try_from(at).ok()?;
        Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
    };
    for segment in &image.segments {
        let expected = Access {
            user: true,
            write: segment.write,
            execute: segment.execute,
        };
        let file = payload.get(segment.file.clone()).unwrap_or_default();
        let mut wanted = file.iter().copied().chain(std::iter::repeat(0));
        let end = segment.address + segment.memory_bytes;
        for page in segment.pages().step_by(layout::PAGE as usize) {
            let (from, to) = (page.max(segment.address), end.min(page + layout::PAGE));
            let wrong = |at| ElfError::LoadedWrong(at);
            let (phys, access) = paging::walk(from, read).ok_or(wrong(from))?;
            let found = bytes
                .get(phys as usize..(phys + (to - from)) as usize)
                .filter(|_| access == expected)
                .ok_or(wrong(from))?;
            // `found` leads: a zip asks its second side only while the first has a byte.
            for ((at, found), wanted) in (from..to).zip(found).zip(&mut wanted) {
                if *found != wanted {
                    return Err(wrong(at));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
