//! What the bed is made of, or why it cannot be had.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::inner_qemu::InnerQemu;
use crate::steps::{BEDS, Bed, Step};

/// Folder that a `linux-image-…-cloud-amd64` package was unpacked into.
const KERNEL: &str = "ISOBENCH_NESTED_KERNEL";
/// The emulator, where it is not `qemu-system-x86_64` on the path.
const QEMU: &str = "ISOBENCH_NESTED_QEMU";
/// A static Firecracker; without one its step is skipped, by name.
const FIRECRACKER: &str = "ISOBENCH_NESTED_FIRECRACKER";
/// Modules in the order in which they are loaded: KVM's, and those of what containers have
/// (file systems, networks) and must not have, swap last.
const MODULES: [&str; 14] = [
    "kernel/virt/lib/irqbypass.ko",
    "kernel/arch/x86/kvm/kvm.ko",
    "kernel/arch/x86/kvm/kvm-amd.ko",
    "kernel/fs/overlayfs/overlay.ko",
    "kernel/crypto/af_alg.ko",
    "kernel/net/vmw_vsock/vsock.ko",
    "kernel/net/llc/llc.ko",
    "kernel/net/802/stp.ko",
    "kernel/net/bridge/bridge.ko",
    "kernel/drivers/net/veth.ko",
    "kernel/lib/lz4/lz4_compress.ko",
    "kernel/lib/lz4/lz4hc_compress.ko",
    "kernel/mm/zsmalloc.ko",
    "kernel/drivers/block/zram/zram.ko",
];

/// What a kernel needs to have a virtio disk, as its package has it.
const DRIVERS: [&str; 2] = [
    "kernel/drivers/virtio/virtio_mmio.ko",
    "kernel/drivers/block/virtio_blk.ko",
];

/// Programs of this host that `init` and the tests call.
const TOOLS: [&str; 11] = [
    "ip", "mkswap", "mount", "script", "setpriv", "setsid", "sh", "sleep", "swapon", "true",
    "unshare",
];

/// Everything that the image and the machine are made of.
pub struct Kit {
    pub qemu: OsString,
    pub kernel: PathBuf,
    pub modules: [PathBuf; MODULES.len()],
    /// Drivers of virtual machines' devices: the path below `lib/modules`, and the file.
    pub drivers: Vec<(String, PathBuf)>,
    /// Programs of this build by the name they get in the image.
    pub tools: Vec<(&'static str, PathBuf)>,
    pub programs: BTreeMap<String, PathBuf>,
    /// Beside `linux-vm`, if there is one.
    pub firecracker: Option<PathBuf>,
    pub inner_qemu: Option<InnerQemu>,
}

impl Kit {
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
        let modules = MODULES.map(|module| modules.join(module));
        if let Some(missing) = modules.iter().find(|module| !module.exists()) {
            return Err(format!("{} does not exist", missing.display()));
        }
        let mut tools = Vec::new();
        for name in TOOLS {
            let folders = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"].map(Path::new);
            let found = folders
                .map(|folder| folder.join(name))
                .into_iter()
                .find(|path| path.exists());
            tools.push((
                name,
                found.ok_or_else(|| format!("this host has no {name}"))?,
            ));
        }
        Ok(Self {
            qemu,
            kernel,
            modules,
            drivers,
            tools,
            programs: programs(),
            firecracker: env::var_os(FIRECRACKER).map(PathBuf::from),
            inner_qemu: InnerQemu::find(),
        })
    }
}

/// The one entry of a folder whose name begins like this.
fn only(folder: &Path, prefix: &str) -> Result<PathBuf, String> {
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

/// The programs that the steps run, as cargo built them for this test.
fn programs() -> BTreeMap<String, PathBuf> {
    let own = env::current_exe().unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["test", "--workspace", "--locked", "--no-run"])
        .args(["--message-format", "json"]);
    // TARGET/PROFILE/deps/nested-…
    if let Some(target) = own.ancestors().nth(3) {
        cargo.arg("--target-dir").arg(target);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo says where the tests are");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{cargo:?}: {said}");
    let isobench = env!("CARGO_BIN_EXE_isobench").into();
    let mut found = BTreeMap::from([("isobench".to_owned(), isobench)]);
    for message in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(message).unwrap_or_default();
        let target = &message["target"];
        let name = match (target["kind"][0].as_str(), target["name"].as_str()) {
            (Some("lib"), Some("isobench")) => "lib",
            (Some("test"), Some(name)) => name,
            _ => continue,
        };
        if let Some(path) = message["executable"].as_str() {
            found.insert(name.to_owned(), path.into());
        }
    }
    let chosen = BEDS.into_iter().flat_map(Bed::chosen);
    let mut wanted: BTreeSet<_> = chosen.map(Step::program).collect();
    // Tests call it.
    wanted.insert("isobench");
    found.retain(|name, _| wanted.contains(name.as_str()));
    let missing = wanted.iter().find(|name| !found.contains_key(**name));
    assert_eq!(missing, None, "a step's program that cargo does not build");
    found.insert("init".to_owned(), own);
    found
}
