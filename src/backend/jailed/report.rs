//! What a VMM process says at its end. The harness trusts it with times, counts and the kind of a
//! failure, and only where they can be of this trial: a guest may have taken the VMM over.

use std::io;

use serde::{Deserialize, Serialize};

use crate::exits::{Exits, Noted, Reason, Stage};
use crate::metric::Ticks;
use crate::trial::{ClockMap, ClockSource, Failure, Phase, Registers};

/// Longest report that is read: what a pipe holds.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// Exits with their instants that fit such a report.
pub(super) const MOST_NOTED: usize = 400;

/// Phases of a VMM beside those by which it confines itself.
const VM_PHASES: [&str; 14] = [
    "read_order",
    "mmap_memory",
    "load",
    "create_vm",
    "set_user_memory_region",
    "create_vcpu",
    "mmap_run",
    "set_cpuid2",
    "set_xcrs",
    "sync_regs",
    "set_sregs",
    "set_regs",
    "arm_watchdog",
    "seccomp",
];
/// The phase that the payload's first instruction ends.
const RUN: &str = "run";
/// Phases of its end.
const CLOSING: [&str; 7] = [
    "disarm_watchdog",
    "get_tsc_offset",
    "read_statistics",
    "close_vcpu",
    "close_vm",
    "munmap_memory",
    "close_kvm",
];

/// What a payload can break that its messages alone do not show the harness.
const BREACHES: [&str; 5] = [
    "a wait out of order",
    "a second wait",
    "an exit status beyond 255",
    "the payload rang the bell of ring 0",
    "awake without having waited",
];

/// As it is written: JSON, its names and numbers as they are in the VMM.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    entered: u64,
    finished: u64,
    phases: Vec<(String, u64, u64)>,
    teardown: Vec<(String, u64, u64)>,
    /// Offset, bound, whether it was read back.
    clock: Option<(u64, u64, u8)>,
    exits: Vec<(u8, [u64; 3], u64)>,
    noted: Vec<(u64, u64, u8, [u64; 3])>,
    kvm: Vec<(String, u64)>,
    failure: Option<Said>,
}

/// A failure as a VMM knows it.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Setup(String, i32, String),
    /// Vector, error, RIP, CR2, RFLAGS, RSP, then the general registers.
    Exception(Box<([u64; 6], [u64; 15])>),
    ExitBudget(u64),
    VmExit(String),
    Timeout(u64),
    Clock(String),
    Protocol(String),
    Other(String),
}

/// A VMM that writes.
impl Report {
    pub fn begin(entered: Ticks) -> Self {
        Self {
            entered: entered.0,
            ..Self::default()
        }
    }

    pub fn starting(&mut self, phases: &[Phase]) {
        self.phases = phases.iter().map(flat).collect();
    }

    pub fn closing(&mut self, phases: &[Phase]) {
        self.teardown = phases.iter().map(flat).collect();
    }

    pub fn mapped(&mut self, map: ClockMap) {
        let source = match map.source {
            ClockSource::Same => 0,
            ClockSource::ReadBack => 1,
            ClockSource::Bracketed => 2,
        };
        self.clock = Some((map.offset, map.bound, source));
    }

    pub fn counted(&mut self, exits: &Exits, noted: &[Noted], kvm: Vec<(String, u64)>) {
        let rows = exits.counts().iter();
        self.exits = rows
            .map(|row| (row.stage as u8, row.reason.to_words(), row.count))
            .collect();
        let noted = noted.iter().take(MOST_NOTED);
        self.noted = noted
            .map(|n| (n.entered.0, n.left.0, n.stage as u8, n.reason.to_words()))
            .collect();
        self.kvm = kvm;
    }

