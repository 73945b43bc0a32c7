//! One VM's memory: a private view of a prepared image or of a snapshot.
//!
//! The file (a [`Template`] or a snapshot) is sealed. A VM maps it MAP_PRIVATE: nothing is copied until
//! something writes, and what nothing writes to (code, constants, tables) exists once on the host, as a
//! program's text does for processes.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use isobench_abi::DoorbellPage;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    GuestAddress, GuestMemoryMmap, GuestRegionMmap, VolatileMemoryError, VolatileSlice,
};

use super::stack::InitialStack;
use super::template::Template;
use super::{layout, paging};

mod rewind;

/// A file to be seen, privately, in a guest's memory.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Guest-physical start, a page's.
    pub at: u64,
    /// The file, seen from its beginning.
    pub file: BorrowedFd<'a>,
    /// Bytes, not more than the file has.
    pub len: u64,
}

/// One VM's memory. Unmapped when dropped.
#[derive(Debug)]
pub struct GuestRam {
    mapping: NonNull<libc::c_void>,
    mapped: usize,
    base: NonNull<u8>,
    len: usize,
    /// Bytes from guest-physical 0 on that are a file's.
    filled: usize,
}

impl GuestRam {
    /// Maps the template, and behind it `heap_len` bytes of heap (0, or whole large pages).
    ///
    /// # Errors
    /// mmap(2).
    pub fn map(template: &Template, heap_len: u64) -> io::Result<Self> {
        let len = if heap_len == 0 {
            template.len()
        } else {
            usize::try_from(layout::HEAP_PHYS + heap_len).map_err(|_| too_much())?
        };
        Self::over(template.file(), 0, template.len(), len)
    }

    /// Maps `filled` bytes of a file from `offset` on (both whole pages), copy-on-write, and behind
    /// them fresh memory up to `len`.
    ///
    /// # Errors
    /// mmap(2); `filled` is more than `len`.
    pub fn over(file: BorrowedFd<'_>, offset: i64, filled: usize, len: usize) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let file = file.as_raw_fd();
        if filled > len {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if filled == len && len as u64 <= layout::HEAP_PHYS {
            // SAFETY: a new mapping at an address of the kernel's choice.
            let at =
                unsafe { libc::mmap(ptr::null_mut(), len, prot, libc::MAP_PRIVATE, file, offset) };
            let mapping = mapped(at)?;
            return Ok(Self {
                mapping,
                mapped: len,
                base: mapping.cast(),
                len,
                filled,
            });
        }
        let mut ram = Self::anonymous(len)?;
        ram.overlay(0, file, offset, filled)?;
        ram.filled = filled;
        Ok(ram)
    }

    /// Maps `len` zero bytes and, over them, private views of files.
    ///
    /// # Errors
    /// mmap(2); EINVAL for a piece that does not lie inside, from a page's start.
    pub fn mosaic(len: u64, pieces: &[Piece<'_>]) -> io::Result<Self> {
        let number = |n| usize::try_from(n).map_err(|_| too_much());
        let ram = Self::anonymous(number(len)?)?;
        for piece in pieces {
            let (at, len) = (number(piece.at)?, number(piece.len)?);
            ram.overlay(at, piece.file.as_raw_fd(), 0, len)?;
        }
        Ok(ram)
    }

    /// Anonymous, so that these pages are as any process's; one large page more than needed, so that
    /// host and guest addresses agree modulo 2 MiB and both can use large pages.
    fn anonymous(len: usize) -> io::Result<Self> {
        let large = layout::LARGE_PAGE as usize;
        let reserve = len.checked_add(large).ok_or_else(too_much)?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(ptr::null_mut(), reserve, prot, flags, -1, 0) };
        let mapping = mapped(at)?;
        let skip = at.addr().next_multiple_of(large) - at.addr();
        // SAFETY: skip < 2 MiB <= reserve - len, so `base .. base + len` lies inside the mapping.
        let base = unsafe { mapping.cast::<u8>().add(skip) };
        Ok(Self {
            mapping,
            mapped: reserve,
            base,
            len,
            filled: 0,
        })
    }

    /// Puts a private view of a file in place of what lies at `at`, before anybody uses that.
    fn overlay(&self, at: usize, file: RawFd, offset: i64, len: usize) -> io::Result<()> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside || !at.is_multiple_of(layout::PAGE as usize) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: MAP_FIXED replaces `len` bytes, and the rest of their last page, of the mapping that
        // `self` owns: at most `self.len`, behind which it has pages to spare, and nobody uses it yet.
        let over = unsafe {
            libc::mmap(
                self.base.as_ptr().add(at).cast(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                file,
                offset,
            )
        };
        mapped(over).map(drop)
    }

    /// Host address of guest-physical 0.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    /// Guest-physical bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: a VM without memory is not made.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A bounded, volatile view: the guest may have left anything there.
    fn slice(&self, at: u64, len: usize) -> Result<VolatileSlice<'_>, VolatileMemoryError> {
        // SAFETY: `base .. base + len` stays mapped readable and writable while `self` lives, and
        // it is only accessed through such volatile views, by this process or the vCPU.
        let all = unsafe { VolatileSlice::new(self.base.as_ptr(), self.len) };
        let at = usize::try_from(at)
            .map_err(|_| VolatileMemoryError::OutOfBounds { addr: usize::MAX })?;
        all.subslice(at, len)
    }

