//! What the kernel is told: `struct boot_params` and the command line
//! (`Documentation/arch/x86/zero-page.rst`, `boot.rst`).

use linux_loader::cmdline::{self, Cmdline};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};

use super::image::Image;
use super::layout;

const USABLE: u32 = 1;
const RESERVED: u32 = 2;
/// "Undefined": no boot loader with a number of its own.
const LOADER: u8 = 0xff;

/// The kernel's view of memory: start, size, kind.
#[must_use]
pub const fn map(ram: u64) -> [(u64, u64, u32); 4] {
    [
        (0, layout::LOW_END, USABLE),
        (
            layout::RESERVED,
            layout::STACK_TOP - layout::RESERVED,
            RESERVED,
        ),
        (
            layout::STACK_TOP,
            layout::HIGH - layout::STACK_TOP,
            RESERVED,
        ),
        (layout::HIGH, ram - layout::HIGH, USABLE),
    ]
}

/// The boot parameters of a guest with so much memory, with or without ACPI tables.
#[must_use]
pub fn boot_params(image: &Image, ram: u64, acpi: bool) -> boot_params {
    let mut params = boot_params::default();
    if acpi {
        params.acpi_rsdp_addr = layout::ACPI;
    }
    let mut header = image.header().copied().unwrap_or_else(|| setup_header {
        boot_flag: 0xaa55,
        header: 0x5372_6448,
        kernel_alignment: 0x20_0000,
        ..Default::default()
    });
    let (at, bytes) = image.initramfs();
    header.type_of_loader = LOADER;
    // Below 1 GiB, all three.
    header.ramdisk_image = at as u32;
    header.ramdisk_size = bytes as u32;
    header.cmd_line_ptr = layout::COMMAND_LINE as u32;
    header.setup_data = 0;
    params.hdr = header;
    let entries = map(ram);
    for (slot, (addr, size, kind)) in params.e820_table.iter_mut().zip(entries) {
        *slot = boot_e820_entry {
            addr,
            size,
            r#type: kind,
        };
    }
    params.e820_entries = entries.len() as u8;
    params
}

/// The command line with its NUL: `parameters` for the kernel, then, behind `--`, `arguments` for
/// `/init`, which thus gets them as `argv[1..]`.
///
/// # Errors
/// More than `most` bytes, or bytes that a command line cannot hold.
pub fn command_line(
    parameters: &[&str],
    arguments: &[String],
    most: u64,
) -> Result<Vec<u8>, cmdline::Error> {
    let capacity = usize::try_from(most).unwrap_or(usize::MAX);
    let mut line = Cmdline::new(capacity.saturating_add(1))?;
    for parameter in parameters {
        line.insert_str(parameter)?;
    }
    for argument in arguments {
        line.insert_init_args(argument)?;
    }
    Ok(line.as_cstring()?.into_bytes_with_nul())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_two_dashes() {
        let arguments = ["noop", "0", "1"].map(str::to_owned);
        let line = command_line(&["quiet", "A=b"], &arguments, 100).unwrap();
        assert_eq!(line, b"quiet A=b -- noop 0 1\0");
        assert!(command_line(&["quiet"], &arguments, 10).is_err());
        assert!(command_line(&["h\u{e4}"], &arguments, 100).is_err());
    }

    #[test]
    fn memory_is_told_without_gaps_or_overlaps() {
        let mut end = 0;
        for (start, size, _) in map(layout::LEAST_BASE) {
            assert_eq!(start, end);
            end = start + size;
        }
        assert_eq!(end, layout::LEAST_BASE);
    }
}
