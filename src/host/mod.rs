//! What machine is this.

pub mod cgroup;
pub mod fingerprint;
pub mod kvm;
pub mod noise;
pub mod work;