    pub fn failed(&mut self, failure: Failure) {
        self.failure = Some(match failure {
            Failure::Setup { phase, cause } => Said::Setup(
                phase.to_owned(),
                cause.raw_os_error().unwrap_or(0),
                cause.to_string(),
            ),
            Failure::GuestException {
                vector,
                error,
                rip,
                address,
                registers,
            } => {
                let Registers {
                    rflags,
                    rsp,
                    general,
                } = *registers;
                let first = [u64::from(vector), error, rip, address, rflags, rsp];
                Said::Exception(Box::new((first, general)))
            }
            Failure::ExitBudget(exits) => Said::ExitBudget(exits),
            Failure::VmExit(why) => Said::VmExit(why),
            Failure::Timeout(limit) => {
                Said::Timeout(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
            }
            Failure::Clock(why) => Said::Clock(why),
            Failure::Protocol(why) => Said::Protocol(why.to_owned()),
            other => Said::Other(other.to_string()),
        });
    }

    pub fn encode(&mut self, finished: Ticks) -> Vec<u8> {
        self.finished = finished.0;
        // Numbers and texts: there is nothing that JSON lacks.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn flat(phase: &Phase) -> (String, u64, u64) {
    (phase.name.to_owned(), phase.start.0, phase.end.0)
}

/// A harness that reads.
impl Report {
    /// # Errors
    /// It is no report: then it is what the VMM had to say instead, a panic's message for one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes).map_err(|_| {
            let text: String = String::from_utf8_lossy(bytes).chars().take(400).collect();
            let text = text.escape_debug();
            let cause = io::Error::other(format!("the VMM ended without a report: \"{text}\""));
            Failure::setup("vmm", cause)
        })
    }

    /// Why the VMM failed.
    pub fn failure(&self) -> Option<Failure> {
        let short = |text: &str| text.chars().take(400).collect::<String>();
        Some(match self.failure.as_ref()? {
            Said::Setup(phase, errno, text) => {
                let known = VM_PHASES.into_iter().find(|name| name == phase);
                let phase = known.unwrap_or("vmm_confinement");
                let cause = match errno {
                    0 => io::Error::other(short(text)),
                    errno => io::Error::from_raw_os_error(*errno),
                };
                Failure::setup(phase, cause)
            }
            Said::Exception(words) => {
                let ([vector, error, rip, address, rflags, rsp], general) = **words;
                Failure::GuestException {
                    vector: vector as u8,
                    error,
                    rip,
                    address,
                    registers: Box::new(Registers {
                        rflags,
                        rsp,
                        general,
                    }),
                }
            }
            Said::ExitBudget(exits) => Failure::ExitBudget(*exits),
            Said::VmExit(why) => Failure::VmExit(short(why)),
            Said::Timeout(ns) => Failure::Timeout(std::time::Duration::from_nanos(*ns)),
            Said::Clock(why) => Failure::Clock(short(why)),
            Said::Protocol(why) => {
                let known = BREACHES.into_iter().find(|known| known == why);
                Failure::Protocol(known.unwrap_or("the payload broke the protocol"))
            }
            Said::Other(why) => Failure::VmExit(format!("the VMM says: {}", short(why))),
        })
    }

    /// Its first and its last own reading of the clock.
    ///
    /// # Errors
    /// They are not of this trial.
    pub fn lifetime(&self, [t0, t5]: [Ticks; 2]) -> Result<[Ticks; 2], Failure> {
        let (entered, finished) = (Ticks(self.entered), Ticks(self.finished));
        in_order([t0, entered, finished, t5])?;
        Ok([entered, finished])
    }

    /// How it maps the guest's counter.
    ///
    /// # Errors
    /// It does not say, or with a bound that would let any reading pass.
    pub fn clock(&self, [t0, t5]: [Ticks; 2]) -> Result<ClockMap, Failure> {
        let (offset, bound, source) = self
            .clock
            .ok_or_else(|| Failure::Clock("the VMM maps no counter".to_owned()))?;
        if i64::try_from(bound).map_or(true, |bound| bound > t5 - t0) {
            return Err(STRANGE);
        }
        let source = match source {
            0 => ClockSource::Same,
            1 => ClockSource::ReadBack,
            _ => ClockSource::Bracketed,
        };
        Ok(ClockMap {
            offset,
            bound,
            source,
        })
    }

    /// Phases of the start. `confining` are the names by which it confines itself; the last phase ends
    /// at `t1`.
    ///
    /// # Errors
    /// A phase that is none of this trial's.
    pub fn phases(
        &self,
        confining: &[&'static str],
        t1: Ticks,
        within: [Ticks; 2],
    ) -> Result<Vec<Phase>, Failure> {
        let known = [&VM_PHASES[..], &[RUN], confining].concat();
        let mut phases = named(&self.phases, &known, within)?;
        if let Some(run) = phases.iter_mut().find(|phase| phase.name == RUN) {
            run.end = t1;
        }
        Ok(phases)
    }

    /// Phases of the end.
    ///
    /// # Errors
    /// As [`Self::phases`].
    pub fn teardown(&self, within: [Ticks; 2]) -> Result<Vec<Phase>, Failure> {
        named(&self.teardown, &CLOSING, within)
    }

    /// Counts of exits.
    ///
    /// # Errors
    /// A reason that is none.
    pub fn exits(&self) -> Result<Exits, Failure> {
        let mut exits = Exits::new();
        for (stage, reason, count) in &self.exits {
            let (stage, reason) = told(*stage, reason)?;
            exits.add(stage, reason, *count);
        }
        Ok(exits)
    }

    /// Exits with their instants.
    ///
    /// # Errors
    /// As [`Self::exits`].
    pub fn noted(&self) -> Result<Vec<Noted>, Failure> {
        let noted = self.noted.iter().take(MOST_NOTED);
        let one = |(entered, left, stage, reason): &(u64, u64, u8, [u64; 3])| {
            let (stage, reason) = told(*stage, reason)?;
            Ok(Noted {
                entered: Ticks(*entered),
                left: Ticks(*left),
                stage,
                reason,
            })
        };
        noted.map(one).collect()
    }

    /// KVM's own counters.
    ///
    /// # Errors
    /// More of them than any KVM has, or names that none of KVM's has.
    pub fn kvm(&self) -> Result<Vec<(String, u64)>, Failure> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let known = |name: &str| (1..=48).contains(&name.len()) && name.bytes().all(letter);
        let right = self.kvm.len() <= MOST_COUNTERS && self.kvm.iter().all(|(name, _)| known(name));
        right.then(|| self.kvm.clone()).ok_or(STRANGE)
    }
}

