//! Delays inside named phases: the switch with which a gate is tested (`ISOBENCH_INJECT`).
//!
//! Armed around one trial and never otherwise, a delay is a busy wait inside the phase it is meant
//! for, on whichever side of `clone3` that phase runs: like all that runs between `clone3` and
//! `execve` it takes no lock and does not allocate. A phase of another process (the confined VMM of
//! `microvm:jailed`) is out of reach. Unarmed it costs one load a phase.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sys::clock;

/// Most phases that can be delayed in one trial.
pub const SLOTS: usize = 8;

/// A phase by the digest of its name (0: none), and its delay in ticks.
struct Slot {
    phase: AtomicU64,
    ticks: AtomicU64,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TABLE: [Slot; SLOTS] = [const {
    Slot {
        phase: AtomicU64::new(0),
        ticks: AtomicU64::new(0),
    }
}; SLOTS];

/// Delays are in force until this is dropped.
#[derive(Debug)]
pub struct Armed(());

/// Puts delays (phase, ticks) in force; those beyond [`SLOTS`] are left out.
#[must_use]
pub fn arm(delays: &[(String, u64)]) -> Armed {
    for (slot, (phase, ticks)) in TABLE.iter().zip(delays) {
        slot.phase.store(digest(phase), Ordering::Relaxed);
        slot.ticks.store(*ticks, Ordering::Relaxed);
    }
    ARMED.store(!delays.is_empty(), Ordering::Release);
    Armed(())
}

impl Drop for Armed {
    fn drop(&mut self) {
        ARMED.store(false, Ordering::Release);
        for slot in &TABLE {
            slot.phase.store(0, Ordering::Relaxed);
        }
    }
}

/// Called inside each phase.
pub(crate) fn at(phase: &str) {
    if !ARMED.load(Ordering::Acquire) {
        return;
    }
    let phase = digest(phase);
    for slot in &TABLE {
        if slot.phase.load(Ordering::Relaxed) == phase {
            let wanted = slot.ticks.load(Ordering::Relaxed).cast_signed();
            let start = clock::now();
            while clock::now() - start < wanted {
                std::hint::spin_loop();
            }
        }
    }
}

/// FNV-1a, 64 bits; never 0.
const fn digest(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    if hash == 0 { 1 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_waits_only_while_it_is_armed() {
        let ticks = 200_000;
        let took = |phase: &str| {
            let start = clock::now();
            at(phase);
            clock::now() - start
        };
        let armed = arm(&[("of this test".to_owned(), ticks)]);
        assert!(took("of this test") >= ticks.cast_signed());
        drop(armed);
        assert!(!ARMED.load(Ordering::Relaxed));
        assert!(TABLE.iter().all(|s| s.phase.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn names_have_digests_of_their_own() {
        // The published vectors of FNV-1a.
        assert_eq!(digest(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(digest("clone3"), digest("close"));
    }
}
