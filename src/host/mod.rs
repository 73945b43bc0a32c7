//! What machine is this.

pub mod cgroup;
