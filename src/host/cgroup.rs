//! Which control-group hierarchies there are and where this process is in each (cgroups(7)).
//!
//! Systems come in three layouts: version 1 (a hierarchy per controller), version 2 (one for all),
//! and hybrid (controllers in version 1, version 2 mounted beside it).

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fd;

/// Version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `cgroup`.
    V1,
    /// `cgroup2`.
    V2,
}

/// The layout of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Both.
    Hybrid,
    /// Neither is mounted.
    None,
}

impl Layout {
    /// Spelling in `run.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
            Self::None => "none",
        }
    }
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its version.
    pub version: Version,
    /// Its controllers; for version 2 those its root offers are in `cgroup.controllers`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Directory of this process's own group, if it lies below the mount.
    pub own: Option<PathBuf>,
}

/// Every mounted hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Those this process sees.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(
            &fd::text(Path::new("/proc/self/mountinfo"))?,
            &fd::text(Path::new("/proc/self/cgroup"))?,
        ))
    }

    /// From the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)) and `/proc/PID/cgroup`.
    /// Lines that are not understood are not cgroup mounts.
    #[must_use]
    pub fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let own: Vec<_> = cgroup.lines().filter_map(membership).collect();
        Self(
            mountinfo
                .lines()
                .filter_map(|line| hierarchy(line, &own))
                .collect(),
        )
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let has = |version| {
            self.0.iter().any(|h| {
                h.version == version && (version == Version::V2 || !h.controllers.is_empty())
            })
        };
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Layout::Hybrid,
            (true, false) => Layout::V1,
            (false, true) => Layout::V2,
            (false, false) => Layout::None,
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    /// The version 1 hierarchy with this controller.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.0
            .iter()
            .find(|h| h.version == Version::V1 && h.controllers.iter().any(|c| c == controller))
    }

    /// The version 2 hierarchy.
    #[must_use]
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|h| h.version == Version::V2)
    }
}

/// `ID:controllers:path`; no controllers for version 2.
fn membership(line: &str) -> Option<(Vec<&str>, &str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    Some((
        controllers.split(',').filter(|c| !c.is_empty()).collect(),
        path,
    ))
}

/// `id parent major:minor root mount options [tag…] - type source super-options`
fn hierarchy(line: &str, own: &[(Vec<&str>, &str)]) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let root = unescape(front.nth(3)?);
    let mount = PathBuf::from(unescape(front.next()?));
    let mut back = back.split(' ');
    let (version, options) = match (back.next()?, back.nth(1)?) {
        ("cgroup", options) => (Version::V1, options),
        ("cgroup2", _) => (Version::V2, ""),
        _ => return None,
    };
    // The super options of version 1 mix controllers with mount options: those that
    // /proc/self/cgroup names, too, are controllers.
    let member = own.iter().find(|(controllers, _)| match version {
        Version::V2 => controllers.is_empty(),
        Version::V1 => controllers
            .iter()
            .any(|c| options.split(',').any(|option| option == *c)),
    });
    let controllers = member.map_or_else(Vec::new, |(controllers, _)| {
        let real = controllers.iter().filter(|c| !c.starts_with("name="));
        real.map(|c| (*c).to_owned()).collect()
    });
    let below = member.and_then(|(_, path)| Path::new(path).strip_prefix(&root).ok());
    Some(Hierarchy {
        version,
        controllers,
        own: below
            .filter(|path| path.components().all(|c| c.as_os_str() != ".."))
            .map(|path| mount.join(path)),
        mount,
    })
}

/// Blanks, newlines and backslashes are written as three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|c| u8::from_str_radix(c, 8).ok());
        match (code, part.get(3..)) {
            (Some(byte), Some(rest)) => {
                text.push(char::from(byte));
                text.push_str(rest);
            }
            _ => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
    const CPU: &str = "36 31 0:33 / /mnt/a\\040b rw shared:3 - cgroup cgroup rw,cpu,cpuacct";
    const NAMED: &str = "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
    const OWN: &str = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice/s.scope\n";

    #[test]
    fn layouts_are_told_apart() {
        let layout = |mounts: &[&str]| Hierarchies::parse(&mounts.join("\n"), OWN).layout();
        assert_eq!(layout(&[]), Layout::None);
        assert_eq!(layout(&[V2]), Layout::V2);
        assert_eq!(layout(&[MEMORY, NAMED]), Layout::V1);
        assert_eq!(layout(&[V2, MEMORY]), Layout::Hybrid);
        assert_eq!(layout(&[V2, NAMED]), Layout::V2);
    }

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let found = Hierarchies::parse(&[V2, MEMORY, CPU].join("\n"), OWN);
        let own = |h: Option<&Hierarchy>| h.and_then(|h| h.own.clone());
        assert_eq!(
            own(found.v2()),
            Some("/sys/fs/cgroup/user.slice/s.scope".into())
        );
        assert_eq!(
            own(found.v1("memory")),
            Some("/sys/fs/cgroup/memory/a/b".into())
        );
        assert_eq!(own(found.v1("cpuacct")), Some("/mnt/a b/".into()));
        assert_eq!(found.v1("pids"), None);
    }

    #[test]
    fn a_group_outside_the_mount_is_not_guessed() {
        let mount = "35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let own = |cgroup: &str| {
            let found = Hierarchies::parse(mount, cgroup);
            found.v1("memory").and_then(|h| h.own.clone())
        };
        assert_eq!(own("4:memory:/elsewhere"), None);
        assert_eq!(own("4:memory:/docker/1/../../x"), None);
        assert_eq!(
            own("4:memory:/docker/1/x"),
            Some("/sys/fs/cgroup/memory/x".into())
        );
    }
}
