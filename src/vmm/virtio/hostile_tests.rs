//! Drivers that break the rules, one each, and what comes of it.

use proptest::prelude::*;

use super::fuzz::{Bench, CONSOLE, RAM, READ_ONLY, SECTORS, WRITABLE, sectors, virtqueue};
use super::mmio::Status;
use super::script::{APART, AVAILABLE, DESCRIPTORS, INDIRECT, NEXT, SIZE, Script, USED, WRITE};
use super::{COMMON_FEATURES, VERSION_1};

const RINGS: [u64; 3] = [DESCRIPTORS, AVAILABLE, USED];

/// Name, what is done, and what the fault says. Each is a seed of the fuzz target, too.
pub(crate) fn scripts() -> Vec<(&'static str, Script, &'static str)> {
    let up = || Script::up(1);
    let agreed = || Script::default().agree(VERSION_1);
    let queue = |size, rings| agreed().queue(0, size, rings);
    let chain = |flags, next| {
        up().header(0x8000, 0, 0)
            .descriptor(0, 0x8000, 16, flags, next)
            .offer(0, &[0])
    };
    let data = |at: u64, length: u32| {
        up().header(0x8000, 0, 0)
            .descriptor(0, 0x8000, 16, NEXT, 1)
            .descriptor(1, at, length, NEXT | WRITE, 2)
            .descriptor(2, 0xa000, 1, WRITE, 0)
            .offer(0, &[0])
    };
    let [d, a, u] = RINGS;
    vec![
        ("hostile-size-0", queue(0, RINGS), "size"),
        ("hostile-size-odd", queue(7, RINGS), "size"),
        ("hostile-size-huge", queue(128, RINGS), "size"),
        ("hostile-size-wraps", queue(0x1_0008, RINGS), "size"),
        ("hostile-table-askew", queue(SIZE, [d + 8, a, u]), "align"),
        (
            "hostile-available-askew",
            queue(SIZE, [d, a + 1, u]),
            "align",
        ),
        ("hostile-used-askew", queue(SIZE, [d, a, u + 2]), "align"),
        (
            "hostile-table-outside",
            queue(SIZE, [RAM - 64, a, u]),
            "memory",
        ),
        (
            "hostile-available-outside",
            queue(SIZE, [d, RAM - 4, u]),
            "memory",
        ),
        (
            "hostile-used-outside",
            queue(SIZE, [d, a, 1 << 40]),
            "memory",
        ),
        (
            "hostile-used-wraps",
            queue(SIZE, [d, a, u64::MAX - 3]),
            "memory",
        ),
        (
            "hostile-head",
            up().offer(0, &[SIZE as u16]),
            "begins outside",
        ),
        ("hostile-next", chain(NEXT, SIZE as u16), "does not end"),
        ("hostile-loop", chain(NEXT, 0), "does not end"),
        (
            "hostile-outside",
            data(RAM - 1, 512),
            "do not lie in memory",
        ),
        ("hostile-far", data(1 << 50, 512), "do not lie in memory"),
        (
            "hostile-wraps",
            data(u64::MAX - 100, 512),
            "do not lie in memory",
        ),
        ("hostile-long", data(0x9000, u32::MAX), "does not end"),
        (
            "hostile-order",
            up().descriptor(0, 0xa000, 1, WRITE | NEXT, 1)
                .descriptor(1, 0x8000, 16, 0, 0)
                .offer(0, &[0]),
            "follows",
        ),
        (
            "hostile-short-header",
            {
                let short = up().descriptor(0, 0x8000, 15, NEXT, 1);
                short.descriptor(1, 0xa000, 1, WRITE, 0).offer(0, &[0])
            },
            "whole header",
        ),
        ("hostile-no-status", chain(0, 0), "room for its status"),
        (
            "hostile-index-jumps",
            up().memory(AVAILABLE, 9 << 16).register(0x50, 0),
            "available ring index",
        ),
        (
            "hostile-table-of-0",
            up().descriptor(0, 0xb000, 0, INDIRECT, 0).offer(0, &[0]),
            "begins outside",
        ),
        (
            "hostile-table-of-half",
            up().descriptor(0, 0xb000, 24, INDIRECT, 0).offer(0, &[0]),
            "begins outside",
        ),
        (
            "hostile-table-in-a-table",
            up().entry(0xb000, 0xb000, 16, INDIRECT, 0)
                .descriptor(0, 0xb000, 16, INDIRECT, 0)
                .offer(0, &[0]),
            "begins outside",
        ),
        (
            "hostile-table-loops",
            up().entry(0xb000, 0x8000, 16, NEXT, 0)
                .descriptor(0, 0xb000, 16 * 1024, INDIRECT, 0)
                .offer(0, &[0]),
            "more than 64",
        ),
    ]
}

