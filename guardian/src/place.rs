//! Where things are made that outlive a process, and how they are found again by name.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::owner::Owner;
use crate::proc::end_marked;
use crate::{group, kernel, link};

/// Where a harness makes things that outlive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Control groups directly below this directory of a cgroup file system; named by
    /// [`Owner::new_name`].
    Groups(PathBuf),
    /// Folders directly below this one, which is on a file system of this machine; named by
    /// [`Owner::new_name`], and of the user who made them. And symbolic links to them, for programs that
    /// have no room for such a path; named by [`Owner::new_link_name`].
    Folders(PathBuf),
    /// Processes of the harness's own user that carry [`MARK`](crate::MARK) with a name of
    /// [`Owner::new_name`], and monitors with such a name on their command line.
    Processes,
    /// Interfaces of the network namespace that the harness is in; named by [`Owner::new_link_name`].
    Links,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What it removed.
    pub removed: Vec<String>,
    /// What stays, and why.
    pub left: Vec<(String, io::Error)>,
}

impl Swept {
    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.left.is_empty()
    }
}

impl Place {
    /// As a record of the guardian's pipe, without the NUL that ends it: no path has one.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let tagged = |tag: u8, path: &Path| [&[tag], path.as_os_str().as_bytes()].concat();
        match self {
            Self::Groups(path) => tagged(b'g', path),
            Self::Folders(path) => tagged(b'f', path),
            Self::Processes => vec![b'p'],
            Self::Links => vec![b'l'],
        }
    }

    /// The reverse.
    #[must_use]
    pub fn from_record(record: Vec<u8>) -> Option<Self> {
        let (tag, path) = record.split_first()?;
        let path = || PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        match tag {
            b'g' => Some(Self::Groups(path())),
            b'f' => Some(Self::Folders(path())),
            b'p' if record.len() == 1 => Some(Self::Processes),
            b'l' if record.len() == 1 => Some(Self::Links),
            _ => None,
        }
    }

    /// Removes what lies here and is by its name of an owner that is to be swept. Nothing else is
    /// touched. A place that is not there is empty.
    pub fn sweep(&self, whose: impl Fn(Owner) -> bool) -> Swept {
        let mut swept = Swept::default();
        let mut note = |what: String, result: io::Result<()>| match result {
            Ok(()) => swept.removed.push(what),
            // Somebody else was faster: the guardian and the next harness may meet.
            Err(error) if is_absent(&error) => {}
            Err(error) => swept.left.push((what, error)),
        };
        match self {
            Self::Groups(directory) => {
                for path in entries(directory, whose) {
                    note(path.display().to_string(), group::remove(&path));
                }
            }
            Self::Folders(directory) => {
                // The place may be /tmp, where anybody may make a folder of any name.
                let own = |path: &PathBuf| {
                    fs::symlink_metadata(path)
                        .is_ok_and(|facts| facts.is_dir() && facts.uid() == kernel::user())
                };
                for path in entries(directory, &whose).into_iter().filter(own) {
                    note(path.display().to_string(), remove_folder(&path));
                }
                let is_theirs = |name: &str| Owner::of_link(name).is_some_and(&whose);
                for path in named(directory, is_theirs) {
                    // A program that outlived the folder may have made one by this name.
                    let removed = match fs::symlink_metadata(&path) {
                        Ok(facts) if facts.uid() != kernel::user() => continue,
                        Ok(facts) if facts.is_symlink() => fs::remove_file(&path),
                        Ok(facts) if facts.is_dir() => remove_folder(&path),
                        _ => continue,
                    };
                    note(path.display().to_string(), removed);
                }
            }
            Self::Processes => {
                // Whether it has gone is for the next look to tell.
                let is_theirs = |name: &str| {
                    let owner = Owner::of(name).or_else(|| Owner::of_link(name));
                    owner.is_some_and(&whose)
                };
                for pid in end_marked(is_theirs) {
                    let busy = io::Error::from(io::ErrorKind::ResourceBusy);
                    note(format!("process {pid}"), Err(busy));
                }
            }
            Self::Links => {
                // What cannot be listed cannot have been made here.
                for name in link::names().unwrap_or_default() {
                    if Owner::of_link(&name).is_some_and(&whose) {
                        let deleted = link::delete(&name);
                        note(format!("link {name}"), deleted);
                    }
                }
            }
        }
        swept
    }
}

/// Entries of the directory whose name has an owner to be swept.
fn entries(directory: &Path, whose: impl Fn(Owner) -> bool) -> Vec<PathBuf> {
    named(directory, |name| Owner::of(name).is_some_and(&whose))
}

/// Entries of the directory with such a name.
fn named(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    found
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .collect()
}

/// A folder with all that is in it. `remove_dir_all` follows no symbolic link, but it would go into
/// what is mounted below: that is detached first, the latest mount first.
///
/// # Errors
/// Something stays mounted there, and with it the folder.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    // As the list of mounts has it: a folder above may be a symbolic link.
    let path = &fs::canonicalize(path)?;
    for point in mounted_below(path)?.iter().rev() {
        kernel::detach(point)?;
    }
    if !mounted_below(path)?.is_empty() {
        return Err(io::Error::other("something is mounted there"));
    }
    fs::remove_dir_all(path)
}

