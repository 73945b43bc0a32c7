//! Memory given back the bytes that it was mapped with, whatever a guest has written.
//!
//! Dropping the written pages would do, but with them go the translations that KVM has built for the guest
//! (shadow or nested page tables), and the next life pays a fault for each page that it touches. So the pages
//! that this VM has of its own, which the kernel knows ([`Pagemap`]), are written over instead, below the
//! heap; the heap is dropped, for it can be large. A page that is not the VM's own is the file's still:
//! MAP_PRIVATE has every write go to a page of one's own (mmap(2)).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::GuestRam;
use crate::sys::pagemap::Pagemap;
use crate::vmm::layout::{self, PAGE};

impl GuestRam {
    /// Forgets everything that was written: the memory is what was mapped again, the file's bytes and
    /// zeros behind them.
    ///
    /// # Errors
    /// madvise(2).
    pub fn forget(&mut self) -> io::Result<()> {
        self.forget_from(0)
    }

    /// As [`Self::forget`], but pages below the heap stay where they are, and KVM's translations of them with
    /// them. `file`, from `offset` on, is what this memory was mapped from. Hands back how many pages were
    /// written over.
    ///
    /// # Errors
    /// The page map or the file cannot be read; madvise(2).
    pub fn rewind(&mut self, pages: &Pagemap, file: &File, offset: u64) -> io::Result<usize> {
        let own = pages.own(self.host_address(), self.filed)?;
        // No guest here writes to its page tables, and the processor has nothing to note in them (see
        // `paging`). If one did all the same, what KVM and the processor have made of them must go, too.
        if own
            .iter()
            .any(|&page| page as u64 * PAGE < layout::TABLES_END)
        {
            self.forget()?;
            return Ok(0);
        }
        let mut original = [0; PAGE as usize];
        for page in &own {
            let at = *page as u64 * PAGE;
            file.read_exact_at(&mut original, offset + at)?;
            self.write(at, &original).map_err(io::Error::other)?;
        }
        self.forget_from(self.filed)?;
        Ok(own.len())
    }

    /// madvise(2), MADV_DONTNEED: on a private mapping the next access finds what was mapped.
    fn forget_from(&mut self, at: usize) -> io::Result<()> {
        let len = self.len.saturating_sub(at);
        if len == 0 {
            return Ok(());
        }
        // SAFETY: `at < self.len`, so that both the pointer and the `len` bytes behind it lie in this VM's
        // memory, private and mapped while `self` lives; nobody holds a view of it (`&mut self`), and what
        // its bytes become is part of the callers' contract.
        let answer =
            unsafe { libc::madvise(self.base.as_ptr().add(at).cast(), len, libc::MADV_DONTNEED) };
        if answer == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
