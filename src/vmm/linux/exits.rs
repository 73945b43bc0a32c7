//! The exits of a vCPU with a Linux on it: what each is counted as, and what it asks for.

use isobench_abi::{DOORBELL_PORT, Op};
use kvm_bindings::{KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR};
use kvm_ioctls::VcpuExit;

use super::devices::{Devices, Reset};
use super::slots::Slots;
use crate::exits::Reason;
use crate::vmm::exit::{Exit, Unexpected};
use crate::vmm::memory::GuestRam;

/// What is served at most before somebody looks at the clock, in accesses to ports.
pub(super) const SERVE_AT_MOST: u32 = 256;
/// As many of them a write to a virtio device may stand for: its notification has up to 64 chains of buffers be
/// served, of up to 512 KiB each.
const NOTIFICATION: u32 = 64;

/// What an exit takes of [`SERVE_AT_MOST`].
pub(super) const fn cost(reason: Reason) -> u32 {
    match reason {
        Reason::Mmio(_, true) => NOTIFICATION,
        _ => 1,
    }
}

/// What an exit asks of the loop.
pub(super) enum Next {
    Serve,
    Answer(Exit),
    Fail(Unexpected),
    End(&'static str),
}

/// What an exit is counted as.
pub(super) fn reason(exit: &VcpuExit<'_>) -> Reason {
    match exit {
        VcpuExit::IoOut(DOORBELL_PORT, data) => <[u8; 4]>::try_from(*data)
            .ok()
            .and_then(|word| Op::decode(u32::from_le_bytes(word)))
            .map_or(Reason::Port(DOORBELL_PORT, true), |(op, _)| {
                Reason::Doorbell(op)
            }),
        VcpuExit::IoOut(port, _) => Reason::Port(*port, true),
        VcpuExit::IoIn(port, _) => Reason::Port(*port, false),
        VcpuExit::MmioRead(address, _) => Reason::Mmio(*address, false),
        VcpuExit::MmioWrite(address, _) => Reason::Mmio(*address, true),
        VcpuExit::Intr => Reason::Signal,
        VcpuExit::Hlt => Reason::Halt,
        VcpuExit::Shutdown => Reason::Shutdown,
        VcpuExit::InternalError => Reason::Kvm(KVM_EXIT_INTERNAL_ERROR),
        VcpuExit::FailEntry(..) => Reason::Kvm(KVM_EXIT_FAIL_ENTRY),
        VcpuExit::Unsupported(reason) => Reason::Kvm(*reason),
        _ => Reason::Rest,
    }
}

/// Narrows an exit. Memory without a device behaves as an empty bus, as ports do.
pub(super) fn answer(
    exit: VcpuExit<'_>,
    devices: &mut Devices,
    slots: &mut Slots,
    ram: &GuestRam,
) -> Next {
    match exit {
        VcpuExit::IoOut(DOORBELL_PORT, data) => doorbell(data),
        VcpuExit::IoOut(port, data) => match devices.write(port, data) {
            Ok(()) => Next::Serve,
            Err(Reset) => Next::End("it reset the machine"),
        },
        VcpuExit::IoIn(port, data) => {
            devices.read(port, data);
            Next::Serve
        }
        VcpuExit::MmioRead(address, data) => {
            slots.read(address, data);
            Next::Serve
        }
        VcpuExit::MmioWrite(address, data) => {
            slots.write(address, data, ram);
            Next::Serve
        }
        VcpuExit::IoapicEoi(_) | VcpuExit::IrqWindowOpen => Next::Serve,
        VcpuExit::Intr => Next::Answer(Exit::Interrupted),
        VcpuExit::Shutdown => Next::End("it reset the machine (triple fault)"),
        VcpuExit::SystemEvent(..) => Next::End("it ended the machine"),
        // KVM's own interrupt controller waits for interrupts.
        VcpuExit::Hlt => Next::Fail(Unexpected::Halt),
        VcpuExit::FailEntry(reason, cpu) => Next::Fail(Unexpected::EntryFailed { reason, cpu }),
        VcpuExit::InternalError => Next::End("KVM could not go on (KVM_EXIT_INTERNAL_ERROR)"),
        VcpuExit::Unsupported(reason) => Next::Fail(Unexpected::Other(reason)),
        _ => Next::End("an exit of the vCPU that no x86 guest without such devices causes"),
    }
}

/// One 32-bit `out` to the doorbell, or not the payload's.
fn doorbell(data: &[u8]) -> Next {
    let Ok(bytes) = <[u8; 4]>::try_from(data) else {
        return Next::Fail(Unexpected::Port {
            direction: "out",
            port: DOORBELL_PORT,
            size: data.len().min(255) as u8,
            count: 1,
        });
    };
    let value = u32::from_le_bytes(bytes);
    match Op::decode(value) {
        Some((op, argument)) => Next::Answer(Exit::Doorbell(op, argument)),
        None => Next::Fail(Unexpected::Doorbell(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices::Line;
    use super::*;

    fn answered(exit: VcpuExit<'_>) -> Next {
        let mut devices = Devices::new(Line::new().unwrap());
        let ram = GuestRam::mosaic(0x1000, &[]).unwrap();
        answer(exit, &mut devices, &mut Slots::default(), &ram)
    }

    #[test]
    fn a_doorbell_is_four_bytes_with_a_meaning() {
        let ring = |data: &[u8]| answered(VcpuExit::IoOut(DOORBELL_PORT, data));
        let word = Op::Exit.encode(7).to_le_bytes();
        assert!(matches!(
            ring(&word),
            Next::Answer(Exit::Doorbell(Op::Exit, 7))
        ));
        assert!(matches!(
            ring(&[0xee, 0, 0, 0]),
            Next::Fail(Unexpected::Doorbell(0xee))
        ));
        for data in [&word[..1], &word[..2], &[word, word].concat(), &[]] {
            assert!(matches!(ring(data), Next::Fail(Unexpected::Port { .. })));
        }
    }

    #[test]
    fn somebody_looks_at_the_clock_after_four_notifications() {
        let write = VcpuExit::MmioWrite(0xd000_0050, &[1, 0, 0, 0]);
        assert_eq!(SERVE_AT_MOST / cost(reason(&write)), 4);
        for other in [
            VcpuExit::IoOut(0x3f8, b"x"),
            VcpuExit::MmioRead(0, &mut [0; 4]),
        ] {
            assert_eq!(cost(reason(&other)), 1);
        }
    }

    #[test]
    fn what_has_no_device_is_an_empty_bus() {
        let mut data = [0u8; 8];
        let read = answered(VcpuExit::MmioRead(0xfee0_0000, &mut data));
        assert!(matches!(read, Next::Serve));
        assert_eq!(data, [0xff; 8]);
        let write = answered(VcpuExit::MmioWrite(u64::MAX, &[1]));
        assert!(matches!(write, Next::Serve));
    }

    #[test]
    fn the_ends_of_a_kernel_are_told_apart() {
        let end = |exit| match answered(exit) {
            Next::End(how) => how.to_owned(),
            Next::Fail(why) => why.to_string(),
            _ => "goes on".to_owned(),
        };
        assert!(end(VcpuExit::Shutdown).contains("triple fault"));
        assert!(end(VcpuExit::IoOut(0x64, &[0xfe])).contains("reset"));
        assert!(end(VcpuExit::InternalError).contains("INTERNAL_ERROR"));
        assert_eq!(end(VcpuExit::Hlt), "hlt");
        assert!(end(VcpuExit::FailEntry(0x8000_0021, 0)).contains("entry failed"));
    }
}