fn bench(kind: u8, script: Script) -> Bench {
    let mut bench = Bench::new(kind).unwrap();
    for step in script.0 {
        bench.step(step);
    }
    bench
}

fn byte(bench: &Bench, at: u64) -> u8 {
    bench.ram.read::<1>(at).unwrap()[0]
}

#[test]
fn each_broken_rule_is_named_and_a_reset_heals_the_device() {
    for (name, script, says) in scripts() {
        let mut bench = bench(READ_ONLY, script);
        let fault = bench.fault().unwrap_or_else(|| panic!("{name}: no fault"));
        assert!(fault.contains(says), "{name}: {fault}");
        assert!(bench.status().has(Status::NEEDS_RESET), "{name}");
        let before = bench.requests();
        bench.write(0x50, &0u32.to_le_bytes());
        assert_eq!(bench.requests(), before, "{name}: served");
        for step in Script::up(1).request(0, 2, 512, WRITE).0 {
            bench.step(step);
        }
        assert_eq!(bench.fault(), None, "{name}");
        assert_eq!(byte(&bench, 0xa000), 0, "{name}: status");
        assert_eq!(bench.ram.read::<4>(0x9000).unwrap(), [2; 4], "{name}");
    }
}

#[test]
fn what_is_not_on_the_disk_or_may_not_be_done_is_an_error_and_no_fault() {
    let status = |kind, script: Script| {
        let bench = bench(kind, script);
        assert_eq!(bench.fault(), None);
        (byte(&bench, 0xa000), bench)
    };
    let request = |kind, sector, data, flags| Script::up(1).request(kind, sector, data, flags);
    let max = u64::MAX;
    for (script, expected) in [
        (request(0, SECTORS - 1, 512, WRITE), 0),
        (request(0, SECTORS, 512, WRITE), 1),
        (request(0, SECTORS - 1, 1024, WRITE), 1),
        (request(0, max, 512, WRITE), 1),
        (request(0, max / 512, 512, WRITE), 1),
        (request(0, 0, 511, WRITE), 1),
        (request(0, 0, 0, WRITE), 1),
        (request(0, 0, 512, 0), 1),
        (request(1, 0, 512, WRITE), 1),
        (request(8, 0, 19, WRITE), 1),
        (request(3, 0, 512, WRITE), 2),
        (request(u32::MAX, 0, 512, WRITE), 2),
    ] {
        for kind in [READ_ONLY, WRITABLE] {
            let (found, bench) = status(kind, script.clone());
            assert_eq!(found, expected, "{script:?}");
            assert_eq!(bench.requests().refused, u64::from(expected != 0));
            assert!(bench.disk() == sectors());
        }
    }
    let write = Script::up(1)
        .memory(0x9000, 0x5a5a_5a5a)
        .request(1, 1, 512, 0);
    let (found, read_only) = status(READ_ONLY, write.clone());
    assert_eq!(found, 1);
    assert!(read_only.disk() == sectors());
    let (found, writable) = status(WRITABLE, write);
    assert_eq!(found, 0);
    assert_eq!(writable.disk()[512..516], [0x5a; 4]);
    // Nothing is to be flushed where nothing can be written.
    assert_eq!(status(READ_ONLY, request(4, 0, 0, WRITE)).0, 2);
    assert_eq!(status(WRITABLE, request(4, 0, 0, WRITE)).0, 0);
}

