//! Hostile kernel images: each defect by its name, and whatever is accepted keeps its promises.

use linux_loader::elf::{Elf64_Ehdr, Elf64_Phdr};
use linux_loader::loader::bootparam::setup_header;
use proptest::prelude::*;
use vm_memory::ByteValued;

use super::image::Image;
use super::kernel::{Format, Kernel, KernelError};
use super::layout;

const SETUP: usize = 3 * 512;
const BODY: usize = 0x400;

/// A bzImage that is as it should be, but for what `edit` does to its header.
pub(crate) fn bzimage(edit: impl FnOnce(&mut setup_header)) -> Vec<u8> {
    let mut header = setup_header {
        setup_sects: 2,
        syssize: (BODY / 16) as u32,
        boot_flag: 0xaa55,
        header: 0x5372_6448,
        version: 0x20f,
        kernel_version: 0x300,
        loadflags: 1,
        xloadflags: 1,
        kernel_alignment: 0x20_0000,
        cmdline_size: 2047,
        payload_offset: 0x300,
        payload_length: 0x80,
        pref_address: 0x100_0000,
        init_size: 0x80_0000,
        ..Default::default()
    };
    edit(&mut header);
    let mut file: Vec<u8> = (0..SETUP + BODY).map(|i| i as u8).collect();
    file[0x500..0x508].copy_from_slice(b"6.1.0 x\0");
    file[0x1f1..0x1f1 + size_of::<setup_header>()].copy_from_slice(header.as_slice());
    file
}

