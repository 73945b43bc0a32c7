//! Runs and comparisons in the formats of other tools. Each is written to what that tool publishes
//! about its input; `tests/formats.rs` reads them back by those rules.

pub mod action;
pub mod bencher;
pub mod compare_csv;
pub mod github;
pub mod junit;
pub mod openmetrics;
