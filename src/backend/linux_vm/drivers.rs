//! What a kernel needs to have virtio devices: the drivers that it has as modules, and a disk.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::options::Options;
use crate::backend::Unavailable;
use crate::sys::fd;
use crate::vmm::virtio::block::SECTOR;

/// Modules in the order of loading, and whether only a disk, or only a console, needs them.
const MODULES: [(&str, Option<bool>); 5] = [
    ("virtio/virtio", None),
    ("virtio/virtio_ring", None),
    ("virtio/virtio_mmio", None),
    ("block/virtio_blk", Some(true)),
    ("char/virtio_console", Some(false)),
];
/// What distributions add to a module's name.
const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];
/// A driver is a few tens of kilobytes.
const LARGEST: u64 = 8 << 20;

/// The drivers that a kernel from this file, of this version, has as modules. Those it lacks there are
/// taken for built in: whether they are, the devices tell once the guest has run.
///
/// # Errors
/// A module cannot be read.
pub fn find(
    kernel: &Path,
    version: Option<&str>,
    options: Options,
) -> Result<Vec<Vec<u8>>, Unavailable> {
    let Some(folder) = folder(kernel, version) else {
        return Ok(Vec::new());
    };
    let wanted = |for_disk: Option<bool>| match for_disk {
        None => true,
        Some(true) => options.disk,
        Some(false) => options.console,
    };
    let mut found = Vec::new();
    for (name, _) in MODULES.into_iter().filter(|(_, what)| wanted(*what)) {
        let files = SUFFIXES.map(|suffix| folder.join(format!("{name}{suffix}")));
        let Some(file) = files.into_iter().find(|file| file.exists()) else {
            continue;
        };
        let bytes = read(&file).map_err(|error| Unavailable {
            reason: format!("the driver {} cannot be read: {error}", file.display()),
            remedy: format!("`sudo chmod a+r {}`", file.display()),
        })?;
        found.push(bytes);
    }
    Ok(found)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let facts = fs::metadata(file)?;
    if !facts.is_file() || facts.len() > LARGEST {
        return Err(io::Error::other("not a module's file"));
    }
    fs::read(file)
}

/// `lib/modules/VERSION/kernel/drivers` beside the folder that the kernel lies in, as packages have it.
fn folder(kernel: &Path, version: Option<&str>) -> Option<PathBuf> {
    let release = version?.split_whitespace().next()?;
    let sane = !release.contains('/') && release != "..";
    let root = fs::canonicalize(kernel).ok()?;
    let root = root.parent()?.parent()?.join("lib/modules").join(release);
    let drivers = root.join("kernel/drivers");
    (sane && drivers.is_dir()).then_some(drivers)
}

/// A disk with a partition table and, in its one partition, the payload, in a sealed memory file.
///
/// # Errors
/// memfd_create(2), write(2), fcntl(2).
pub fn disk(payload: &[u8]) -> io::Result<fs::File> {
    let sectors = payload.len() as u64 / SECTOR + 1;
    let mut image = vec![0; ((1 + sectors) * SECTOR) as usize];
    // The first entry of a "master boot record": not bootable, without heads and cylinders, of a kind
    // that is free for anybody, from sector 1 on.
    let entry: [u32; 4] = [
        0,
        0x7f,
        1,
        u32::try_from(sectors).map_err(io::Error::other)?,
    ];
    image[446..462].copy_from_slice(entry.map(u32::to_le_bytes).as_flattened());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[SECTOR as usize..][..payload.len()].copy_from_slice(payload);
    let mut file = fd::memory(c"isobench-disk")?;
    file.write_all(&image)?;
    fd::seal(&file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::payload;

    #[test]
    fn drivers_are_found_beside_the_kernel_and_those_that_are_needed() {
        let root = tempfile::tempdir().unwrap();
        let drivers = root.path().join("lib/modules/6.1-x/kernel/drivers");
        let kernel = root.path().join("boot/vmlinuz-6.1-x");
        for (name, _) in MODULES {
            let file = drivers.join(format!("{name}.ko.xz"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        fs::create_dir_all(kernel.parent().unwrap()).unwrap();
        fs::write(&kernel, "").unwrap();
        let names = |version, options: &str| {
            let found = find(&kernel, version, Options::parse(options).unwrap()).unwrap();
            let names = found
                .into_iter()
                .map(|bytes| String::from_utf8(bytes).unwrap());
            names.collect::<Vec<_>>().join(" ")
        };
        let common = "virtio/virtio virtio/virtio_ring virtio/virtio_mmio";
        let disk = format!("{common} block/virtio_blk");
        assert_eq!(names(Some("6.1-x (who@where) #1"), "with=disk"), disk);
        let console = format!("{common} char/virtio_console");
        assert_eq!(names(Some("6.1-x"), "with=console"), console);
        for none in [
            None,
            Some(""),
            Some("6.2"),
            Some(".."),
            Some("../modules/6.1-x"),
        ] {
            assert_eq!(names(none, "with=disk"), "", "{none:?}");
        }
    }

    #[test]
    fn the_disk_holds_the_payloads_very_bytes() {
        use std::os::unix::fs::FileExt;
        let disk = disk(payload::BYTES).unwrap();
        let mut bytes = vec![0; payload::BYTES.len()];
        disk.read_exact_at(&mut bytes, SECTOR).unwrap();
        assert!(bytes == payload::BYTES);
        assert!(disk.metadata().unwrap().len().is_multiple_of(SECTOR));
        assert!(disk.write_at(&[1], 0).is_err(), "sealed");
    }
}
