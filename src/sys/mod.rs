//! System calls that no library wraps as we need them. With `vmm`, the only place with `unsafe`.

pub mod canary;
pub mod clock;
pub mod confine;
mod dumpable;
pub mod fd;
pub mod interrupt;
pub mod pagemap;
pub mod perform;
pub mod pidfd;
pub mod program;
pub mod spawn;
pub mod watchdog;
