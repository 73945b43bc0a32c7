//! A world of its own for one test: it is process 1 of a pid namespace with a `/proc`, a network and
//! mounts that nobody else changes. What is there can be counted exactly, and orphans come to it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a test of this binary again as process 1 of a new world, with this variable set, and shows
/// what it prints. It fails if that fails; where no such world can be had, it says so by name.
pub fn enter(test: &str, variable: (&str, &str)) {
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--net"]);
    let possible = Command::new(unshare.get_program())
        .args(unshare.get_args())
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: {test}: no pid, mount and network namespace can be made here");
        return;
    }
    let output = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "2"])
        .env(variable.0, variable.1)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // Not what the test runner says, which would be taken for more tests.
    let runner =
        |line: &str| line.is_empty() || line.starts_with("running ") || line.starts_with("test ");
    for line in text.lines().filter(|line| !runner(line)) {
        println!("{line}");
    }
    let ran = text.contains("1 passed");
    assert!(
        output.status.success() && ran,
        "{test}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Everything in the world that a trial could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub struct World {
    processes: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    groups: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    folders: BTreeSet<String>,
    descriptors: BTreeSet<String>,
}

impl World {
    /// To be used by process 1 only: elsewhere other tests would be counted, too.
    pub fn look() -> Self {
        assert_eq!(std::process::id(), 1, "not a world of its own");
        let mut processes = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        for pid in names(Path::new("/proc")) {
            if pid.parse::<u32>().is_err() {
                continue;
            }
            let folder = Path::new("/proc").join(&pid);
            for name in names(&folder.join("ns")) {
                if let Ok(link) = fs::read_link(folder.join("ns").join(name)) {
                    namespaces.insert(link.to_string_lossy().into_owned());
                }
            }
            processes.insert(pid);
        }
        let own = fs::metadata("/proc/self/ns/pid").unwrap().ino();
        let mut groups = BTreeSet::new();
        for mount in lines("/proc/self/mountinfo") {
            if mount.contains(" - cgroup") {
                let point = mount.split(' ').nth(4).unwrap();
                find_groups(Path::new(point), &format!("-{own}-"), &mut groups);
            }
        }
        let links = lines("/proc/self/net/dev").into_iter().skip(2);
        let links = links.map(|line| line.split(':').next().unwrap().trim().to_owned());
        Self {
            processes,
            namespaces,
            groups,
            mounts: lines("/proc/self/mountinfo").into_iter().collect(),
            links: links.collect(),
            folders: folders(&format!("-{own}-")),
            // Less the one that reads the list, whatever its number.
            descriptors: names(Path::new("/proc/self/fd"))
                .into_iter()
                .filter_map(|fd| {
                    let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
                    Some(format!("{fd} {}", target.display()))
                })
                .collect(),
        }
    }

    /// What is here and was not there, or the other way round.
    pub fn difference(&self, before: &Self) -> Vec<String> {
        let pairs = [
            ("process", &self.processes, &before.processes),
            ("namespace", &self.namespaces, &before.namespaces),
            ("group", &self.groups, &before.groups),
            ("mount", &self.mounts, &before.mounts),
            ("link", &self.links, &before.links),
            ("folder", &self.folders, &before.folders),
            ("descriptor", &self.descriptors, &before.descriptors),
        ];
        let told = pairs.into_iter().flat_map(|(what, now, then)| {
            now.symmetric_difference(then)
                .map(move |one| format!("{what} {one}"))
        });
        told.collect()
    }

    /// Process ids.
    pub fn processes(&self) -> &BTreeSet<String> {
        &self.processes
    }

    /// Names of interfaces.
    pub fn links(&self) -> &BTreeSet<String> {
        &self.links
    }

    /// Paths of groups that harnesses of this world made.
    pub fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }
}

/// Reaps every child that has ended, orphans included.
pub fn reap() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Folders of harnesses of this pid namespace.
fn folders(infix: &str) -> BTreeSet<String> {
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into()];
    let all = places.iter().flat_map(|place| names(place));
    all.filter(|name| name.starts_with("isobench-") && name.contains(infix))
        .collect()
}

/// Groups of harnesses of this pid namespace, however deep.
fn find_groups(folder: &Path, infix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("isobench-") && name.contains(infix) {
                found.insert(entry.path().display().to_string());
            }
            find_groups(&entry.path(), infix, found);
        }
    }
}
