//! The payload's ELF, validated here and not by a loader library: every field that decides where
//! bytes land is checked before anything is copied (elf(5); System V ABI, chapters 4 and 5).

use std::ops::Range;

use super::layout::{IMAGE, IMAGE_END, PAGE};

const EHDR_BYTES: usize = 64;
const PHDR_BYTES: usize = 56;
/// Program headers that a payload may have; the count field could claim 65,535.
pub const MAX_HEADERS: u16 = 64;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

/// What is wrong with an ELF, one variant a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// No room for a file header.
    #[error("the file has {0} bytes; an ELF header has {EHDR_BYTES}")]
    Truncated(usize),
    /// EI_MAG.
    #[error("not an ELF: magic {0:02x?}")]
    Magic([u8; 4]),
    /// EI_CLASS.
    #[error("EI_CLASS is {0}, not 2 (64-bit)")]
    Class(u8),
    /// EI_DATA.
    #[error("EI_DATA is {0}, not 1 (little-endian)")]
    Endian(u8),
    /// EI_VERSION or e_version.
    #[error("ELF version {0}, not 1")]
    Version(u32),
    /// e_type.
    #[error("e_type is {0}, not 2 (ET_EXEC)")]
    Type(u16),
    /// e_machine.
    #[error("e_machine is {0}, not 62 (x86-64)")]
    Machine(u16),
    /// e_phentsize.
    #[error("e_phentsize is {0}, not {PHDR_BYTES}")]
    HeaderSize(u16),
    /// e_phnum.
    #[error("e_phnum is {0}, not 1..={MAX_HEADERS}")]
    HeaderCount(u16),
    /// e_phoff.
    #[error("the program headers at {0:#x} do not lie inside the file")]
    HeadersOutside(u64),
    /// A program interpreter: not static.
    #[error("segment {0} names an interpreter: the payload is static")]
    Interpreter(usize),
    /// p_offset, p_filesz.
    #[error("segment {0} does not lie inside the file")]
    SegmentOutsideFile(usize),
    /// p_memsz < p_filesz.
    #[error("segment {0} has more bytes in the file than in memory")]
    MemoryShorter(usize),
    /// p_memsz is 0.
    #[error("segment {0} is empty")]
    Empty(usize),
    /// p_vaddr, p_memsz.
    #[error("segment {0} does not lie inside {IMAGE:#x}..{IMAGE_END:#x}")]
    SegmentOutsideMemory(usize),
    /// p_align is no power of two, or address and offset disagree modulo it.
    #[error("segment {0}: address and file offset disagree modulo its alignment")]
    Alignment(usize),
    /// Writable and executable at once.
    #[error("segment {0} is writable and executable")]
    WriteExecute(usize),
    /// Two segments share a page: no permission could be right for both.
    #[error("segments {0} and {1} share a page")]
    Overlap(usize, usize),
    /// Nothing to load.
    #[error("no PT_LOAD segment")]
    NothingToLoad,
    /// e_entry.
    #[error("the entry {0:#x} does not lie inside an executable segment")]
    Entry(u64),
    /// The loaded image differs from the file (checked after the copy).
    #[error("the image in memory differs from the file at {0:#x}")]
    LoadedWrong(u64),
}

/// A loadable segment, fully checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest-virtual start.
    pub address: u64,
    /// Bytes in memory; those beyond the file are zero.
    pub memory_bytes: u64,
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// PF_W.
    pub write: bool,
    /// PF_X.
    pub execute: bool,
}

impl Segment {
    /// The pages it touches, as guest-virtual addresses.
    #[must_use]
    pub fn pages(&self) -> Range<u64> {
        // No overflow: `parse` checked that the segment ends below IMAGE_END.
        let end = self.address + self.memory_bytes;
        self.address / PAGE * PAGE..end.next_multiple_of(PAGE)
    }
}

/// A checked payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Guest-virtual address of the first instruction.
    pub entry: u64,
    /// In file order; at least one.
    pub segments: Vec<Segment>,
    /// Guest-virtual address of the program headers (AT_PHDR), if a segment contains them.
    pub headers: Option<u64>,
    /// Program headers (AT_PHNUM).
    pub header_count: u16,
}

