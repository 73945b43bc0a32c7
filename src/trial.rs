//! What one trial leaves behind: an observation with its instants, phases and the payload's
//! report, or a typed failure.

use std::fmt;
use std::io;
use std::time::Duration;

use isobench_abi::{DecodeError, GuestFault, Report};

use crate::delay;
use crate::exits::Exits;
use crate::metric::{Nanos, Ticks};
use crate::told::Told;
use crate::workload::Task;

#[cfg(test)]
#[path = "trial_pause.rs"]
pub(crate) mod pause;

/// One launch: a task, and the bounds it must keep.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What the payload shall do.
    pub task: Task,
    /// From `t0`: when it is ended by force.
    pub deadline: Duration,
}

/// The six instants, on the host's time-stamp counter (design contract "same events").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instants {
    /// Just before the first system call made for this trial.
    pub t0: Ticks,
    /// First instruction of the payload.
    pub t1: Ticks,
    /// The harness has the payload's first message.
    pub t2: Ticks,
    /// The payload's own mark that the work is done.
    pub t3: Ticks,
    /// The harness observes the exit.
    pub t4: Ticks,
    /// Nothing of the trial is left.
    pub t5: Ticks,
}

/// A named interval inside `t0..t1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The system call, ioctl or step.
    pub name: &'static str,
    /// Its start.
    pub start: Ticks,
    /// Its end. A phase that only the payload's first instruction can end, ends at `t1`.
    pub end: Ticks,
}

/// Names intervals while a start is under way. Two counter reads a phase; never allocates, so it
/// can be used between `clone3` and `execve`, and lies in memory that both sides share.
#[derive(Debug)]
pub struct PhaseLog {
    phases: [Phase; Self::CAPACITY],
    len: usize,
    open: Option<(&'static str, Ticks)>,
}

impl PhaseLog {
    /// More phases than any backend has.
    pub const CAPACITY: usize = 48;

    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        let none = Phase {
            name: "",
            start: Ticks(0),
            end: Ticks(0),
        };
        Self {
            phases: [none; Self::CAPACITY],
            len: 0,
            open: None,
        }
    }

    /// Times one step.
    pub fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        #[cfg(test)]
        pause::at(name);
        let start = crate::sys::clock::now();
        let value = step();
        delay::at(name);
        self.push(Phase {
            name,
            start,
            end: crate::sys::clock::now(),
        });
        value
    }

    /// Times one step of a set-up, and gives its failure the step's name.
    ///
    /// # Errors
    /// [`Failure::Setup`].
    pub fn step<T, E: Into<io::Error>>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.time(name, step)
            .map_err(|cause| Failure::setup(name, cause))
    }

    /// Begins a phase that ends somewhere else: at [`Self::close`], or at `t1`.
    pub fn open(&mut self, name: &'static str) {
        #[cfg(test)]
        pause::at(name);
        self.open = Some((name, crate::sys::clock::now()));
        delay::at(name);
    }

    /// Notes a phase whose start and end were both observed elsewhere.
    pub fn note(&mut self, name: &'static str, start: Ticks, end: Ticks) {
        self.push(Phase { name, start, end });
    }

    /// Ends the open phase now.
    pub fn close(&mut self) {
        self.close_at(crate::sys::clock::now());
    }

    /// Ends the open phase at an instant observed elsewhere (`t1`).
    pub fn close_at(&mut self, end: Ticks) {
        if let Some((name, start)) = self.open.take() {
            self.push(Phase { name, start, end });
        }
    }

    /// The phase that is open, to say where a start failed.
    #[must_use]
    pub fn current(&self) -> Option<&'static str> {
        self.open.map(|(name, _)| name)
    }

    /// What was recorded, in order of ending.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases[..self.len]
    }

    /// A phase beyond the capacity is dropped and shows as unaccounted time.
    fn push(&mut self, phase: Phase) {
        if let Some(slot) = self.phases.get_mut(self.len) {
            *slot = phase;
            self.len += 1;
        }
    }
}

impl Default for PhaseLog {
    fn default() -> Self {
        Self::new()
    }
}

/// How a guest's counter was mapped to the host's: `host = guest + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMap {
    /// Added to the guest's reading, wrapping.
    pub offset: u64,
    /// Largest possible error of a mapped reading, in ticks.
    pub bound: u64,
    /// How the offset is known.
    pub source: ClockSource,
}

