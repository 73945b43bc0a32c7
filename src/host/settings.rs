//! Settings of the kernel and its modules, as text for the record of a run. One that the kernel does
//! not show is `unavailable`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A one-line file's content, or `unavailable`.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unavailable(), |text| text.trim().to_owned())
}

/// What stands for a setting that cannot be read.
#[must_use]
pub fn unavailable() -> String {
    "unavailable".to_owned()
}

/// Transparent huge pages: the choice that is in force.
#[must_use]
pub fn huge_pages() -> String {
    chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled"))
}

/// `intel_pstate/no_turbo` and `cpufreq/boost` say the opposite of each other.
#[must_use]
pub fn turbo() -> String {
    let no_turbo = read("/sys/devices/system/cpu/intel_pstate/no_turbo");
    let boost = read("/sys/devices/system/cpu/cpufreq/boost");
    match (no_turbo.as_str(), boost.as_str()) {
        ("0", _) | (_, "1") => "on",
        ("1", _) | (_, "0") => "off",
        _ => "unavailable",
    }
    .to_owned()
}

/// Every governor that some CPU has.
#[must_use]
pub fn governors(cpus: &Path) -> String {
    let found: BTreeSet<String> = fs::read_dir(cpus)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|cpu| fs::read_to_string(cpu.path().join("cpufreq/scaling_governor")).ok())
        .map(|governor| governor.trim().to_owned())
        .collect();
    if found.is_empty() {
        return unavailable();
    }
    found.into_iter().collect::<Vec<_>>().join(", ")
}

/// Those of the modules that are loaded.
#[must_use]
pub fn kvm_parameters(modules: &Path) -> Vec<String> {
    let named = [
        ("kvm", "nx_huge_pages"),
        ("kvm", "tdp_mmu"),
        ("kvm", "halt_poll_ns"),
        ("kvm", "eager_page_split"),
        ("kvm", "mmio_caching"),
        ("kvm_intel", "ept"),
        ("kvm_intel", "unrestricted_guest"),
        ("kvm_intel", "vpid"),
        ("kvm_intel", "enable_apicv"),
        ("kvm_intel", "pml"),
        ("kvm_intel", "vmentry_l1d_flush"),
        ("kvm_intel", "nested"),
        ("kvm_amd", "npt"),
        ("kvm_amd", "avic"),
        ("kvm_amd", "nested"),
    ];
    named
        .into_iter()
        .filter_map(|(module, name)| {
            let file = modules.join(module).join("parameters").join(name);
            // One that only root may read is there all the same.
            file.exists()
                .then(|| format!("{module}.{name}={}", read(&file.to_string_lossy())))
        })
        .collect()
}

/// Vulnerabilities that the CPU has, with what is done about each; `None` where none is told.
#[must_use]
pub fn mitigations(folder: &Path) -> Option<Vec<String>> {
    let mut found: Vec<String> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| {
            let state = read(&entry.path().to_string_lossy());
            format!("{}: {state}", entry.file_name().to_string_lossy())
        })
        .filter(|line| !line.ends_with(": Not affected"))
        .collect();
    found.sort();
    Some(found)
}

/// The bracketed word of a `a [b] c` setting.
fn chosen(setting: &str) -> String {
    match (setting.find('['), setting.find(']')) {
        (Some(open), Some(close)) if open < close => setting[open + 1..close].to_owned(),
        _ => setting.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_is_the_bracketed_one() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("unavailable"), "unavailable");
    }

    #[test]
    fn what_is_not_there_is_unavailable_and_not_empty() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(mitigations(nowhere), None);
        assert_eq!(governors(nowhere), "unavailable");
        assert_eq!(read("/nonexistent"), "unavailable");
        assert!(kvm_parameters(nowhere).is_empty());
    }
}
