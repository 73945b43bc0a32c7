//! The registers of a device over MMIO (§4.2.2), and the way a driver brings it up (§3.1.1).

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::{COMMON_FEATURES, Device, DriverFault, EVENT_IDX, Memory, QUEUE_SIZE, VERSION_1};

/// Bytes of a device's registers: one page, as Linux is told.
pub const BYTES: u64 = 0x1000;
/// Where the device's own configuration begins.
const CONFIGURATION: u64 = 0x100;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// Not the one of before 1.0.
const VERSION: u32 = 2;
/// A vendor without a number, as everybody has.
const VENDOR: u32 = 0;

/// Bits of the interrupt's status (§4.2.2): buffers were used, or the device's state has changed.
const USED: u32 = 1;
const CHANGED: u32 = 2;

/// Bits of the device's status (§2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// The guest has found the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// It has a driver.
    pub const DRIVER: u32 = 2;
    /// The driver works.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u32 = 8;
    /// The device goes on after a reset only.
    pub const NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;

    /// Whether this bit is set.
    #[must_use]
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// What may be asked of the device: it is up, and nothing is wrong.
    const fn is_up(self) -> bool {
        self.has(Self::DRIVER_OK) && self.0 & (Self::NEEDS_RESET | Self::FAILED) == 0
    }

    /// Before agreement on features, after a driver was found.
    const fn negotiates(self) -> bool {
        self.has(Self::DRIVER) && self.0 & (Self::FEATURES_OK | Self::FAILED) == 0
    }

    /// Once features are agreed on.
    const fn takes_queues(self) -> bool {
        self.has(Self::FEATURES_OK) && self.0 & (Self::NEEDS_RESET | Self::FAILED) == 0
    }
}

/// A queue as the driver describes it, before it is enabled.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    size: u32,
    descriptors: u64,
    available: u64,
    used: u64,
}

/// A device with its registers.
#[derive(Debug)]
pub struct Mmio<D> {
    device: D,
    status: Status,
    interrupt: u32,
    /// Halves of the feature words that are selected, and what the driver took.
    offered_half: u32,
    taken_half: u32,
    taken: u64,
    selected: u32,
    queues: Vec<(Plan, Queue)>,
    /// The first thing that the driver did wrong since the last reset, and how often in all it did.
    fault: Option<DriverFault>,
    faults: u64,
}

impl<D: Device> Mmio<D> {
    /// After power-on.
    ///
    /// # Errors
    /// Never for [`QUEUE_SIZE`]; typed all the same.
    pub fn new(device: D) -> Result<Self, virtio_queue::Error> {
        let queues = (0..device.queues())
            .map(|_| Ok((Plan::default(), Queue::new(QUEUE_SIZE)?)))
            .collect::<Result<_, virtio_queue::Error>>()?;
        Ok(Self {
            device,
            status: Status::default(),
            interrupt: 0,
            offered_half: 0,
            taken_half: 0,
            taken: 0,
            selected: 0,
            queues,
            fault: None,
            faults: 0,
        })
    }

    /// What is behind the registers.
    #[must_use]
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// As [`Self::device`], to change it.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// How far the driver is.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The first thing that the driver has done wrong since the last reset.
    #[must_use]
    pub const fn fault(&self) -> Option<&DriverFault> {
        self.fault.as_ref()
    }

