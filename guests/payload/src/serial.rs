//! A serial port of a PC, as process 1 of its Linux has it.

use crate::sys::{nr, syscall3, syscall6};

/// `/dev/ttyS0` is character device 4:64 (`Documentation/admin-guide/devices.txt`).
const PATH: &core::ffi::CStr = c"/isobench-port";
const FIRST_DEVICE: usize = 4 << 8 | 64;
const CHARACTER_DEVICE: usize = 0o020_600;
/// O_RDWR | O_NOCTTY.
const FLAGS: usize = 0o2 | 0o400;
const AT_FDCWD: usize = -100isize as usize;
/// TCSETS, TCSBRK.
const SET: usize = 0x5402;
const DRAIN: usize = 0x5409;

/// `struct termios` of the kernel (`asm-generic/termbits.h`).
#[repr(C)]
struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    discipline: u8,
    characters: [u8; 19],
}

/// Bytes as they are: eight bits, no echo, no translation, a read returns with the first byte.
const RAW: Settings = {
    let mut characters = [0; 19];
    // VMIN.
    characters[6] = 1;
    Settings {
        input: 0,
        output: 0,
        // CS8, CREAD, CLOCAL, B115200.
        control: 0x30 | 0x80 | 0x800 | 0x1002,
        local: 0,
        discipline: 0,
        characters,
    }
};

/// Which port.
#[derive(Clone, Copy)]
pub enum Port {
    /// The first, on which the kernel prints.
    Console = 0,
    /// The second.
    Second = 1,
}

/// Opens it. Where the kernel refuses, nobody can be told but whoever reads its console.
pub fn open(which: Port) -> usize {
    let path = PATH.as_ptr() as usize;
    let settings = RAW;
    let device = FIRST_DEVICE + which as usize;
    if let Port::Console = which {
        /// SYSLOG_ACTION_CONSOLE_OFF: what the kernel prints from now on is kept from the console, but for
        /// the last words of a panic.
        const CONSOLE_OFF: usize = 6;
        // SAFETY: takes no memory.
        unsafe { syscall3(nr::SYSLOG, CONSOLE_OFF, 0, 0) };
    }
    // SAFETY: the path ends in a NUL, the settings are readable; the calls make a node, a descriptor, and
    // change a terminal that is this program's alone.
    unsafe {
        syscall3(nr::MKNOD, path, CHARACTER_DEVICE, device);
        let port = syscall6(nr::OPENAT, [AT_FDCWD, path, FLAGS, 0, 0, 0]);
        let set = syscall3(
            nr::IOCTL,
            port as usize,
            SET,
            (&raw const settings) as usize,
        );
        if port < 0 || set < 0 {
            syscall3(nr::EXIT_GROUP, 5, 0, 0);
        }
        port as usize
    }
}

/// Waits until everything is sent, and restarts the machine, or switches it off, whichever its VMM takes for
/// its end (reboot(2), LINUX_REBOOT_CMD_RESTART and LINUX_REBOOT_CMD_POWER_OFF).
pub fn end(port: usize, off: bool) {
    let command = if off { 0x4321_fedc } else { 0x0123_4567 };
    // SAFETY: nothing of this program is wanted any more.
    unsafe {
        syscall3(nr::IOCTL, port, DRAIN, 1);
        syscall6(nr::REBOOT, [0xfee1_dead, 672_274_793, command, 0, 0, 0]);
    }
}
