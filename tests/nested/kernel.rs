//! The two kinds of kernel that there are, and what is asked of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::Kind;
use crate::svm::Svm;
use crate::uml::Uml;

/// Modules in the order in which they are loaded: those of what containers have (file systems,
/// networks) and must not have.
pub const MODULES: [&str; 7] = [
    "kernel/fs/overlayfs/overlay.ko",
    "kernel/crypto/af_alg.ko",
    "kernel/net/vmw_vsock/vsock.ko",
    "kernel/net/llc/llc.ko",
    "kernel/net/802/stp.ko",
    "kernel/net/bridge/bridge.ko",
    "kernel/drivers/net/veth.ko",
];

/// A kernel with all that it needs to be started.
pub enum Kernel {
    Svm(Svm),
    Uml(Uml),
}

impl Kernel {
    pub fn find(kind: Kind) -> Result<Self, String> {
        match kind {
            Kind::Svm => Svm::find().map(Self::Svm),
            Kind::Uml => Uml::find().map(Self::Uml),
        }
    }

    pub fn modules(&self) -> &[PathBuf] {
        match self {
            Self::Svm(svm) => &svm.modules,
            Self::Uml(uml) => &uml.modules,
        }
    }

    /// The program and its arguments: this initramfs, what the kernel is told. Its first serial port is that
    /// file, its second standard output.
    pub fn add_to(&self, command: &mut Command, image: &Path, console: &Path, told: &str) {
        match self {
            Self::Svm(svm) => svm.add_to(command, image, console, told),
            Self::Uml(uml) => uml.add_to(command, image, console, told),
        }
    }
}

/// The one entry of a folder whose name begins like this.
pub fn only(folder: &Path, prefix: &str) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.path()),
        _ => Err(format!(
            "{} does not hold exactly one {prefix}*",
            folder.display()
        )),
    }
}

/// These modules below this folder, every one of which must be there.
pub fn present<'a>(
    folder: &Path,
    modules: impl Iterator<Item = &'a &'a str>,
) -> Result<Vec<PathBuf>, String> {
    let modules: Vec<_> = modules.map(|module| folder.join(module)).collect();
    match modules.iter().find(|module| !module.exists()) {
        Some(missing) => Err(format!("{} does not exist", missing.display())),
        None => Ok(modules),
    }
}
