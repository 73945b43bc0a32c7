//! Reports: one view model, several renderers that do no arithmetic.

pub mod balance;
pub mod boundary;
pub mod compare;
pub mod csv;
pub mod explain;
pub mod export;
mod facts;
pub mod findings;
pub mod format;
pub mod history;
pub mod isolation;
pub mod ladder;
pub mod markdown;
pub mod model;
pub mod selftest;
pub mod terminal;
