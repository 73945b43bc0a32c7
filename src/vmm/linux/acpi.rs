//! The least of ACPI that tells a kernel of devices (ACPI 6.5, chapter 5): where the interrupt
//! controllers are, and a DSDT with the serial port and the virtio devices. No power management: the
//! platform is "hardware-reduced".
//!
//! Distributions' kernels learn of virtio-mmio from ACPI (`LNRO0005`, `drivers/virtio/virtio_mmio.c`);
//! the command line's `virtio_mmio.device=` is an option that Debian's, for one, leaves out.

use acpi_tables::aml::{Device, EISAName, IO, Interrupt, Memory32Fixed, Name, ResourceTemplate};
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use vm_memory::VolatileMemoryError;

use super::devices::SERIAL_IRQ;
use super::layout::ACPI;
use super::slots::Place;
use crate::vmm::memory::GuestRam;
use crate::vmm::virtio::mmio;

const OEM: [u8; 6] = *b"ISOBEN";
const TABLE: [u8; 8] = *b"ISOBENCH";
const REVISION: u32 = 1;
/// Where KVM has its local APIC and its I/O APIC, as every PC.
const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;
/// IAPC_BOOT_ARCH (ACPI 6.5, 5.2.9.3): there is no VGA, no clock chip; nothing is said of a keyboard
/// controller, so there is none, either.
const NO_VGA_NO_CLOCK: u16 = 1 << 2 | 1 << 5;

/// Writes the tables, root pointer first at [`ACPI`].
///
/// # Errors
/// The memory is smaller than the layout.
pub fn write(ram: &GuestRam, devices: &[Place]) -> Result<(), VolatileMemoryError> {
    ram.write(ACPI, &tables(devices))
}

/// All of it, as it lies at [`ACPI`].
fn tables(devices: &[Place]) -> Vec<u8> {
    let mut bytes = vec![0; Rsdp::len().next_multiple_of(16)];
    // Tables refer to those before them.
    let mut add = |table: &dyn Aml| {
        let at = ACPI + bytes.len() as u64;
        table.to_aml_bytes(&mut bytes);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        at
    };
    let dsdt = add(&dsdt(devices));
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .preferred_pm_profile(PmProfile::Unspecified);
    fadt.iapc_boot_arch = NO_VGA_NO_CLOCK.into();
    let fadt = add(&fadt.finalize());
    let local = LocalInterruptController::Address(LOCAL_APIC);
    let mut madt = MADT::new(OEM, TABLE, REVISION, local);
    madt.add_structure(ProcessorLocalApic::new(0, 0, EnabledStatus::Enabled));
    madt.add_structure(IoApic::new(0, IO_APIC, 0));
    let madt = add(&madt);
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = add(&xsdt);
    let mut root = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    bytes[..root.len()].copy_from_slice(&root);
    bytes
}

/// The devices that no bus finds.
fn dsdt(devices: &[Place]) -> Sdt {
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, TABLE, REVISION);
    let mut aml = Vec::new();
    let edge = |irq| Interrupt::new(true, true, false, false, irq);
    let serial = (IO::new(0x3f8, 0x3f8, 0, 8), edge(SERIAL_IRQ));
    Device::new(
        "COM1".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &0u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![&serial.1, &serial.0]),
            ),
        ],
    )
    .to_aml_bytes(&mut aml);
    for (number, place) in (0u8..).zip(devices) {
        let memory = Memory32Fixed::new(true, place.base as u32, mmio::BYTES as u32);
        let irq = edge(place.irq);
        let name = format!("_SB_.V{number:03}");
        Device::new(
            name.as_str().into(),
            vec![
                &Name::new("_HID".into(), &"LNRO0005"),
                &Name::new("_UID".into(), &number),
                &Name::new("_CCA".into(), &1u8),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &irq])),
            ],
        )
        .to_aml_bytes(&mut aml);
    }
    table.vec(&aml);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::linux::layout;
    use crate::vmm::linux::slots::{CONSOLE, DISK};

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// What is at the address, up to the length that it says of itself, with a sum of 0.
    fn table<'a>(all: &'a [u8], address: u64, signature: &[u8; 4]) -> &'a [u8] {
        let rest = &all[(address - ACPI) as usize..];
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap());
        let table = &rest[..length as usize];
        assert_eq!((&table[..4], sum(table)), (&signature[..], 0));
        table
    }

    #[test]
    fn every_table_is_found_from_the_root_and_adds_up() {
        let all = tables(&[DISK, CONSOLE]);
        assert!(ACPI + all.len() as u64 <= layout::HIGH);
        assert_eq!(
            (&all[..8], sum(&all[..20]), sum(&all[..36])),
            (&b"RSD PTR "[..], 0, 0)
        );
        let xsdt = table(&all, word(&all, 24), b"XSDT");
        let fadt = table(&all, word(xsdt, 36), b"FACP");
        table(&all, word(xsdt, 44), b"APIC");
        let dsdt = table(&all, word(fadt, 140), b"DSDT");
        for place in [DISK, CONSOLE] {
            let base = (place.base as u32).to_le_bytes();
            assert!(dsdt.windows(4).any(|bytes| bytes == base));
        }
        let named = |name: &[u8]| dsdt.windows(name.len()).filter(|w| *w == name).count();
        assert_eq!((named(b"LNRO0005"), named(b"COM1")), (2, 1));
    }
}
