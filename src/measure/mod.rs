//! Measuring: the ruler, the schedule, the trials, the memory of idle instances, and the estimates
//! made of them.

pub mod ab;
pub mod allocation;
pub mod balance;
pub mod baseline;
pub mod boundary;
pub mod change;
pub mod check;
pub mod clock;
pub mod compare;
pub mod comparison;
pub mod explain;
pub mod injection;
pub mod isolation;
pub mod ladder;
pub mod memory;
pub mod parts;
pub mod plan;
pub mod samples;
pub mod schedule;
pub mod selftest;
pub mod series;
pub mod session;
mod state;
pub mod stopping;
pub mod stored;
pub mod summary;
pub mod taint;
mod told;
pub mod trend;
mod trial_record;
