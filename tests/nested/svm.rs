//! A Debian kernel with KVM in a QEMU that emulates SVM.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernel::{MODULES, only, present};

/// Folder that a `linux-image-…-cloud-amd64` package was unpacked into.
const KERNEL: &str = "ISOBENCH_NESTED_KERNEL";
/// The emulator, where it is not `qemu-system-x86_64` on the path.
const QEMU: &str = "ISOBENCH_NESTED_QEMU";
/// In the order in which they are loaded.
const KVM: [&str; 3] = [
    "kernel/virt/lib/irqbypass.ko",
    "kernel/arch/x86/kvm/kvm.ko",
    "kernel/arch/x86/kvm/kvm-amd.ko",
];
/// What a kernel needs to have a virtio disk, as its package has it.
const DRIVERS: [&str; 2] = [
    "kernel/drivers/virtio/virtio_mmio.ko",
    "kernel/drivers/block/virtio_blk.ko",
];

/// SVM; and the promise of an invariant counter, which TCG does not make by itself
/// (`TCG_APM_FEATURES` in QEMU's `target/i386/cpu.c` is 0), hence the force. It is true: RDTSC is served
/// from the host's counter (`cpu_get_ticks`), and where that is not invariant nothing runs on the host
/// either.
///
/// One of them: with two (a thread each), the kernel inside locked up in three of a dozen runs on
/// QEMU 7.2, once while it booted.
const CPU: &str = "max,+svm,+invtsc,x-force-features=on";

/// Emulator and kernel.
pub struct Svm {
    qemu: OsString,
    pub kernel: PathBuf,
    pub modules: Vec<PathBuf>,
    /// Drivers of virtual machines' devices: the path below `lib/modules`, and the file.
    pub drivers: Vec<(String, PathBuf)>,
}

impl Svm {
    pub fn find() -> Result<Self, String> {
        let folder = env::var_os(KERNEL).map(PathBuf::from).ok_or_else(|| {
            format!("{KERNEL} does not name a folder with an unpacked kernel package (see .ci/run)")
        })?;
        let qemu = env::var_os(QEMU).unwrap_or_else(|| "qemu-system-x86_64".into());
        let version = Command::new(&qemu).arg("--version").output();
        match version {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("{}: {}", qemu.display(), output.status)),
            Err(error) => return Err(format!("{}: {error}", qemu.display())),
        }
        let kernel = only(&folder.join("boot"), "vmlinuz-")?;
        let modules = only(&folder.join("lib/modules"), "")?;
        let version = modules.file_name().unwrap_or_default().to_string_lossy();
        let mut drivers = Vec::new();
        for name in DRIVERS {
            let names = ["", ".xz"].map(|suffix| format!("{name}{suffix}"));
            let found = names.into_iter().find(|name| modules.join(name).exists());
            let name =
                found.ok_or_else(|| format!("{} does not exist", modules.join(name).display()))?;
            drivers.push((format!("{version}/{name}"), modules.join(name)));
        }
        Ok(Self {
            qemu,
            kernel,
            modules: present(&modules, KVM.iter().chain(&MODULES))?,
            drivers,
        })
    }

    /// As [`crate::kernel::Kernel::add_to`].
    pub fn add_to(&self, command: &mut Command, image: &Path, console: &Path, told: &str) {
        command.arg(&self.qemu);
        command.args(["-accel", "tcg", "-cpu", CPU, "-smp", "1", "-m", "1G"]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-kernel").arg(&self.kernel);
        command.arg("-initrd").arg(image);
        command.args(["-append", told]);
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio"]);
    }
}
