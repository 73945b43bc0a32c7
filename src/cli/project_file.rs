//! `isobench.toml`, a project's file: backends of its own ([`super::config`]) and what it asks of its gate
//! ([`super::gate_file`]). Each reads its part; how the file is read is here.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Its name, in the folder that isobench is started in.
pub const NAME: &str = "isobench.toml";
/// Largest file that is read: 1 MiB.
const MOST_BYTES: u64 = 1 << 20;

/// Why there is no text.
#[derive(Debug)]
pub enum Unread {
    /// The system refused.
    System(io::Error),
    /// A folder, a FIFO, a device; too large; not UTF-8: what is wrong.
    Unfit(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Unfit(problem) => f.write_str(problem),
        }
    }
}

/// The text of a regular file. A FIFO must not make the program wait.
///
/// # Errors
/// See [`Unread`].
pub fn text(path: &Path) -> Result<String, Unread> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Unread::Unfit("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Unread::Unfit("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Unread::Unfit("not UTF-8"))
}
