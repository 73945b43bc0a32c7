//! The devices of a Linux guest: a serial port whose last output is kept, the keyboard controller's
//! reset line, and a clock chip without a clock. Every other port reads as an empty bus and swallows
//! what is written.

use std::collections::VecDeque;
use std::io::{self, Write};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Ports of the first serial port.
const SERIAL: std::ops::RangeInclusive<u16> = 0x3f8..=0x3ff;
/// Its interrupt, as on every PC.
pub const SERIAL_IRQ: u32 = 4;
/// Command port of the keyboard controller, and "pulse the reset line".
const KEYBOARD: u16 = 0x64;
const RESET: u8 = 0xfe;
/// Data port of the clock chip. It reads as one without a battery, zeros: an empty bus looks like a chip
/// that is for ever being updated, and Linux asks it 20,000 times whether that is over
/// (`mc146818_avoid_UIP` in `drivers/rtc/rtc-mc146818-lib.c`), 40,000 exits a boot. The time of a guest is
/// KVM's clock.
const CLOCK: u16 = 0x71;

/// What no device answers.
pub const EMPTY_BUS: u8 = 0xff;

/// What is kept of the console: its last bytes.
const KEPT: usize = 8 << 10;

/// The end of an output of any length.
#[derive(Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    total: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new()
    }
}

impl Tail {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: VecDeque::with_capacity(KEPT),
            total: 0,
        }
    }

    /// How much there was in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The last lines, as one printable line: from the kernel's panic on if there is one, else the
    /// last four.
    #[must_use]
    pub fn last_words(&self) -> String {
        const LINES: usize = 4;
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.trim().chars().filter(|c| !c.is_control()).collect())
            .filter(|line: &String| !line.is_empty())
            .collect();
        let panic = lines.iter().position(|line| line.contains("Kernel panic"));
        let from = panic.unwrap_or_else(|| lines.len().saturating_sub(LINES));
        let end = lines.len().min(from + LINES);
        lines[from..end].join(" | ")
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kept = &bytes[bytes.len().saturating_sub(KEPT)..];
        let room = KEPT - kept.len();
        self.bytes.drain(..self.bytes.len().saturating_sub(room));
        self.bytes.extend(kept);
        self.total = self.total.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The serial port's interrupt line; KVM raises it from the event.
#[derive(Debug)]
pub struct Line(EventFd);

impl Line {
    /// A line to be given to KVM_IRQFD.
    ///
    /// # Errors
    /// eventfd(2).
    pub fn new() -> io::Result<Self> {
        EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map(Self)
    }

    /// The event behind it.
    #[must_use]
    pub const fn event(&self) -> &EventFd {
        &self.0
    }
}

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The guest wants to be reset: its kernel has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset;

/// The ports.
#[derive(Debug)]
pub struct Devices {
    serial: Serial<Line, NoEvents, Tail>,
}

impl Devices {
    /// Devices after power-on.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self {
            serial: Serial::new(line, Tail::new()),
        }
    }

    /// The serial port's output.
    #[must_use]
    pub fn console(&self) -> &Tail {
        self.serial.writer()
    }

    /// The interrupt line.
    #[must_use]
    pub fn line(&self) -> &Line {
        self.serial.interrupt_evt()
    }

    /// An `out` of these bytes.
    ///
    /// # Errors
    /// The guest pulls the reset line.
    pub fn write(&mut self, port: u16, data: &[u8]) -> Result<(), Reset> {
        match (port, data) {
            (KEYBOARD, [RESET]) => Err(Reset),
            (port, [byte]) if SERIAL.contains(&port) => {
                // An interrupt that cannot be raised (the event's counter is full of them) is pending
                // already.
                let _ = self.serial.write((port - SERIAL.start()) as u8, *byte);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An `in` of so many bytes.
    pub fn read(&mut self, port: u16, data: &mut [u8]) {
        match data {
            [byte] if SERIAL.contains(&port) => {
                *byte = self.serial.read((port - SERIAL.start()) as u8);
            }
            [byte] if port == CLOCK => *byte = 0,
            _ => data.fill(EMPTY_BUS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Devices {
        Devices::new(Line::new().unwrap())
    }

    #[test]
    fn a_flood_leaves_its_end() {
        let mut devices = devices();
        for n in 0..100_000u32 {
            for byte in format!("line {n}\n").bytes() {
                devices.write(0x3f8, &[byte]).unwrap();
            }
        }
        let console = devices.console();
        assert!(console.bytes.len() == KEPT && console.total() > 1_000_000);
        assert_eq!(
            console.last_words(),
            "line 99996 | line 99997 | line 99998 | line 99999"
        );
    }

    #[test]
    fn a_panic_is_the_last_word_and_nothing_unprintable() {
        let mut tail = Tail::new();
        tail.write_all(b"a\r\n\x1b[31mKernel panic - not syncing: x\xff\nb\nc\nd\ne\n")
            .unwrap();
        assert_eq!(
            tail.last_words(),
            "[31mKernel panic - not syncing: x\u{fffd} | b | c | d"
        );
    }

    #[test]
    fn every_port_at_every_width_is_answered() {
        let mut devices = devices();
        for port in 0..=u16::MAX {
            for width in [1, 2, 4] {
                let mut data = [0u8; 4];
                devices.read(port, &mut data[..width]);
                if port == CLOCK && width == 1 {
                    assert_eq!(data[0], 0);
                } else if !SERIAL.contains(&port) {
                    assert!(data[..width].iter().all(|byte| *byte == EMPTY_BUS));
                }
                assert_eq!(devices.write(port, &[0; 4][..width]), Ok(()));
            }
        }
        assert_eq!(devices.write(0x64, &[0xfe]), Err(Reset));
        assert_eq!(devices.write(0x64, &[0xfe, 0xfe]), Ok(()));
    }
}