/// KVM has some forty of a vCPU and ten of a VM.
const MOST_COUNTERS: usize = 256;

const STRANGE: Failure = Failure::Protocol("the VMM's report is not of this trial");

/// Compared and not subtracted: distances of numbers that anybody may have made up go round.
fn in_order(readings: [Ticks; 4]) -> Result<(), Failure> {
    let in_order = readings.iter().map(|ticks| ticks.0).is_sorted();
    in_order.then_some(()).ok_or(STRANGE)
}

fn told(stage: u8, reason: &[u64; 3]) -> Result<(Stage, Reason), Failure> {
    let stages = [Stage::Start, Stage::Work, Stage::End];
    let stage = stages.into_iter().find(|s| *s as u8 == stage);
    stage.zip(Reason::from_words(*reason)).ok_or(STRANGE)
}

fn named(
    said: &[(String, u64, u64)],
    known: &[&'static str],
    [t0, t5]: [Ticks; 2],
) -> Result<Vec<Phase>, Failure> {
    let one = |(name, start, end): &(String, u64, u64)| {
        let name = known.iter().find(|known| *known == name).ok_or(STRANGE)?;
        let (start, end) = (Ticks(*start), Ticks(*end));
        in_order([t0, start, end, t5])?;
        Ok(Phase { name, start, end })
    };
    said.iter()
        .take(crate::trial::PhaseLog::CAPACITY)
        .map(one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::begin(Ticks(10));
        let phase = |name, start, end| Phase {
            name,
            start: Ticks(start),
            end: Ticks(end),
        };
        report.starting(&[phase("create_vm", 11, 12), phase("run", 13, 13)]);
        report.closing(&[phase("close_vm", 20, 21)]);
        report.mapped(ClockMap::SAME);
        let mut exits = Exits::new();
        exits.count(Reason::Port(0x80, true));
        report.counted(&exits, &[], vec![("exits".to_owned(), 4)]);
        report
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = report().encode(Ticks(22));
        let read = Report::decode(&bytes).unwrap();
        assert!(read.failure().is_none());
        let all = [Ticks(0), Ticks(30)];
        let phases = read.phases(&[], Ticks(15), all).unwrap();
        assert_eq!((phases[1].name, phases[1].end), ("run", Ticks(15)));
        assert_eq!(read.teardown(all).unwrap()[0].name, "close_vm");
        assert_eq!(read.exits().unwrap().total(), 1);
        assert_eq!(read.clock(all).unwrap(), ClockMap::SAME);
        assert_eq!(read.lifetime(all).unwrap(), [Ticks(10), Ticks(22)]);
        assert_eq!(read.kvm().unwrap().len(), 1);
        for name in ["", "pf taken", "\u{1b}[2J", &"a".repeat(49)] {
            let forged = Report {
                kvm: vec![(name.to_owned(), 1)],
                ..Report::default()
            };
            assert!(forged.kvm().is_err(), "{name:?}");
        }
    }

    /// A VMM in a guest's hands can lie; what it says must be of this trial, and bounded.
    #[test]
    fn what_cannot_be_of_this_trial_is_refused() {
        let bytes = report().encode(Ticks(22));
        let read = Report::decode(&bytes).unwrap();
        for within in [[Ticks(12), Ticks(30)], [Ticks(0), Ticks(11)]] {
            let phases = read.phases(&[], Ticks(15), within);
            assert!(matches!(phases, Err(Failure::Protocol(_))));
        }
        let text = String::from_utf8(bytes).unwrap();
        let other = |from: &str, to: &str| Report::decode(text.replace(from, to).as_bytes());
        let renamed = other("create_vm", "create_tm").unwrap();
        assert!(
            renamed
                .phases(&[], Ticks(15), [Ticks(0), Ticks(30)])
                .is_err()
        );
        assert!(other("[1,128,1]", "[99,128,1]").unwrap().exits().is_err());
        assert!(read.lifetime([Ticks(0), Ticks(21)]).is_err());
        assert!(read.lifetime([Ticks(11), Ticks(30)]).is_err());
        // Each less than half the counter's range behind the one before, and once around it.
        let third = u64::MAX / 3;
        let (entered, finished) = (20 + third, 25 + 2 * third);
        let around = format!("\"entered\":{entered},\"finished\":{finished}");
        let around = other("\"entered\":10,\"finished\":22", &around).unwrap();
        assert_eq!((around.entered, around.finished), (entered, finished));
        assert!(around.lifetime([Ticks(10), Ticks(30)]).is_err());
        let vague = other("\"clock\":[0,0,0]", "\"clock\":[0,99,0]").unwrap();
        assert!(vague.clock([Ticks(0), Ticks(30)]).is_err());
        let panic = Report::decode(b"thread 'main' panicked").unwrap_err();
        assert!(panic.to_string().contains("panicked"), "{panic}");
    }
}
