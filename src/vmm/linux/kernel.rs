//! A kernel image, checked field by field before any of it is loaded: where it wants to lie, how
//! much it needs, where it is entered. The image is as hostile as any input.

use linux_loader::loader::bootparam::setup_header;

use super::{bzimage, vmlinux};

/// Most bytes that a kernel file may have. The distributions' have 8 to 60 MiB, an unstripped vmlinux
/// up to a GiB of debug information.
pub const MAX_FILE: u64 = 1 << 30;

/// What is wrong with a kernel image, one variant a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Neither kind.
    #[error("neither a bzImage nor an ELF file")]
    Unknown,
    /// Too short for its own header.
    #[error("the file has {0} bytes and ends inside its header")]
    Truncated(usize),
    /// Offset 0x1fe.
    #[error("boot_flag is {0:#06x}, not 0xaa55")]
    BootFlag(u16),
    /// Offset 0x206.
    #[error("boot protocol {}.{:02}; the 64-bit entry came with 2.12 (Linux 3.8)", .0 >> 8, .0 & 0xff)]
    Protocol(u16),
    /// Bit 0 of loadflags.
    #[error("a zImage: it is not loaded at 1 MiB or above (loadflags {0:#x})")]
    LoadedLow(u8),
    /// XLF_KERNEL_64.
    #[error("no 64-bit entry (xloadflags {0:#x}): a 32-bit kernel?")]
    No64BitEntry(u16),
    /// setup_sects.
    #[error("setup_sects is {sectors}: the setup code ends behind the file's {file} bytes")]
    SetupOutside {
        /// Its size in sectors of 512 bytes.
        sectors: u8,
        /// Bytes of the file.
        file: usize,
    },
    /// syssize.
    #[error("the file ends before its kernel does: {found} bytes of {expected}")]
    Short {
        /// Bytes behind the setup code.
        found: u64,
        /// syssize, in bytes.
        expected: u64,
    },
    /// payload_offset, payload_length.
    #[error(
        "the compressed kernel is empty, or lies outside the file ({offset:#x}, {length} bytes)"
    )]
    Payload {
        /// payload_offset.
        offset: u32,
        /// payload_length.
        length: u32,
    },
    /// pref_address.
    #[error("pref_address is {0:#x}: not a page's, or not from 1 MiB to 512 MiB")]
    Address(u64),
    /// kernel_alignment.
    #[error("kernel_alignment is {0:#x}, no power of two that divides the address")]
    Alignment(u32),
    /// init_size.
    #[error("init_size is {0} bytes: less than the file holds, or beyond 1 GiB")]
    InitSize(u32),
    /// cmdline_size.
    #[error("cmdline_size is {0}: no room for a command line")]
    CommandLine(u32),
    /// The ELF header or its table.
    #[error("not a readable 64-bit ELF file: {0}")]
    Elf(String),
    /// e_machine.
    #[error("e_machine is {0}, not 62 (x86-64)")]
    Machine(u16),
    /// e_type.
    #[error("e_type is {0}, not 2 (ET_EXEC): a kernel module?")]
    Type(u16),
    /// p_offset, p_filesz, p_memsz.
    #[error("segment {0} does not lie inside the file, or has more bytes there than in memory")]
    Segment(usize),
    /// p_paddr, p_memsz.
    #[error("segment {0} does not lie from 1 MiB to 1 GiB of physical memory")]
    SegmentAddress(usize),
    /// Two segments at one place.
    #[error("segments {0} and {1} overlap in physical memory")]
    Overlap(usize, usize),
    /// No PT_LOAD.
    #[error("no segment to load")]
    NothingToLoad,
    /// e_entry.
    #[error("the entry {0:#x} does not lie inside an executable segment (as physical address)")]
    Entry(u64),
    /// Kernel, initramfs and room to work do not fit below 1 GiB.
    #[error("it needs {0} bytes from its start on: too much for the 1 GiB that is mapped at entry")]
    TooLarge(u64),
    /// What the loader put into memory is not what the file says (checked after loading).
    #[error("the loader went wrong: {0}")]
    LoadedWrong(String),
}

/// Where a kernel goes. All of it was checked: `start + memory` is at most 1 GiB, `loaded` at most
/// `memory`, `entry` inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Guest-physical address of its first byte.
    pub start: u64,
    /// Bytes from there that come from the file.
    pub loaded: u64,
    /// Bytes from there that it needs before it knows the memory map.
    pub memory: u64,
    /// Guest-physical address of the 64-bit entry.
    pub entry: u64,
    /// Most bytes of command line, without the NUL.
    pub command_line: u64,
    /// What lies where: guest-physical address, and range of the file.
    pub pieces: Vec<(u64, std::ops::Range<usize>)>,
}

/// The two kinds of image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Setup code and a compressed kernel that unpacks itself.
    BzImage,
    /// The ELF file as linked.
    Vmlinux,
}

impl Format {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BzImage => "bzImage",
            Self::Vmlinux => "vmlinux",
        }
    }
}

/// A checked image.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The file.
    pub bytes: Vec<u8>,
    /// Which kind.
    pub format: Format,
    /// Where it goes.
    pub placement: Placement,
    /// The header of a bzImage, which goes into the boot parameters.
    pub header: Option<setup_header>,
    /// What it says about itself (`uname -r`, builder, date), if it does; bounded, printable.
    pub version: Option<String>,
}

impl Kernel {
    /// Checks an image.
    ///
    /// # Errors
    /// The first defect found.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, KernelError> {
        if bytes.starts_with(b"\x7fELF") {
            let placement = vmlinux::placement(&bytes)?;
            return Ok(Self {
                format: Format::Vmlinux,
                placement,
                header: None,
                version: None,
                bytes,
            });
        }
        let header = bzimage::header(&bytes)?;
        let placement = bzimage::placement(&bytes, &header)?;
        let version = bzimage::version(&bytes, &header);
        Ok(Self {
            format: Format::BzImage,
            placement,
            header: Some(header),
            version,
            bytes,
        })
    }
}
