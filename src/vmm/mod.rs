//! The VMM: one vCPU in long mode at CPL 3, one memory slot, one port. No firmware, no real mode,
//! no interrupt controller, no guest operating system.
//!
//! ```text
//!   elf ─► template::Template ─map─► memory::GuestRam ─┐
//!   stack ──────────────────────────────────load───────┤
//!   layout, paging, descriptors                        ├─► machine::Machine ─► exit ─► session
//!   cpu, vcpu: CPUID, XCR0, registers ─────────────────┘     │   ▲               clock ◄──┘
//!                                                    snapshot ◄┘   └─ copy, reset
//! ```
//!
//! What of it is KVM's hardware side and needs no work here: a CPU without "unrestricted guest"
//! needs a TSS page (KVM_SET_TSS_ADDR) and an identity map (KVM_SET_IDENTITY_MAP_ADDR) only to
//! emulate real mode and unpaged protected mode, which this guest never enters: its first state
//! has CR0.PG and EFER.LMA set. Both calls are left out; on Intel each costs a memory slot.

pub mod clock;
pub mod cpu;
pub mod descriptors;
pub mod elf;
pub mod exit;
pub mod initramfs;
pub mod layout;
pub mod linux;
pub mod machine;
pub mod memory;
pub mod paging;
pub mod session;
pub mod snapshot;
pub mod stack;
pub mod statistics;
pub mod template;
pub mod vcpu;
pub mod virtio;
