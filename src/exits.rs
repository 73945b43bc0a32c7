//! What crosses the boundary of a payload, counted: exits of a vCPU by reason and by the part of the
//! trial they fall into; system calls of a process likewise.

use std::fmt;

use isobench_abi::{DOORBELL_PORT, Op, Report};

use crate::metric::Ticks;
use crate::trial::Observation;

/// A part of a trial, told by the payload's own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Up to its first message, that one included.
    #[default]
    Start,
    /// From there to its result, that one included.
    Work,
    /// From there to its end.
    End,
}

impl Stage {
    /// Spelling in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Work => "work",
            Self::End => "end",
        }
    }
}

/// Why a vCPU came back to the VMM (KVM API, 5, `exit_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A 32-bit `out` to the doorbell.
    Doorbell(Op),
    /// Any other port access: the port, and whether it was written.
    Port(u16, bool),
    /// An access outside RAM: guest-physical address, and whether it was written.
    Mmio(u64, bool),
    /// A signal of the host: the watchdog, or the user.
    Signal,
    /// HLT.
    Halt,
    /// A triple fault.
    Shutdown,
    /// KVM gave up, refused the state, or failed; `exit_reason`.
    Kvm(u32),
    /// KVM_RUN itself failed with this errno.
    Errno(i32),
    /// Reasons beyond the number of different ones that are told apart.
    Rest,
}

impl Reason {
    /// As numbers, to tell another process.
    #[must_use]
    pub const fn to_words(self) -> [u64; 3] {
        match self {
            Self::Doorbell(op) => [0, op as u64, 0],
            Self::Port(port, write) => [1, port as u64, write as u64],
            Self::Mmio(address, write) => [2, address, write as u64],
            Self::Signal => [3, 0, 0],
            Self::Halt => [4, 0, 0],
            Self::Shutdown => [5, 0, 0],
            Self::Kvm(reason) => [6, reason as u64, 0],
            Self::Errno(errno) => [7, errno.unsigned_abs() as u64, 0],
            Self::Rest => [8, 0, 0],
        }
    }

    /// The reverse; `None` if these are not such numbers.
    #[must_use]
    pub fn from_words([tag, what, write]: [u64; 3]) -> Option<Self> {
        let word = u32::try_from(what).ok();
        Some(match tag {
            0 => Self::Doorbell(Op::decode(word?)?.0),
            1 => Self::Port(u16::try_from(what).ok()?, write != 0),
            2 => Self::Mmio(what, write != 0),
            3 => Self::Signal,
            4 => Self::Halt,
            5 => Self::Shutdown,
            6 => Self::Kvm(word?),
            7 => Self::Errno(i32::try_from(what).ok()?),
            8 => Self::Rest,
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |write: &bool| if *write { "out" } else { "in" };
        match self {
            Self::Doorbell(op) => {
                let op = match op {
                    Op::Frame => "message",
                    Op::Null => "nothing",
                    Op::Wait => "wait",
                    Op::Exit => "exit",
                    Op::Trap => "exception",
                };
                write!(f, "out {DOORBELL_PORT:#06x} {op}")
            }
            Self::Port(port, write) => write!(f, "{} {port:#06x}", way(write)),
            Self::Mmio(address, true) => write!(f, "MMIO write {address:#x}"),
            Self::Mmio(address, false) => write!(f, "MMIO read {address:#x}"),
            Self::Signal => f.write_str("signal"),
            Self::Halt => f.write_str("hlt"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Kvm(reason) => write!(f, "KVM exit reason {reason}"),
            Self::Errno(errno) => write!(f, "KVM_RUN errno {errno}"),
            Self::Rest => f.write_str("others"),
        }
    }
}

/// How often one reason came in one part of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCount {
    /// When.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
}

/// Counts of a trial's exits. Counting is a comparison and two additions where an exit is like the
/// one before it, and never allocates: it happens under the clock.
#[derive(Clone, Copy, Debug)]
pub struct Exits {
    total: u64,
    stage: Stage,
    rows: [ExitCount; Self::ROWS],
    len: usize,
    last: usize,
}

impl Exits {
    /// Different reasons in different parts that are told apart; a payload of ours causes six.
    const ROWS: usize = 16;

    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        let none = ExitCount {
            stage: Stage::Start,
            reason: Reason::Rest,
            count: 0,
        };
        Self {
            total: 0,
            stage: Stage::Start,
            rows: [none; Self::ROWS],
            len: 0,
            last: 0,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The part of the trial that exits belong to from now on.
    pub const fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// The part of the trial that it is now.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// One more.
    pub fn count(&mut self, reason: Reason) {
        self.total += 1;
        let stage = self.stage;
        let like = |row: &ExitCount| row.stage == stage && row.reason == reason;
        if self.last >= self.len || !like(&self.rows[self.last]) {
            self.last = self.row(like, reason);
        }
        self.rows[self.last].count += 1;
    }

    /// As many at once, counted elsewhere.
    pub fn add(&mut self, stage: Stage, reason: Reason, count: u64) {
        self.stage = stage;
        let like = |row: &ExitCount| row.stage == stage && row.reason == reason;
        let at = self.row(like, reason);
        let row = &mut self.rows[at];
        row.count = row.count.saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    /// Where it is counted.
    fn row(&mut self, like: impl Fn(&ExitCount) -> bool, reason: Reason) -> usize {
        if let Some(found) = self.rows[..self.len].iter().position(like) {
            return found;
        }
        // The last row takes what finds no other.
        let reason = if self.len + 1 < Self::ROWS {
            reason
        } else {
            Reason::Rest
        };
        let at = self.len.min(Self::ROWS - 1);
        if at == self.len {
            self.rows[at] = ExitCount {
                stage: self.stage,
                reason,
                count: 0,
            };
            self.len += 1;
        }
        at
    }

    /// Every count, in the order in which the reasons first came.
    #[must_use]
    pub fn counts(&self) -> &[ExitCount] {
        &self.rows[..self.len]
    }
}

impl Default for Exits {
    fn default() -> Self {
        Self::new()
    }
}

/// One exit with its instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The VMM entered KVM_RUN.
    pub entered: Ticks,
    /// It came back.
    pub left: Ticks,
    /// When in the trial.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
}

/// What crosses the boundary of this backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// System calls of the payload, into the host's kernel.
    SystemCalls,
    /// Exits of the vCPU, to the VMM.
    VmExits,
}

impl Boundary {
    /// Spelling in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SystemCalls => "system calls",
            Self::VmExits => "VM exits",
        }
    }
}

