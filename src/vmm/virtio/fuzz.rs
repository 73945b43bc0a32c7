//! Whatever a driver does to its device: registers and memory, in any order ([`virtqueue`]).

use std::fs::File;
use std::io::{Read, Seek, Write};

use vm_memory::GuestAddress;
use vm_memory::GuestMemoryBackend;

use super::QUEUE_SIZE;
use super::block::{Block, Requests};
use super::console::Console;
use super::mmio::{Mmio, Status};
use crate::sys::fd;
use crate::vmm::linux::devices::Tail;
use crate::vmm::memory::GuestRam;

/// Guest memory, so small that a step's 16 bits reach all of it.
pub(super) const RAM: u64 = 0x1_0000;
/// Bytes of a step: what, how wide, where, value.
pub(super) const STEP: usize = 8;
/// Sectors of the disk.
pub(super) const SECTORS: u64 = 8;

/// Kinds of step.
pub(super) const REGISTER: u8 = 0;
/// Four bytes of memory.
pub(super) const MEMORY: u8 = 1;
/// A register is read, this wide.
pub(super) const LOOK: u8 = 2;
/// A register is written, this wide.
pub(super) const NARROW: u8 = 3;
/// Somebody types the value: this kind, and every one behind it.
pub(super) const TYPE: u8 = 4;

/// Kinds of device: the input's first byte.
#[cfg(test)]
pub(super) const READ_ONLY: u8 = 0;
/// A disk that can be written.
pub(super) const WRITABLE: u8 = 1;
/// A console.
pub(super) const CONSOLE: u8 = 2;

enum Any {
    Disk(Mmio<Block>),
    Console(Mmio<Console<Tail>>),
}

/// A device at a memory.
pub(super) struct Bench {
    pub(super) ram: GuestRam,
    device: Any,
    disk: File,
}

/// What the disk holds at first: each sector its number.
pub(super) fn sectors() -> Vec<u8> {
    (0..SECTORS * 512).map(|at| (at / 512) as u8).collect()
}

impl Bench {
    /// `None` where the host has no memory for it.
    pub(super) fn new(kind: u8) -> Option<Self> {
        let ram = GuestRam::mosaic(RAM, &[]).ok()?;
        let mut disk = fd::memory(c"isobench-fuzz-disk").ok()?;
        disk.write_all(&sectors()).ok()?;
        let writable = kind == WRITABLE;
        let device = if kind == CONSOLE {
            Any::Console(Mmio::new(Console::new(Tail::new())).ok()?)
        } else {
            let block = Block::new(disk.try_clone().ok()?, writable, "isobench").ok()?;
            Any::Disk(Mmio::new(block).ok()?)
        };
        Some(Self { ram, device, disk })
    }

    /// Whether it raised its interrupt.
    pub(super) fn write(&mut self, register: u64, data: &[u8]) -> bool {
        let Ok(memory) = self.ram.view() else {
            return false;
        };
        match &mut self.device {
            Any::Disk(mmio) => mmio.write(register, data, &memory),
            Any::Console(mmio) => mmio.write(register, data, &memory),
        }
    }

    pub(super) fn read(&self, register: u64) -> u32 {
        let mut data = [0; 4];
        self.look(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn look(&self, register: u64, data: &mut [u8]) {
        match &self.device {
            Any::Disk(mmio) => mmio.read(register, data),
            Any::Console(mmio) => mmio.read(register, data),
        }
    }

    fn type_in(&mut self, bytes: &[u8]) {
        if let (Any::Console(mmio), Ok(memory)) = (&mut self.device, self.ram.view()) {
            mmio.device_mut().type_in(bytes);
            mmio.poke(Console::<Tail>::INPUT, &memory);
        }
    }

    pub(super) fn status(&self) -> Status {
        match &self.device {
            Any::Disk(mmio) => mmio.status(),
            Any::Console(mmio) => mmio.status(),
        }
    }

    /// In words, what the driver did wrong since the last reset.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.device {
            Any::Disk(mmio) => mmio.fault().map(ToString::to_string),
            Any::Console(mmio) => mmio.fault().map(ToString::to_string),
        }
    }

    fn faults(&self) -> u64 {
        match &self.device {
            Any::Disk(mmio) => mmio.faults(),
            Any::Console(mmio) => mmio.faults(),
        }
    }

