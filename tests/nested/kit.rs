//! What the bed is made of, or why it cannot be had.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::inner_qemu::InnerQemu;
use crate::kernel::Kernel;
use crate::steps::{Bed, Kind, Step};

/// A static Firecracker; without one its step is skipped, by name.
const FIRECRACKER: &str = "ISOBENCH_NESTED_FIRECRACKER";
/// Programs of this host that `init` and the tests call.
const TOOLS: [&str; 9] = [
    "ip", "mount", "script", "setpriv", "setsid", "sh", "sleep", "true", "unshare",
];
/// The same, where there is swap.
const SWAP_TOOLS: [&str; 2] = ["mkswap", "swapon"];

/// Everything that the image and the machine are made of.
pub struct Kit {
    pub kernel: Kernel,
    pub tools: Vec<(&'static str, PathBuf)>,
    /// Programs of this build by the name they get in the image.
    pub programs: BTreeMap<String, PathBuf>,
    /// Beside `linux-vm`, if there is one.
    pub firecracker: Option<PathBuf>,
    pub inner_qemu: Option<InnerQemu>,
}

impl Kit {
    pub fn find(bed: &Bed) -> Result<Self, String> {
        let kernel = Kernel::find(bed.kind)?;
        let mut tools = Vec::new();
        let swap = SWAP_TOOLS.iter().filter(|_| bed.kind == Kind::Uml);
        for name in TOOLS.iter().chain(swap).copied() {
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
            kernel,
            tools,
            programs: programs(bed),
            firecracker: env::var_os(FIRECRACKER).map(PathBuf::from),
            inner_qemu: InnerQemu::find(),
        })
    }
}

/// The programs that the steps run, as cargo built them for this test.
fn programs(bed: &Bed) -> BTreeMap<String, PathBuf> {
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
    let mut wanted: BTreeSet<_> = bed.chosen().map(Step::program).collect();
    // Tests call it.
    wanted.insert("isobench");
    found.retain(|name, _| wanted.contains(name.as_str()));
    let missing = wanted.iter().find(|name| !found.contains_key(**name));
    assert_eq!(missing, None, "a step's program that cargo does not build");
    found.insert("init".to_owned(), own);
    found
}
