//! What machine is this.

pub mod accounts;
pub mod cgroup;
pub mod fingerprint;
pub mod kvm;
pub mod limits;
