//! What machine is this.

pub mod kvm;