/// A vmlinux of two segments, likewise.
pub(crate) fn vmlinux(edit: impl FnOnce(&mut Elf64_Ehdr, &mut [Elf64_Phdr; 2])) -> Vec<u8> {
    let mut header = Elf64_Ehdr {
        e_type: 2,
        e_machine: 62,
        e_entry: 0x100_0010,
        e_phoff: 64,
        e_phentsize: 56,
        e_phnum: 2,
        ..Default::default()
    };
    header.e_ident[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    let segment = |flags, offset, paddr, memory| Elf64_Phdr {
        p_type: 1,
        p_flags: flags,
        p_offset: offset,
        p_paddr: paddr,
        p_filesz: 0x1000,
        p_memsz: memory,
        ..Default::default()
    };
    let mut segments = [
        segment(5, 0x1000, 0x100_0000, 0x1000),
        segment(6, 0x2000, 0x100_2000, 0x4000),
    ];
    edit(&mut header, &mut segments);
    let mut file: Vec<u8> = (0..0x3000).map(|i| (i / 7) as u8).collect();
    file[..64].copy_from_slice(header.as_slice());
    file[64..120].copy_from_slice(segments[0].as_slice());
    file[120..176].copy_from_slice(segments[1].as_slice());
    file
}

#[test]
fn good_images_land_where_they_should() {
    let kernel = Kernel::parse(bzimage(|_| {})).unwrap();
    assert_eq!(kernel.format, Format::BzImage);
    assert_eq!(kernel.version.as_deref(), Some("6.1.0 x"));
    let place = &kernel.placement;
    assert_eq!((place.start, place.entry), (0x100_0000, 0x100_0200));
    assert_eq!((place.loaded, place.memory), (BODY as u64, 0x80_0000));
    Image::new(&kernel, b"init").unwrap();

    let kernel = Kernel::parse(vmlinux(|_, _| {})).unwrap();
    assert_eq!(kernel.format, Format::Vmlinux);
    let place = &kernel.placement;
    assert_eq!((place.start, place.entry), (0x100_0000, 0x100_0010));
    assert_eq!((place.loaded, place.memory), (0x3000, 0x6000));
    Image::new(&kernel, b"init").unwrap();
}

#[test]
fn each_defect_of_a_bzimage_has_its_name() {
    let refused = |edit: fn(&mut setup_header)| Kernel::parse(bzimage(edit)).unwrap_err();
    type Case = (fn(&mut setup_header), KernelError);
    let cases: [Case; 19] = [
        (|h| h.header = 0, KernelError::Unknown),
        (|h| h.boot_flag = 0, KernelError::BootFlag(0)),
        (|h| h.version = 0x20b, KernelError::Protocol(0x20b)),
        (|h| h.loadflags = 0x80, KernelError::LoadedLow(0x80)),
        (|h| h.xloadflags = 2, KernelError::No64BitEntry(2)),
        (
            |h| h.setup_sects = 255,
            KernelError::SetupOutside {
                sectors: 255,
                file: SETUP + BODY,
            },
        ),
        (
            |h| h.syssize = u32::MAX,
            KernelError::Short {
                found: BODY as u64,
                expected: u64::from(u32::MAX) * 16,
            },
        ),
        (
            |h| h.payload_length = 0,
            KernelError::Payload {
                offset: 0x300,
                length: 0,
            },
        ),
        (
            |h| h.payload_length = u32::MAX,
            KernelError::Payload {
                offset: 0x300,
                length: u32::MAX,
            },
        ),
        (
            |h| h.payload_offset = u32::MAX,
            KernelError::Payload {
                offset: u32::MAX,
                length: 0x80,
            },
        ),
        (|h| h.pref_address = 0, KernelError::Address(0)),
        (
            |h| h.pref_address = 0x10_0001,
            KernelError::Address(0x10_0001),
        ),
        (
            |h| h.pref_address = u64::MAX,
            KernelError::Address(u64::MAX),
        ),
        (|h| h.kernel_alignment = 0, KernelError::Alignment(0)),
        (
            |h| h.kernel_alignment = 0x20_0001,
            KernelError::Alignment(0x20_0001),
        ),
        (
            |h| h.kernel_alignment = 1 << 31,
            KernelError::Alignment(1 << 31),
        ),
        (|h| h.init_size = 0, KernelError::InitSize(0)),
        (|h| h.init_size = u32::MAX, KernelError::InitSize(u32::MAX)),
        (|h| h.cmdline_size = 0, KernelError::CommandLine(0)),
    ];
    for (edit, expected) in cases {
        assert_eq!(refused(edit), expected);
    }
}

#[test]
fn each_defect_of_a_vmlinux_has_its_name() {
    type Case = (fn(&mut Elf64_Ehdr, &mut [Elf64_Phdr; 2]), &'static str);
    let cases: [Case; 20] = [
        (|h, _| h.e_ident[4] = 1, "not 64-bit"),
        (|h, _| h.e_ident[5] = 2, "little-endian"),
        (|h, _| h.e_machine = 183, "e_machine is 183"),
        (|h, _| h.e_type = 1, "e_type is 1"),
        (|h, _| h.e_phnum = 0, "program headers are not"),
        (|h, _| h.e_phnum = u16::MAX, "program headers are not"),
        (|h, _| h.e_phentsize = 32, "program headers are not"),
        (|h, _| h.e_phoff = 0, "program headers are not"),
        (|h, _| h.e_phoff = 1 << 20, "lie outside"),
        (|h, _| h.e_phoff = u64::MAX, "lie outside"),
        (
            |_, s| s[0].p_offset = 0x2fff,
            "segment 0 does not lie inside",
        ),
        (
            |_, s| s[1].p_offset = u64::MAX,
            "segment 1 does not lie inside",
        ),
        (
            |_, s| s[1].p_memsz = 0xfff,
            "more bytes there than in memory",
        ),
        (|_, s| s[1].p_memsz = u64::MAX, "from 1 MiB to 1 GiB"),
        (|_, s| s[1].p_paddr = 0, "from 1 MiB to 1 GiB"),
        (|_, s| s[1].p_paddr = u64::MAX, "from 1 MiB to 1 GiB"),
        (|_, s| s[1].p_paddr = 0x100_0800, "segments 0 and 1 overlap"),
        (
            |_, s| s.iter_mut().for_each(|s| s.p_type = 4),
            "no segment to load",
        ),
        (|h, _| h.e_entry = u64::MAX, "the entry"),
        // Inside a segment that is data.
        (|h, _| h.e_entry = 0x100_2000, "the entry"),
    ];
    for (edit, says) in cases {
        let refused = Kernel::parse(vmlinux(edit)).unwrap_err().to_string();
        assert!(refused.contains(says), "{says}: {refused}");
    }
}

#[test]
fn every_truncation_is_refused_or_whole() {
    for file in [bzimage(|_| {}), vmlinux(|_, _| {})] {
        for len in (0..file.len()).step_by(13).chain(0..200) {
            assert!(Kernel::parse(file[..len].to_vec()).is_err(), "{len}");
        }
        let mut longer = file.clone();
        longer.extend([0; 100]);
        Kernel::parse(longer).unwrap();
    }
}

#[test]
fn a_kernel_that_leaves_no_room_is_refused() {
    let kernel = Kernel::parse(bzimage(|h| h.init_size = 0x3e00_0000)).unwrap();
    let refused = Image::new(&kernel, b"init").unwrap_err().to_string();
    assert!(refused.contains("too much for the 1 GiB"), "{refused}");
}

/// What an accepted image promises, and that the loader keeps it.
fn keeps_its_promises(file: Vec<u8>) -> Result<(), TestCaseError> {
    let Ok(kernel) = Kernel::parse(file) else {
        return Ok(());
    };
    let place = kernel.placement.clone();
    prop_assert!(place.start >= layout::HIGH && place.loaded <= place.memory);
    prop_assert!(place.start + place.memory <= layout::MAPPED_END);
    prop_assert!((place.start..place.start + place.loaded).contains(&place.entry));
    prop_assert!(place.command_line < layout::COMMAND_LINE_BYTES);
    // Not the gigabytes that a header may ask for: the point is the loader, not the host's memory.
    if place.loaded < 1 << 26 {
        let image = Image::new(&kernel, b"init");
        if let Ok(image) = image {
            let (at, bytes) = image.initramfs();
            prop_assert!(at >= place.start + place.memory && at + bytes <= image.base());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_bzimage_with_changed_bytes_is_refused_or_keeps_its_promises(
        changes in prop::collection::vec((0x1f0..0x280usize, any::<u8>()), 1..6)
    ) {
        let mut file = bzimage(|_| {});
        for (at, byte) in changes {
            file[at] = byte;
        }
        keeps_its_promises(file)?;
    }

    #[test]
    fn a_vmlinux_with_changed_bytes_is_refused_or_keeps_its_promises(
        changes in prop::collection::vec((0..176usize, any::<u8>()), 1..6)
    ) {
        let mut file = vmlinux(|_, _| {});
        for (at, byte) in changes {
            file[at] = byte;
        }
        keeps_its_promises(file)?;
    }

    #[test]
    fn bytes_of_any_kind_are_refused(
        mut file in prop::collection::vec(any::<u8>(), 0..4096), elf in any::<bool>()
    ) {
        if elf && file.len() >= 7 {
            file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        }
        prop_assert!(Kernel::parse(file).is_err());
    }
}
