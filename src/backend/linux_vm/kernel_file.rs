//! Which kernel: the one that is named, else the newest that this host boots from.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::backend::Unavailable;
use crate::vmm::linux::kernel::{Kernel, MAX_FILE};

/// A checked kernel and where it came from.
#[derive(Debug)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The image.
    pub kernel: Kernel,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
}

/// Finds, reads and checks it.
///
/// # Errors
/// There is none, it cannot be read, or it is no kernel.
pub fn find(named: Option<&Path>, boot: &Path) -> Result<Found, Unavailable> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => newest(boot)?,
    };
    let name = path.display().to_string();
    let bytes = read(&path).map_err(|error| Unavailable {
        reason: format!("the kernel {name} cannot be read: {error}"),
        remedy: match error.kind() {
            io::ErrorKind::PermissionDenied => format!("`sudo chmod a+r {name}`, or --kernel PATH"),
            _ => "--kernel PATH of a bzImage or vmlinux".to_owned(),
        },
    })?;
    let sha256 = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kernel = Kernel::parse(bytes).map_err(|error| Unavailable {
        reason: format!("{name} is no kernel that can be booted: {error}"),
        remedy: "--kernel PATH of a bzImage or vmlinux for x86-64".to_owned(),
    })?;
    Ok(Found {
        path,
        kernel,
        sha256,
    })
}

/// The whole of a regular file of bounded size. A FIFO is not waited for, a device not read.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let too_large = || io::Error::other(format!("more than {} MiB", MAX_FILE >> 20));
    if facts.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large());
    }
    Ok(bytes)
}

/// `vmlinuz-VERSION` of the highest version.
fn newest(boot: &Path) -> Result<PathBuf, Unavailable> {
    let none = || Unavailable {
        reason: format!("there is no kernel (vmlinuz-*) in {}", boot.display()),
        remedy:
            "apt-get install linux-image-cloud-amd64 (Debian), linux-image-virtual (Ubuntu) or \
                 kernel-core (Fedora); or --kernel PATH of a bzImage or vmlinux"
                .to_owned(),
    };
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        Some(name.strip_prefix("vmlinuz-")?.to_owned())
    };
    std::fs::read_dir(boot)
        .map_err(|_| none())?
        .flatten()
        .filter_map(|entry| Some((version(&entry.path())?, entry.path())))
        .max_by(|(a, _), (b, _)| compare(a, b))
        .map(|(_, path)| path)
        .ok_or_else(none)
}

/// Versions as sort(1) `-V` has them for names like these: runs of digits by value, the rest by byte.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([x, ..], [y, ..]) = (a, b) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let ((m, rest_a), (n, rest_b)) = (number(a), number(b));
            let order = (m.len(), m).cmp(&(n.len(), n));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else {
            if x != y {
                return x.cmp(y);
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
    a.len().cmp(&b.len())
}

/// A run of digits without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|c| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let zeros = digits.iter().take_while(|c| **c == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_version_and_not_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let none = newest(folder.path()).unwrap_err();
        assert!(none.remedy.contains("linux-image-cloud-amd64"), "{none}");
        for name in [
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-31-amd64",
            "vmlinuz-5.10.0-99-amd64",
            "initrd.img-9",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = newest(folder.path()).unwrap();
        assert!(found.ends_with("vmlinuz-6.1.0-31-amd64"), "{found:?}");
        for (less, more) in [
            ("6.1", "6.1.1"),
            ("6.9-rc1", "6.10"),
            ("6.1.0", "6.1.a"),
            ("007", "8"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{more} {less}");
        }
    }

    /// What is no kernel is refused within moments, whatever kind of file it is.
    #[test]
    fn what_is_no_kernel_file_is_refused_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "not a kernel").unwrap();
        let huge = folder.path().join("huge");
        File::create(&huge).unwrap().set_len(MAX_FILE + 1).unwrap();
        let absent = folder.path().join("absent");
        for (path, says) in [
            (fifo.as_path(), "not a regular file"),
            (Path::new("/dev/zero"), "not a regular file"),
            (folder.path(), "not a regular file"),
            (&text, "neither a bzImage nor an ELF file"),
            (&huge, "more than 1024 MiB"),
            (&absent, "No such file"),
        ] {
            let refused = find(Some(path), Path::new("/boot")).unwrap_err();
            assert!(refused.reason.contains(says), "{refused}");
            assert!(refused.remedy.contains("--kernel PATH"), "{refused:?}");
        }
    }
}
