//! The header of a bzImage (`Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header").

use linux_loader::loader::bootparam::{XLF_KERNEL_64, setup_header};
use vm_memory::ByteValued;

use super::kernel::{KernelError, Placement};
use super::layout;
use crate::vmm::layout::PAGE;

/// Offset of the header in the file.
const HEADER: usize = 0x1f1;
/// "HdrS".
const MAGIC: u32 = 0x5372_6448;
/// The first protocol with `xloadflags`.
const PROTOCOL: u16 = 0x020c;
const LOADED_HIGH: u8 = 1;
/// The 64-bit entry, from the start of the protected-mode code.
const ENTRY_64: u64 = 0x200;
/// Highest preferred address that is taken.
const ADDRESS_MAX: u64 = 512 << 20;

/// The header, of whatever it says.
///
/// # Errors
/// There is none.
pub fn header(file: &[u8]) -> Result<setup_header, KernelError> {
    let end = HEADER + size_of::<setup_header>();
    // Bytes in a sector that would hold the magic, if it were one.
    if file.get(0x202..0x206) != Some(&MAGIC.to_le_bytes()) {
        return Err(KernelError::Unknown);
    }
    let bytes = file
        .get(HEADER..end)
        .ok_or(KernelError::Truncated(file.len()))?;
    setup_header::from_slice(bytes)
        .copied()
        .ok_or(KernelError::Truncated(file.len()))
}

/// Bytes of the setup code, boot sector included.
fn setup_bytes(header: &setup_header) -> usize {
    // 0 stands for 4, as in the boot protocol.
    let sectors = match header.setup_sects {
        0 => 4,
        sectors => usize::from(sectors),
    };
    (sectors + 1) * 512
}

/// Checks the header against the file, and says where the kernel goes: at the address it prefers, where
/// it unpacks itself without being moved first.
///
/// # Errors
/// The first field that does not fit.
pub fn placement(file: &[u8], header: &setup_header) -> Result<Placement, KernelError> {
    let h = *header;
    if h.boot_flag != 0xaa55 {
        return Err(KernelError::BootFlag(h.boot_flag));
    }
    if h.version < PROTOCOL {
        return Err(KernelError::Protocol(h.version));
    }
    if h.loadflags & LOADED_HIGH == 0 {
        return Err(KernelError::LoadedLow(h.loadflags));
    }
    if h.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(KernelError::No64BitEntry(h.xloadflags));
    }
    let setup = setup_bytes(&h);
    let body = match file.len().checked_sub(setup) {
        Some(body) if body as u64 > ENTRY_64 => body as u64,
        _ => {
            return Err(KernelError::SetupOutside {
                sectors: h.setup_sects,
                file: file.len(),
            });
        }
    };
    // In paragraphs. A signature may follow.
    let expected = u64::from(h.syssize) * 16;
    if expected > body {
        return Err(KernelError::Short {
            found: body,
            expected,
        });
    }
    let (offset, length) = (h.payload_offset, h.payload_length);
    if length == 0 || u64::from(offset) + u64::from(length) > body {
        return Err(KernelError::Payload { offset, length });
    }
    let start = h.pref_address;
    if !start.is_multiple_of(PAGE) || !(layout::HIGH..=ADDRESS_MAX).contains(&start) {
        return Err(KernelError::Address(start));
    }
    let alignment = h.kernel_alignment;
    if !alignment.is_power_of_two() || !start.is_multiple_of(u64::from(alignment)) {
        return Err(KernelError::Alignment(alignment));
    }
    let memory = u64::from(h.init_size);
    if memory < body || start + memory > layout::MAPPED_END {
        return Err(KernelError::InitSize(h.init_size));
    }
    if h.cmdline_size == 0 {
        return Err(KernelError::CommandLine(0));
    }
    Ok(Placement {
        start,
        loaded: body,
        memory,
        entry: start + ENTRY_64,
        command_line: u64::from(h.cmdline_size).min(layout::COMMAND_LINE_BYTES - 1),
        pieces: vec![(start, setup..file.len())],
    })
}

/// The compressed kernel, with the four bytes at its end that say how long it is when unpacked.
///
/// # Errors
/// It lies outside the file.
pub fn payload<'a>(file: &'a [u8], header: &setup_header) -> Result<&'a [u8], KernelError> {
    let (offset, length) = (header.payload_offset, header.payload_length);
    let start = setup_bytes(header).saturating_add(offset as usize);
    let payload = file.get(start..start.saturating_add(length as usize));
    payload.ok_or(KernelError::Payload { offset, length })
}

/// What the kernel says about itself, up to the first byte that is not printable.
#[must_use]
pub fn version(file: &[u8], header: &setup_header) -> Option<String> {
    const MOST: usize = 256;
    // Relative to the second sector; 0 stands for none.
    let at = match header.kernel_version {
        0 => return None,
        at => usize::from(at) + 0x200,
    };
    let text: String = file
        .get(at..setup_bytes(header).min(file.len()))?
        .iter()
        .take(MOST)
        .take_while(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .collect();
    (!text.is_empty()).then_some(text)
}
