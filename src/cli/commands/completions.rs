//! Completion scripts and the manual page.

use std::io::{self, Write};

use crate::cli::error::CliError;

/// Prints a completion script.
pub fn completions(
    shell: clap_complete::Shell,
    command: &mut clap::Command,
) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "isobench", &mut script);
    io::stdout().write_all(&script)?;
    Ok(0)
}

/// Prints the manual page.
pub fn man(command: clap::Command) -> Result<u8, CliError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    io::stdout().write_all(&page)?;
    Ok(0)
}
