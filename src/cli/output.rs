//! Results on standard output.

use std::io::{self, ErrorKind, Write};

use super::error::CliError;

/// Prints a result.
///
/// A reader that has closed its end (`isobench list | head -1`) has had what it wanted: that is no
/// error, nothing is said, and the exit status stays the command's own, so that a gate still gates.
/// (A C program would have died of SIGPIPE, which Rust programs ignore.)
///
/// # Errors
/// [`CliError::Stdout`] for any other reason, a full disk for instance.
pub fn print(result: impl AsRef<[u8]>) -> Result<(), CliError> {
    write(&mut io::stdout().lock(), result.as_ref())
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), CliError> {
    // Flushed, because what is left in the buffer at the end is lost without a word.
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::Stdout(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_closed_pipe_is_quiet() {
        assert!(write(&mut Refuses(ErrorKind::BrokenPipe), b"x").is_ok());
        let full = write(&mut Refuses(ErrorKind::StorageFull), b"x").unwrap_err();
        assert_eq!(full.status(), 4);
    }
}
