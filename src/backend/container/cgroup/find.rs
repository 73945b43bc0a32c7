//! Where each controller is, and where a group may be made there.

use std::path::{Path, PathBuf};

use super::{Controller, Parent, leaf};
use crate::host::cgroup::{Hierarchies, Hierarchy, Version};
use crate::sys::fd;

/// A place for these controllers, in as few directories as there can be.
///
/// # Errors
/// In words: what is missing.
pub(super) fn parents(wanted: &[Controller]) -> Result<Vec<Parent>, String> {
    let all = Hierarchies::read().map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let mut parents = v1(&all, wanted)?;
    let rest: Vec<Controller> = wanted
        .iter()
        .copied()
        .filter(|c| !parents.iter().any(|p| p.controllers.contains(c)))
        .collect();
    if !rest.is_empty() {
        parents.push(Parent {
            directory: v2(&all, &rest)?,
            version: Version::V2,
            controllers: rest,
        });
    }
    Ok(parents)
}

/// What version 1 has of them; hierarchies may hold several controllers.
fn v1(all: &Hierarchies, wanted: &[Controller]) -> Result<Vec<Parent>, String> {
    let mut parents: Vec<Parent> = Vec::new();
    for &controller in wanted {
        let Some(hierarchy) = all.v1(controller.name()) else {
            continue;
        };
        let directory = own(hierarchy)?;
        match parents.iter_mut().find(|p| p.directory == directory) {
            Some(parent) => parent.controllers.push(controller),
            None => parents.push(Parent {
                directory,
                version: Version::V1,
                controllers: vec![controller],
            }),
        }
    }
    Ok(parents)
}

/// The one place that version 2 allows, or why there is none.
fn v2(all: &Hierarchies, wanted: &[Controller]) -> Result<PathBuf, String> {
    let hierarchy = all
        .v2()
        .ok_or_else(|| format!("no cgroup hierarchy with {} is mounted", named(wanted)))?;
    let own = own(hierarchy)?;
    // Only the true root has no `cgroup.type`; it alone may have both processes and controllers
    // that it hands down.
    let directory = if !own.join("cgroup.type").exists() {
        if !hands_down(&own, wanted) {
            let request: Vec<_> = wanted.iter().map(|c| format!("+{}", c.name())).collect();
            leaf::write(&own.join("cgroup.subtree_control"), &request.join(" "))
                .map_err(|e| format!("the root group does not hand its controllers down: {e}"))?;
        }
        own
    } else if own == hierarchy.mount {
        return Err(format!(
            "the group of this process, {}, is the top of a cgroup namespace and holds processes, \
             so it cannot hand controllers down",
            own.display()
        ));
    } else {
        own.parent().map_or(own.clone(), Path::to_path_buf)
    };
    if hands_down(&directory, wanted) {
        Ok(directory)
    } else {
        let (directory, wanted) = (directory.display(), named(wanted));
        Err(format!("{directory} does not hand {wanted} down"))
    }
}

fn own(hierarchy: &Hierarchy) -> Result<PathBuf, String> {
    hierarchy.own.clone().ok_or_else(|| {
        let mount = hierarchy.mount.display();
        format!("this process's group is outside {mount}")
    })
}

fn hands_down(directory: &Path, wanted: &[Controller]) -> bool {
    fd::text(&directory.join("cgroup.subtree_control")).is_ok_and(|text| {
        let has = |c: &Controller| text.split_whitespace().any(|word| word == c.name());
        wanted.iter().all(has)
    })
}

/// Whether pages can go to a swap file or device now (proc_swaps(5): a line each, below a heading).
pub(super) fn has_swap() -> bool {
    fd::text(Path::new("/proc/swaps")).is_ok_and(|text| text.lines().count() > 1)
}

/// `the memory and pids controllers`.
fn named(controllers: &[Controller]) -> String {
    let names: Vec<_> = controllers.iter().map(|c| c.name()).collect();
    match &names[..] {
        [one] => format!("the {one} controller"),
        [first @ .., last] => format!("the {} and {last} controllers", first.join(", ")),
        [] => "no controller".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Controller::{Cpu, Memory, Pids};

    const OWN: &str = "4:memory:/a\n3:pids:/\n2:cpu,cpuacct:/b\n0::/user.slice/s.scope\n";
    const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const PIDS: &str = "36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    const CPU: &str = "37 31 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn each_controller_of_version_1_has_its_directory() {
        let all = Hierarchies::parse(&[MEMORY, PIDS, CPU].concat(), OWN);
        let found = v1(&all, &[Memory, Pids, Cpu]).unwrap();
        let directories: Vec<_> = found
            .iter()
            .map(|p| p.directory.to_str().unwrap())
            .collect();
        assert_eq!(
            directories,
            [
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/pids/",
                "/sys/fs/cgroup/cpu/b"
            ]
        );
        assert!(found.iter().all(|p| p.controllers.len() == 1));
    }

    #[test]
    fn controllers_of_one_hierarchy_share_a_directory() {
        let both = "35 31 0:32 / /c rw - cgroup cgroup rw,memory,pids\n";
        let all = Hierarchies::parse(both, "4:memory,pids:/a\n");
        let found = v1(&all, &[Memory, Pids, Cpu]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].controllers, [Memory, Pids]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = Hierarchies::parse("", OWN);
        let error = v2(&all, &[Memory, Pids]).unwrap_err();
        assert!(error.contains("the memory and pids controllers"), "{error}");
        assert!(v2(&all, &[Cpu]).unwrap_err().contains("the cpu controller"));
    }
}
