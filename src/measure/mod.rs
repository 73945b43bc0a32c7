//! Measuring: the ruler, the schedule, the trials, the memory of idle instances, and the estimates
//! made of them.

pub mod balance;
pub mod check;
pub mod clock;
pub mod memory;
pub mod plan;
pub mod schedule;
pub mod session;
pub mod stored;
pub mod summary;
