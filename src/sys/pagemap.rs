//! Which pages of this process's mappings are its own (proc_pid_pagemap(5)).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes that the file has for each page.
const ENTRY: usize = 8;
/// "Page is file-page or shared-anon".
const FILE: u64 = 1 << 61;
/// "Page is swapped".
const SWAPPED: u64 = 1 << 62;
/// "Page is present".
const PRESENT: u64 = 1 << 63;

/// `/proc/self/pagemap`.
#[derive(Debug)]
pub struct Pagemap(File);

impl Pagemap {
    /// Opens it.
    ///
    /// # Errors
    /// There is no procfs here, or a kernel without CONFIG_PROC_PAGE_MONITOR.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// Of the pages of `bytes` bytes from `address` on (a page's), those that are this process's own, by their
    /// number from 0: a copy of what a file has there, or anonymous memory. Whatever was never touched, or
    /// still is the file's, is none.
    ///
    /// # Errors
    /// read(2); EINVAL for an address that is not a page's.
    pub fn own(&self, address: u64, bytes: usize) -> io::Result<Vec<usize>> {
        let page = PAGE as u64;
        if !address.is_multiple_of(page) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut entries = vec![0; bytes.div_ceil(PAGE) * ENTRY];
        let at = address / page * ENTRY as u64;
        self.0.read_exact_at(&mut entries, at)?;
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let entries = entries.iter().copied().map(u64::from_le_bytes);
        Ok(entries
            .enumerate()
            .filter(|(_, entry)| entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0)
            .map(|(number, _)| number)
            .collect())
    }
}
