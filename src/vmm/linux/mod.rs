//! A virtual machine with a real Linux: the same payload, with a kernel of its own below it.
//!
//! ```text
//!   kernel file ─► kernel (bzimage | vmlinux) ─┐
//!   payload ─► initramfs ──────────────────────┴► image::Image ──mapped──┐
//!   params, command line ───────────────────────────────────written──────┼─► machine::LinuxMachine
//!   cpu: CPUID, registers; layout: addresses; entry: the first instructions ┘      │
//!   devices: serial port, reset ◄── port accesses ──────────────────────────────────┤
//!   ring0: can this KVM run a kernel at all?              session::Session ◄── doorbell
//! ```
//!
//! The kernel is entered in 64-bit mode (`Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol"):
//! no firmware, no real mode. There is no PCI; the interrupt controllers and the timer are KVM's own;
//! the console is a 16550A. Only a guest that is to have a disk or another console has ACPI tables,
//! which tell it of them ([`acpi`], [`slots`], [`crate::vmm::virtio`]).

pub mod acpi;
pub mod bzimage;
pub mod cpu;
pub mod devices;
pub mod entry;
mod exits;
pub mod image;
pub mod kernel;
pub mod layout;
pub mod machine;
pub mod params;
pub mod ring0;
pub mod slots;
pub mod unpack;
pub mod vmlinux;

#[cfg(test)]
pub(crate) mod kernel_tests;
