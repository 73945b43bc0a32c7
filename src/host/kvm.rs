//! Which KVM this host has. The kind stands beside every result: a number from a KVM that emulates
//! in software says nothing about one that has hardware for it.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KvmKind {
    /// AMD SVM (`kvm_amd`).
    HardwareSvm,
    /// Intel VMX (`kvm_intel`).
    HardwareVmx,
    /// A KVM without CPU support for it (for one, `kvm_pvm`): shadow paging, ring 0 emulated.
    Software,
    /// No `/dev/kvm`, or another device in its place.
    Absent,
}

impl KvmKind {
    /// Spelling in `run.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardwareSvm => "hardware-svm",
            Self::HardwareVmx => "hardware-vmx",
            Self::Software => "software",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for KvmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A finding, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The kind.
    pub kind: KvmKind,
    /// The kernel module that serves `/dev/kvm` (`kvm_intel`, `kvm_amd`, …), if one shows.
    pub vendor: Option<String>,
    /// One sentence: what was found where.
    pub evidence: String,
}

/// Looks at `/dev/kvm`, `/proc/cpuinfo` and `/sys/module` below `root` (`/`, or a test's folder).
#[must_use]
pub fn detect(root: &Path) -> Detected {
    let absent = |evidence: &str| Detected {
        kind: KvmKind::Absent,
        vendor: None,
        evidence: evidence.to_owned(),
    };
    match fs::metadata(root.join("dev/kvm")) {
        Err(_) => return absent("/dev/kvm does not exist"),
        // KVM_MINOR of the misc devices (`linux/miscdevice.h`).
        Ok(facts)
            if facts.file_type().is_char_device() && facts.rdev() != libc::makedev(10, 232) =>
        {
            return absent("/dev/kvm is another device than KVM's (character device 10:232)");
        }
        Ok(_) => {}
    }
    let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flag = |name: &str| {
        cpuinfo
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|word| word == name))
    };
    let vendor = vendor(&root.join("sys/module"));
    let kind = match vendor.as_deref() {
        Some("kvm_amd") if flag("svm") => KvmKind::HardwareSvm,
        Some("kvm_intel") if flag("vmx") => KvmKind::HardwareVmx,
        _ => KvmKind::Software,
    };
    let shown: Vec<&str> = ["svm", "vmx"].into_iter().filter(|f| flag(f)).collect();
    let flags = if shown.is_empty() {
        "neither svm nor vmx".to_owned()
    } else {
        shown.join(" and ")
    };
    let module = vendor.as_deref().unwrap_or("no vendor module");
    Detected {
        kind,
        evidence: format!("/dev/kvm exists; CPU flags show {flags}; {module} in /sys/module"),
        vendor,
    }
}

/// The module below `kvm`: of the known ones whichever is there, else any other `kvm_*`.
fn vendor(modules: &Path) -> Option<String> {
    for known in ["kvm_amd", "kvm_intel"] {
        if modules.join(known).exists() {
            return Some(known.to_owned());
        }
    }
    let mut others: Vec<String> = fs::read_dir(modules)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("kvm_"))
        .collect();
    others.sort();
    others.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(kvm: bool, flags: &str, module: Option<&str>) -> Detected {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["dev", "proc", "sys/module/kvm"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        if kvm {
            fs::write(at("dev/kvm"), "").unwrap();
        }
        fs::write(
            at("proc/cpuinfo"),
            format!("processor: 0\nflags\t\t: {flags}\n"),
        )
        .unwrap();
        if let Some(module) = module {
            fs::create_dir_all(at("sys/module").join(module)).unwrap();
        }
        detect(root.path())
    }

    #[test]
    fn each_kind_by_its_evidence() {
        let kind = |kvm, flags, module| host(kvm, flags, module).kind;
        assert_eq!(
            kind(true, "fpu svm sse", Some("kvm_amd")),
            KvmKind::HardwareSvm
        );
        assert_eq!(
            kind(true, "fpu vmx", Some("kvm_intel")),
            KvmKind::HardwareVmx
        );
        assert_eq!(kind(true, "fpu sse", Some("kvm_pvm")), KvmKind::Software);
        // A flag alone, or its lookalike, is no evidence.
        assert_eq!(kind(true, "fpu vmx", Some("kvm_pvm")), KvmKind::Software);
        assert_eq!(
            kind(true, "fpu svm_lock", Some("kvm_amd")),
            KvmKind::Software
        );
        assert_eq!(kind(false, "fpu vmx", Some("kvm_intel")), KvmKind::Absent);
        let found = host(true, "fpu", Some("kvm_pvm"));
        assert_eq!(found.vendor.as_deref(), Some("kvm_pvm"));
        assert!(found.evidence.contains("neither svm nor vmx"));
    }

    #[test]
    fn spelled_alike_in_text_and_json() {
        for kind in [
            KvmKind::HardwareSvm,
            KvmKind::HardwareVmx,
            KvmKind::Software,
            KvmKind::Absent,
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
