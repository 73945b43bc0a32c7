//! One file per subcommand.

pub mod ab;
pub mod baseline;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod engines;
pub mod explain;
pub mod history;
pub mod import;
mod keeper;
pub mod list;
mod outcome;
pub mod report;
pub mod run;
pub mod schema;
pub mod selftest;
