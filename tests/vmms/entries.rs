//! When a virtual CPU is entered for the first time, seen by the kernel below and not by its VMM: KVM's
//! tracepoint `kvm_entry`, stamped with the counter that the harness reads, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use isobench::metric::Ticks;

/// Where tracefs belongs (`Documentation/trace/ftrace.rst`).
const TRACING: &str = "/sys/kernel/tracing";

/// A buffer of its own, so that nobody else's tracing is touched. Gone when dropped.
pub struct Entries {
    instance: PathBuf,
    mounted: bool,
}

impl Entries {
    /// Makes it.
    pub fn new() -> Result<Self, String> {
        let told = |what: &str, error: io::Error| format!("{what}: {error}");
        let mut mounted = false;
        if !Path::new(TRACING).join("instances").exists() {
            let none: Option<&str> = None;
            mount(
                Some("tracefs"),
                TRACING,
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .map_err(|error| format!("tracefs: {error}"))?;
            mounted = true;
        }
        let name = format!("isobench-{}", std::process::id());
        let entries = Self {
            instance: Path::new(TRACING).join("instances").join(name),
            mounted,
        };
        fs::create_dir(&entries.instance).map_err(|e| told("a buffer for tracing", e))?;
        // The first entries are kept, and those that find no room are not.
        for (file, value) in [
            ("tracing_on", "0"),
            ("trace_clock", "x86-tsc"),
            ("options/overwrite", "0"),
            ("buffer_size_kb", "16"),
            ("events/kvm/kvm_entry/enable", "1"),
        ] {
            entries.write(file, value).map_err(|e| told(file, e))?;
        }
        Ok(entries)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.instance.join(file), value)
    }

    /// The first entry that `of` causes.
    pub fn first<T>(&self, of: impl FnOnce() -> T) -> (T, Option<Ticks>) {
        self.write("trace", "\n").unwrap();
        self.write("tracing_on", "1").unwrap();
        let done = of();
        self.write("tracing_on", "0").unwrap();
        let trace = fs::read_to_string(self.instance.join("trace")).unwrap();
        (done, stamps(&trace).min())
    }
}

/// `COMMAND-PID [CPU] FLAGS STAMP: kvm_entry: …`, one a line.
fn stamps(trace: &str) -> impl Iterator<Item = Ticks> {
    trace.lines().filter_map(|line| {
        let (before, _) = line.split_once(": kvm_entry:")?;
        before
            .split_whitespace()
            .next_back()?
            .parse()
            .ok()
            .map(Ticks)
    })
}

impl Drop for Entries {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.instance);
        let unmounted = match self.mounted {
            true => umount2(TRACING, MntFlags::MNT_DETACH),
            false => Ok(()),
        };
        if !std::thread::panicking() {
            removed.unwrap();
            unmounted.unwrap();
        }
    }
}

#[test]
fn stamps_are_read_as_they_are_printed() {
    let trace = "# tracer: nop\n#\n\
        fc_vcpu 0-77      [000] d..1. 123456789012: kvm_entry: vcpu 0, rip 0x1000200\n\
        fc_vcpu 0-77      [000] d..1. 123456789999: kvm_exit: vcpu 0 reason io\n\
        fc_vcpu 0-77      [000] d..1. 123456790000: kvm_entry: vcpu 0, rip 0x1000204\n";
    let all: Vec<_> = stamps(trace).map(|ticks| ticks.0).collect();
    assert_eq!(all, [123_456_789_012, 123_456_790_000]);
}
