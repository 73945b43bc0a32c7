//! What somebody else's VMM boots: the kernel and the initramfs of `linux-vm`, as files, and the command
//! line. The payload's bytes are the same: it makes the serial port's device node itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use isobench_abi::{CONSOLE_ENVIRONMENT, SERIAL_ENVIRONMENT};

use super::workspace::Workspace;
use crate::backend::linux_vm::kernel_file;
use crate::backend::linux_vm::options::Savings;
use crate::backend::{GuestKernel, Provided, Unavailable};
use crate::trial::{Failure, Launch};
use crate::vmm::linux::image::Image;
use crate::vmm::linux::kernel::Format;
use crate::vmm::linux::{layout, params, unpack};
use crate::workload::payload;

/// Folder of the workspace with the files.
const FOLDER: &str = "guest";

/// Where the payload speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// On the second serial port; the kernel prints on the first.
    Second,
    /// On the only one, behind what the kernel has printed there.
    Console,
}

/// A kernel with its initramfs.
pub struct Guest {
    sha256: String,
    format: Format,
    version: Option<String>,
    /// Path of the kernel as the VMM takes it.
    file: PathBuf,
    initramfs: PathBuf,
    image: Image,
    parameters: Vec<&'static str>,
}

impl Guest {
    /// Finds the kernel and writes the initramfs, the same for all VMMs of a run.
    ///
    /// # Errors
    /// What is missing, and what would help.
    pub fn find(
        provided: &Provided,
        workspace: &Workspace,
        port: Port,
    ) -> Result<Self, Unavailable> {
        let kernel = kernel_file::find(provided.kernel.as_deref(), Path::new("/boot"))?;
        Self::of(kernel, workspace, port)
    }

    /// Of this kernel.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn of(
        kernel: kernel_file::Found,
        workspace: &Workspace,
        port: Port,
    ) -> Result<Self, Unavailable> {
        let file = fs::canonicalize(&kernel.path).map_err(|error| Unavailable {
            reason: format!("the kernel {}: {error}", kernel.path.display()),
            remedy: "--kernel PATH of a bzImage".to_owned(),
        })?;
        let image = Image::new(&kernel.kernel, payload::BYTES).map_err(|error| Unavailable {
            reason: format!("the kernel: {error}"),
            remedy: "--kernel PATH of another bzImage or vmlinux".to_owned(),
        })?;
        let initramfs = write_initramfs(&image, workspace).map_err(|error| Unavailable {
            reason: format!("the initramfs: {error}"),
            remedy: "free space".to_owned(),
        })?;
        Ok(Self {
            sha256: kernel.sha256,
            format: kernel.kernel.format,
            version: kernel.kernel.version,
            file,
            initramfs,
            image,
            parameters: parameters(port),
        })
    }

    /// With this parameter more.
    #[must_use]
    pub fn with(mut self, parameter: &'static str) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// With the machine's restart, which the payload asks for at its end, done in this way (`reboot=`).
    #[must_use]
    pub fn restarting(mut self, how: &'static str) -> Self {
        let parameters = self.parameters.iter_mut();
        for parameter in parameters.filter(|p| p.starts_with("reboot=")) {
            *parameter = how;
        }
        self
    }

    /// For a VMM that takes no bzImage: the ELF file that is packed in it.
    ///
    /// # Errors
    /// It cannot be unpacked or written.
    pub fn unpacked(mut self, workspace: &Workspace) -> Result<Self, Unavailable> {
        let refused = |why: String| Unavailable {
            reason: format!("a bzImage that cannot be unpacked for it: {why}"),
            remedy: "--kernel PATH of a vmlinux".to_owned(),
        };
        let kernel = kernel_file::find(Some(&self.file), Path::new("/boot"))?;
        if kernel.sha256 != self.sha256 {
            return Err(refused("it has just been replaced".to_owned()));
        }
        let vmlinux = unpack::vmlinux(&kernel.kernel).map_err(|e| refused(e.to_string()))?;
        let folder = workspace.folder(FOLDER);
        let written = folder.and_then(|folder| {
            let path = folder.join("vmlinux");
            fs::write(&path, &vmlinux.bytes)?;
            Ok(path)
        });
        self.file = written.map_err(|error| refused(error.to_string()))?;
        Ok(self)
    }

    /// The kernel's file.
    #[must_use]
    pub fn kernel(&self) -> &Path {
        &self.file
    }

    /// The initramfs's.
    #[must_use]
    pub fn initramfs(&self) -> &Path {
        &self.initramfs
    }

    /// For the result.
    #[must_use]
    pub fn facts(&self) -> GuestKernel {
        GuestKernel {
            sha256: self.sha256.clone(),
            format: self.format.name().to_owned(),
            version: self.version.clone(),
            command_line: self.parameters.join(" "),
        }
    }

    /// Bytes of memory: as much as `linux-vm` gives its guest, whole MiB.
    ///
    /// # Errors
    /// More than fits.
    pub fn memory(&self, launch: &Launch) -> Result<u64, Failure> {
        let heap = launch.task.workload.heap_bytes(launch.task.size);
        layout::ram(self.image.base(), heap)
            .ok_or_else(|| invalid("the guest's memory does not fit below 3 GiB"))
    }

    /// The whole command line.
    ///
    /// # Errors
    /// It is too long for the kernel.
    pub fn command_line(&self, launch: &Launch) -> Result<String, Failure> {
        let most = self.image.placement().command_line;
        let line = params::command_line(&self.parameters, &launch.task.argv(), most)
            .map_err(|error| invalid(&error.to_string()))?;
        // Without its NUL, and text: it was put together from text.
        Ok(String::from_utf8_lossy(&line[..line.len().saturating_sub(1)]).into_owned())
    }
}

fn invalid(why: &str) -> Failure {
    Failure::setup(
        "plan",
        io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()),
    )
}

/// What the kernel is told: to say little on its console, and where the payload speaks.
fn parameters(port: Port) -> Vec<&'static str> {
    let mut parameters = Savings::NONE.parameters();
    let environment = match port {
        Port::Second => SERIAL_ENVIRONMENT,
        Port::Console => CONSOLE_ENVIRONMENT,
    };
    parameters.extend(["quiet", environment]);
    parameters
}

/// The initramfs as a file.
fn write_initramfs(image: &Image, workspace: &Workspace) -> io::Result<PathBuf> {
    let path = workspace.folder(FOLDER)?.join("initramfs");
    let [_, initramfs] = image.pieces();
    let file = File::from(initramfs.file.try_clone_to_owned()?);
    let mut bytes = vec![0; usize::try_from(initramfs.len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    fs::write(&path, bytes)?;
    Ok(path)
}