    /// How often a driver has broken the rules.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    fn features(&self) -> u64 {
        self.device.features() | COMMON_FEATURES
    }

    /// A read at this offset of the registers. What is no register, or is read in another width than 32
    /// bits, reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(at) = offset.checked_sub(CONFIGURATION) {
            for (at, byte) in (at..).zip(data) {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                *byte = self.device.configuration().get(at).copied().unwrap_or(0);
            }
            return;
        }
        let value = match <&mut [u8; 4]>::try_from(&mut *data) {
            Ok(_) => self.register(offset),
            Err(_) => 0,
        };
        for (byte, value) in data
            .iter_mut()
            .zip(value.to_le_bytes().into_iter().chain([0; 4]))
        {
            *byte = value;
        }
    }

    fn register(&self, offset: u64) -> u32 {
        let queue = usize::try_from(self.selected)
            .ok()
            .and_then(|at| self.queues.get(at));
        match offset {
            0x00 => MAGIC,
            0x04 => VERSION,
            0x08 => self.device.id(),
            0x0c => VENDOR,
            0x10 => half(self.features(), self.offered_half),
            0x34 => queue.map_or(0, |(_, queue)| u32::from(queue.max_size())),
            0x44 => queue.map_or(0, |(_, queue)| u32::from(queue.ready())),
            0x60 => self.interrupt,
            0x70 => self.status.0,
            // There is no shared memory: its length is −1 (§4.2.2).
            0xb0..=0xbc => u32::MAX,
            // The configuration never changes: generation 0.
            _ => 0,
        }
    }

    /// A write at this offset of the registers. Whether the device raises its interrupt.
    ///
    /// What is no register, or is not written in 32 bits, is swallowed, and so is the configuration.
    pub fn write(&mut self, offset: u64, data: &[u8], memory: &Memory) -> bool {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else {
            return false;
        };
        let value = u32::from_le_bytes(bytes);
        match offset {
            0x14 => self.offered_half = value,
            0x20 if self.status.negotiates() => put_half(&mut self.taken, self.taken_half, value),
            0x24 => self.taken_half = value,
            0x30 => self.selected = value,
            0x38 | 0x80 | 0x84 | 0x90 | 0x94 | 0xa0 | 0xa4 => self.describe(offset, value),
            0x44 => return self.enable(value, memory),
            0x50 => return self.notify(value, memory),
            0x64 => self.interrupt &= !value,
            0x70 => self.advance(value),
            _ => {}
        }
        false
    }

    /// The selected queue, if it may be described now: it is not enabled yet.
    fn describe(&mut self, register: u64, value: u32) {
        let open = self.status.takes_queues();
        let Some((plan, queue)) = selected(&mut self.queues, self.selected) else {
            return;
        };
        if !open || queue.ready() {
            return;
        }
        match register {
            0x38 => plan.size = value,
            0x80 => put_half(&mut plan.descriptors, 0, value),
            0x84 => put_half(&mut plan.descriptors, 1, value),
            0x90 => put_half(&mut plan.available, 0, value),
            0x94 => put_half(&mut plan.available, 1, value),
            0xa0 => put_half(&mut plan.used, 0, value),
            _ => put_half(&mut plan.used, 1, value),
        }
    }

    /// Enables the selected queue as it is described, or takes it away from the device.
    fn enable(&mut self, value: u32, memory: &Memory) -> bool {
        let open = self.status.takes_queues();
        let events = self.taken & EVENT_IDX != 0;
        let number = self.selected;
        let Some((plan, queue)) = selected(&mut self.queues, number) else {
            return false;
        };
        match value {
            0 => {
                queue.reset();
                false
            }
            1 if open && !queue.ready() => {
                let number = u16::try_from(number).unwrap_or(u16::MAX);
                match prepare(queue, *plan, number, events, memory) {
                    Ok(()) => false,
                    Err(fault) => {
                        queue.reset();
                        self.broken(fault)
                    }
                }
            }
            _ => false,
        }
    }

    /// The driver says that there is something in a queue.
    fn notify(&mut self, number: u32, memory: &Memory) -> bool {
        if !self.status.is_up() {
            return false;
        }
        let Some((_, queue)) = selected(&mut self.queues, number) else {
            return false;
        };
        if !queue.ready() {
            return false;
        }
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        match self.device.serve(number, queue, memory) {
            Ok(true) => {
                self.interrupt |= USED;
                true
            }
            Ok(false) => false,
            Err(fault) => self.broken(fault),
        }
    }

    /// The device has something for a driver that did not ask: as if it had notified this queue.
    pub fn poke(&mut self, queue: u16, memory: &Memory) -> bool {
        self.notify(u32::from(queue), memory)
    }

    /// The driver has broken the rules: nothing more is done before a reset (§2.1.2).
    fn broken(&mut self, fault: DriverFault) -> bool {
        tracing::debug!(device = self.device.id(), %fault, "a virtio driver broke the rules");
        self.fault.get_or_insert(fault);
        self.faults = self.faults.saturating_add(1);
        self.status.0 |= Status::NEEDS_RESET;
        let tell = self.status.has(Status::DRIVER_OK);
        if tell {
            self.interrupt |= CHANGED;
        }
        tell
    }

    /// A write to the status: zero resets, and otherwise bits are added, each in its turn.
    fn advance(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        let now = self.status.0;
        let mut next = now | value & (Status::ACKNOWLEDGE | Status::FAILED);
        let mut step = |bit: u32, may: bool| {
            if value & bit != 0 && may {
                next |= bit;
            }
            next
        };
        let next = step(Status::DRIVER, (now | value) & Status::ACKNOWLEDGE != 0);
        let agreed = self.taken & !self.features() == 0 && self.taken & VERSION_1 != 0;
        let next = step(Status::FEATURES_OK, next & Status::DRIVER != 0 && agreed);
        let next = step(Status::DRIVER_OK, next & Status::FEATURES_OK != 0);
        self.status = Status(next);
    }

    fn reset(&mut self) {
        self.status = Status::default();
        self.interrupt = 0;
        (self.offered_half, self.taken_half, self.selected) = (0, 0, 0);
        self.taken = 0;
        self.fault = None;
        for (plan, queue) in &mut self.queues {
            *plan = Plan::default();
            queue.reset();
        }
    }
}

/// The queue of this number.
fn selected(queues: &mut [(Plan, Queue)], number: u32) -> Option<&mut (Plan, Queue)> {
    queues.get_mut(usize::try_from(number).ok()?)
}

/// Makes a queue what the driver describes, if that is a queue in memory.
fn prepare(
    queue: &mut Queue,
    plan: Plan,
    number: u16,
    events: bool,
    memory: &Memory,
) -> Result<(), DriverFault> {
    let wrong = |cause| DriverFault::Queue {
        queue: number,
        cause,
    };
    let size = u16::try_from(plan.size).map_err(|_| wrong(virtio_queue::Error::InvalidSize))?;
    queue.try_set_size(size).map_err(wrong)?;
    let at = GuestAddress;
    queue
        .try_set_desc_table_address(at(plan.descriptors))
        .and_then(|()| queue.try_set_avail_ring_address(at(plan.available)))
        .and_then(|()| queue.try_set_used_ring_address(at(plan.used)))
        .map_err(wrong)?;
    queue.set_event_idx(events);
    queue.set_ready(true);
    if queue.is_valid(memory) {
        Ok(())
    } else {
        Err(DriverFault::Rings(number))
    }
}

/// The lower (0) or upper (1) half of a word; there are no others.
const fn half(word: u64, which: u32) -> u32 {
    match which {
        0 => word as u32,
        1 => (word >> 32) as u32,
        _ => 0,
    }
}

fn put_half(word: &mut u64, which: u32, value: u32) {
    match which {
        0 => *word = *word & !0xffff_ffff | u64::from(value),
        1 => *word = *word & 0xffff_ffff | u64::from(value) << 32,
        _ => {}
    }
}
