//! Estimates, intervals, tests and verdicts: numbers in, typed results out. Pure: no input or
//! output, no clock, and every draw of chance comes from a seed that the caller gives.
//!
//! | module | answers |
//! |---|---|
//! | [`sample`] | are these values fit to be described? |
//! | [`quantile`] | what is typical, what is rare, how sure is that? |
//! | [`paired`] | how many times slower is B than A, inside the same blocks? |
//! | [`bootstrap`] | how sure is any other statistic? |
//! | [`slope`] | what does one more instance cost? |
//! | [`binomial`] | what rate is behind so many out of so many? |
//!
//! Each method carries its formula and its source, a property test, and cases whose expected
//! values come from an independent implementation (`tests/reference/`).

// Counts become `f64` throughout; none here comes near 2⁵³, where that would lose digits.
#![allow(clippy::cast_precision_loss)]

pub mod binomial;
pub mod bootstrap;
pub mod paired;
pub mod quantile;
pub mod sample;
pub mod slope;

mod distribution;
mod error;
mod interval;
mod rank;
#[cfg(test)]
mod reference;

pub use error::StatsError;
pub use interval::Interval;
pub use paired::Ratio;
pub use sample::Sample;
pub use slope::Line;
