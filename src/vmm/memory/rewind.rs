//! Memory given back the bytes that it was mapped with, whatever a payload has written.
//!
//! Dropping the written pages would do, but with them go the translations that KVM has built for the guest
//! (shadow or nested page tables), and the next life pays a fault for each page that it touches. So the pages
//! that this VM has of its own, which the kernel knows ([`Pagemap`]), are written over instead. A page that is
//! not the VM's own is the file's still: MAP_PRIVATE has every write go to a page of one's own (mmap(2)).
//! Dropped is what is no file's, and a heap of which much was written.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::GuestRam;
use crate::sys::pagemap::Pagemap;
use crate::vmm::layout::{self, PAGE};

/// Pages of a heap that are written over at most; to drop more, and to have them faulted in again, is no dearer.
const MOST_OF_HEAP: usize = 512;

impl GuestRam {
    /// Forgets everything that was written: the memory is what was mapped again, the file's bytes and
    /// zeros behind them.
    ///
    /// # Errors
    /// madvise(2).
    pub fn forget(&mut self) -> io::Result<()> {
        self.drop_pages(0..self.len)
    }

    /// As [`Self::forget`], but pages stay where they are, and KVM's translations of them with them. `file`,
    /// from `offset` on, is what this memory was mapped from.
    ///
    /// # Errors
    /// The page map or the file cannot be read; madvise(2). A page of the supervisor's is another than before:
    /// no payload gets so far, and with such tables there may be translations that nothing here takes back.
    pub(in crate::vmm) fn rewind(
        &mut self,
        pages: &Pagemap,
        file: &File,
        offset: u64,
    ) -> io::Result<()> {
        let own = pages.own(self.host_address(), self.filled)?;
        let (below, heap) = own.split_at(own.partition_point(|&page| at(page) < layout::HEAP_PHYS));
        let few = heap.len() <= MOST_OF_HEAP;
        let mut original = [0; PAGE as usize];
        for &page in if few { &own } else { below } {
            let at = at(page);
            file.read_exact_at(&mut original, offset + at)?;
            if at >= layout::SUPERVISOR_END {
                self.write(at, &original).map_err(io::Error::other)?;
            } else if self.read(at).map_err(io::Error::other)? != original {
                // The VM's own they are nevertheless where the processor walks tables as if it wrote to them
                // (AMD APM vol. 2, 15.25.6; Intel SDM vol. 3, 30.3.5), and then with the same bytes.
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the guest has changed the supervisor's page at {at:#x}"),
                ));
            }
        }
        if !few {
            self.drop_pages(layout::HEAP_PHYS as usize..self.filled)?;
        }
        self.drop_pages(self.filled..self.len)
    }

    /// madvise(2), MADV_DONTNEED: on a private mapping the next access finds what was mapped.
    fn drop_pages(&mut self, bytes: Range<usize>) -> io::Result<()> {
        let Range { start, end } = bytes;
        if start >= end.min(self.len) {
            return Ok(());
        }
        let len = end.min(self.len) - start;
        // SAFETY: `start < self.len`, so that both the pointer and the `len` bytes behind it lie in this VM's
        // memory, private and mapped while `self` lives; nobody holds a view of it (`&mut self`), and what
        // its bytes become is part of the callers' contract.
        let answer = unsafe {
            libc::madvise(
                self.base.as_ptr().add(start).cast(),
                len,
                libc::MADV_DONTNEED,
            )
        };
        if answer == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Where a page lies.
const fn at(page: usize) -> u64 {
    page as u64 * PAGE
}
