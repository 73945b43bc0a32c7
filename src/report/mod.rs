//! Reports: one view model, several renderers that do no arithmetic.

pub mod balance;
pub mod csv;
pub mod findings;
pub mod format;
pub mod markdown;
pub mod model;
pub mod terminal;
