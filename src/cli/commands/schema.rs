//! The JSON Schema of `run.json`.

use crate::cli::error::CliError;
use crate::cli::output::print;
use crate::store::document::Run;
use crate::store::folder::to_pretty_json;

/// Prints the schema.
pub fn schema() -> Result<u8, CliError> {
    let schema = schemars::schema_for!(Run);
    print(to_pretty_json(&schema))?;
    Ok(0)
}
