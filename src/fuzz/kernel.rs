//! A kernel image: what is accepted, where it lands, and what else is there ([`Kernel::parse`],
//! [`Image::new`]).

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::vmm::linux::image::{Image, ImageError};
use crate::vmm::linux::kernel::{Format, Kernel, KernelError};
use crate::vmm::linux::layout;

/// More bytes than this are not loaded: a header may ask for a gigabyte, which shows nothing new.
const LOADED: u64 = 16 << 20;

/// An accepted file keeps to the memory that is mapped at entry, and is entered inside what comes from
/// the file. Once loaded, memory has the file's pieces where they should lie, nothing but zeros around
/// them, and the initramfs apart from both. The fields of a bzImage are as the boot protocol has them.
pub fn kernel(file: &[u8]) -> bool {
    let kernel = match Kernel::parse(file.to_vec()) {
        Ok(kernel) => kernel,
        Err(error) => return refused(&error),
    };
    let place = &kernel.placement;
    assert!(place.start >= layout::HIGH && place.loaded <= place.memory);
    assert!(place.start + place.memory <= layout::MAPPED_END);
    assert!((place.start..place.start + place.loaded).contains(&place.entry));
    assert!((1..layout::COMMAND_LINE_BYTES).contains(&place.command_line));
    assert!(!place.pieces.is_empty());
    match kernel.format {
        Format::BzImage => bzimage(file, &kernel),
        Format::Vmlinux => assert!(file.starts_with(b"\x7fELF") && kernel.header.is_none()),
    }
    if place.loaded > LOADED {
        return true;
    }
    match Image::new(&kernel, b"init") {
        Ok(image) => loaded(file, &image),
        // It looks into the notes of a vmlinux, which were not checked; of a bzImage it reads what was.
        Err(ImageError::Kernel(error @ KernelError::LoadedWrong(_)))
            if kernel.format == Format::Vmlinux =>
        {
            return refused(&error);
        }
        Err(ImageError::Kernel(error @ KernelError::TooLarge(_))) => return refused(&error),
        Err(error) => unreachable!("an accepted file cannot be loaded: {error}"),
    }
    true
}

fn refused(error: &KernelError) -> bool {
    assert!(!error.to_string().is_empty());
    false
}

