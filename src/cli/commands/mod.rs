//! One file per subcommand.

pub mod completions;
pub mod doctor;
pub mod list;
pub mod run;
pub mod schema;
pub mod selftest;
