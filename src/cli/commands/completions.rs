//! Completion scripts and the manual page.

use crate::cli::error::CliError;
use crate::cli::output::print;

/// Prints a completion script.
pub fn completions(
    shell: clap_complete::Shell,
    command: &mut clap::Command,
) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "isobench", &mut script);
    print(script)?;
    Ok(0)
}

/// Prints the manual page.
pub fn man(command: clap::Command) -> Result<u8, CliError> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|e| CliError::System("lay out the manual page", e))?;
    print(page)?;
    Ok(0)
}