/// How the guest's counter relates to the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The payload reads the host's own counter: no mapping.
    Same,
    /// The offset KVM reports for the vCPU (KVM_VCPU_TSC_OFFSET), consistent with every exit.
    ReadBack,
    /// Only bracketed by host readings around exits.
    Bracketed,
}

impl ClockSource {
    /// Spelling in `trials.jsonl`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::ReadBack => "read-back",
            Self::Bracketed => "bracketed",
        }
    }
}

impl ClockMap {
    /// The payload shares the host's counter. The bound covers the skew between CPUs, which the
    /// run's clock check measures and adds.
    pub const SAME: Self = Self {
        offset: 0,
        bound: 0,
        source: ClockSource::Same,
    };

    /// A guest reading on the host's counter.
    #[must_use]
    pub const fn host(self, guest: u64) -> Ticks {
        Ticks(guest.wrapping_add(self.offset))
    }
}

/// A trial that came to its end. Whether its answer is right is for the harness to decide.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The six instants.
    pub instants: Instants,
    /// The harness has the reply to its request, where the payload waited for one.
    pub reply: Option<Ticks>,
    /// Named phases of `t0..t1`.
    pub phases: Vec<Phase>,
    /// Named phases of `t4..t5`.
    pub teardown: Vec<Phase>,
    /// What the payload said it did; its counter readings are the guest's.
    pub report: Report,
    /// How guest readings were mapped.
    pub clock: ClockMap,
    /// Exits to the VMM, or `None` where there is no VMM.
    pub exits: Option<Exits>,
    /// For how long a limit on processor time kept it from running; `None` without such a limit.
    pub throttled: Option<Nanos>,
    /// What the daemon behind the backend says itself, where one was asked.
    pub told: Option<Told>,
}

/// Why a trial is not a number. Every kind is counted beside the numbers and never ranks.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A system call or ioctl of the set-up refused.
    #[error("{phase}: {cause}")]
    Setup {
        /// The phase it belongs to.
        phase: &'static str,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// The deadline passed and the payload was ended.
    #[error("no end within {0:?}: ended by the watchdog")]
    Timeout(Duration),
    /// Ended by a signal (a crash, the out-of-memory killer, a seccomp rule).
    #[error("ended by signal {0}")]
    Signal(i32),
    /// Ended with a status that is not 0.
    #[error("exit status {0}")]
    Status(u32),
    /// The payload refused or gave up.
    #[error("the payload gave up: {0:?} ({1:#x})")]
    Payload(GuestFault, u64),
    /// A message that is not of the vocabulary.
    #[error("malformed message: {0}")]
    Message(#[from] DecodeError),
    /// Messages in an order or number the protocol does not have.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// An exception in a guest, with what it was doing.
    #[error("guest exception {vector}{} (error {error:#x}) at {rip:#x}, address {address:#x}, {registers}", mnemonic(*.vector))]
    GuestException {
        /// Vector (Intel SDM vol. 3, table 6-1).
        vector: u8,
        /// Error code, 0 where the vector has none.
        error: u64,
        /// Instruction that faulted.
        rip: u64,
        /// CR2: the faulting address of a page fault.
        address: u64,
        /// The other registers at that moment.
        registers: Box<Registers>,
    },
    /// The guest came back to the VMM more often than its task has reason to.
    #[error("more exits than its task has reason for: {0}")]
    ExitBudget(u64),
    /// The vCPU stopped in a way that is not an answer: shutdown, internal error, entry failure,
    /// an access no device claims.
    #[error("unexpected VM exit: {0}")]
    VmExit(String),
    /// The kernel of a guest did not come to the payload, or to an end of its own: a panic, a reset, a
    /// vCPU that stopped.
    #[error("the guest's kernel: {how}; it printed last: {console:?}")]
    GuestKernel {
        /// What happened.
        how: String,
        /// The end of its console, in one line; bounded.
        console: String,
    },
    /// An engine, a program of somebody else's, did not do what it was asked.
    #[error(transparent)]
    Engine(Box<EngineFailure>),
    /// The digest is not the known answer.
    #[error("wrong answer: digest {found:#018x}, known answer {expected:#018x}")]
    WrongAnswer {
        /// What the payload computed.
        found: u64,
        /// What it should have been.
        expected: u64,
    },
    /// The payload that ran is not the embedded one.
    #[error("other bytes ran: image {found:#018x}, embedded {expected:#018x}")]
    OtherBytes {
        /// What the payload found itself to be.
        found: u64,
        /// What it should have been.
        expected: u64,
    },
    /// Instants out of order, or a reading beyond its bound.
    #[error("clock: {0}")]
    Clock(String),
    /// Clean-up left something behind.
    #[error("left behind: {0}")]
    Leftover(String),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What an engine was asked, what came of it, and what it printed.
#[derive(Debug, thiserror::Error)]
#[error("{command}: {how}{}", last_words(.tail))]
pub struct EngineFailure {
    /// The command, or the request to a daemon.
    pub command: String,
    /// What came of it.
    pub how: EngineEnd,
    /// The end of what it printed, in one line; bounded.
    pub tail: String,
}

/// What came of something that an engine was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineEnd {
    /// It could not be started or spoken to.
    #[error("cannot be started or reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// It ended with this status, or went on where it should have ended.
    #[error("exit status {0}")]
    Status(u32),
    /// It was ended by this signal.
    #[error("ended by signal {0}")]
    Signal(i32),
    /// It was ended by force after this time.
    #[error("no end within {0:?}: ended by the watchdog")]
    Timeout(Duration),
    /// It says that it cannot.
    #[error("refused: {0}")]
    Refused(String),
    /// What it handed over is not what was asked for.
    #[error("its output is no message of the payload: {0}")]
    Garbage(String),
}

impl EngineFailure {
    /// It went on like that until the time was up.
    #[must_use]
    pub fn timed_out(&self, allowed: Duration) -> Failure {
        Failure::Engine(Box::new(Self {
            command: self.command.clone(),
            how: EngineEnd::Timeout(allowed),
            tail: self.tail.clone(),
        }))
    }
}

fn last_words(tail: &str) -> String {
    if tail.is_empty() {
        "; it printed nothing".to_owned()
    } else {
        format!("; it printed last: {tail}")
    }
}

/// Registers of a guest that took an exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
    pub general: [u64; 15],
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 15] = [
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12",
            "r13", "r14", "r15",
        ];
        write!(f, "rsp {:#x}, rflags {:#x}", self.rsp, self.rflags)?;
        for (name, value) in NAMES.iter().zip(self.general) {
            write!(f, ", {name} {value:#x}")?;
        }
        Ok(())
    }
}

