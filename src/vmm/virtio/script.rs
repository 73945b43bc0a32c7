//! Steps of a driver, for tests and as seeds of the fuzz target.

use super::VERSION_1;
use super::fuzz::{MEMORY, REGISTER, STEP, TYPE};

/// A driver's steps, to be written down as an input or carried out.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(pub(super) Vec<[u8; STEP]>);

/// Where a well-behaved script has its rings: of queue `n`, a page each.
pub(super) const DESCRIPTORS: u64 = 0x1000;
pub(super) const AVAILABLE: u64 = 0x2000;
pub(super) const USED: u64 = 0x3000;
/// Queues lie this far apart.
pub(super) const APART: u64 = 0x4000;
/// Descriptors of a script's queue.
pub(super) const SIZE: u32 = 8;

/// Flags of a descriptor (§2.7.5).
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

impl Script {
    fn add(mut self, what: u8, at: u64, value: u32) -> Self {
        let [low, high] = (at as u16).to_le_bytes();
        let [a, b, c, d] = value.to_le_bytes();
        self.0.push([what, 4, low, high, a, b, c, d]);
        self
    }

    pub(super) fn register(self, at: u64, value: u32) -> Self {
        self.add(REGISTER, at, value)
    }

    pub(super) fn memory(self, at: u64, value: u32) -> Self {
        self.add(MEMORY, at, value)
    }

    pub(super) fn types(self, value: u32) -> Self {
        self.add(TYPE, 0, value)
    }

    /// Up to, and with, the agreement on these features.
    pub(super) fn agree(self, features: u64) -> Self {
        self.register(0x70, 0)
            .register(0x70, 1)
            .register(0x70, 3)
            .register(0x24, 0)
            .register(0x20, features as u32)
            .register(0x24, 1)
            .register(0x20, (features >> 32) as u32)
            .register(0x70, 11)
    }

    /// Describes a queue and enables it.
    pub(super) fn queue(
        self,
        number: u32,
        size: u32,
        [descriptors, available, used]: [u64; 3],
    ) -> Self {
        self.register(0x30, number)
            .register(0x38, size)
            .register(0x80, descriptors as u32)
            .register(0x84, (descriptors >> 32) as u32)
            .register(0x90, available as u32)
            .register(0x94, (available >> 32) as u32)
            .register(0xa0, used as u32)
            .register(0xa4, (used >> 32) as u32)
            .register(0x44, 1)
    }

    /// A driver that is up, with the queues of a console, or of a disk.
    pub(super) fn up(queues: u32) -> Self {
        let script = (0..queues).fold(Self::default().agree(VERSION_1), |script, n| {
            let rings = [DESCRIPTORS, AVAILABLE, USED].map(|at| at + u64::from(n) * APART);
            script.queue(n, SIZE, rings)
        });
        script.register(0x70, 15)
    }

    /// A descriptor of queue 0's table.
    pub(super) fn descriptor(self, n: u64, at: u64, length: u32, flags: u16, next: u16) -> Self {
        self.entry(DESCRIPTORS + n * 16, at, length, flags, next)
    }

    pub(super) fn entry(self, place: u64, at: u64, length: u32, flags: u16, next: u16) -> Self {
        self.memory(place, at as u32)
            .memory(place + 4, (at >> 32) as u32)
            .memory(place + 8, length)
            .memory(place + 12, u32::from(flags) | u32::from(next) << 16)
    }

    /// Makes the chains that begin there available in this queue, and notifies.
    pub(super) fn offer(self, queue: u32, heads: &[u16]) -> Self {
        let ring = AVAILABLE + u64::from(queue) * APART;
        let mut script = self;
        for (at, pair) in heads.chunks(2).enumerate() {
            let word = u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 16;
            script = script.memory(ring + 4 + at as u64 * 4, word);
        }
        script
            .memory(ring, (heads.len() as u32) << 16)
            .register(0x50, queue)
    }

    /// A request's header.
    pub(super) fn header(self, at: u64, kind: u32, sector: u64) -> Self {
        self.memory(at, kind)
            .memory(at + 4, 0)
            .memory(at + 8, sector as u32)
            .memory(at + 12, (sector >> 32) as u32)
    }

    /// A whole request to the disk: header at 0x8000, data at 0x9000, status at 0xa000.
    pub(super) fn request(self, kind: u32, sector: u64, data: u32, flags: u16) -> Self {
        self.header(0x8000, kind, sector)
            .descriptor(0, 0x8000, 16, NEXT, 1)
            .descriptor(1, 0x9000, data, NEXT | flags, 2)
            .descriptor(2, 0xa000, 1, WRITE, 0)
            .memory(0xa000, 0xff)
            .offer(0, &[0])
    }

    pub(super) fn input(&self, kind: u8) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(self.0.as_flattened());
        bytes
    }
}
