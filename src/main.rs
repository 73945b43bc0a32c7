//! The `isobench` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    isobench::backend::jailed::entry();
    ExitCode::from(isobench::cli::main())
}
