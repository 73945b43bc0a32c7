//! Devices of a Linux guest in shared memory: a disk and a console, by virtio 1.2 over MMIO
//! (<https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html>, "the specification" below).
//!
//! ```text
//!   MMIO exit ─► mmio::Mmio (registers, §4.2) ─► chain (queues, §2.7) ─► block (§5.2) | console (§5.3)
//!                    │  ▲                          │
//!      interrupt ◄───┘  └─ reset, features, status └─► guest memory, through volatile views
//! ```
//!
//! The driver is the guest's, and hostile until proven otherwise. Every register is checked before it
//! means anything; a queue may only lie in guest memory, a chain of buffers may neither loop nor leave
//! its table nor lie outside memory. A notification serves each chain that was available once: the work
//! is bounded by the queue's and the request's size, whatever the rings say, also where a buffer lies
//! over them. A driver that breaks the rules finds its device in need of a reset
//! ([`mmio::Status::NEEDS_RESET`]) and idle until it gives it one; nobody else notices.

pub mod block;
pub mod chain;
pub mod console;
pub mod mmio;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

use self::chain::ChainFault;

/// What the devices see of a guest's memory.
pub type Memory = GuestMemoryMmap<()>;

/// Descriptors of a queue at most (§2.7: a power of two).
pub const QUEUE_SIZE: u16 = 64;

/// Feature bits of every device (§6): buffers may be listed in a table of their own, interrupts and
/// notifications are asked for by index, and the device is none of before 1.0.
pub const COMMON_FEATURES: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
/// VIRTIO_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1.
pub const VERSION_1: u64 = 1 << 32;

/// What a driver did that no driver may do.
#[derive(Debug, thiserror::Error)]
pub enum DriverFault {
    /// A queue was enabled that is no queue.
    #[error("queue {queue}: {cause}")]
    Queue {
        /// Its number.
        queue: u16,
        /// What is wrong with it.
        cause: virtio_queue::Error,
    },
    /// A queue was enabled whose rings lie, or reach, outside memory.
    #[error("queue {0}: its rings do not lie in memory")]
    Rings(u16),
    /// The rings contradict themselves.
    #[error("the rings: {0}")]
    Ring(#[from] virtio_queue::Error),
    /// Buffers that are none.
    #[error("a chain of buffers: {0}")]
    Chain(#[from] ChainFault),
    /// Buffers that no request has.
    #[error("a request {0}")]
    Request(&'static str),
}

/// What is behind the registers.
pub trait Device {
    /// Number of the kind of device (§5).
    fn id(&self) -> u32;

    /// Feature bits that it offers, beside [`COMMON_FEATURES`].
    fn features(&self) -> u64;

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// Its configuration; what lies behind it reads as zero.
    fn configuration(&self) -> &[u8];

    /// The driver has something for this queue. Whether it wants an interrupt for what became of it.
    ///
    /// # Errors
    /// The driver has broken the rules; the queue is not usable any more.
    fn serve(
        &mut self,
        number: u16,
        queue: &mut Queue,
        memory: &Memory,
    ) -> Result<bool, DriverFault>;
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;

#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod script;
