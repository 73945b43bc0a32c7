//! System calls that no library wraps as we need them. With `vmm`, the only place with `unsafe`.

pub mod clock;
pub mod interrupt;
pub mod watchdog;
