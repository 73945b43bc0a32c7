//! What machine is this.

pub mod cgroup;
pub mod kvm;
