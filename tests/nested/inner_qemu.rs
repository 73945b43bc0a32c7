//! A QEMU of this host's for inside: its program, its libraries, and the firmware of the machines that
//! are booted there.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the program; without it its step is skipped, by name.
const PROGRAM: &str = "ISOBENCH_NESTED_INNER_QEMU";
/// By what name the backend looks for it.
pub const NAME: &str = "qemu-system-x86_64";
/// What it opens for a PC and for a microvm, which takes one or the other firmware by whether it has ACPI.
const FIRMWARE: [&str; 5] = [
    "bios-256k.bin",
    "bios-microvm.bin",
    "qboot.rom",
    "kvmvapic.bin",
    "linuxboot_dma.bin",
];

/// Files to be at the same paths inside: it looks for its firmware relative to where it lies itself.
pub struct InnerQemu {
    pub program: PathBuf,
    pub firmware: BTreeSet<PathBuf>,
}

impl InnerQemu {
    /// The one that is named, if any is.
    pub fn find() -> Option<Self> {
        let named = env::var_os(PROGRAM).filter(|path| !path.is_empty())?;
        let wrong =
            |why: &dyn fmt::Display| -> ! { panic!("{PROGRAM}: {}: {why}", named.display()) };
        let program = Path::new(&named).canonicalize();
        let program = program.unwrap_or_else(|error| wrong(&error));
        // Prints the folders of firmware, one a line, from its own on by `..`.
        let told = Command::new(&program).args(["-L", "help"]).output();
        let told = told.unwrap_or_else(|error| wrong(&error));
        let folders = String::from_utf8_lossy(&told.stdout).into_owned();
        let files = folders
            .lines()
            .filter_map(|folder| Path::new(folder).canonicalize().ok())
            .flat_map(|folder| FIRMWARE.map(|name| folder.join(name)));
        let firmware: BTreeSet<_> = files.filter(|file| file.is_file()).collect();
        if firmware.is_empty() {
            wrong(&format!("no firmware in {folders:?}"));
        }
        Some(Self { program, firmware })
    }
}
