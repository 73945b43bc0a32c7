//! The JSON Schema of `run.json`.

use std::io::{self, Write};

use crate::cli::error::CliError;
use crate::store::document::Run;
use crate::store::folder::to_pretty_json;

/// Prints the schema.
pub fn schema() -> Result<u8, CliError> {
    let schema = schemars::schema_for!(Run);
    io::stdout().write_all(to_pretty_json(&schema).as_bytes())?;
    Ok(0)
}
