//! A payload's ELF: what is accepted, where it lands, and what is mapped ([`Image::parse`],
//! [`Template::new`]).

use crate::vmm::elf::Image;
use crate::vmm::layout::{IMAGE, IMAGE_END, PAGE};
use crate::vmm::memory::GuestRam;
use crate::vmm::paging::{self, Access};
use crate::vmm::template::Template;

/// Program headers as they lie in a file (elf(5), `Elf64_Phdr`).
const HEADER_BYTES: usize = 56;

/// An accepted file maps the pages of its segments, each for what the segment says, and no other page
/// of the window; every byte of the file that is loaded lies where the guest will look for it.
pub fn elf(file: &[u8]) -> bool {
    let image = match Image::parse(file) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    assert!(!image.segments.is_empty());
    assert!(image.end() <= IMAGE_END);
    let template = match Template::new(file, &image) {
        Ok(template) => template,
        Err(error) => unreachable!("an accepted file cannot be laid out: {error}"),
    };
    let ram = match GuestRam::map(&template, 0) {
        Ok(ram) => ram,
        Err(error) => unreachable!("an image cannot be mapped: {error}"),
    };
    let word = |at| ram.read(at).ok().map(u64::from_le_bytes);
    for page in (IMAGE..IMAGE_END).step_by(PAGE as usize) {
        let mut owners = image.segments.iter().filter(|s| s.pages().contains(&page));
        let mapped = paging::walk(page, word);
        let expected = owners.next().map(|owner| Access {
            user: true,
            write: owner.write,
            execute: owner.execute,
        });
        assert_eq!(mapped.map(|(_, access)| access), expected, "at {page:#x}");
        assert!(owners.next().is_none(), "two segments share {page:#x}");
        assert!(!expected.is_some_and(|access| access.write && access.execute));
    }
    let read = |virt: u64, len: usize| {
        let mut bytes = vec![0; len];
        for (at, byte) in (virt..).zip(&mut bytes) {
            let found = paging::walk(at, word).and_then(|(phys, _)| ram.read(phys).ok());
            [*byte] = found?;
        }
        Some(bytes)
    };
    for segment in &image.segments {
        let loaded = read(segment.address, segment.file.len());
        assert_eq!(loaded.as_deref(), file.get(segment.file.clone()));
    }
    let entry = paging::walk(image.entry, word);
    assert!(entry.is_some_and(|(_, access)| access.user && access.execute));
    if let Some(headers) = image.headers {
        let len = usize::from(image.header_count) * HEADER_BYTES;
        let table = read(headers, len);
        assert!(table.is_some_and(|table| file.windows(len).any(|part| part == table)));
    }
    true
}

#[cfg(test)]
pub(super) fn seeds() -> Vec<super::Seed> {
    use crate::vmm::elf::tests::{good, put};

    // The small one: headers and code in one page, and memory without bytes in the file.
    let small = {
        let mut file = good();
        put(&mut file, 64 + 32, &0x100_u64.to_le_bytes());
        put(&mut file, 64 + 40, &0x100_u64.to_le_bytes());
        put(&mut file, 24, &0x20_00c0_u64.to_le_bytes());
        put(&mut file, 120 + 8, &0u64.to_le_bytes());
        put(&mut file, 120 + 32, &0u64.to_le_bytes());
        file.truncate(0x100);
        file
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut file = small.clone();
        put(&mut file, at, bytes);
        file
    };
    let word = |at: usize, word: u64| with(at, &word.to_le_bytes());
    vec![
        ("valid-small", small.clone()),
        ("valid-two-segments", good()),
        // As much memory as the window has.
        ("valid-whole-window", word(120 + 40, 0x1d_e000)),
        // The program headers lie in no segment.
        (
            "valid-headers-apart",
            with(64 + 8, &[0xc0, 0, 0, 0, 0, 0, 0, 0])
                .into_iter()
                .enumerate()
                .map(|(at, byte)| match at {
                    // 0x40 bytes from 0x2000c0 on, so that address and offset agree.
                    0x50 => 0xc0,
                    0x60 | 0x68 => 0x40,
                    0x61 | 0x69 => 0,
                    _ => byte,
                })
                .collect(),
        ),
        ("truncated-empty", Vec::new()),
        ("truncated-header", small[..63].to_vec()),
        ("truncated-table", small[..0xa0].to_vec()),
        ("truncated-segment", small[..0xff].to_vec()),
        ("hostile-class", with(4, &[1])),
        ("hostile-endian", with(5, &[2])),
        ("hostile-type", with(16, &[1, 0])),
        ("hostile-machine", with(18, &[183, 0])),
        ("hostile-count", with(56, &[0xff, 0xff])),
        ("hostile-table-wraps", word(32, u64::MAX - 50)),
        ("hostile-offset-wraps", word(64 + 8, u64::MAX)),
        ("hostile-address-wraps", word(64 + 16, u64::MAX - 0xff)),
        ("hostile-memory", word(120 + 40, u64::MAX)),
        ("hostile-past-the-window", word(120 + 40, 0x1d_e001)),
        ("hostile-memory-shorter", word(64 + 40, 0xff)),
        ("hostile-overlap", word(120 + 16, 0x20_0000)),
        ("hostile-alignment", with(120 + 48, &[3])),
        ("hostile-write-execute", with(64 + 4, &[7])),
        ("hostile-interpreter", with(120, &[3])),
        ("hostile-entry", word(24, 0x20_1000)),
        ("hostile-nothing", with(64, &[4])),
    ]
}
