//! A disk (§5.2): the sectors of a file, read-only unless said otherwise.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use virtio_queue::Queue;

use super::chain::{self, Buffers};
use super::{Device, DriverFault, Memory};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Buffers of data in one request at most (VIRTIO_BLK_F_SEG_MAX), and bytes of one
/// (VIRTIO_BLK_F_SIZE_MAX).
pub const SEGMENTS: u32 = 32;
const SEGMENT_BYTES: u32 = 16 << 10;
/// Bytes of data in one request.
pub const REQUEST_BYTES: usize = (SEGMENTS * SEGMENT_BYTES) as usize;

const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;

/// Kinds of request (§5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const SYNC: u32 = 4;
const GET_ID: u32 = 8;
/// Type, a reserved word, first sector.
const HEADER: usize = 16;
/// What GET_ID asks for.
const ID_BYTES: usize = 20;

/// What a request ends with (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done = 0,
    Error = 1,
    Unsupported = 2,
}

/// What was asked of the disk since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests to read that were done, and their bytes.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Requests to write that were done.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests that were refused or failed.
    pub refused: u64,
}

/// The device.
#[derive(Debug)]
pub struct Block {
    file: File,
    sectors: u64,
    writable: bool,
    name: [u8; ID_BYTES],
    configuration: [u8; 24],
    requests: Requests,
    /// Between file and guest memory.
    buffer: Vec<u8>,
}

impl Block {
    /// The whole sectors of a file or sealed memory file, which only a `writable` disk changes. The name
    /// is what the guest reads as its serial number.
    ///
    /// # Errors
    /// The file's size is unknown, or less than a sector.
    pub fn new(file: File, writable: bool, name: &str) -> io::Result<Self> {
        let sectors = file.metadata()?.len() / SECTOR;
        if sectors == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a disk has a sector of 512 bytes at least",
            ));
        }
        let mut configuration = [0; 24];
        configuration[..8].copy_from_slice(&sectors.to_le_bytes());
        configuration[8..12].copy_from_slice(&SEGMENT_BYTES.to_le_bytes());
        configuration[12..16].copy_from_slice(&SEGMENTS.to_le_bytes());
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Ok(Self {
            file,
            sectors,
            writable,
            name: id,
            configuration,
            requests: Requests::default(),
            buffer: vec![0; SEGMENT_BYTES as usize],
        })
    }

    /// What was asked of it.
    #[must_use]
    pub const fn requests(&self) -> Requests {
        self.requests
    }

    /// One request. How many bytes of the driver's buffers were written.
    fn request(&mut self, buffers: Buffers<'_>) -> Result<u32, DriverFault> {
        let Buffers {
            mut reader,
            readable,
            writer: mut data,
            writable,
        } = buffers;
        let mut header = [0; HEADER];
        reader
            .read_exact(&mut header)
            .map_err(|_| DriverFault::Request("without a whole header"))?;
        let room = writable
            .checked_sub(1)
            .ok_or(DriverFault::Request("without room for its status"))?;
        let mut status = data.split_at(room)?;
        let [kind, _, low, high] = words(&header);
        let first = u64::from(high) << 32 | u64::from(low);
        let given = readable - HEADER;
        let outcome = match kind {
            IN if given == 0 => self.read(first, room, &mut data),
            OUT if room == 0 => self.take(first, given, &mut reader),
            SYNC => self.sync(),
            GET_ID if room >= ID_BYTES => match data.write_all(&self.name) {
                Ok(()) => Outcome::Done,
                Err(_) => Outcome::Error,
            },
            IN | OUT | GET_ID => Outcome::Error,
            _ => Outcome::Unsupported,
        };
        if outcome != Outcome::Done {
            self.requests.refused += 1;
        }
        status
            .write_all(&[outcome as u8])
            .map_err(|_| DriverFault::Request("whose status cannot be written"))?;
        // Both are bounded by the request's size, or the data was not written.
        Ok(u32::try_from(data.bytes_written() + 1).unwrap_or(u32::MAX))
    }

    /// The file's offset of so many bytes from this sector on; `None` where they are not on the disk.
    fn place(&self, first: u64, bytes: usize) -> Option<u64> {
        let length = bytes as u64;
        let whole = length != 0 && length.is_multiple_of(SECTOR) && bytes <= REQUEST_BYTES;
        let end = first.checked_add(length / SECTOR)?;
        (whole && end <= self.sectors).then(|| first * SECTOR)
    }

    fn read(&mut self, first: u64, bytes: usize, to: &mut impl Write) -> Outcome {
        let Some(mut at) = self.place(first, bytes) else {
            return Outcome::Error;
        };
        let mut left = bytes;
        while left != 0 {
            let part = left.min(self.buffer.len());
            let piece = &mut self.buffer[..part];
            let moved = self.file.read_exact_at(piece, at);
            if moved.and_then(|()| to.write_all(piece)).is_err() {
                return Outcome::Error;
            }
            at += part as u64;
            left -= part;
        }
        self.requests.reads += 1;
        self.requests.read_bytes += bytes as u64;
        Outcome::Done
    }

    fn take(&mut self, first: u64, bytes: usize, from: &mut impl Read) -> Outcome {
        let place = self.place(first, bytes).filter(|_| self.writable);
        let Some(mut at) = place else {
            return Outcome::Error;
        };
        let mut left = bytes;
        while left != 0 {
            let part = left.min(self.buffer.len());
            let piece = &mut self.buffer[..part];
            let moved = from.read_exact(piece);
            if moved
                .and_then(|()| self.file.write_all_at(piece, at))
                .is_err()
            {
                return Outcome::Error;
            }
            at += part as u64;
            left -= part;
        }
        self.requests.writes += 1;
        self.requests.written_bytes += bytes as u64;
        Outcome::Done
    }

    fn sync(&self) -> Outcome {
        match self.writable.then(|| self.file.sync_data()) {
            Some(Ok(())) => Outcome::Done,
            // Nothing was offered that could need it.
            None => Outcome::Unsupported,
            Some(Err(_)) => Outcome::Error,
        }
    }
}

impl Device for Block {
    fn id(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        SIZE_MAX | SEG_MAX | if self.writable { FLUSH } else { READ_ONLY }
    }

    fn queues(&self) -> u16 {
        1
    }

    fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    fn serve(
        &mut self,
        _number: u16,
        queue: &mut Queue,
        memory: &Memory,
    ) -> Result<bool, DriverFault> {
        chain::serve(queue, memory, self, |_| true, Self::request)
    }
}

fn words(header: &[u8; HEADER]) -> [u32; 4] {
    std::array::from_fn(|at| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[at * 4..at * 4 + 4]);
        u32::from_le_bytes(word)
    })
}