/// `Documentation/arch/x86/boot.rst`, offset by offset.
fn bzimage(file: &[u8], kernel: &Kernel) {
    let place = &kernel.placement;
    let half = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
    assert_eq!(half(0x1fe), 0xaa55, "boot_flag");
    assert_eq!(&file[0x202..0x206], b"HdrS");
    assert!(half(0x206) >= 0x20c, "version");
    assert_eq!(file[0x211] & 1, 1, "loadflags");
    assert_eq!(half(0x236) & 1, 1, "xloadflags");
    assert_eq!(
        file[0x258..0x260],
        place.start.to_le_bytes(),
        "pref_address"
    );
    assert_eq!(
        u64::from(half(0x260)) | u64::from(half(0x262)) << 16,
        place.memory,
        "init_size"
    );
    assert_eq!(place.entry, place.start + 0x200);
    let setup = file.len() - place.loaded as usize;
    assert_eq!(place.pieces, [(place.start, setup..file.len())]);
    if let Some(version) = &kernel.version {
        assert!((1..=256).contains(&version.len()));
        assert!(version.bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
}

/// What a guest would see.
fn loaded(file: &[u8], image: &Image) {
    let place = image.placement();
    let (at, bytes) = image.initramfs();
    assert!(at >= place.start + place.memory && at + bytes <= image.base());
    let [kernel, initramfs] = image.pieces();
    assert_eq!((kernel.at, kernel.len), (place.start, place.loaded));
    assert_eq!((initramfs.at, initramfs.len), (at, bytes));
    let mut memory = vec![0; kernel.len as usize];
    let read = kernel.file.try_clone_to_owned().map(File::from);
    let read = read.and_then(|copy| copy.read_exact_at(&mut memory, 0));
    assert!(read.is_ok(), "{read:?}");
    let mut expected = vec![0; memory.len()];
    for (address, range) in &place.pieces {
        let from = (address - place.start) as usize;
        expected[from..from + range.len()].copy_from_slice(&file[range.clone()]);
    }
    assert!(memory == expected, "other bytes than the file's");
}

#[cfg(test)]
pub(super) fn seeds() -> Vec<super::Seed> {
    use crate::vmm::linux::kernel_tests::{bzimage, vmlinux};

    let cut = |mut file: Vec<u8>, len: usize| {
        file.truncate(len);
        file
    };
    let signed = [bzimage(|_| {}), vec![0x5a; 100]].concat();
    vec![
        ("valid-bzimage", bzimage(|_| {})),
        ("valid-bzimage-signed", signed),
        ("valid-bzimage-unnamed", bzimage(|h| h.kernel_version = 0)),
        ("valid-vmlinux", vmlinux(|_, _| {})),
        ("valid-vmlinux-one-segment", vmlinux(|h, _| h.e_phnum = 1)),
        ("valid-vmlinux-backwards", vmlinux(|_, s| s.swap(0, 1))),
        ("truncated-empty", Vec::new()),
        ("truncated-bzimage-header", cut(bzimage(|_| {}), 0x220)),
        ("truncated-bzimage-setup", cut(bzimage(|_| {}), 0x500)),
        ("truncated-bzimage-body", cut(bzimage(|_| {}), 0x900)),
        ("truncated-vmlinux-header", cut(vmlinux(|_, _| {}), 63)),
        ("truncated-vmlinux-table", cut(vmlinux(|_, _| {}), 175)),
        ("hostile-magic", cut(bzimage(|h| h.header = 0), 0x300)),
        ("hostile-boot-flag", bzimage(|h| h.boot_flag = 0)),
        ("hostile-protocol", bzimage(|h| h.version = 0x20b)),
        ("hostile-loaded-low", bzimage(|h| h.loadflags = 0)),
        ("hostile-32-bit", bzimage(|h| h.xloadflags = 0)),
        ("hostile-setup", bzimage(|h| h.setup_sects = 255)),
        ("hostile-syssize", bzimage(|h| h.syssize = u32::MAX)),
        (
            "hostile-payload-wraps",
            bzimage(|h| h.payload_offset = u32::MAX),
        ),
        ("hostile-address", bzimage(|h| h.pref_address = u64::MAX)),
        ("hostile-alignment", bzimage(|h| h.kernel_alignment = 0)),
        ("hostile-memory", bzimage(|h| h.init_size = u32::MAX)),
        ("hostile-no-room", bzimage(|h| h.init_size = 0x3e00_0000)),
        ("hostile-command-line", bzimage(|h| h.cmdline_size = 0)),
        ("hostile-class", cut(vmlinux(|h, _| h.e_ident[4] = 1), 176)),
        ("hostile-module", cut(vmlinux(|h, _| h.e_type = 1), 176)),
        (
            "hostile-count",
            cut(vmlinux(|h, _| h.e_phnum = u16::MAX), 176),
        ),
        (
            "hostile-table-wraps",
            cut(vmlinux(|h, _| h.e_phoff = u64::MAX), 176),
        ),
        (
            "hostile-offset-wraps",
            vmlinux(|_, s| s[1].p_offset = u64::MAX),
        ),
        (
            "hostile-memory-wraps",
            vmlinux(|_, s| s[1].p_memsz = u64::MAX),
        ),
        // Where the loader looks for an entry of another protocol.
        (
            "hostile-notes-outside",
            vmlinux(|_, s| (s[1].p_type, s[1].p_offset) = (4, 0x4000)),
        ),
        ("hostile-low", vmlinux(|_, s| s[1].p_paddr = 0)),
        ("hostile-overlap", vmlinux(|_, s| s[1].p_paddr = 0x100_0800)),
        ("hostile-entry", vmlinux(|h, _| h.e_entry = 0x100_2000)),
    ]
}
