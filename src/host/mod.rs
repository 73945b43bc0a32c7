//! What machine is this.

pub mod accounts;
pub mod cgroup;
pub mod charge;
pub mod fingerprint;
pub mod kvm;
pub mod limits;
pub mod noise;
pub mod project;
pub mod settings;
pub mod work;