impl Image {
    /// End of the last page of any segment, guest-virtual.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments
            .iter()
            .map(|s| s.pages().end)
            .max()
            .unwrap_or(IMAGE)
    }

    /// Checks a file and says where its bytes go.
    ///
    /// # Errors
    /// The first defect found, in the order of the fields.
    pub fn parse(file: &[u8]) -> Result<Self, ElfError> {
        if file.len() < EHDR_BYTES {
            return Err(match file.first_chunk::<4>() {
                Some(magic) if magic != b"\x7fELF" => ElfError::Magic(*magic),
                _ => ElfError::Truncated(file.len()),
            });
        }
        let magic: [u8; 4] = bytes(file, 0);
        let [class] = bytes(file, 4);
        let [endian] = bytes(file, 5);
        let [version] = bytes(file, 6);
        if magic != *b"\x7fELF" {
            return Err(ElfError::Magic(magic));
        }
        if class != 2 {
            return Err(ElfError::Class(class));
        }
        if endian != 1 {
            return Err(ElfError::Endian(endian));
        }
        let long_version = u32::from_le_bytes(bytes(file, 20));
        for version in [u32::from(version), long_version] {
            if version != 1 {
                return Err(ElfError::Version(version));
            }
        }
        let kind = u16::from_le_bytes(bytes(file, 16));
        if kind != 2 {
            return Err(ElfError::Type(kind));
        }
        let machine = u16::from_le_bytes(bytes(file, 18));
        if machine != 62 {
            return Err(ElfError::Machine(machine));
        }
        let header_size = u16::from_le_bytes(bytes(file, 54));
        if usize::from(header_size) != PHDR_BYTES {
            return Err(ElfError::HeaderSize(header_size));
        }
        let header_count = u16::from_le_bytes(bytes(file, 56));
        if !(1..=MAX_HEADERS).contains(&header_count) {
            return Err(ElfError::HeaderCount(header_count));
        }
        let headers_at = u64::from_le_bytes(bytes(file, 32));
        let table_bytes = usize::from(header_count) * PHDR_BYTES;
        let table = inside(headers_at, table_bytes as u64, file.len())
            .and_then(|range| file.get(range))
            .ok_or(ElfError::HeadersOutside(headers_at))?;

        let mut segments: Vec<(usize, Segment)> = Vec::new();
        for (index, header) in table.chunks_exact(PHDR_BYTES).enumerate() {
            if let Some(segment) = segment(index, header, file.len())? {
                if let Some((other, _)) = segments.iter().find(|(_, s)| {
                    s.pages().start < segment.pages().end && segment.pages().start < s.pages().end
                }) {
                    return Err(ElfError::Overlap(*other, index));
                }
                segments.push((index, segment));
            }
        }
        let segments: Vec<Segment> = segments.into_iter().map(|(_, s)| s).collect();
        if segments.is_empty() {
            return Err(ElfError::NothingToLoad);
        }
        let entry = u64::from_le_bytes(bytes(file, 24));
        if !segments
            .iter()
            .any(|s| s.execute && (s.address..s.address + s.memory_bytes).contains(&entry))
        {
            return Err(ElfError::Entry(entry));
        }
        let headers = segments.iter().find_map(|s| {
            let at = usize::try_from(headers_at).ok()?;
            let within = s.file.start <= at && at.checked_add(table_bytes)? <= s.file.end;
            within.then(|| s.address + (at - s.file.start) as u64)
        });
        Ok(Self {
            entry,
            segments,
            headers,
            header_count,
        })
    }
}

fn segment(index: usize, header: &[u8], file_len: usize) -> Result<Option<Segment>, ElfError> {
    let kind = u32::from_le_bytes(bytes(header, 0));
    let flags = u32::from_le_bytes(bytes(header, 4));
    if kind == PT_INTERP {
        return Err(ElfError::Interpreter(index));
    }
    if kind != PT_LOAD {
        return Ok(None);
    }
    let word = |at| u64::from_le_bytes(bytes(header, at));
    let (offset, address) = (word(8), word(16));
    let (file_bytes, memory_bytes, align) = (word(32), word(40), word(48));
    let file = inside(offset, file_bytes, file_len).ok_or(ElfError::SegmentOutsideFile(index))?;
    if memory_bytes < file_bytes {
        return Err(ElfError::MemoryShorter(index));
    }
    if memory_bytes == 0 {
        return Err(ElfError::Empty(index));
    }
    let end = address
        .checked_add(memory_bytes)
        .ok_or(ElfError::SegmentOutsideMemory(index))?;
    if address < IMAGE || end > IMAGE_END {
        return Err(ElfError::SegmentOutsideMemory(index));
    }
    if align > 1 && (!align.is_power_of_two() || address % align != offset % align) {
        return Err(ElfError::Alignment(index));
    }
    let (write, execute) = (flags & PF_W != 0, flags & PF_X != 0);
    if write && execute {
        return Err(ElfError::WriteExecute(index));
    }
    Ok(Some(Segment {
        address,
        memory_bytes,
        file,
        write,
        execute,
    }))
}

/// `offset..offset+len` if it lies inside `total` bytes.
fn inside(offset: u64, len: u64, total: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= total).then_some(start..end)
}

/// `N` bytes at `at`; the callers have checked the length, a short slice reads as zeros.
fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; N])
}

#[cfg(test)]
#[path = "elf_tests.rs"]
pub(crate) mod tests;
