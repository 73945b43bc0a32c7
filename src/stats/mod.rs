//! Estimates, intervals, tests and verdicts: numbers in, typed results out. Pure: no input or
//! output, no clock, and every draw of chance comes from a seed that the caller gives.
//!
//! | module | answers |
//! |---|---|
//! | [`sample`] | are these values fit to be described? |
//! | [`quantile`] | what is typical, what is rare, how sure is that? |
//! | [`bootstrap`] | how sure is any other statistic? |
//! | [`paired`] | how many times slower is B than A, inside the same blocks? |
//! | [`clip`], [`hodges_lehmann`] | where is the centre, if a few values are wild? |
//! | [`two_sample`] | and between two runs, whose blocks are not paired with each other? |
//! | [`batch`] | what if neighbouring blocks are alike? |
//! | [`permutation`] | could chance alone have done that? |
//! | [`holm`] | and over a whole family of such questions? |
//! | [`power`] | how small an effect would this data have shown? |
//! | [`enough`] | and how much more data would decide? |
//! | [`verdict`] | so: better, worse, the same, or not to be said? |
//! | [`change_point`] | where does a series of them change? |
//! | [`outlier`] | which values stand apart? |
//! | [`slope`] | what does one more instance cost? |
//! | [`binomial`] | what rate is behind so many out of so many? |
//!
//! Each method carries its formula and its source, a property test, and cases whose expected
//! values come from an independent implementation (`tests/reference/`).

// Counts become `f64` throughout; none here comes near 2⁵³, where that would lose digits.
#![allow(clippy::cast_precision_loss)]

pub mod batch;
pub mod binomial;
pub mod bootstrap;
pub mod change_point;
pub mod clip;
pub mod enough;
pub mod hodges_lehmann;
pub mod holm;
pub mod outlier;
pub mod paired;
pub mod permutation;
pub mod power;
pub mod quantile;
pub mod sample;
pub mod slope;
pub mod two_sample;
pub mod verdict;

mod distribution;
mod error;
mod interval;
mod rank;
#[cfg(test)]
mod reference;

pub use error::StatsError;
pub use interval::Interval;
pub use paired::Ratio;
pub use permutation::Permutation;
pub use power::Detectable;
pub use sample::Sample;
pub use slope::Line;
pub use verdict::Verdict;
