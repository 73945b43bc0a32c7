//! The kind of an error decides the exit status; hints travel with errors.

use std::io::Write;
use std::path::PathBuf;

use super::gate_file::GateFileError;
use crate::measure::ab::lane::LaneError;
use crate::measure::clock::ClockError;
use crate::measure::comparison::CompareError;
use crate::measure::session::RunError;
use crate::report::files::FilesError;
use crate::stats::StatsError;
use crate::store::folder::FolderError;
use crate::store::history::HistoryError;
use crate::store::read_error::ReadError;
use crate::sys::interrupt;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A flag's value is not what it must be.
    #[error("{field}: {problem}")]
    Usage {
        /// The flag.
        field: &'static str,
        /// What is wrong and what was expected.
        problem: String,
        /// What to type instead.
        hint: Option<String>,
    },
    /// The file with the user's own backends is wrong.
    #[error(transparent)]
    Config(#[from] super::config::ConfigError),
    /// A name that stands for nothing.
    #[error("{flag}: there is no {}", .name.display())]
    Absent {
        /// The argument.
        flag: &'static str,
        /// The name.
        name: PathBuf,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A baseline cannot be kept.
    #[error("{0}: {1}")]
    Keep(&'static str, FolderError),
    /// The output folder cannot be used.
    #[error("--out: {0}")]
    Output(FolderError),
    /// No backend can run on this host; each with its reason.
    #[error("none of the backends can run on this host")]
    NothingRuns(Vec<String>),
    /// The user has asked for an end before anything was measured: the signal.
    #[error("interrupted")]
    Interrupted(i32),
    /// The ruler cannot be trusted on this host.
    #[error("this host's clock cannot be used")]
    Clock(#[from] ClockError),
    /// The run could not go on.
    #[error("the run ended")]
    Run(#[from] RunError),
    /// `isobench.toml` was refused.
    #[error(transparent)]
    GateFile(#[from] GateFileError),
    /// A build cannot be compared.
    #[error("{0}")]
    Lane(&'static str, #[source] LaneError),
    /// The history cannot be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What is stored cannot be judged.
    #[error("what is stored cannot be judged")]
    Stats(#[from] StatsError),
    /// A stored run was refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A report could not be written; the run it is of is whole.
    #[error("the report could not be written whole")]
    Files(#[source] FilesError),
    /// Two runs have too little in common.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The system refused what every run needs.
    #[error("cannot {0}")]
    System(&'static str, #[source] std::io::Error),
    /// This host cannot, and what would help.
    #[error(transparent)]
    Unavailable(crate::backend::Unavailable),
    /// Private daemons could not be removed.
    #[error("left behind: {0}")]
    Left(#[source] crate::backend::daemons::Left),
    /// Results could not be printed.
    #[error("cannot write to standard output")]
    Stdout(#[source] std::io::Error),
}

/// Exit status of whoever is ended by a signal, as a shell reports it: 130 for SIGINT, 143 for SIGTERM.
#[must_use]
pub fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(130)
}

impl CliError {
    /// A flag's value is not what it must be.
    pub fn usage(field: &'static str, problem: impl Into<String>, hint: Option<String>) -> Self {
        Self::Usage {
            field,
            problem: problem.into(),
            hint,
        }
    }

    /// What a user who has asked for an end is to be told instead: what was under way was given up for it.
    #[must_use]
    pub fn or_interrupted(self) -> Self {
        interrupt::requested().map_or(self, Self::Interrupted)
    }

    /// Exit status (design, "command line").
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage { .. }
            | Self::Absent { .. }
            | Self::Config(_)
            | Self::Output(_)
            | Self::GateFile(_)
            | Self::Read(_)
            | Self::Compare(_) => 2,
            Self::History(error) if error.is_input() => 2,
            Self::Lane(_, LaneError::Lost { .. }) => 4,
            Self::Lane(..) => 2,
            // What was there is not ours to replace; anything else failed.
            Self::Keep(_, FolderError::Foreign(_) | FolderError::Unusable { .. }) => 2,
            Self::Keep(..) => 4,
            Self::NothingRuns(_) | Self::Clock(_) | Self::Unavailable(_) => 3,
            Self::Interrupted(signal) => of_signal(*signal),
            Self::History(_)
            | Self::Stats(_)
            | Self::Run(_)
            | Self::System(..)
            | Self::Left(_)
            | Self::Stdout(_)
            | Self::Files(_) => 4,
        }
    }

    /// Prints the error, its causes and its hint to standard error.
    pub fn report(&self) {
        let mut err = anstream::stderr().lock();
        // Nothing is left to be done if standard error is closed.
        let _ = self.write(&mut err);
    }

    fn write(&self, err: &mut impl Write) -> std::io::Result<()> {
        let mut said = self.to_string();
        writeln!(err, "isobench: {said}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Many an error repeats its cause in its own words.
            let text = error.to_string();
            if !said.contains(&text) {
                writeln!(err, "  because: {text}")?;
                said = text;
            }
            cause = error.source();
        }
        match self {
            Self::Usage {
                hint: Some(hint), ..
            } => writeln!(err, "  try: {hint}"),
            Self::Config(_) => writeln!(err, "  try: docs/engines.md, which has examples"),
            Self::Absent { looked, .. } => {
                for path in looked {
                    writeln!(err, "  not there: {}", path.display())?;
                }
                writeln!(
                    err,
                    "  try: isobench run --save-baseline NAME, or the folder of a run"
                )
            }
            Self::Output(_) => {
                writeln!(
                    err,
                    "  try: --out with a new folder in a place you can write to"
                )
            }
            Self::History(error) => writeln!(err, "  try: {}", error.hint()),
            Self::Read(refused) => writeln!(err, "  try: {}", refused.hint()),
            Self::Clock(ClockError::System(_, cause)) => {
                let remedy = match cause.raw_os_error() {
                    Some(libc::ENOENT) => "mount -t proc proc /proc",
                    errno => errno
                        .and_then(crate::backend::shortage)
                        .unwrap_or("again when the machine is quieter"),
                };
                writeln!(err, "  try: {remedy}")
            }
            Self::Unavailable(why) => writeln!(err, "  try: {}", why.remedy),
            Self::NothingRuns(reasons) => {
                for reason in reasons {
                    writeln!(err, "  {reason}")?;
                }
                writeln!(err, "  try: isobench doctor")
            }
            _ => Ok(()),
        }
    }
}