#[test]
fn a_device_comes_up_in_order_or_not_at_all() {
    let at = |script: Script| bench(READ_ONLY, script);
    // Bits without those before them.
    for value in [2, 4, 8, 12, 14] {
        let bench = at(Script::default().register(0x70, value));
        assert_eq!(bench.read(0x70), 0, "{value}");
    }
    // Features that were not offered, and none of today's.
    for features in [
        VERSION_1 | 1 << 40,
        VERSION_1 | 1 << 9,
        COMMON_FEATURES & !VERSION_1,
    ] {
        let bench = at(Script::default().agree(features));
        assert_eq!(bench.read(0x70), 3, "{features:#x}");
    }
    // Too late for other features, too early for queues.
    let late = at(Script::up(1)
        .register(0x24, 1)
        .register(0x20, 0)
        .register(0x70, 15));
    assert_eq!(late.read(0x70), 15);
    let early = Script::default().register(0x70, 3).queue(0, SIZE, RINGS);
    assert_eq!(at(early).read(0x44), 0);
    // Bits are not taken back one by one.
    assert_eq!(at(Script::up(1).register(0x70, 1)).read(0x70), 15);
    // A driver that has given up is not served.
    let given_up = Script::up(1).register(0x70, 143).request(0, 0, 512, WRITE);
    assert_eq!(at(given_up).requests().reads, 0);
    // Nor is one that is not ready yet.
    let hasty = Script::default().agree(VERSION_1).queue(0, SIZE, RINGS);
    assert_eq!(at(hasty.request(0, 0, 512, WRITE)).requests().reads, 0);
}

#[test]
fn queues_and_registers_that_are_none_mean_nothing() {
    for number in [1, 2, 0xffff, 0x1_0000, u32::MAX] {
        let script = Script::default().agree(VERSION_1);
        let mut bench = bench(READ_ONLY, script.queue(number, SIZE, RINGS));
        assert_eq!((bench.read(0x34), bench.read(0x44)), (0, 0), "{number}");
        assert!(!bench.write(0x50, &number.to_le_bytes()));
        assert_eq!(bench.fault(), None);
    }
    let mut bench = bench(READ_ONLY, Script::up(1));
    for register in (0..0x1000).chain([u64::MAX, u64::MAX - 3]) {
        for width in [0, 1, 2, 3, 5, 8] {
            bench.write(register, &[0xff; 8][..width]);
        }
    }
    assert_eq!((bench.read(0x70), bench.fault()), (15, None));
    assert_eq!(bench.read(0xb0), u32::MAX, "no shared memory");
}

#[test]
fn a_reset_in_the_middle_forgets_the_rings() {
    let script = Script::up(1)
        .request(0, 1, 512, WRITE)
        .register(0x70, 0)
        .register(0x50, 0);
    let bench = bench(READ_ONLY, script);
    assert_eq!(bench.requests().reads, 1);
    assert_eq!(
        (bench.read(0x70), bench.read(0x44), bench.read(0x60)),
        (0, 0, 0)
    );
}

/// A request whose data lies over the available ring makes new entries available as it is served.
#[test]
fn a_ring_that_is_written_by_its_own_requests_ends() {
    let script = Script::up(1)
        .header(0x8000, 0, 1)
        .descriptor(0, 0x8000, 16, NEXT, 1)
        .descriptor(1, AVAILABLE, 512, NEXT | WRITE, 2)
        .descriptor(2, 0xa000, 1, WRITE, 0)
        .offer(0, &[0]);
    let bench = bench(READ_ONLY, script);
    assert!(bench.requests().reads >= 1);
    assert!(bench.requests().reads + bench.requests().refused <= u64::from(SIZE));
}