/// Mount points in a folder, in the order of their mounts.
fn mounted_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let point = |line: &[u8]| {
        let point = line.split(|b| *b == b' ').nth(4)?;
        let point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(point)));
        point.starts_with(path).then_some(point)
    };
    Ok(mounts.split(|b| *b == b'\n').filter_map(point).collect())
}

/// A mount point as `mountinfo` writes it: blank, tab, newline and backslash are `\` and three
/// octal digits (`mangle_path` in `fs/seq_file.c`).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| std::str::from_utf8(behind.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() {
            &behind[3..]
        } else {
            behind
        };
    }
    bytes
}

/// No such entry (ENOENT), no such interface (ENODEV).
fn is_absent(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_record_is_read_back() {
        for place in [
            Place::Groups("/sys/fs/cgroup/a b\nc".into()),
            Place::Folders("/tmp".into()),
            Place::Processes,
            Place::Links,
        ] {
            let record = place.to_record();
            assert!(!record.contains(&0));
            assert_eq!(Place::from_record(record), Some(place));
        }
        for wrong in [&b""[..], b"x/tmp", b"l/tmp", b"p/tmp"] {
            assert_eq!(Place::from_record(wrong.to_vec()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_mount_point_is_read_as_it_was_named() {
        assert_eq!(unescaped(br"/a\040b\134\011"), b"/a b\\\t");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
    }

    /// A folder for one test, gone at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("guardian-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> BTreeSet<String> {
            let entries = fs::read_dir(&self.0).unwrap().flatten();
            entries
                .map(|e| e.file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Own folders go with all they hold, not what their symbolic links point to; foreign names,
    /// other owners', a later one's with the same id among them, and the rest stay.
    #[test]
    fn only_what_is_ours_goes() {
        let scratch = Scratch::new("ours");
        let own = Owner::current().unwrap();
        let canary = scratch.0.join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("file"), "here").unwrap();
        let mine = scratch.0.join(own.new_name());
        fs::create_dir_all(mine.join("upper/a")).unwrap();
        fs::write(mine.join("upper/a/b"), "x").unwrap();
        std::os::unix::fs::symlink(&canary, mine.join("link")).unwrap();
        let later = own.later().new_name();
        let others = ["isobench-1-1-1-1", "isobench-7", "other", &later];
        for other in others {
            fs::create_dir(scratch.0.join(other)).unwrap();
        }
        // A link of the right name to what is not ours.
        let named = own.new_name();
        std::os::unix::fs::symlink(&canary, scratch.0.join(&named)).unwrap();
        // A short name for a folder, and what somebody has made by such a name.
        let [short, made, file] = [0; 3].map(|_| scratch.0.join(own.new_link_name()));
        std::os::unix::fs::symlink(&mine, &short).unwrap();
        fs::create_dir_all(made.join("below")).unwrap();
        fs::write(&file, "no folder").unwrap();
        let swept = Place::Folders(scratch.0.clone()).sweep(|owner| owner == own);
        let removed: BTreeSet<_> = swept.removed.iter().cloned().collect();
        let ours = [mine, short, made].map(|path| path.display().to_string());
        assert_eq!(removed, BTreeSet::from(ours));
        let file = file.file_name().and_then(OsStr::to_str).unwrap();
        assert!(swept.left.is_empty());
        let expected = others
            .into_iter()
            .chain(["canary", &named, file])
            .map(str::to_owned);
        assert_eq!(scratch.names(), expected.collect());
        assert_eq!(fs::read(canary.join("file")).unwrap(), b"here");
    }

    const INNER: &str = "ISOBENCH_TEST_INNER";

    /// What is mounted below is let go, and not emptied, also where the way there leads over a symbolic
    /// link, which the list of mounts does not know.
    #[test]
    fn what_is_mounted_in_a_folder_is_not_emptied_with_it() {
        let test = "place::tests::what_is_mounted_in_a_folder_is_not_emptied_with_it";
        if std::env::var_os(INNER).is_none() {
            let inner = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--mount"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(INNER, "1")
                .output();
            match inner {
                Ok(output) if output.status.success() => {}
                Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare:") => {
                    println!("skipped: {test}: no mount namespace can be made here");
                }
                other => panic!("{other:?}"),
            }
            return;
        }
        let scratch = Scratch::new("mounted");
        let real = scratch.0.join("real");
        let treasure = scratch.0.join("treasure");
        for folder in [&real, &treasure] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(treasure.join("file"), "here").unwrap();
        let short = scratch.0.join("short");
        std::os::unix::fs::symlink(&real, &short).unwrap();
        for way in [&real, &short] {
            let folder = way.join("folder");
            fs::create_dir_all(folder.join("mounted")).unwrap();
            let bound = std::process::Command::new("mount")
                .arg("--bind")
                .args([&treasure, &folder.join("mounted")])
                .status();
            assert!(bound.unwrap().success());
            remove_folder(&folder).unwrap();
            assert!(!folder.exists());
            assert_eq!(fs::read(treasure.join("file")).unwrap(), b"here");
        }
    }

    #[test]
    fn a_place_that_is_not_there_is_empty() {
        let nowhere = Place::Groups("/nonexistent/isobench".into());
        let swept = nowhere.sweep(|_| true);
        assert!(swept.removed.is_empty() && swept.left.is_empty());
    }
}
