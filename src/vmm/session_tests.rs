//! The protocol against payloads that do not keep it.

use isobench_abi::frame::LOG_BYTES;
use isobench_abi::{ABI_VERSION, GuestFault, Ready, Report};

use super::*;
use crate::transcript::{MAX_OUTPUT, Said};
use crate::trial::{ClockMap, Instants};

const READY: Message = Message::Ready(Ready {
    first_instruction: 1_000,
    abi: ABI_VERSION,
});

fn result(start: u64, end: u64) -> Message {
    Message::Result(Report {
        start,
        end,
        units: 1,
        digest: 0,
        image: 0,
        isa: 0,
    })
}

fn session() -> Session {
    let mut session = Session::new(Duration::from_secs(1));
    session.started = Ticks(900);
    session.resumed = Ticks(950);
    session
}

/// Says each message at the guest's time `1_100 + 100·n`, taken back 10 ticks later.
fn say(session: &mut Session, messages: &[Message]) -> Result<(), Failure> {
    for (n, message) in messages.iter().enumerate() {
        let sent = 1_100 + 100 * n as u64;
        let frame = message.encode(n as u16, sent).to_bytes();
        session.frame(&frame, Ticks(sent + 10), None)?;
        session.resumed = Ticks(sent + 20);
    }
    Ok(())
}

fn outcome(messages: &[Message]) -> Result<(Instants, ClockMap), Failure> {
    let mut session = session();
    say(&mut session, messages)?;
    let mut outcome = session.finish(0)?;
    outcome.t2 = Ticks(1_115);
    outcome.map(None, [Ticks(800), Ticks(5_000), Ticks(6_000)])
}

#[test]
fn a_whole_life_has_its_instants_in_order() {
    let (instants, clock) = outcome(&[READY, result(1_150, 1_190)]).unwrap();
    assert_eq!((instants.t1, instants.t3), (Ticks(1_000), Ticks(1_190)));
    assert_eq!(clock.bound, 0);
}

#[test]
fn what_the_protocol_does_not_have_is_refused() {
    let awake = Message::Mark(Mark::Awake);
    let waiting = Message::Mark(Mark::Waiting(0));
    let other = Message::Ready(Ready {
        first_instruction: 1_000,
        abi: ABI_VERSION + 1,
    });
    let answer = Message::Mark(Mark::Answer(0));
    for wrong in [
        &[READY, waiting, answer][..],
        &[result(1, 2)],
        &[other],
        &[READY, READY],
        &[READY, awake],
        &[READY, waiting, waiting],
        &[READY, waiting, awake],
        &[waiting],
        &[READY],
        &[],
        &[READY, result(1_150, 1_190), result(1_150, 1_190)],
    ] {
        assert!(
            matches!(outcome(wrong), Err(Failure::Protocol(_))),
            "{wrong:?}"
        );
    }
    let fault = Message::Fault(GuestFault::NoMemory, 9);
    assert!(matches!(
        outcome(&[READY, fault]),
        Err(Failure::Payload(GuestFault::NoMemory, 9))
    ));
    assert!(matches!(session().finish(3), Err(Failure::Status(3))));
}

/// A copy's session: the original said ready at a time that means nothing here. The copy says when it went
/// on with its first message.
fn copy(
    waits: bool,
    went_on: Option<u64>,
    messages: &[Message],
) -> Result<(Instants, ClockMap), Failure> {
    let said = Said {
        first_instruction: u64::MAX / 3,
        messages: 1,
        waiting: waits.then_some(0),
    };
    let mut session = Session::after(said, Duration::from_secs(1));
    session.started = Ticks(900);
    session.resumed = Ticks(950);
    session.asked = waits.then_some(Ticks(950));
    for (n, message) in messages.iter().enumerate() {
        let sent = 1_100 + 100 * n as u64;
        let frame = message.encode(n as u16 + 1, sent).to_bytes();
        session.frame(&frame, Ticks(sent + 10), went_on.filter(|_| n == 0))?;
        session.resumed = Ticks(sent + 20);
    }
    let mut outcome = session.finish(0)?;
    outcome.t2 = Ticks(1_115);
    outcome.map(None, [Ticks(800), Ticks(5_000), Ticks(6_000)])
}

#[test]
fn a_copys_first_instruction_is_the_one_behind_its_snapshot() {
    let awake = Message::Mark(Mark::Awake);
    let answer = Message::Mark(Mark::Answer(0));
    for (waits, messages) in [
        (false, &[result(1_000, 1_050)][..]),
        (true, &[awake, result(1_150, 1_160)]),
        (true, &[answer, result(1_000, 1_050)]),
    ] {
        let (instants, _) = copy(waits, Some(990), messages).unwrap();
        assert_eq!(instants.t1, Ticks(990), "{messages:?}");
    }
    for (waits, went_on, messages) in [
        // Before the copy ran; backwards; after the message.
        (false, 990, &[result(100, 1_050)][..]),
        (false, 990, &[result(1_050, 1_000)]),
        (false, 990, &[result(1_050, 1_105)]),
        (true, 990, &[answer, result(100, 1_050)]),
        (true, 990, &[answer, result(1_000, 1_300)]),
        // The same of the instruction; never told; after the work began, or a message was sent.
        (false, 900, &[result(1_000, 1_050)]),
        (false, 0, &[result(1_000, 1_050)]),
        (false, 1_001, &[result(1_000, 1_050)]),
        (true, 1_101, &[awake, result(1_150, 1_160)]),
        (false, u64::MAX / 3, &[result(1_000, 1_050)]),
    ] {
        let forged = copy(waits, Some(went_on), messages);
        assert!(
            matches!(forged, Err(Failure::Clock(_))),
            "{went_on} {messages:?}: {forged:?}"
        );
    }
    for (waits, went_on, messages) in [
        (true, Some(990), &[result(1_000, 1_050)]),
        (false, Some(990), &[READY]),
        (false, None, &[result(1_000, 1_050)]),
    ] {
        let wrong = copy(waits, went_on, messages);
        assert!(matches!(wrong, Err(Failure::Protocol(_))), "{wrong:?}");
    }
}

#[test]
fn floods_and_gaps_are_bounded() {
    let mut messages = vec![READY];
    messages.resize(2 + MAX_OUTPUT / LOG_BYTES, Message::Log([b'x'; LOG_BYTES]));
    assert!(matches!(
        say(&mut session(), &messages),
        Err(Failure::Protocol("more than 64 KiB of output"))
    ));
    let gap = READY.encode(1, 1_100).to_bytes();
    assert!(matches!(
        session().frame(&gap, Ticks(1_200), None),
        Err(Failure::Protocol(_))
    ));
    assert!(matches!(
        session().frame(&[0; 64], Ticks(1_200), None),
        Err(Failure::Message(_))
    ));
}

#[test]
fn forged_readings_are_refused() {
    let forged = |first_instruction| {
        Message::Ready(Ready {
            first_instruction,
            abi: ABI_VERSION,
        })
    };
    for wrong in [
        // Before the vCPU ran, after the message, at the beginning of time.
        [forged(10), result(1_150, 1_190)],
        [forged(1_105), result(1_150, 1_190)],
        [forged(0), result(1_150, 1_190)],
        // Work that ends before it begins, begins before ready, ends after the result.
        [READY, result(1_190, 1_150)],
        [READY, result(1_050, 1_190)],
        [READY, result(1_150, 1_300)],
    ] {
        assert!(
            matches!(outcome(&wrong), Err(Failure::Clock(_))),
            "{wrong:?}"
        );
    }
}
