//! One test per malformed class, and mutations that must never panic.

use proptest::prelude::*;

use super::*;
use crate::workload::payload;

/// One executable segment that contains headers and code, and one writable one.
pub(crate) fn good() -> Vec<u8> {
    let mut file = vec![0u8; 0x1100];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &2u16.to_le_bytes());
    put(&mut file, 18, &62u16.to_le_bytes());
    put(&mut file, 20, &1u32.to_le_bytes());
    put(&mut file, 24, &0x20_0100u64.to_le_bytes());
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &56u16.to_le_bytes());
    put(&mut file, 56, &2u16.to_le_bytes());
    header(&mut file, 0, 5, 0, 0x20_0000, 0x1000, 0x1000);
    header(&mut file, 1, 6, 0x1000, 0x20_1000, 0x100, 0x3000);
    file
}

fn header(file: &mut [u8], index: usize, flags: u32, offset: u64, at: u64, len: u64, mem: u64) {
    let base = 64 + 56 * index;
    put(file, base, &1u32.to_le_bytes());
    put(file, base + 4, &flags.to_le_bytes());
    for (slot, word) in [
        (8, offset),
        (16, at),
        (24, at),
        (32, len),
        (40, mem),
        (48, 0x1000),
    ] {
        put(file, base + slot, &word.to_le_bytes());
    }
}

pub(crate) fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Parses the good file after one edit.
fn with(at: usize, bytes: &[u8]) -> Result<Image, ElfError> {
    let mut file = good();
    put(&mut file, at, bytes);
    Image::parse(&file)
}

#[test]
fn good_files_are_accepted() {
    let image = Image::parse(&good()).unwrap();
    assert_eq!(image.entry, 0x20_0100);
    assert_eq!(image.headers, Some(0x20_0040));
    assert_eq!(image.segments.len(), 2);
    assert_eq!(image.segments[1].pages(), 0x20_1000..0x20_4000);
    assert_eq!(image.end(), 0x20_4000);
    let payload = Image::parse(payload::BYTES).unwrap();
    assert!(payload.headers.is_some());
}

#[test]
fn truncated_and_foreign_files() {
    assert_eq!(Image::parse(&[]), Err(ElfError::Truncated(0)));
    assert_eq!(Image::parse(&good()[..63]), Err(ElfError::Truncated(63)));
    assert_eq!(Image::parse(b"#!/bin/sh\n"), Err(ElfError::Magic(*b"#!/b")));
    assert_eq!(with(1, b"x"), Err(ElfError::Magic(*b"\x7fxLF")));
    assert_eq!(with(4, &[1]), Err(ElfError::Class(1)));
    assert_eq!(with(5, &[2]), Err(ElfError::Endian(2)));
    assert_eq!(with(6, &[9]), Err(ElfError::Version(9)));
    assert_eq!(with(16, &[1, 0]), Err(ElfError::Type(1)));
    assert_eq!(with(16, &[3, 0]), Err(ElfError::Type(3)));
    assert_eq!(with(18, &[183, 0]), Err(ElfError::Machine(183)));
}

#[test]
fn header_table_defects() {
    assert_eq!(with(54, &[32, 0]), Err(ElfError::HeaderSize(32)));
    assert_eq!(with(56, &[0, 0]), Err(ElfError::HeaderCount(0)));
    assert_eq!(with(56, &[0xff, 0xff]), Err(ElfError::HeaderCount(65_535)));
    for offset in [0x10c0, u64::MAX, u64::MAX - 50] {
        assert_eq!(
            with(32, &offset.to_le_bytes()),
            Err(ElfError::HeadersOutside(offset))
        );
    }
}

#[test]
fn segment_defects() {
    let outside = Err(ElfError::SegmentOutsideFile(1));
    assert_eq!(with(120 + 8, &0x1001_u64.to_le_bytes()), outside);
    assert_eq!(with(120 + 8, &u64::MAX.to_le_bytes()), outside);
    assert_eq!(with(120 + 32, &u64::MAX.to_le_bytes()), outside);
    assert_eq!(
        with(120 + 40, &0xff_u64.to_le_bytes()),
        Err(ElfError::MemoryShorter(1))
    );
    let far = Err(ElfError::SegmentOutsideMemory(1));
    assert_eq!(with(120 + 40, &u64::MAX.to_le_bytes()), far);
    assert_eq!(with(120 + 40, &(1u64 << 32).to_le_bytes()), far);
    assert_eq!(with(120 + 16, &0u64.to_le_bytes()), far);
    assert_eq!(with(120 + 16, &0x3d_f000_u64.to_le_bytes()), far);
    assert_eq!(
        with(120 + 16, &0x20_1800_u64.to_le_bytes()),
        Err(ElfError::Alignment(1))
    );
    assert_eq!(with(120 + 48, &[3]), Err(ElfError::Alignment(1)));
    assert_eq!(with(120 + 4, &[7]), Err(ElfError::WriteExecute(1)));
    assert_eq!(
        with(120 + 16, &0x20_0000_u64.to_le_bytes()),
        Err(ElfError::Overlap(0, 1))
    );
    assert_eq!(with(120, &[3]), Err(ElfError::Interpreter(1)));
}

#[test]
fn nothing_to_load_and_stray_entries() {
    let mut file = good();
    put(&mut file, 64, &[4]);
    put(&mut file, 120, &[4]);
    assert_eq!(Image::parse(&file), Err(ElfError::NothingToLoad));
    for entry in [0, 0x20_1000, 0x20_4000, u64::MAX] {
        assert_eq!(
            with(24, &u64::to_le_bytes(entry)),
            Err(ElfError::Entry(entry))
        );
    }
}

proptest! {
    #[test]
    fn mutations_never_panic_and_never_escape(
        edits in prop::collection::vec((0usize..176, any::<u8>()), 1..12),
        length in 0usize..0x1100,
        cut in any::<bool>(),
    ) {
        let mut file = good();
        for (at, byte) in edits {
            file[at] = byte;
        }
        if cut {
            file.truncate(length);
        }
        if let Ok(image) = Image::parse(&file) {
            for segment in &image.segments {
                prop_assert!(segment.file.end <= file.len());
                prop_assert!(segment.pages().start >= IMAGE && segment.pages().end <= IMAGE_END);
                prop_assert!(!(segment.write && segment.execute));
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(file in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Image::parse(&file);
    }
}
