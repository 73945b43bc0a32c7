//! The root file system: this test as `/init`, the programs that the steps run with the shared
//! libraries that they need, and the kernel's modules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use isobench::vmm::initramfs::Initramfs;

use crate::inner_qemu;
use crate::kernel::Kernel;
use crate::kit::Kit;
use crate::steps::{Bed, LINUX};

/// Where the modules lie, numbered in the order of loading.
pub const MODULES: &str = "/modules";

/// Writes the image into this folder.
pub fn write(kit: &Kit, bed: &Bed, folder: &Path) -> PathBuf {
    let mut tree = Initramfs::new();
    let mut libraries = BTreeSet::new();
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (name, path) in &kit.programs {
        let stripped = folder.join(name);
        strip(path, &stripped);
        libraries.extend(needed(&stripped));
        let place = if name == "init" {
            "/init".to_owned()
        } else {
            format!("/bin/{name}")
        };
        tree.file(&place, 0o755, read(&stripped)).unwrap();
        fs::remove_file(stripped).unwrap();
    }
    // Elsewhere every `doctor` would boot a kernel with it.
    let firecracker = kit.firecracker.iter().filter(|_| bed.name == LINUX.name);
    let tools = kit.tools.iter().map(|(name, path)| (*name, path));
    for (name, path) in tools.chain(firecracker.map(|path| ("firecracker", path))) {
        libraries.extend(needed(path));
        tree.file(&format!("/bin/{name}"), 0o755, read(path))
            .unwrap();
    }
    for qemu in kit.inner_qemu.iter().filter(|_| bed.name == LINUX.name) {
        libraries.extend(needed(&qemu.program));
        let at = qemu.program.to_string_lossy();
        tree.file(&at, 0o755, read(&qemu.program)).unwrap();
        let link = format!("/bin/{}", inner_qemu::NAME);
        if at != link {
            tree.link(&link, &at).unwrap();
        }
        for file in &qemu.firmware {
            tree.file(&file.to_string_lossy(), 0o644, read(file))
                .unwrap();
        }
    }
    for library in libraries {
        tree.file(&library.to_string_lossy(), 0o755, read(&library))
            .unwrap();
    }
    for (at, module) in kit.kernel.modules().iter().enumerate() {
        tree.file(&format!("{MODULES}/{at}.ko"), 0o644, read(module))
            .unwrap();
    }
    if let Kernel::Svm(svm) = &kit.kernel {
        // What `linux-vm` finds: the kernel that runs here, once more.
        let name = svm.kernel.file_name().unwrap().to_string_lossy();
        tree.file(&format!("/boot/{name}"), 0o644, read(&svm.kernel))
            .unwrap();
        // The drivers of its virtual machines' devices, beside it as its package has them.
        for (at, driver) in &svm.drivers {
            tree.file(&format!("/lib/modules/{at}"), 0o644, read(driver))
                .unwrap();
        }
    }
    tree.device("/dev/console", 0o600, (5, 1)).unwrap();
    for mount_point in ["/proc", "/sys", "/tmp", "/root"] {
        tree.directory(mount_point).unwrap();
    }
    let path = folder.join("initramfs");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    tree.write_to(&mut file).unwrap();
    file.into_inner().unwrap();
    path
}

/// Nine tenths of a test binary are for debuggers.
fn strip(from: &Path, to: &Path) {
    let status = Command::new("strip").arg("-o").args([to, from]).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "strip {}",
        from.display()
    );
}

/// The dynamic loader and the libraries that it would load (ldd(1)), where it looks for them.
fn needed(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // "name => /path (address)", or "/path (address)" for the loader itself.
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}
