//! A VM taken when its payload was ready, in one sealed memory file from which copies start.
//!
//! ```text
//!        0  magic "ISOBSNAP"
//!        8  version, u32                                  (all numbers little-endian)
//!       12  bytes of state, u32
//!       16  bytes of guest memory in this file, u64       whole pages
//!       24  bytes of guest memory, u64                    the rest is zero and not stored
//!       32  SHA-256 of bytes 0..32 and of all from 64 on
//!       64  state (see `state`)
//!   0x2000  guest-physical memory from 0 on; a page of zeros is a hole
//! ```
//!
//! A file is hostile until proven otherwise. Seals come first, since bytes that can still change need
//! no checking; then magic, version and lengths, which bound what is read; then the digest over every
//! byte; only then is the state decoded. The digest tells damage, not forgery.

mod state;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use self::state::State;
use super::cpu::{Cpu, Model};
use super::layout::{self, PAGE};
use super::machine::{CaptureError, Machine, Vcpu};
use super::memory::GuestRam;
use crate::sys::fd;
use crate::sys::pagemap::Pagemap;
use crate::transcript::Said;

/// First bytes of a snapshot.
pub const MAGIC: [u8; 8] = *b"ISOBSNAP";
/// The one version there is.
pub const VERSION: u32 = 1;
/// Bytes before the state.
const HEADER: usize = 64;
/// Where the digest lies; what is before is under it, as is everything behind the header.
const DIGEST_AT: usize = 32;
/// Where guest memory begins in the file.
const MEMORY_AT: u64 = 0x2000;

const _: () =
    assert!(HEADER + state::BYTES <= MEMORY_AT as usize && MEMORY_AT.is_multiple_of(PAGE));

/// What a snapshot was taken of: SHA-256 over the payload and its command line. A copy answers for
/// this task only.
pub type Identity = [u8; 32];

