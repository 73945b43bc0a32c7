//! The bounds of a VM's memory, and the way back to what it was.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::sys::fd;
use crate::sys::pagemap::Pagemap;
use crate::vmm::elf::Image;
use crate::vmm::paging::Access;
use crate::workload::payload;

fn image() -> Image {
    Image::parse(payload::BYTES).unwrap()
}

#[test]
fn memory_is_private_bounded_and_aligned() {
    let image = image();
    let template = Template::new(payload::BYTES, &image).unwrap();
    let a = GuestRam::map(&template, 0).unwrap();
    let b = GuestRam::map(&template, 2 * layout::LARGE_PAGE).unwrap();
    assert_eq!(a.len(), template.len());
    assert_eq!(b.len() as u64, layout::HEAP_PHYS + 2 * layout::LARGE_PAGE);
    assert!(b.host_address().is_multiple_of(layout::LARGE_PAGE));
    a.write(layout::STACK_PHYS, b"mine").unwrap();
    assert_eq!(a.read::<4>(layout::STACK_PHYS).unwrap(), *b"mine");
    assert_eq!(b.read::<4>(layout::STACK_PHYS).unwrap(), [0; 4]);
    let end = a.len() as u64;
    assert!(a.read::<4>(end - 3).is_err());
    assert!(a.read::<1>(u64::MAX).is_err());
    assert!(a.write(end, b"x").is_err());
    b.write(b.len() as u64 - 1, b"x").unwrap();
}

#[test]
fn a_launch_finds_its_heap() {
    let image = image();
    let template = Template::new(payload::BYTES, &image).unwrap();
    let len = 3 * layout::LARGE_PAGE;
    let ram = GuestRam::map(&template, len).unwrap();
    let stack = InitialStack::new(&image, &["/payload", "noop"]).unwrap();
    ram.load(&stack, len).unwrap();
    let read = |at| ram.read::<8>(at).ok().map(u64::from_le_bytes);
    assert_eq!(
        paging::walk(layout::HEAP + len - 1, read),
        Some((layout::HEAP_PHYS + len - 1, Access::USER_DATA))
    );
    assert_eq!(paging::walk(layout::HEAP + len, read), None);
    assert_eq!(read(layout::DOORBELL_PHYS + 64), Some(layout::HEAP));
    assert_eq!(read(layout::DOORBELL_PHYS + 72), Some(len));
}

/// A file of random bytes, and a private view of it, with a heap or without.
fn random(random: &mut ChaCha8Rng, heap: usize) -> (File, Vec<u8>, GuestRam) {
    let low = layout::IMAGE_PHYS as usize + PAGES * layout::PAGE as usize;
    let mut bytes = vec![
        0;
        if heap == 0 {
            low
        } else {
            layout::HEAP_PHYS as usize + heap / 2
        }
    ];
    random.fill(&mut bytes[..]);
    let file = File::from(fd::sealed_memory(c"random", &bytes).unwrap());
    let len = if heap == 0 {
        low
    } else {
        layout::HEAP_PHYS as usize + heap
    };
    let ram = GuestRam::over(file.as_fd(), 0, bytes.len(), len).unwrap();
    bytes.resize(len, 0);
    (file, bytes, ram)
}

/// Pages of the image of [`random`].
const PAGES: usize = 40;

/// Asks the kernel to take this VM's own pages away, as it does when memory is short; where there is swap, it
/// does.
fn page_out(ram: &GuestRam) {
    // SAFETY: this VM's memory, mapped while `ram` lives; its bytes stay what they are.
    let answer = unsafe { libc::madvise(ram.base.as_ptr().cast(), ram.len, libc::MADV_PAGEOUT) };
    assert_eq!(answer, 0);
}

#[test]
fn a_rewound_memory_is_the_file_again() {
    let pages = match Pagemap::open() {
        Ok(pages) => pages,
        Err(error) => return eprintln!("skipped: rewound: /proc/self/pagemap: {error}"),
    };
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    for heap in [0, 8 * layout::LARGE_PAGE as usize] {
        let (file, original, mut ram) = random(&mut chance, heap);
        let mut found = vec![0; original.len()];
        for round in 0..30 {
            // In the heap, now few pages and now many.
            let pieces = [5, 50, 3_000][round % 3];
            let mut written = BTreeSet::new();
            for _ in 0..chance.random_range(0..pieces) {
                let at = chance.random_range(layout::SUPERVISOR_END..ram.len() as u64 - 8);
                ram.write(at, &chance.random::<[u8; 8]>()).unwrap();
                written.extend([at, at + 7].map(|at| (at / layout::PAGE) as usize));
            }
            if round % 2 == 1 {
                page_out(&ram);
            }
            let own = pages.own(ram.host_address(), ram.filled).unwrap();
            let missed = written.iter().find(|page| !own.contains(page));
            assert_eq!(missed.filter(|page| **page * 4096 < ram.filled), None);
            // Once read, the rest is the file's.
            ram.read_into(0, &mut found).unwrap();
            ram.rewind(&pages, &file, 0).unwrap();
            ram.read_into(0, &mut found).unwrap();
            assert!(found == original, "heap {heap}, round {round}");
        }
    }
}

#[test]
fn pages_stay_and_the_supervisors_are_not_forgiven() {
    let pages = match Pagemap::open() {
        Ok(pages) => pages,
        Err(error) => return eprintln!("skipped: supervisor: /proc/self/pagemap: {error}"),
    };
    let mut chance = ChaCha8Rng::seed_from_u64(2);
    let (file, original, mut ram) = random(&mut chance, 0);
    let own = |ram: &GuestRam| pages.own(ram.host_address(), ram.len()).unwrap();
    ram.write(layout::STACK_PHYS, b"stack").unwrap();
    assert_eq!(own(&ram), [(layout::STACK_PHYS / layout::PAGE) as usize]);
    ram.rewind(&pages, &file, 0).unwrap();
    assert_eq!(own(&ram).len(), 1, "the page stays");
    // Written, as a processor does that walks nested tables, with what was there.
    let table = layout::PT_USER as usize;
    ram.write(layout::PT_USER, &original[table..table + 8])
        .unwrap();
    ram.rewind(&pages, &file, 0).unwrap();
    assert_eq!(own(&ram).len(), 2);
    for at in [layout::PT_USER + 8, layout::STUBS_PHYS] {
        let before: [u8; 4] = ram.read(at).unwrap();
        ram.write(at, &before.map(|byte| !byte)).unwrap();
        let error = ram.rewind(&pages, &file, 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        ram.write(at, &before).unwrap();
    }
    ram.rewind(&pages, &file, 0).unwrap();
}
