//! Every way in which a trial comes to no number.

use std::fmt;
use std::time::Duration;

use isobench_abi::{DecodeError, GuestFault};

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