/// The identity of a payload, by its SHA-256, with its arguments.
#[must_use]
pub fn identity<S: AsRef<str>>(payload: [u8; 32], argv: &[S]) -> Identity {
    let mut hash = Sha256::new();
    hash.update(payload);
    for argument in argv {
        hash.update(argument.as_ref());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// A verified snapshot.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    stored: usize,
    ram: usize,
    state: State,
}

/// Why a snapshot cannot be taken, or a file is none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// memfd_create(2), read(2), write(2) or fcntl(2) refused.
    #[error("the memory file of the snapshot: {0}")]
    File(#[from] io::Error),
    /// The vCPU's state cannot be taken.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The payload has not said that it is ready, or has said more than that.
    #[error("the payload is not at a point from which a copy can go on")]
    NotReady,
    /// The file can still be changed.
    #[error("the snapshot is not sealed (F_SEAL_WRITE, F_SEAL_GROW, F_SEAL_SHRINK)")]
    Unsealed,
    /// Not a snapshot.
    #[error("not a snapshot: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// Written by another version of isobench.
    #[error("the snapshot has version {0}; this isobench reads {VERSION}: take it again")]
    Version(u32),
    /// A length in the header is out of its range.
    #[error("the snapshot's {field} is {found}, which is not {expected}")]
    Size {
        /// Which.
        field: &'static str,
        /// What the header, or the file, says.
        found: u64,
        /// What it can be.
        expected: String,
    },
    /// Bytes are not those that were written.
    #[error("the snapshot is damaged: its SHA-256 is another one")]
    Digest,
    /// Of another payload, or of other arguments.
    #[error("the snapshot is of another payload or task: take it again")]
    Identity,
    /// Of a VM with another CPU.
    #[error("the snapshot is of another CPU model than this KVM gives: take it on this host")]
    Cpu,
    /// A field of the state is out of its range.
    #[error("the snapshot's {0} is nothing a VM can have")]
    State(&'static str),
}

impl Snapshot {
    /// Takes a VM whose payload has just paused, writes it down, and reads it back as any other
    /// snapshot is read. The VM is left at rest.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn take(
        machine: &mut Machine,
        cpu: &Cpu,
        said: Said,
        identity: &Identity,
    ) -> Result<Self, SnapshotError> {
        let vcpu = machine.capture(cpu)?;
        let file = fd::memory(c"isobench-snapshot")?;
        let ram = machine.ram();
        let stored = store(&file, ram)?;
        let state = State {
            identity: *identity,
            cpu: cpu.model().digest,
            said,
            vcpu,
        };
        seal(&file, [stored, ram.len() as u64], &state)?;
        Self::open(file, &cpu.model(), identity)
    }

    /// Checks a file, and decodes it.
    ///
    /// # Errors
    /// See [`SnapshotError`]: the first thing that is wrong.
    pub fn open(file: File, cpu: &Model, identity: &Identity) -> Result<Self, SnapshotError> {
        if !fd::is_sealed(&file) {
            return Err(SnapshotError::Unsealed);
        }
        let length = file.metadata()?.len();
        let size = |field, found, expected: &dyn ToString| SnapshotError::Size {
            field,
            found,
            expected: expected.to_string(),
        };
        if length < MEMORY_AT {
            return Err(size(
                "length",
                length,
                &format!("{MEMORY_AT} or more bytes"),
            ));
        }
        let mut head = vec![0; MEMORY_AT as usize];
        file.read_exact_at(&mut head, 0)?;
        let magic = field(&head, 0);
        if magic != MAGIC {
            return Err(SnapshotError::Magic(magic));
        }
        let version = u32::from_le_bytes(field(&head, 8));
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let state = u64::from(u32::from_le_bytes(field(&head, 12)));
        if state != state::BYTES as u64 {
            return Err(size("state", state, &state::BYTES));
        }
        let stored = u64::from_le_bytes(field(&head, 16));
        let ram = u64::from_le_bytes(field(&head, 24));
        if !possible(ram) {
            let expected = "that of a VM of this layout";
            return Err(size("guest memory", ram, &expected));
        }
        // Without a heap all of it is in the file, so that it is one mapping.
        let least = if ram > layout::HEAP_PHYS { PAGE } else { ram };
        if !(least..=ram).contains(&stored) || !stored.is_multiple_of(PAGE) {
            return Err(size(
                "stored memory",
                stored,
                &format!("whole pages up to {ram}"),
            ));
        }
        if length != MEMORY_AT + stored {
            return Err(size("length", length, &(MEMORY_AT + stored)));
        }
        if digest(&file, length)? != field::<32>(&head, DIGEST_AT) {
            return Err(SnapshotError::Digest);
        }
        let state = State::decode(&field(&head, HEADER), cpu, identity)?;
        let bytes = |n| usize::try_from(n).map_err(|_| size("guest memory", n, &"addressable"));
        Ok(Self {
            stored: bytes(stored)?,
            ram: bytes(ram)?,
            file,
            state,
        })
    }

    /// A copy's memory: this snapshot's, copy-on-write.
    ///
    /// # Errors
    /// mmap(2).
    pub fn map(&self) -> io::Result<GuestRam> {
        GuestRam::over(self.file.as_fd(), MEMORY_AT as i64, self.stored, self.ram)
    }

    /// Gives a copy's memory, which [`Self::map`] made, this snapshot's bytes again.
    ///
    /// # Errors
    /// As [`GuestRam::rewind`].
    pub(super) fn rewind(&self, ram: &mut GuestRam, pages: &Pagemap) -> io::Result<()> {
        ram.rewind(pages, &self.file, MEMORY_AT)
    }

    /// A copy's vCPU.
    #[must_use]
    pub const fn vcpu(&self) -> &Vcpu {
        &self.state.vcpu
    }

    /// What the payload has said.
    #[must_use]
    pub const fn said(&self) -> Said {
        self.state.said
    }

    /// Guest memory in the file, in bytes, holes included: the most that the snapshot takes.
    #[must_use]
    pub const fn stored(&self) -> usize {
        self.stored
    }
}

/// Whether a VM of this layout can have this much memory: no heap, or a heap of whole large pages.
fn possible(ram: u64) -> bool {
    match ram.checked_sub(layout::HEAP_PHYS) {
        Some(heap) if heap > 0 => layout::heap_len(heap) == Some(heap),
        _ => ram > layout::IMAGE_PHYS && ram.is_multiple_of(PAGE),
    }
}

/// Writes guest memory into the file, pages of zeros as holes, up to the last page that is not zero.
/// Hands back how far that is; without a heap, to the end.
fn store(file: &File, ram: &GuestRam) -> Result<u64, SnapshotError> {
    let mut page = [0; PAGE as usize];
    let mut end = PAGE;
    for at in (0..ram.len() as u64).step_by(PAGE as usize) {
        ram.read_into(at, &mut page).map_err(io::Error::other)?;
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(&page, MEMORY_AT + at)?;
            end = at + PAGE;
        }
    }
    if ram.len() as u64 <= layout::HEAP_PHYS {
        end = ram.len() as u64;
    }
    file.set_len(MEMORY_AT + end)?;
    Ok(end)
}

/// Writes what stands before guest memory, and seals the file: no byte of it changes any more.
fn seal(file: &File, [stored, ram]: [u64; 2], state: &State) -> io::Result<()> {
    let mut head = vec![0; MEMORY_AT as usize];
    put(&mut head, 0, &MAGIC);
    put(&mut head, 8, &VERSION.to_le_bytes());
    put(&mut head, 12, &(state::BYTES as u32).to_le_bytes());
    put(&mut head, 16, &stored.to_le_bytes());
    put(&mut head, 24, &ram.to_le_bytes());
    put(&mut head, HEADER, &state.encode());
    file.write_all_at(&head, 0)?;
    let digest = digest(file, MEMORY_AT + stored)?;
    file.write_all_at(&digest, DIGEST_AT as u64)?;
    fd::seal(file)
}

/// The digest that a file of this length should carry.
fn digest(file: &File, length: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while at < length {
        let some = (length - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..some], at)?;
        if at == 0 {
            hash.update(&buffer[..DIGEST_AT]);
            hash.update(&buffer[HEADER..some]);
        } else {
            hash.update(&buffer[..some]);
        }
        at += some as u64;
    }
    Ok(hash.finalize().into())
}

/// `N` bytes at a constant offset inside `bytes`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut found = [0; N];
    if let Some(part) = bytes.get(at..at + N) {
        found.copy_from_slice(part);
    }
    found
}

/// The same, written.
fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..at + what.len()) {
        slot.copy_from_slice(what);
    }
}

#[cfg(any(test, fuzzing))]
#[path = "snapshot_fuzz.rs"]
pub mod fuzz;

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
