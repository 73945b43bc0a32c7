//! The composed image as the MMU sees it.

use super::*;
use crate::workload::payload;

fn image() -> Image {
    Image::parse(payload::BYTES).unwrap()
}

#[test]
fn null_guards_and_gaps_are_unmapped_and_the_system_is_the_supervisors() {
    let image = image();
    let bytes = compose(payload::BYTES, &image).unwrap();
    let read = |at: u64| {
        Some(u64::from_le_bytes(
            *bytes.get(at as usize..)?.first_chunk()?,
        ))
    };
    for hole in [
        0,
        0xfff,
        0xffff,
        layout::DESCRIPTORS + layout::PAGE,
        layout::RING0_STACK - 1,
        layout::RSP0,
        image.end(),
        layout::STACK - 1,
        layout::STACK_TOP,
        layout::DOORBELL + layout::PAGE,
        layout::HEAP,
    ] {
        assert_eq!(paging::walk(hole, read), None, "{hole:#x}");
    }
    for (at, phys) in [
        (layout::DESCRIPTORS, layout::DESCRIPTORS_PHYS),
        (layout::STUBS, layout::STUBS_PHYS),
        (layout::RING0_STACK, layout::RING0_STACK_PHYS),
    ] {
        let (found, access) = paging::walk(at, read).unwrap();
        assert_eq!(found, phys);
        assert!(!access.user);
        assert!(!access.write || !access.execute);
    }
    for (at, phys) in [
        (layout::STACK, layout::STACK_PHYS),
        (layout::STACK_TOP - 1, layout::IMAGE_PHYS - 1),
        (layout::DOORBELL, layout::DOORBELL_PHYS),
    ] {
        assert_eq!(paging::walk(at, read), Some((phys, Access::USER_DATA)));
    }
    let (_, access) = paging::walk(image.entry, read).unwrap();
    assert!(access.user && access.execute && !access.write);
}

#[test]
fn a_wrong_byte_or_permission_is_found_after_loading() {
    let image = image();
    let good = compose(payload::BYTES, &image).unwrap();
    assert_eq!(verify(&good, payload::BYTES, &image), Ok(()));
    let mut flipped = good.clone();
    flipped[physical(image.entry) as usize] ^= 1;
    assert_eq!(
        verify(&flipped, payload::BYTES, &image),
        Err(ElfError::LoadedWrong(image.entry))
    );
    let mut opened = good;
    let page = image.entry & !0xfff;
    let open = Access {
        user: true,
        write: true,
        execute: true,
    };
    let (slot, entry) = paging::leaf(page, physical(page), open).unwrap();
    opened[slot as usize..slot as usize + 8].copy_from_slice(&entry.to_le_bytes());
    assert!(verify(&opened, payload::BYTES, &image).is_err());
}
