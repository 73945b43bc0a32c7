//! An initial RAM file system as the kernel unpacks it: a cpio archive of the "newc" kind
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`).
//!
//! Deterministic: the same entries give the same bytes, in whatever order they were added. Every
//! time is 0, every owner is root, entries are sorted, inode numbers are counted. The digest of an
//! image therefore stands for its content.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};

/// Longest path and longest symbolic link that the kernel takes, their NUL included; it passes over
/// longer ones without a word (`do_header` in `init/initramfs.c`).
const PATH_MAX: usize = 4096;

/// The tree to be archived. Folders that a path needs are added with mode 755.
#[derive(Clone, Debug, Default)]
pub struct Initramfs<'a> {
    // Sorted by path, a folder comes before what lies in it, as unpacking needs it.
    nodes: BTreeMap<String, Node<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node<'a> {
    Directory,
    File { mode: u32, bytes: Cow<'a, [u8]> },
    Link { target: String },
    Device { mode: u32, major: u32, minor: u32 },
}

/// An entry that the kernel would not unpack as meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitramfsError {
    /// Empty, relative, with a NUL, an empty, `.` or `..` component, too long, or the end mark.
    #[error("`{0}` is not an absolute path that an initramfs can hold")]
    Path(String),
    /// The path is taken, or something that is no folder lies on the way to it.
    #[error("`{0}` is in the initramfs already, as something else")]
    Taken(String),
    /// The format has 32 bits for a size.
    #[error("`{0}` has {1} bytes; an initramfs holds files below 4 GiB")]
    Size(String, usize),
    /// Empty, with a NUL, or too long.
    #[error("`{0}` cannot be the target of a symbolic link")]
    Target(String),
}

impl<'a> Initramfs<'a> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder with mode 755; nothing if it is there.
    ///
    /// # Errors
    /// [`InitramfsError::Path`], [`InitramfsError::Taken`].
    pub fn directory(&mut self, path: &str) -> Result<&mut Self, InitramfsError> {
        let name = self.parents(path)?;
        match self.nodes.entry(name).or_insert(Node::Directory) {
            Node::Directory => Ok(self),
            _ => Err(InitramfsError::Taken(path.to_owned())),
        }
    }

    /// A regular file with these permission bits.
    ///
    /// # Errors
    /// [`InitramfsError::Path`], [`InitramfsError::Taken`], [`InitramfsError::Size`].
    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<&mut Self, InitramfsError> {
        let bytes = bytes.into();
        if u32::try_from(bytes.len()).is_err() {
            return Err(InitramfsError::Size(path.to_owned(), bytes.len()));
        }
        self.add(path, Node::File { mode, bytes })
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// [`InitramfsError::Path`], [`InitramfsError::Taken`], [`InitramfsError::Target`].
    pub fn link(&mut self, path: &str, target: &str) -> Result<&mut Self, InitramfsError> {
        if target.is_empty() || target.len() >= PATH_MAX || target.contains('\0') {
            return Err(InitramfsError::Target(target.to_owned()));
        }
        let target = target.to_owned();
        self.add(path, Node::Link { target })
    }

    /// A character device with these permission bits. The kernel opens `/dev/console` (5:1) as the
    /// descriptors 0 to 2 of `/init`; without it `/init` starts with none.
    ///
    /// # Errors
    /// [`InitramfsError::Path`], [`InitramfsError::Taken`].
    pub fn device(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
    ) -> Result<&mut Self, InitramfsError> {
        self.add(path, Node::Device { mode, major, minor })
    }

    fn add(&mut self, path: &str, node: Node<'a>) -> Result<&mut Self, InitramfsError> {
        let name = self.parents(path)?;
        if self.nodes.contains_key(&name) {
            return Err(InitramfsError::Taken(path.to_owned()));
        }
        self.nodes.insert(name, node);
        Ok(self)
    }

    /// Checks a path, adds the folders above it, and gives it as the archive has it: without the
    /// leading slash.
    fn parents(&mut self, path: &str) -> Result<String, InitramfsError> {
        let valid = |name: &str| {
            let component = |part: &str| !matches!(part, "" | "." | "..");
            !name.contains('\0')
                && name.len() < PATH_MAX
                && name != "TRAILER!!!"
                && name.split('/').all(component)
        };
        let name = path.strip_prefix('/').filter(|name| valid(name));
        let name = name.ok_or_else(|| InitramfsError::Path(path.to_owned()))?;
        for (end, _) in name.match_indices('/') {
            let folder = name[..end].to_owned();
            if *self.nodes.entry(folder).or_insert(Node::Directory) != Node::Directory {
                return Err(InitramfsError::Taken(path.to_owned()));
            }
        }
        Ok(name.to_owned())
    }

    /// Writes the archive, a multiple of four bytes.
    ///
    /// # Errors
    /// Those of `out`; none if that is memory.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        for (ino, (name, node)) in (1..).zip(&self.nodes) {
            node.write(Builder::new(name).ino(ino), &mut out)?;
        }
        trailer(out).map(drop)
    }
}

impl Node<'_> {
    fn write(&self, entry: Builder, out: impl Write) -> io::Result<()> {
        let (entry, content): (_, &[u8]) = match self {
            Self::Directory => {
                let entry = entry.mode(0o755).nlink(2);
                (entry.set_mode_file_type(ModeFileType::Directory), &[])
            }
            Self::File { mode, bytes } => {
                let entry = entry.mode(mode & 0o7777);
                (entry.set_mode_file_type(ModeFileType::Regular), bytes)
            }
            Self::Link { target } => {
                let entry = entry.mode(0o777);
                let entry = entry.set_mode_file_type(ModeFileType::Symlink);
                (entry, target.as_bytes())
            }
            Self::Device { mode, major, minor } => {
                let entry = entry.mode(mode & 0o7777).rdev_major(*major);
                let entry = entry.rdev_minor(*minor);
                (entry.set_mode_file_type(ModeFileType::Char), &[])
            }
        };
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = entry.write(out, size);
        writer.write_all(content)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use cpio::newc::Reader;
    use proptest::prelude::*;

    use super::*;

    fn archive(tree: &Initramfs<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        tree.write_to(&mut bytes).unwrap();
        bytes
    }

    /// Name, mode, device and content of every entry, in order.
    type Entries = Vec<(String, u32, (u32, u32), Vec<u8>)>;

    fn read(mut rest: &[u8]) -> Entries {
        let mut entries = Vec::new();
        let mut inodes = std::collections::BTreeSet::new();
        loop {
            let mut reader = Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                assert!(reader.finish().unwrap().is_empty());
                return entries;
            }
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            assert!(
                inodes.insert(entry.ino()),
                "two files of one inode are one file"
            );
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            let device = (entry.rdev_major(), entry.rdev_minor());
            entries.push((entry.name().to_owned(), entry.mode(), device, content));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn every_kind_of_entry_is_as_the_kernel_wants_it() {
        let mut tree = Initramfs::new();
        tree.file("/init", 0o755, &b"\x7fELF"[..]).unwrap();
        tree.device("/dev/console", 0o600, (5, 1)).unwrap();
        tree.link("/sbin", "bin").unwrap();
        tree.directory("/proc").unwrap().directory("/proc").unwrap();
        let entry = |name: &str, mode, device, content: &[u8]| {
            (name.to_owned(), mode, device, content.to_vec())
        };
        let expected = [
            entry("dev", 0o040_755, (0, 0), b""),
            entry("dev/console", 0o020_600, (5, 1), b""),
            entry("init", 0o100_755, (0, 0), b"\x7fELF"),
            entry("proc", 0o040_755, (0, 0), b""),
            entry("sbin", 0o120_777, (0, 0), b"bin"),
        ];
        assert_eq!(read(&archive(&tree)), expected);
    }

    #[test]
    fn what_the_kernel_would_pass_over_is_refused() {
        let mut tree = Initramfs::new();
        let long = format!("/{}", "x".repeat(PATH_MAX));
        for path in [
            "",
            "/",
            "init",
            "/a//b",
            "/a/",
            "/./a",
            "/a/..",
            "/a\0b",
            "/TRAILER!!!",
            &long,
        ] {
            let refused = tree.directory(path).unwrap_err();
            assert_eq!(refused, InitramfsError::Path(path.to_owned()));
        }
        tree.file("/a", 0o644, &b""[..]).unwrap();
        for taken in ["/a", "/a/b"] {
            let refused = tree.file(taken, 0o644, &b""[..]).unwrap_err();
            assert_eq!(refused, InitramfsError::Taken(taken.to_owned()));
        }
        assert!(matches!(
            tree.directory("/a"),
            Err(InitramfsError::Taken(_))
        ));
        for target in ["", "a\0", &long] {
            assert!(matches!(
                tree.link("/l", target),
                Err(InitramfsError::Target(_))
            ));
        }
        assert_eq!(read(&archive(&tree)).len(), 1, "a refusal leaves nothing");
    }

    proptest! {
        /// What was put in comes out, folders before what lies in them, whatever the order.
        #[test]
        fn an_archive_reads_back_and_does_not_depend_on_order(
            files in prop::collection::btree_map("[a-c]{1,2}(/[x-z]{1,2}){0,2}", prop::collection::vec(any::<u8>(), 0..9), 0..8),
        ) {
            let add = |tree: &mut Initramfs<'static>, (name, bytes): (&String, &Vec<u8>)| {
                // A file whose name is taken by a folder, or lies below a file, is left out.
                tree.file(&format!("/{name}"), 0o644, bytes.clone()).is_ok()
            };
            let mut tree = Initramfs::new();
            let kept: Vec<_> = files.iter().filter(|file| add(&mut tree, *file)).collect();
            let bytes = archive(&tree);
            prop_assert_eq!(bytes.len() % 4, 0);
            let mut backwards = Initramfs::new();
            for file in kept.iter().rev() {
                prop_assert!(add(&mut backwards, *file));
            }
            prop_assert_eq!(&bytes, &archive(&backwards));
            let entries = read(&bytes);
            for (at, (name, ..)) in entries.iter().enumerate() {
                if let Some((folder, _)) = name.rsplit_once('/') {
                    let before = entries[..at].iter().any(|(n, mode, ..)| n == folder && mode & 0o040_000 != 0);
                    prop_assert!(before, "{} before its folder", name);
                }
            }
            let found: Vec<_> = entries.iter().filter(|e| e.1 == 0o100_644).map(|e| (&e.0, &e.3)).collect();
            prop_assert_eq!(found, kept);
        }
    }
}