#[test]
fn what_is_printed_is_bounded_and_what_is_typed_waits() {
    // 64 buffers over all of memory would be 4 MiB: 64 KiB of each chain are taken.
    let mut script = Script::up(2);
    for n in 0..u64::from(SIZE) {
        let place = DESCRIPTORS + APART + n * 16;
        let flags = if n + 1 < u64::from(SIZE) { NEXT } else { 0 };
        script = script.entry(place, 0, RAM as u32, flags, n as u16 + 1);
    }
    let flood = bench(CONSOLE, script.offer(1, &[0]));
    assert_eq!((flood.fault(), flood.printed()), (None, 64 << 10));
    // Typed before there is a buffer, and more than one takes.
    let typed = Script::up(2)
        .types(u32::from_le_bytes(*b"ping"))
        .descriptor(0, 0x9000, 3, WRITE, 0)
        .descriptor(1, 0x9800, 64, WRITE, 0)
        .offer(0, &[0, 1]);
    let typed = bench(CONSOLE, typed);
    assert_eq!(typed.ram.read::<3>(0x9000).unwrap(), *b"pin");
    assert_eq!(byte(&typed, 0x9800), b'g');
    let nowhere = Script::up(2).types(1).descriptor(0, 0x9000, 8, 0, 0);
    let nowhere = bench(CONSOLE, nowhere.offer(0, &[0]));
    assert!(nowhere.fault().unwrap().contains("without room"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing that a driver writes, wherever, breaks the host.
    #[test]
    fn any_steps_are_survived(
        kind in 0u8..3,
        ready in any::<bool>(),
        steps in prop::collection::vec((0u8..5, 0u8..9, any::<u16>(), any::<u32>()), 0..60),
    ) {
        let up = if ready { Script::up(if kind == CONSOLE { 2 } else { 1 }) } else { Script::default() };
        let mut input = up.input(kind);
        for (what, width, at, value) in steps {
            // Registers and rings rather than anywhere.
            let at = if what == 1 { at } else { at & 0x1ff };
            input.extend([what, width]);
            input.extend(at.to_le_bytes());
            input.extend(value.to_le_bytes());
            if value % 3 == 0 {
                input.extend(Script::default().register(0x50, u32::from(width % 3)).input(0).split_off(1));
            }
        }
        virtqueue(&input);
    }

    /// However a request is cut into buffers, the bytes are the disk's.
    #[test]
    fn a_request_in_any_pieces_moves_the_same_bytes(
        write in any::<bool>(),
        sector in 0u64..SECTORS,
        sectors_moved in 1u64..4,
        cuts in prop::collection::vec(1u32..512, 0..4),
    ) {
        prop_assume!(sector + sectors_moved <= SECTORS);
        let bytes = (sectors_moved * 512) as u32;
        let flags = if write { 0 } else { WRITE };
        let mut script = Script::up(1).header(0x8000, u32::from(write), sector);
        // The header in two, the data in as many as there are cuts.
        script = script.descriptor(0, 0x8000, 7, NEXT, 1).descriptor(1, 0x8007, 9, NEXT, 2);
        let (mut at, mut n) = (0, 2);
        for cut in cuts.iter().copied().chain([u32::MAX]) {
            let part = cut.min(bytes - at);
            if part == 0 { break; }
            script = script.descriptor(n, 0x9000 + u64::from(at), part, NEXT | flags, n as u16 + 1);
            at += part;
            n += 1;
        }
        for word in 0..u64::from(bytes / 4) {
            if write { script = script.memory(0x9000 + word * 4, 0x0101_0101 * (word as u32 % 251)); }
        }
        script = script.descriptor(n, 0xa000, 1, WRITE, 0).memory(0xa000, 0xff).offer(0, &[0]);
        let bench = bench(WRITABLE, script);
        prop_assert_eq!(bench.fault(), None);
        prop_assert_eq!(byte(&bench, 0xa000), 0);
        let mut moved = vec![0; bytes as usize];
        bench.ram.read_into(0x9000, &mut moved).unwrap();
        let from = (sector * 512) as usize;
        prop_assert_eq!(&bench.disk()[from..from + moved.len()], &moved[..]);
    }
}
