//! What a whole session amounts to, and the way from the guest's counter to the host's.

use isobench_abi::Report;

use crate::metric::Ticks;
use crate::trial::{ClockMap, Failure, Instants};
use crate::vmm::clock::Brackets;

/// What a whole session amounts to, before the clocks are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The payload's report, in guest time.
    pub report: Report,
    /// The harness had the reply to its request.
    pub reply: Option<Ticks>,
    pub(super) started: Ticks,
    pub(super) t1: u64,
    pub(super) t2: Ticks,
    pub(super) copy: bool,
    pub(super) brackets: Brackets,
}

impl Outcome {
    /// Puts the guest's readings on the host's counter. `tsc_offset` is what KVM reports.
    ///
    /// # Errors
    /// The readings fit no offset, or the instants no order.
    pub fn map(
        &self,
        tsc_offset: Option<u64>,
        [t0, t4, t5]: [Ticks; 3],
    ) -> Result<(Instants, ClockMap), Failure> {
        let clock = self
            .brackets
            .decide(tsc_offset)
            .map_err(|error| Failure::Clock(error.to_string()))?;
        let instants = Instants {
            t0,
            t1: clock.host(self.t1),
            t2: self.t2,
            t3: clock.host(self.report.end),
            t4,
            t5,
        };
        // The brackets imply it; stated all the same, since every number rests on it.
        let Instants { t1, t2, t3, .. } = instants;
        let orders = if self.copy {
            // The first message of a copy may be its result.
            [
                [t0, self.started, t1, t2, t4, t5],
                [t0, self.started, t1, t3, t4, t5],
            ]
        } else {
            // t3 follows t2, for the host answered before the work began.
            [
                [t0, self.started, t1, t2, t3, t4],
                [t0, self.started, t1, t2, t4, t5],
            ]
        };
        for order in orders {
            if order.windows(2).any(|pair| pair[1] - pair[0] < 0) {
                return Err(Failure::Clock(format!("instants out of order: {order:?}")));
            }
        }
        Ok((instants, clock))
    }
}

/// Readings of the guest's counter, none of which lies before the one before it.
pub(super) fn in_order(readings: &[u64]) -> Result<(), Failure> {
    for pair in readings.windows(2) {
        // Signed: a guest's counter may wrap.
        if pair[1].wrapping_sub(pair[0]).cast_signed() < 0 {
            return Err(Failure::Clock(format!(
                "the guest's readings run backwards: {readings:?}"
            )));
        }
    }
    Ok(())
}
