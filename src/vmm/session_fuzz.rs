//! What a guest says by doorbell, with readings of its counter that may be forged ([`Session`]).

use isobench_abi::FRAME_BYTES;

use super::*;
use crate::fuzz::number_frames;
use crate::trial::Instants;

/// When the harness began: not 0, so that a reading can lie before it.
const T0: u64 = 1 << 40;
/// Before the records: flags; exit status; the offset that KVM reports.
const HEAD: usize = 10;
/// A record: what happens; ticks that the guest runs until then; ticks that the host takes; the reading at
/// which a copy says that it went on; a frame.
const RECORD: usize = 13 + FRAME_BYTES;

/// Flags: a copy's session; of one that waited; KVM reports an offset.
const COPY: u8 = 1;
const WAITED: u8 = 2;
const OFFSET: u8 = 4;
/// What happens, if it is not a frame.
const WAIT: u8 = 1;

/// The input: a head and records, as above. Frames get the numbers that they should have; the protocol
/// alone is [`crate::fuzz::transcript`]'s.
///
/// If the session is accepted, its instants are in order, and every reading that it was told lies, on
/// the host's counter, where the guest ran before it told it.
pub fn session(bytes: &[u8]) -> bool {
    let Some((head, records)) = bytes.split_first_chunk::<HEAD>() else {
        return false;
    };
    let [flags, status, offset @ ..] = *head;
    let (records, _) = records.as_chunks::<RECORD>();
    let copy = flags & COPY != 0;
    let mut session = if copy {
        let said = Said {
            first_instruction: u64::MAX / 3,
            messages: 1,
            waiting: (flags & WAITED != 0).then_some(0),
        };
        Session::after(said, Duration::from_secs(1))
    } else {
        Session::new(Duration::from_secs(1))
    };
    session.started = Ticks(T0 + 1);
    let mut host = T0 + 2;
    session.resumed = Ticks(host);
    session.asked = session.waited.then_some(session.resumed);
    let offset = (flags & OFFSET != 0).then_some(u64::from_le_bytes(offset));
    life(session, status, offset, &mut host, records).is_ok()
}

/// Numbers from 0, or for a copy from 1 on.
fn numbered(records: &[[u8; RECORD]], copy: bool) -> Vec<[u8; FRAME_BYTES]> {
    let mut frames = vec![[0; FRAME_BYTES]; usize::from(copy)];
    let said = records.iter().filter(|record| record[0] != WAIT);
    frames.extend(said.filter_map(|record| record.last_chunk::<FRAME_BYTES>()));
    number_frames(frames.as_flattened_mut());
    frames.split_off(usize::from(copy))
}

