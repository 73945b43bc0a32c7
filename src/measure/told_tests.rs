use proptest::prelude::*;

use super::*;
use crate::told::Named;

/// 2 ticks a nanosecond.
const CLOCK: Clock = Clock {
    hz: 2e9,
    hz_error: 0.0,
    skew: 0,
    read_cost: (0, 0),
};
/// The wall clock when the counter is at 0.
const EPOCH: i64 = 1_795_978_293_000_000_000;
const MS: i64 = 1_000_000;

const fn known(name: &'static str, from: Named, to: Named, follows: Option<&'static str>) -> Known {
    Known {
        name,
        from,
        to,
        follows,
    }
}

const KNOWN: [Known; 3] = [
    known("create", Named::T0, Named::T1, None),
    known("die", Named::T3, Named::T5, Some("create")),
    known("destroy", Named::T4, Named::T5, Some("die")),
];

/// At so many milliseconds.
const fn ticks(ms: i64) -> Ticks {
    Ticks((2 * ms * MS).unsigned_abs())
}

/// A trial from 1 ms to 99 ms.
const INSTANTS: Instants = Instants {
    t0: ticks(1),
    t1: ticks(50),
    t2: ticks(51),
    t3: ticks(52),
    t4: ticks(60),
    t5: ticks(99),
};

/// At 0 and at 100 ms, the wall clock ahead of the counter by so much.
fn around(ahead: [i64; 2]) -> [WallReading; 2] {
    let reading = |ms, ahead| WallReading {
        ticks: ticks(ms),
        bound: 2_000,
        wall: EPOCH + ms * MS + ahead,
    };
    [reading(0, ahead[0]), reading(100, ahead[1])]
}

fn told(events: &[(&'static str, i64)], around: [WallReading; 2]) -> ToldRecord {
    let events = events.iter().map(|&(name, ms)| Event {
        name,
        wall: EPOCH + ms * MS,
    });
    let said = Said {
        events: events.collect(),
        around,
    };
    let told = Told {
        by: "dockerd",
        known: &KNOWN,
        said: Ok(said),
    };
    record(&told, &INSTANTS, &CLOCK)
}

fn absent(events: &[(&'static str, i64)], ahead: [i64; 2]) -> String {
    let record = told(events, around(ahead));
    assert!(
        record.events.is_empty() && record.missing.is_empty() && record.bound.is_none(),
        "{record:?}"
    );
    record.absent.unwrap()
}

const ALL: [(&str, i64); 3] = [("destroy", 80), ("create", 20), ("die", 59)];

#[test]
fn events_are_put_on_the_harness_clock_in_order() {
    let record = told(&ALL, around([0, 0]));
    let found = record.events.iter().map(|e| (e.name.as_str(), e.at.0));
    let found: Vec<_> = found.collect();
    let expected = [("create", 19 * MS), ("die", 58 * MS), ("destroy", 79 * MS)];
    assert_eq!(found, expected);
    // 250 ppm of 100 ms and a little, half of a reading that took 2 µs, and roundings.
    assert_eq!(record.bound, Some(Nanos(25_013 + 1_000 + 2)));
    assert_eq!((record.missing, record.absent), (Vec::new(), None));
}

/// What the daemon no longer keeps is named; the others stay.
#[test]
fn what_is_missing_is_said() {
    let record = told(&ALL[..1], around([0, 0]));
    assert_eq!(record.missing, ["create", "die"]);
    assert_eq!((record.events.len(), record.absent), (1, None));
    let record = told(&[], around([0, 0]));
    assert_eq!((record.missing.len(), record.absent), (3, None));
}

#[test]
fn a_clock_that_is_slewed_is_followed_and_one_that_is_set_is_refused() {
    let slewed = told(&ALL, around([0, 45_000]));
    assert_eq!(slewed.absent, None);
    let at = slewed.events[2].at.0;
    assert!((79 * MS - 45_000..79 * MS).contains(&at), "{at}");
    for ahead in [
        [0, 60_000],
        [0, -60_000],
        [0, 3600 * 1000 * MS],
        [0, -200 * MS],
    ] {
        let why = absent(&ALL, ahead);
        let moved = format!("moved by {} ns", ahead[1]);
        assert!(why.contains(&moved), "{why}");
    }
    // A reading that took long says nothing about a step shorter than it.
    let mut long = around([0, 60_000]);
    long[1].bound = 40_000;
    assert_eq!(told(&ALL, long).absent, None);
}

#[test]
fn what_cannot_be_so_is_no_number() {
    for (events, says) in [
        (
            &[("create", 59), ("die", 53)][..],
            r#""die" before "create""#,
        ),
        (&[("create", 51)], r#""create" lies 1000000 ns behind t1"#),
        (&[("create", 0)], r#""create" lies 1000000 ns before t0"#),
        (&[("die", 51)], r#""die" lies 1000000 ns before t3"#),
        (&[("destroy", 59)], r#""destroy" lies 1000000 ns before t4"#),
        (
            &[("destroy", 100)],
            r#""destroy" lies 1000000 ns behind t5"#,
        ),
        (&[("die", i64::MAX / MS - EPOCH / MS)], r#""die" lies"#),
    ] {
        let why = absent(events, [0, 0]);
        assert!(why.contains(says), "{why}");
    }
    let untold = Told {
        by: "dockerd",
        known: &KNOWN,
        said: Err(Untold::Twice("die")),
    };
    let record = record(&untold, &INSTANTS, &CLOCK);
    assert!(record.absent.unwrap().contains("twice"));
}

/// The clocks of this host, read as around a trial.
#[test]
fn a_wall_reading_lies_between_two_counter_readings() {
    let before = crate::sys::clock::now();
    let reading = WallReading::take().unwrap();
    let after = crate::sys::clock::now();
    assert!(reading.ticks - before >= 0 && after - reading.ticks >= 0);
    assert!(reading.wall > 0);
}

proptest! {
    /// Whatever the rate does within ±500 ppm, a mapped time is off by no more than the bound.
    #[test]
    fn the_bound_holds(early in -500..=500_i64, late in -500..=500_i64, turn in 1..100_i64, at in 0..=100_i64) {
        // The wall clock's lead, ns: one rate until `turn` ms, another one behind it.
        let lead = |ms: i64| early * ms.min(turn) + late * (ms - turn).max(0);
        let map = Map::through(around([0, lead(100)]), &CLOCK).unwrap();
        let found = map.counter(EPOCH + at * MS + lead(at));
        let off = CLOCK.between(ticks(at), found).0.abs();
        prop_assert!(off <= map.bound.0, "{} of {}", off, map.bound.0);
    }
}