/// " #PF" and the like (Intel SDM vol. 3, table 7-1).
fn mnemonic(vector: u8) -> &'static str {
    const NAMES: [&str; 22] = [
        " #DE", " #DB", " NMI", " #BP", " #OF", " #BR", " #UD", " #NM", " #DF", "", " #TS", " #NP",
        " #SS", " #GP", " #PF", "", " #MF", " #AC", " #MC", " #XM", " #VE", " #CP",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or_default()
}

impl Failure {
    /// A failed set-up step, with errno's own words.
    pub fn setup(phase: &'static str, cause: impl Into<std::io::Error>) -> Self {
        Self::Setup {
            phase,
            cause: cause.into(),
        }
    }

    /// What the kernel refused a step of the set-up with.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Setup { cause, .. } => errno_of(cause),
            _ => None,
        }
    }

    /// Whether its time was up.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Engine(failure) => matches!(failure.how, EngineEnd::Timeout(_)),
            _ => false,
        }
    }

    /// Short, stable name for `trials.jsonl`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Setup { .. } => "setup",
            Self::Timeout(_) => "timeout",
            Self::Signal(_) => "signal",
            Self::Status(_) => "status",
            Self::Payload(..) => "payload",
            Self::Message(_) => "message",
            Self::Protocol(_) => "protocol",
            Self::GuestException { .. } => "guest-exception",
            Self::VmExit(_) => "vm-exit",
            Self::ExitBudget(_) => "exit-budget",
            Self::GuestKernel { .. } => "guest-kernel",
            Self::Engine(_) => "engine",
            Self::WrongAnswer { .. } => "wrong-answer",
            Self::OtherBytes { .. } => "other-bytes",
            Self::Clock(_) => "clock",
            Self::Leftover(_) => "leftover",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The errno of an error, or of the one it is about.
fn errno_of(error: &std::io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let cause = error.get_ref()?.source()?;
        cause.downcast_ref::<std::io::Error>()?.raw_os_error()
    })
}