fn life(
    mut session: Session,
    status: u8,
    offset: Option<u64>,
    host: &mut u64,
    records: &[[u8; RECORD]],
) -> Result<(), Failure> {
    let mut frames = numbered(records, session.began != Began::Cold).into_iter();
    // Where the guest ran, and what it said it read there.
    let mut readings: Vec<([u64; 2], u64)> = Vec::new();
    let mut first = None;
    for record in records {
        let [kind, ran, more, took, longer, a, b, c, d, e, f, g, h, ..] = *record;
        let told = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        *host += u64::from(u16::from_le_bytes([ran, more]));
        let came_back = *host;
        if kind == WAIT {
            // As `Session::converse` has it.
            if !session.transcript.is_waiting() || session.waited {
                return Err(Failure::Protocol("a wait out of order"));
            }
            session.waited = true;
            *host += u64::from(u16::from_le_bytes([took, longer]));
            session.resumed = Ticks(*host);
            session.asked = Some(session.resumed);
            continue;
        }
        let Some(frame) = frames.next() else { break };
        let ran = [session.resumed.0, came_back];
        let went_on = (session.began == Began::Copy).then_some(told);
        session.frame(&frame, Ticks(came_back), went_on)?;
        readings.extend(went_on.map(|reading| (ran, reading)));
        first.get_or_insert(came_back);
        if let Ok((frame, message)) = isobench_abi::Frame::decode(&frame) {
            readings.push((ran, frame.sent));
            let since = session.asked.unwrap_or(session.resumed).0;
            match message {
                Message::Ready(ready) => readings.push((ran, ready.first_instruction)),
                Message::Result(report) => {
                    readings.push(([since, came_back], report.start));
                    readings.push(([since, came_back], report.end));
                }
                _ => {}
            }
        }
        *host += u64::from(u16::from_le_bytes([took, longer]));
        session.resumed = Ticks(*host);
    }
    let mut outcome = session.finish(status)?;
    // The body's own clock stands for the harness's.
    outcome.t2 = Ticks(first.unwrap_or(*host));
    let (instants, clock) = outcome.map(offset, [Ticks(T0), Ticks(*host), Ticks(*host + 1)])?;
    let Instants {
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
    } = instants;
    assert!(t0 < t1 && t1 <= t2 && t1 <= t3 && t2 <= t4 && t3 <= t4 && t4 < t5);
    assert_eq!(clock.host(outcome.report.end), t3);
    for ([from, to], reading) in readings {
        let at = clock.host(reading);
        assert!(
            (from..=to).contains(&at.0),
            "{reading} at {at:?}, not in {from}..={to}"
        );
        assert!(clock.bound <= (to - from).div_ceil(2));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<crate::fuzz::Seed> {
    use isobench_abi::{ABI_VERSION, Ready, Report};

    /// The guest's counter is the host's, less this.
    const BEHIND: u64 = 1 << 30;
    /// The guest runs so long before each message, and the host takes so long over it.
    const RAN: u16 = 100;
    const TOOK: u16 = 20;
    /// When the guest sends the message `n`, by its own counter.
    fn sent(n: u64) -> u64 {
        T0 + 2 - BEHIND + n * u64::from(RAN + TOOK) + u64::from(RAN) - 10
    }
    let head = |flags: u8, status: u8| {
        let mut bytes = vec![flags, status];
        bytes.extend(BEHIND.wrapping_neg().to_le_bytes());
        bytes
    };
    let say = |flags: u8, status: u8, messages: &[Option<Message>]| {
        let mut bytes = head(flags, status);
        for (n, message) in (0..).zip(messages) {
            bytes.push(if message.is_some() { 0 } else { WAIT });
            bytes.extend(RAN.to_le_bytes());
            bytes.extend(TOOK.to_le_bytes());
            bytes.extend((sent(n) - 60).to_le_bytes());
            let frame = message.map(|message| message.encode(0, sent(n)).to_bytes());
            bytes.extend(frame.unwrap_or([0; FRAME_BYTES]));
        }
        bytes
    };
    let ready = |first_instruction| {
        Some(Message::Ready(Ready {
            first_instruction,
            abi: ABI_VERSION,
        }))
    };
    let good = ready(sent(0) - 50);
    let result = |start, end| {
        Some(Message::Result(Report {
            start,
            end,
            units: 3,
            digest: 4,
            image: 5,
            isa: 1,
        }))
    };
    // Worked before its message `n`.
    let done = |n| result(sent(n) - 40, sent(n) - 20);
    let waiting = Some(Message::Mark(Mark::Waiting(4096)));
    let awake = Some(Message::Mark(Mark::Awake));
    let noop = say(OFFSET, 0, &[good, done(1)]);
    let idle = [good, waiting, None, awake, done(4)];
    let mut silent = say(0, 0, &[done(0)]).split_off(HEAD);
    silent[5..13].fill(0);
    let from_the_past = ready(sent(0) - 1_000);
    vec![
        ("valid-noop", noop.clone()),
        ("valid-bracketed", say(0, 0, &[good, done(1)])),
        ("valid-idle", say(OFFSET, 0, &idle)),
        ("valid-copy", say(COPY | OFFSET, 0, &[done(0)])),
        (
            "valid-copy-that-waited",
            say(COPY | WAITED | OFFSET, 0, &[awake, done(1)]),
        ),
        ("truncated-empty", Vec::new()),
        ("truncated-head", noop[..HEAD].to_vec()),
        ("truncated-frame", noop[..noop.len() - 1].to_vec()),
        ("hostile-status", say(OFFSET, 3, &[good, done(1)])),
        (
            "hostile-forged-past",
            say(OFFSET, 0, &[from_the_past, done(1)]),
        ),
        ("hostile-zero", say(OFFSET, 0, &[ready(0), done(1)])),
        (
            "hostile-end-before-start",
            say(OFFSET, 0, &[good, result(sent(1) - 20, sent(1) - 40)]),
        ),
        (
            "hostile-future",
            say(OFFSET, 0, &[good, result(sent(1) - 40, sent(1) + 1)]),
        ),
        (
            "hostile-half-way-round",
            say(0, 0, &[good, result(sent(1) - 40, sent(1) ^ 1 << 63)]),
        ),
        (
            "hostile-early-wait",
            say(OFFSET, 0, &[good, None, awake, done(3)]),
        ),
        (
            "hostile-two-waits",
            say(OFFSET, 0, &[good, waiting, None, None, awake, done(5)]),
        ),
        (
            "hostile-copy-that-does-not-say-when-it-went-on",
            [head(COPY | OFFSET, 0), silent].concat(),
        ),
        (
            "hostile-unasked",
            say(OFFSET, 0, &[good, waiting, awake, done(3)]),
        ),
        (
            "hostile-two-results",
            say(OFFSET, 0, &[good, done(1), done(2)]),
        ),
    ]
}