    /// Copies into guest memory.
    ///
    /// # Errors
    /// Not all of it would lie inside.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), VolatileMemoryError> {
        self.slice(at, bytes.len())?.copy_from(bytes);
        Ok(())
    }

    /// Copies out of guest memory.
    ///
    /// # Errors
    /// Not all of it lies inside.
    pub fn read<const N: usize>(&self, at: u64) -> Result<[u8; N], VolatileMemoryError> {
        let mut bytes = [0u8; N];
        self.slice(at, N)?.copy_to(&mut bytes);
        Ok(bytes)
    }

    /// Copies out of guest memory as much as there is room for.
    ///
    /// # Errors
    /// Not all of it lies inside.
    pub fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<(), VolatileMemoryError> {
        self.slice(at, bytes.len())?.copy_to(bytes);
        Ok(())
    }

    /// All of it as devices see it.
    ///
    /// # Errors
    /// Never for a memory that was mapped; typed all the same.
    pub fn view(&self) -> io::Result<View<'_>> {
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        );
        // SAFETY: `base .. base + len` lies in a mapping that is readable and writable while `self`
        // lives, which `View` borrows; it does not own it, and accesses it by volatile views only.
        let region = unsafe {
            MmapRegionBuilder::new(self.len)
                .with_raw_mmap_pointer(self.base.as_ptr())
                .with_mmap_prot(prot)
                .with_mmap_flags(flags)
                .build()
        };
        let region = region.map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(region, GuestAddress(0)).ok_or_else(too_much)?;
        let memory = GuestMemoryMmap::from_regions(vec![region]).map_err(io::Error::other)?;
        Ok(View {
            memory,
            ram: PhantomData,
        })
    }

    /// Writes what one launch has of its own: the initial stack, the heap's tables, and where the
    /// heap lies.
    ///
    /// # Errors
    /// Not all of it would lie inside.
    pub fn load(&self, stack: &InitialStack, heap_len: u64) -> Result<(), VolatileMemoryError> {
        self.write(stack.physical(), stack.bytes())?;
        if heap_len != 0 {
            for (slot, entry) in paging::heap(heap_len) {
                self.write(slot, &entry.to_le_bytes())?;
            }
            let heap = [layout::HEAP.to_le_bytes(), heap_len.to_le_bytes()].concat();
            let field = std::mem::offset_of!(DoorbellPage, heap_base) as u64;
            self.write(layout::DOORBELL_PHYS + field, &heap)?;
        }
        Ok(())
    }
}

/// A VM's memory as devices see it.
#[derive(Debug)]
pub struct View<'a> {
    memory: GuestMemoryMmap<()>,
    ram: PhantomData<&'a GuestRam>,
}

impl Deref for View<'_> {
    type Target = GuestMemoryMmap<()>;

    fn deref(&self) -> &Self::Target {
        &self.memory
    }
}

impl Drop for GuestRam {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; no view outlives `self`, and whoever owns a VM with
        // this memory closes the VM first.
        unsafe { libc::munmap(self.mapping.as_ptr(), self.mapped) };
    }
}

// SAFETY: the mapping belongs to this value alone and has no thread affinity.
unsafe impl Send for GuestRam {}

fn too_much() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

/// The answer of mmap(2).
fn mapped(at: *mut libc::c_void) -> io::Result<NonNull<libc::c_void>> {
    match NonNull::new(at) {
        Some(at) if at.as_ptr() != libc::MAP_FAILED => Ok(at),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