/// Everything that crossed the boundary in one launch. Finding out costs time: such a launch gives
/// counts, and no timing of it is compared with that of a trial.
#[derive(Clone, Debug)]
pub struct Crossings {
    /// What is counted.
    pub boundary: Boundary,
    /// How often what crossed when, in the order in which it first did.
    pub counts: Vec<(Stage, String, u64)>,
    /// The first of them with their instants, where those are worth something.
    pub noted: Vec<Noted>,
    /// KVM's own counters of this VM and its vCPU that are not 0 (KVM API, KVM_GET_STATS_FD): exits
    /// that it handles itself, page faults, interrupts it injected.
    pub kvm: Vec<(String, u64)>,
    /// What the payload said it did.
    pub report: Report,
    /// The launch as a trial, where counting left it one.
    pub seen: Option<Observation>,
}

impl Crossings {
    /// Of a launch in a virtual machine, which counting leaves a trial; `noted` and `kvm` as in the
    /// fields.
    #[must_use]
    pub fn of_vm(seen: Observation, noted: Vec<Noted>, kvm: Vec<(String, u64)>) -> Self {
        let counts = seen.exits.iter().flat_map(Exits::counts);
        Self {
            boundary: Boundary::VmExits,
            counts: counts
                .map(|row| (row.stage, row.reason.to_string(), row.count))
                .collect(),
            noted,
            kvm,
            report: seen.report,
            seen: Some(seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart_by_part_of_the_trial() {
        let mut exits = Exits::new();
        let message = Reason::Doorbell(Op::Frame);
        exits.count(message);
        exits.enter(Stage::Work);
        for _ in 0..3 {
            exits.count(Reason::Doorbell(Op::Null));
        }
        exits.count(message);
        exits.count(Reason::Doorbell(Op::Null));
        let counts: Vec<_> = exits.counts().iter().map(|c| (c.stage, c.count)).collect();
        let expected = [(Stage::Start, 1), (Stage::Work, 4), (Stage::Work, 1)];
        assert_eq!((counts.as_slice(), exits.total()), (&expected[..], 6));
    }

    /// A guest that finds ever new reasons fills the table and no more.
    #[test]
    fn no_exit_is_lost_when_the_table_is_full() {
        let mut exits = Exits::new();
        for port in 0..100 {
            exits.count(Reason::Port(port, true));
            exits.count(Reason::Port(0, true));
        }
        assert_eq!(exits.total(), 200);
        assert_eq!(exits.counts().iter().map(|c| c.count).sum::<u64>(), 200);
        assert_eq!(exits.counts()[0].count, 101);
        assert_eq!(exits.counts().last().unwrap().reason, Reason::Rest);
    }

    #[test]
    fn reasons_and_counts_are_told_as_numbers() {
        for reason in [
            Reason::Doorbell(Op::Trap),
            Reason::Port(0xffff, false),
            Reason::Mmio(u64::MAX, true),
            Reason::Signal,
            Reason::Kvm(17),
            Reason::Errno(libc::EFAULT),
            Reason::Rest,
        ] {
            assert_eq!(Reason::from_words(reason.to_words()), Some(reason));
        }
        assert_eq!(Reason::from_words([9, 0, 0]), None);
        assert_eq!(Reason::from_words([1, 1 << 16, 0]), None);
        let mut exits = Exits::new();
        exits.add(Stage::Work, Reason::Signal, 3);
        exits.add(Stage::Work, Reason::Signal, u64::MAX);
        assert_eq!((exits.total(), exits.counts().len()), (u64::MAX, 1));
    }

    #[test]
    fn a_reason_names_its_port() {
        assert_eq!(
            Reason::Doorbell(Op::Frame).to_string(),
            "out 0x05b0 message"
        );
        assert_eq!(Reason::Port(0x80, false).to_string(), "in 0x0080");
        assert_eq!(
            Reason::Mmio(0xfee0_0000, true).to_string(),
            "MMIO write 0xfee00000"
        );
    }
}
