//! Is an observation a measurement? The right answer from the right bytes, in the right order.

use isobench_abi::Report;

use crate::exits::Exits;
use crate::measure::clock::Clock;
use crate::measure::told;
use crate::metric::Ticks;
use crate::store::document::CrossingCount;
use crate::store::record::{Measured, PhaseRecord};
use crate::trial::{Failure, Instants, Observation, Phase};
use crate::workload::{Answer, Task};

/// Turns an observation into a measurement.
///
/// # Errors
/// [`Failure::WrongAnswer`], [`Failure::OtherBytes`], [`Failure::Protocol`] where the payload did
/// not do what it was asked, [`Failure::Clock`] where the instants are out of order by more than
/// their stated bound.
pub fn measured(
    seen: &Observation,
    task: &Task,
    answer: Answer,
    image: u64,
    clock: &Clock,
) -> Result<Measured, Failure> {
    let report = seen.report;
    answered(&report, answer, image)?;
    if report.end < report.start {
        return Err(Failure::Clock(format!(
            "{task}: the end mark lies before the start mark"
        )));
    }
    // A mapped reading may be off by its own bound; any reading by the skew between CPUs.
    let bound = seen.clock.bound + clock.skew;
    let begin = seen.clock.host(report.start);
    in_order(&seen.instants, begin, bound)?;
    let Instants {
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
    } = seen.instants;
    if let Some(reply) = seen.reply
        && (reply - t2 < 0 || t4 - reply < 0)
    {
        return Err(Failure::Clock(
            "the reply does not lie between the first message and the exit".to_owned(),
        ));
    }
    let after = |t: Ticks| clock.between(t0, t);
    Ok(Measured {
        t1: after(t1),
        t2: after(t2),
        t3: after(t3),
        t4: after(t4),
        t5: after(t5),
        reply: seen.reply.map(after),
        timed: clock.nanos((report.end - report.start).cast_signed()),
        units: report.units,
        digest: format!("{:016x}", report.digest),
        isa: if report.isa == 0 { "sse2" } else { "avx2" }.to_owned(),
        clock: seen.clock.source.name().to_owned(),
        clock_bound: clock.nanos(bound.cast_signed()),
        exits: seen.exits.map(|exits| exits.total()),
        exit_counts: exit_counts(seen),
        phases: records(&seen.phases, t0, clock),
        unaccounted: clock.nanos(unaccounted(&seen.phases, t0, t1)),
        teardown: records(&seen.teardown, t0, clock),
        told: seen
            .told
            .as_ref()
            .map(|told| Box::new(told::record(told, &seen.instants, clock))),
    })
}

/// The right answer, to the whole of the question, from the right bytes.
///
/// # Errors
/// [`Failure::OtherBytes`], [`Failure::WrongAnswer`], [`Failure::Protocol`].
pub(super) fn answered(report: &Report, answer: Answer, image: u64) -> Result<(), Failure> {
    if report.image != image {
        return Err(Failure::OtherBytes {
            found: report.image,
            expected: image,
        });
    }
    if report.digest != answer.digest {
        return Err(Failure::WrongAnswer {
            found: report.digest,
            expected: answer.digest,
        });
    }
    if report.units != answer.units {
        return Err(Failure::Protocol(
            "the payload did another amount of work than it was asked",
        ));
    }
    Ok(())
}

fn exit_counts(seen: &Observation) -> Vec<CrossingCount> {
    let counts = seen.exits.iter().flat_map(Exits::counts);
    counts
        .map(|row| CrossingCount {
            stage: row.stage.name().to_owned(),
            what: row.reason.to_string(),
            count: row.count,
        })
        .collect()
}

/// `t0 ≤ t1 ≤ t2 ≤ t4 ≤ t5` and `t1 ≤ begin ≤ t3 ≤ t4`, where readings of the payload's counter may be
/// off by `bound`.
fn in_order(t: &Instants, begin: Ticks, bound: u64) -> Result<(), Failure> {
    let pairs = [
        ("t0", t.t0, "t1", t.t1),
        ("t1", t.t1, "t2", t.t2),
        ("t1", t.t1, "the start mark", begin),
        ("the start mark", begin, "t3", t.t3),
        ("t3", t.t3, "t4", t.t4),
        ("t2", t.t2, "t4", t.t4),
        ("t4", t.t4, "t5", t.t5),
    ];
    for (first, a, second, b) in pairs {
        let distance = b - a;
        if distance < 0 && distance.unsigned_abs() > bound {
            return Err(Failure::Clock(format!(
                "{second} lies {} ticks before {first}, its bound is {bound}",
                distance.unsigned_abs()
            )));
        }
    }
    Ok(())
}

/// What of `t0..t1` no phase names, in ticks. Phases may overlap (a parent and its child); their
/// union counts once.
fn unaccounted(phases: &[Phase], t0: Ticks, t1: Ticks) -> i64 {
    let mut spans: Vec<(i64, i64)> = phases
        .iter()
        .map(|p| ((p.start - t0).max(0), (p.end - t0).min(t1 - t0)))
        .filter(|(start, end)| end > start)
        .collect();
    spans.sort_unstable();
    let mut covered = 0;
    let mut reached = 0;
    for (start, end) in spans {
        covered += (end - start.max(reached)).max(0);
        reached = reached.max(end);
    }
    (t1 - t0) - covered
}

fn records(phases: &[Phase], t0: Ticks, clock: &Clock) -> Vec<PhaseRecord> {
    phases
        .iter()
        .map(|phase| PhaseRecord {
            name: phase.name.to_owned(),
            at: clock.between(t0, phase.start),
            ns: clock.between(phase.start, phase.end),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn phase(start: u64, end: u64) -> Phase {
        Phase {
            name: "p",
            start: Ticks(start),
            end: Ticks(end),
        }
    }

    #[test]
    fn unaccounted_is_what_the_union_of_phases_leaves() {
        let spans = [phase(10, 20), phase(15, 30), phase(90, 200), phase(0, 5)];
        assert_eq!(unaccounted(&spans, Ticks(0), Ticks(100)), 100 - 5 - 20 - 10);
        assert_eq!(unaccounted(&[], Ticks(0), Ticks(100)), 100);
    }

    #[test]
    fn order_is_kept_within_the_bound_only() {
        let at = |t1: u64, t3: u64| Instants {
            t0: Ticks(100),
            t1: Ticks(t1),
            t2: Ticks(300),
            t3: Ticks(t3),
            t4: Ticks(500),
            t5: Ticks(600),
        };
        let begin = Ticks(350);
        assert!(in_order(&at(200, 400), begin, 0).is_ok());
        assert!(in_order(&at(99, 400), begin, 1).is_ok());
        let early = in_order(&at(98, 400), begin, 1).unwrap_err();
        assert!(
            early.to_string().contains("t1 lies 2 ticks before t0"),
            "{early}"
        );
        assert!(in_order(&at(200, 502), begin, 1).is_err());
        assert!(in_order(&at(200, 400), Ticks(198), 1).is_err());
        assert!(in_order(&at(200, 400), Ticks(402), 1).is_err());
    }
}
