//! A queue's chains of buffers, checked before anything is read from them or written to them.

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{GuestMemory, Permissions};

use super::{DriverFault, Memory};

/// Buffers of one chain at most. Linux sends a disk's header, status and [`super::block::SEGMENTS`].
pub const BUFFERS: usize = 64;

/// Why buffers are none (§2.7.4, §2.7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// It begins nowhere: an index outside the table, or a table outside memory.
    #[error("it begins outside the table")]
    Empty,
    /// It goes on, and there is nothing: a next one outside the table, a loop, a table in a table, more
    /// than 4 GiB in all.
    #[error("it does not end")]
    Endless,
    /// More than [`BUFFERS`].
    #[error("it has more than {BUFFERS} buffers")]
    Long,
    /// A buffer outside memory.
    #[error("{length} bytes at {address:#x} do not lie in memory")]
    Outside {
        /// Guest-physical start.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// Buffers for the device to read come before those to write.
    #[error("a buffer to read follows one to write")]
    Order,
}

/// A checked chain: what the driver gives, then what it wants filled.
pub struct Buffers<'a> {
    /// What the driver gives.
    pub reader: Reader<'a, ()>,
    /// Its bytes.
    pub readable: usize,
    /// What the driver wants filled.
    pub writer: Writer<'a, ()>,
    /// Its bytes.
    pub writable: usize,
}

impl<'a> Buffers<'a> {
    fn new(chain: &DescriptorChain<&'a Memory>, memory: &'a Memory) -> Result<Self, DriverFault> {
        let (readable, writable) = measure(chain, memory)?;
        Ok(Self {
            reader: chain.clone().reader(memory)?,
            readable,
            writer: chain.clone().writer(memory)?,
            writable,
        })
    }
}

/// Bytes to read and bytes to write of a chain without a fault.
fn measure(
    chain: &DescriptorChain<&Memory>,
    memory: &Memory,
) -> Result<(usize, usize), ChainFault> {
    let (mut readable, mut writable) = (0usize, 0usize);
    let mut last: Option<Descriptor> = None;
    // One more than allowed, so that too many are told from just enough.
    for (at, buffer) in chain.clone().take(BUFFERS + 1).enumerate() {
        if at == BUFFERS {
            return Err(ChainFault::Long);
        }
        let length = buffer.len() as usize;
        let (permission, sum) = match buffer.is_write_only() {
            true => (Permissions::Write, &mut writable),
            false if last.is_some_and(|before| before.is_write_only()) => {
                return Err(ChainFault::Order);
            }
            false => (Permissions::Read, &mut readable),
        };
        if !memory.check_range(buffer.addr(), length, permission) {
            return Err(ChainFault::Outside {
                address: buffer.addr().0,
                length: buffer.len(),
            });
        }
        // No overflow: at most 64 × 4 GiB.
        *sum += length;
        last = Some(buffer);
    }
    match last {
        None => Err(ChainFault::Empty),
        // The iterator ends where a chain cannot go on, as if that were its end.
        Some(last) if last.has_next() => Err(ChainFault::Endless),
        Some(_) => Ok((readable, writable)),
    }
}

/// Serves what is available, while `wanted`: `each` gets the buffers and says how many bytes it wrote.
/// Whether the driver wants an interrupt.
///
/// No more chains than the queue has descriptors: the vCPU stands still meanwhile, so that an honest
/// driver cannot have more, and one whose buffers lie over its own rings gets no more.
///
/// # Errors
/// The rings or a chain are not what they must be, or `each` says so.
pub fn serve<S>(
    queue: &mut Queue,
    memory: &Memory,
    state: &mut S,
    wanted: impl Fn(&S) -> bool,
    mut each: impl FnMut(&mut S, Buffers<'_>) -> Result<u32, DriverFault>,
) -> Result<bool, DriverFault> {
    let mut used = false;
    for _ in 0..queue.size() {
        if !wanted(state) {
            break;
        }
        let Some(chain) = queue.iter(memory)?.next() else {
            break;
        };
        let head = chain.head_index();
        let written = each(state, Buffers::new(&chain, memory)?)?;
        queue.add_used(memory, head, written)?;
        used = true;
    }
    if queue.event_idx_enabled() {
        // From which index on the driver shall notify.
        queue.enable_notification(memory)?;
    }
    Ok(used && queue.needs_notification(memory)?)
}
