//! Debian's User-Mode Linux: a kernel that is a program of this host. It has no KVM, and runs user code at
//! nearly the host's own speed.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;

use crate::kernel::{MODULES, only, present};

/// Folder that the package `user-mode-linux` was unpacked into.
const UML: &str = "ISOBENCH_NESTED_UML";
/// What the bridge is built on there, in the order in which they are loaded.
const IPV6: [&str; 2] = ["kernel/lib/crc-ccitt.ko", "kernel/net/ipv6/ipv6.ko"];
/// Swap, into compressed memory.
const ZRAM: [&str; 4] = [
    "kernel/lib/lz4/lz4_compress.ko",
    "kernel/lib/lz4/lz4hc_compress.ko",
    "kernel/mm/zsmalloc.ko",
    "kernel/drivers/block/zram/zram.ko",
];
/// Bytes of its memory.
const MEMORY: u64 = 1 << 30;

/// The kernel, and its modules.
pub struct Uml {
    program: PathBuf,
    pub modules: Vec<PathBuf>,
}

impl Uml {
    pub fn find() -> Result<Self, String> {
        let folder = env::var_os(UML).map(PathBuf::from).ok_or_else(|| {
            format!("{UML} does not name a folder with an unpacked User-Mode Linux (see .ci/run)")
        })?;
        let modules = only(&folder.join("usr/lib/uml/modules"), "")?;
        let uml = Self {
            program: folder.join("usr/bin/linux.uml"),
            modules: present(&modules, IPV6.iter().chain(&MODULES).chain(&ZRAM))?,
        };
        let mut command = Command::new("env");
        uml.contained(&mut command);
        let version = command.arg("--version").output();
        match version {
            Ok(output) if output.status.success() => Ok(uml),
            Ok(output) => Err(format!(
                "User-Mode Linux in namespaces of its own: {}, {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Err(format!("env: {error}")),
        }
    }

    /// A process inside is one of the host's, whose system calls this kernel takes from it with ptrace(2).
    /// Were the kernel killed alone, they would go on as the host's. So all of them end at once, with process
    /// 1 of a pid namespace, which is the shell; and none has a power over the host that needs a capability.
    fn contained(&self, command: &mut Command) {
        // Kernel and process run by turns, faster if on the same processor.
        let allowed = sched_getaffinity(Pid::this()).unwrap();
        let last = (0..CpuSet::count()).rfind(|at| allowed.is_set(*at) == Ok(true));
        command.args(["taskset", "--cpu-list", &last.unwrap().to_string()]);
        command.args(["unshare", "--user", "--map-root-user"]);
        command.args(["--pid", "--fork", "--kill-child"]);
        // Not the last command, so the shell does not become it.
        command.args(["sh", "-c", "\"$@\"; exit", "sh"]);
        command.arg(&self.program);
    }

    /// As [`crate::kernel::Kernel::add_to`].
    pub fn add_to(&self, command: &mut Command, image: &Path, console: &Path, told: &str) {
        self.contained(command);
        command.arg(format!("mem={MEMORY}"));
        command.arg("noreboot");
        command.arg(format!("initrd={}", image.display()));
        // What it would put below the home folder.
        let folder = image.parent().unwrap();
        command.arg(format!("uml_dir={}", folder.display()));
        command.arg("umid=uml");
        command.args(["con=null", "ssl=null", "ssl0=null,fd:2", "ssl1=null,fd:1"]);
        command.args(told.split(' '));
        command.stderr(File::create(console).unwrap());
        // Its memory is a file without a name.
        let shm = Path::new("/dev/shm");
        let fits = statvfs(shm).is_ok_and(|found| {
            found.blocks_available() * found.fragment_size() > MEMORY
                && !found.flags().contains(FsFlags::ST_NOEXEC)
        });
        command.env("TMPDIR", if fits { shm } else { folder });
    }
}
