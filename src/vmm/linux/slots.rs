//! Where a Linux guest's virtio devices are: a page of registers and an interrupt each.

use std::fs::File;
use std::io;
use std::sync::Arc;

use kvm_ioctls::VmFd;

use super::devices::{EMPTY_BUS, Line, Tail};
use super::layout::VIRTIO;
use crate::vmm::memory::GuestRam;
use crate::vmm::virtio::Device;
use crate::vmm::virtio::block::{Block, Requests};
use crate::vmm::virtio::console::Console;
use crate::vmm::virtio::mmio::{self, Mmio, Status};
use vm_superio::Trigger;

/// Registers and interrupt of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Guest-physical start of the registers.
    pub base: u64,
    /// Line of both interrupt controllers; free on every PC.
    pub irq: u32,
}

impl Place {
    /// How the kernel's command line tells of it (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES).
    #[must_use]
    pub fn parameter(self) -> String {
        let Self { base, irq } = self;
        format!("virtio_mmio.device=4K@{base:#x}:{irq}")
    }
}

/// The disk's.
pub const DISK: Place = Place {
    base: VIRTIO,
    irq: 5,
};
/// The console's.
pub const CONSOLE: Place = Place {
    base: VIRTIO + mmio::BYTES,
    irq: 6,
};

/// Which devices a guest has.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A disk, read-only, with the sectors of this file.
    pub disk: Option<Arc<File>>,
    /// A console.
    pub console: bool,
}

impl Wanted {
    /// Where they are.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let disk = self.disk.is_some().then_some(DISK);
        let console = self.console.then_some(CONSOLE);
        disk.into_iter().chain(console).collect()
    }
}

/// What a guest has done with its devices.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// What it asked of its disk; `None` without one.
    pub disk: Option<Requests>,
    /// Bytes that it printed on its virtio console; `None` without one.
    pub console: Option<u64>,
    /// The last lines there.
    pub last_words: String,
    /// What it has no driver for, or whose driver broke the rules, in words.
    pub idle: Option<String>,
}

#[derive(Debug)]
struct Slot<D> {
    mmio: Mmio<D>,
    line: Line,
    place: Place,
}

impl<D: Device> Slot<D> {
    fn new(device: D, place: Place, vm: &VmFd) -> io::Result<Self> {
        let line = Line::new()?;
        vm.register_irqfd(line.event(), place.irq)?;
        Ok(Self {
            mmio: Mmio::new(device).map_err(io::Error::other)?,
            line,
            place,
        })
    }

    /// The register's offset, if the access is this device's.
    fn offset(&self, address: u64, bytes: usize) -> Option<u64> {
        let at = address.checked_sub(self.place.base)?;
        (at.checked_add(bytes as u64)? <= mmio::BYTES).then_some(at)
    }

    fn read(&self, address: u64, data: &mut [u8]) -> bool {
        let offset = self.offset(address, data.len());
        offset.is_some_and(|at| {
            self.mmio.read(at, data);
            true
        })
    }

    fn write(&mut self, address: u64, data: &[u8], ram: &GuestRam) {
        let Some(at) = self.offset(address, data.len()) else {
            return;
        };
        // A mapped memory has a view; without one the device is as if it were not there.
        if let Ok(memory) = ram.view()
            && self.mmio.write(at, data, &memory)
        {
            // An interrupt that cannot be raised (the event's counter is full) is pending already.
            let _ = self.line.trigger();
        }
    }

    fn idle(&self, name: &str) -> Option<String> {
        let status = self.mmio.status();
        match self.mmio.fault() {
            Some(fault) => Some(format!("its driver of the {name} broke the rules: {fault}")),
            None if status.has(Status::DRIVER_OK) => None,
            None => Some(format!("it has no driver for its virtio {name}")),
        }
    }
}

/// The devices.
#[derive(Debug, Default)]
pub struct Slots {
    disk: Option<Slot<Block>>,
    console: Option<Slot<Console<Tail>>>,
}

impl Slots {
    /// Devices after power-on, their interrupts connected.
    ///
    /// # Errors
    /// A copy of the disk's descriptor, eventfd(2), KVM_IRQFD.
    pub fn new(wanted: &Wanted, vm: &VmFd) -> io::Result<Self> {
        let disk = match &wanted.disk {
            None => None,
            Some(file) => {
                let block = Block::new(file.try_clone()?, false, "isobench")?;
                Some(Slot::new(block, DISK, vm)?)
            }
        };
        let console = match wanted.console {
            false => None,
            true => Some(Slot::new(Console::new(Tail::new()), CONSOLE, vm)?),
        };
        Ok(Self { disk, console })
    }

    /// A read of guest-physical memory that is none.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let disk = self.disk.as_ref().is_some_and(|s| s.read(address, data));
        let found = disk || self.console.as_ref().is_some_and(|s| s.read(address, data));
        if !found {
            data.fill(EMPTY_BUS);
        }
    }

    /// A write to guest-physical memory that is none.
    pub fn write(&mut self, address: u64, data: &[u8], ram: &GuestRam) {
        if let Some(slot) = &mut self.disk {
            slot.write(address, data, ram);
        }
        if let Some(slot) = &mut self.console {
            slot.write(address, data, ram);
        }
    }

    /// What was printed, if anything was.
    #[must_use]
    pub fn printed(&self) -> Option<&Tail> {
        let console = self.console.as_ref()?.mmio.device().output();
        (console.total() != 0).then_some(console)
    }

    /// What the guest has done with them.
    #[must_use]
    pub fn used(&self) -> Used {
        let output = self.console.as_ref().map(|s| s.mmio.device().output());
        let disk = self.disk.as_ref().and_then(|slot| slot.idle("disk"));
        let console = self.console.as_ref().and_then(|s| s.idle("console"));
        Used {
            disk: self.disk.as_ref().map(|s| s.mmio.device().requests()),
            console: output.map(Tail::total),
            last_words: output.map(Tail::last_words).unwrap_or_default(),
            idle: disk.or(console),
        }
    }
}