    pub(super) fn requests(&self) -> Requests {
        match &self.device {
            Any::Disk(mmio) => mmio.device().requests(),
            Any::Console(_) => Requests::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn printed(&self) -> u64 {
        match &self.device {
            Any::Disk(_) => 0,
            Any::Console(mmio) => mmio.device().output().total(),
        }
    }

    /// What the disk holds.
    pub(super) fn disk(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.disk.try_clone().and_then(|mut disk| {
            disk.rewind()?;
            disk.read_to_end(&mut bytes)
        });
        assert!(read.is_ok(), "{read:?}");
        bytes
    }

    /// One step of an input.
    pub(super) fn step(&mut self, step: [u8; STEP]) {
        let [what, width, low, high, value @ ..] = step;
        let at = u64::from(u16::from_le_bytes([low, high]));
        let wide = usize::from(width % 9);
        match what {
            REGISTER => drop(self.write(at, &value)),
            // Beyond the end there is nothing to write to.
            MEMORY => drop(self.ram.write(at, &value)),
            LOOK => self.look(at, &mut [0; 8][..wide]),
            NARROW => drop(self.write(at, &[value, value].concat()[..wide])),
            TYPE.. => self.type_in(&value),
        }
    }
}

/// The input: a kind of device, then steps of a driver.
///
/// A notification is one bounded piece of work; a disk that may not be written keeps its bytes, any disk
/// its size; a device whose driver broke the rules says so until it is reset, and does nothing.
/// Accepted: the driver is up, broke no rule, and was served.
pub fn virtqueue(input: &[u8]) -> bool {
    let Some((kind, steps)) = input.split_first() else {
        return false;
    };
    let kind = kind % 3;
    let Some(mut bench) = Bench::new(kind) else {
        unreachable!("no memory for a bench");
    };
    let asked = |requests: Requests| requests.reads + requests.writes + requests.refused;
    let mut interrupted = false;
    for step in steps.as_chunks::<STEP>().0 {
        let (before, status) = (bench.requests(), bench.status());
        let faults = bench.faults();
        bench.step(*step);
        assert!(asked(bench.requests()) - asked(before) <= u64::from(QUEUE_SIZE));
        if status.has(Status::NEEDS_RESET) {
            assert_eq!(bench.requests(), before, "served although it needs a reset");
        }
        if bench.faults() > faults {
            assert!(bench.status().has(Status::NEEDS_RESET) && bench.fault().is_some());
        }
        let pending = bench.read(0x60);
        assert!(pending <= 3, "{pending:#x}");
        interrupted |= pending & 1 != 0;
        assert_eq!(bench.read(0), 0x7472_6976);
    }
    let disk = bench.disk();
    assert_eq!(disk.len() as u64, SECTORS * 512);
    if kind != WRITABLE {
        assert!(disk == sectors(), "a disk that may not be written was");
    }
    assert!(bench.ram.view().is_ok_and(
        |memory| memory.num_regions() == 1 && memory.check_range(GuestAddress(0), RAM as usize)
    ));
    bench.faults() == 0 && bench.status().has(Status::DRIVER_OK) && interrupted
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<crate::fuzz::Seed> {
    use super::script::{APART, DESCRIPTORS, INDIRECT, NEXT, Script, WRITE};

    let up = || Script::up(1);
    let read = up().request(0, 3, 512, WRITE);
    let print = Script::up(2)
        .entry(DESCRIPTORS + APART, 0x9000, 64, 0, 0)
        .offer(1, &[0]);
    let typed = Script::up(2)
        .descriptor(0, 0x9000, 64, WRITE, 0)
        .offer(0, &[0])
        .types(0x6f6c_6c65);
    let table = up()
        .header(0x8000, 0, 0)
        .entry(0xb000, 0x8000, 16, NEXT, 1)
        .entry(0xb010, 0x9000, 512, NEXT | WRITE, 2)
        .entry(0xb020, 0xa000, 1, WRITE, 0)
        .descriptor(0, 0xb000, 48, INDIRECT, 0)
        .offer(0, &[0]);
    let mut seeds = vec![
        ("valid-read", read.input(READ_ONLY)),
        ("valid-write", up().request(1, 7, 512, 0).input(WRITABLE)),
        ("valid-flush", up().request(4, 0, 0, WRITE).input(WRITABLE)),
        ("valid-name", up().request(8, 0, 20, WRITE).input(READ_ONLY)),
        ("valid-table", table.input(READ_ONLY)),
        ("valid-print", print.input(CONSOLE)),
        ("valid-typed", typed.input(CONSOLE)),
        // Refused, and no rule broken.
        (
            "valid-past-the-end",
            up().request(0, 8, 512, WRITE).input(READ_ONLY),
        ),
        (
            "valid-read-only",
            up().request(1, 0, 512, 0).input(READ_ONLY),
        ),
        ("truncated-empty", Vec::new()),
        ("truncated-up", up().input(READ_ONLY)),
        (
            "truncated-unnotified",
            read.input(READ_ONLY)[..read.0.len() * STEP - STEP + 1].to_vec(),
        ),
    ];
    let hostile = super::hostile_tests::scripts();
    seeds.extend(
        hostile
            .into_iter()
            .map(|(name, script, _)| (name, script.input(READ_ONLY))),
    );
    seeds
}
