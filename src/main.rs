//! The `isobench` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(isobench::cli::main())
}
