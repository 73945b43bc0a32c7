//! What the tests of both child-process backends share: foreign ELFs, and a look at what is left.
#![allow(dead_code)] // Each test binary uses its part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // Helpers of tests.

pub mod world;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once};
use std::time::Duration;

use isobench::backend::container::Container;
use isobench::backend::container::options::Options;
use isobench::backend::{Backend, Unavailable};
use isobench::host::cgroup::Hierarchies;
use isobench::trial::{Failure, Launch, Observation};
use isobench::workload::{Task, Workload};
use isobench_abi::{FRAME_BYTES, Message, Ready};

/// Set in a test binary that was started by a test.
pub const INNER: &str = "ISOBENCH_TEST_INNER";

/// Tests that count descriptors or children must not run beside others.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poison| poison.into_inner())
}

pub fn launch(workload: Workload) -> Launch {
    Launch {
        task: Task {
            workload,
            size: 0,
            reps: 1,
        },
        deadline: Duration::from_secs(60),
    }
}

/// Everything a trial could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    descriptors: usize,
    children: Vec<i32>,
    groups: BTreeSet<String>,
    mounts: Vec<String>,
    folders: BTreeSet<String>,
    links: BTreeSet<String>,
}

impl Traces {
    /// The guardian's pipe stays for good once a first container has been prepared: so one is.
    pub fn look() -> Self {
        static GUARDED: Once = Once::new();
        GUARDED.call_once(|| drop(Container::with_payload(Options::default(), b"")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            children: children(),
            groups: groups(std::process::id()),
            mounts: mounts.lines().map(str::to_owned).collect(),
            folders: folders(std::process::id()),
            links: links(std::process::id()),
        }
    }
}

/// Directories that this harness has prepared.
pub fn folders(harness: u32) -> BTreeSet<String> {
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into()];
    let entries = places.iter().flat_map(fs::read_dir).flatten().flatten();
    entries
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.contains(&format!("/isobench-{harness}-")))
        .collect()
}

/// The bridge of this harness and what is plugged into it.
pub fn links(harness: u32) -> BTreeSet<String> {
    let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap();
    let names = interfaces
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()));
    names
        .filter(|name| {
            let master = fs::read_link(format!("/sys/class/net/{name}/master"));
            let bridge = master.unwrap_or_else(|_| (*name).into());
            let bridge = bridge.file_name().unwrap().to_string_lossy().into_owned();
            owner_of_bridge(&bridge) == Some(harness)
        })
        .map(str::to_owned)
        .collect()
}

/// The process id in a bridge's name: `ib`, 13 digits of six bits: 32 of the pid namespace, 22 of the
/// id, 18 of the start, six of a number.
fn owner_of_bridge(name: &str) -> Option<u32> {
    const DIGITS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let mut digits = name.strip_prefix("ib").filter(|d| d.len() == 13)?.chars();
    let value = digits.try_fold(0u128, |value, digit| {
        Some(value * 64 + DIGITS.find(digit)? as u128)
    })?;
    u32::try_from(value >> 24 & ((1 << 22) - 1)).ok()
}

/// Processes whose parent is this one (field 4 of /proc/PID/stat).
pub fn children() -> Vec<i32> {
    let own = std::process::id().to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                let after_name = stat.rsplit(')').next().unwrap();
                after_name.split_whitespace().nth(1) == Some(&own)
            })
        })
        .collect()
}

/// Our groups of this harness in every hierarchy.
pub fn groups(harness: u32) -> BTreeSet<String> {
    let all = Hierarchies::read().unwrap();
    let hierarchies = [all.v1("memory"), all.v1("pids"), all.v1("cpu"), all.v2()];
    let mut found = BTreeSet::new();
    for own in hierarchies
        .into_iter()
        .flatten()
        .filter_map(|h| h.own.clone())
    {
        for directory in [Some(own.as_path()), own.parent()].into_iter().flatten() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(&format!("isobench-{harness}-")) {
                    found.insert(entry.path().display().to_string());
                }
            }
        }
    }
    found
}

/// Instants in order, phases inside the start, one after the other.
pub fn assert_consistent(seen: &Observation, wanted: &[&str]) {
    let i = seen.instants;
    assert!([i.t0, i.t1, i.t2, i.t4, i.t5].is_sorted(), "{i:?}");
    assert!(i.t1 <= i.t3 && i.t3 <= i.t4, "{i:?}");
    let names: Vec<_> = seen.phases.iter().map(|p| p.name).collect();
    for name in wanted {
        assert_eq!(
            names.iter().filter(|n| *n == name).count(),
            1,
            "{name}: {names:?}"
        );
    }
    let mut edge = i.t0;
    let mut sum = 0;
    for phase in &seen.phases {
        assert!(edge <= phase.start && phase.start <= phase.end, "{seen:?}");
        edge = phase.end;
        sum += phase.end - phase.start;
    }
    assert!(edge <= i.t1 && sum <= i.t1 - i.t0, "{seen:?}");
}

/// Runs tests of this binary again, as another user; `None` if that user cannot execute it. A success
/// is one of all of them.
pub fn as_user(id: u32, tests: &[&str]) -> Option<std::process::Output> {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&copy)
        .args(["--exact", "--nocapture"])
        .args(tests)
        .env(INNER, "1")
        .current_dir("/")
        .uid(id)
        .gid(id)
        .output()
        .ok()?;
    let all = format!("test result: ok. {} passed", tests.len());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() || text.contains(&all),
        "{tests:?}: {text}"
    );
    Some(output)
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Address of the one segment of [`elf`], readable, writable and executable.
pub const BASE: u32 = 0x40_0000;
/// Where its code starts.
pub const CODE: u32 = BASE + 120;

/// The smallest static ELF around this machine code (elf(5)).
pub fn elf(code: &[u8]) -> Vec<u8> {
    let size = 120 + code.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        bytes.extend(half.to_le_bytes()); // ET_EXEC, EM_X86_64
    }
    bytes.extend(1u32.to_le_bytes());
    for word in [u64::from(CODE), 64, 0] {
        bytes.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [1u32, 7] {
        bytes.extend(word.to_le_bytes()); // PT_LOAD, RWX
    }
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 4096] {
        bytes.extend(word.to_le_bytes());
    }
    assert_eq!(bytes.len(), 120);
    bytes.extend(code);
    bytes
}

/// `exit_group(status)`.
pub fn exit(status: u8) -> Vec<u8> {
    vec![0xb8, 231, 0, 0, 0, 0xbf, status, 0, 0, 0, 0x0f, 0x05]
}

/// Reads address 0.
pub const CRASH: [u8; 4] = [0x31, 0xc0, 0x8b, 0x00];
/// `jmp $`.
pub const ENDLESS: [u8; 2] = [0xeb, 0xfe];

/// `write(1, address, len)`.
fn write(address: u32, len: u8) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe];
    code.extend(address.to_le_bytes());
    code.extend([0xba, len, 0, 0, 0, 0x0f, 0x05]);
    code
}

/// Writes `len` bytes of its own ELF header, then exits.
pub fn garbage(len: u8) -> Vec<u8> {
    [write(BASE, len), exit(0)].concat()
}

/// Says ready, then logs for ever with correct numbers.
pub fn flood() -> Vec<u8> {
    let ready = Message::Ready(Ready {
        first_instruction: 0,
        abi: isobench_abi::ABI_VERSION,
    });
    let frames = [ready.encode(0, 0), Message::Log([b'x'; 48]).encode(0, 0)];
    // A jump over the frames, which lie at CODE + 5.
    let mut code = vec![0xe9];
    code.extend((2 * FRAME_BYTES as u32).to_le_bytes());
    for frame in frames {
        code.extend(frame.to_bytes());
    }
    let ready = CODE + 5;
    let log = ready + FRAME_BYTES as u32;
    code.extend(write(ready, 64));
    let again = code.len();
    code.extend([0x66, 0xff, 0x04, 0x25]); // inc word [log.seq]
    code.extend((log + 6).to_le_bytes());
    code.extend(write(log, 64));
    let back = again as i32 - (code.len() as i32 + 5);
    code.push(0xe9);
    code.extend(back.to_le_bytes());
    code
}

/// Maps 256 MiB and touches every page; a crash beyond them.
pub const GREEDY: [u8; 46] = [
    0xb8, 9, 0, 0, 0, 0x31, 0xff, 0xbe, 0, 0, 0, 0x10, 0xba, 3, 0, 0, 0, 0x41, 0xba, 0x22, 0, 0, 0,
    0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9, 0x0f, 0x05, 0xc6, 0, 1, 0x48, 0x05,
    0, 0x10, 0, 0, 0xeb, 0xf5,
];

/// The failures that every child-process backend must tell apart.
pub fn assert_failures_are_typed<B: Backend>(with: impl Fn(&[u8]) -> B) {
    let run = |code: &[u8], millis| {
        let mut launch = launch(Workload::Noop);
        launch.deadline = Duration::from_millis(millis);
        with(&elf(code)).trial(&launch).unwrap_err()
    };
    let failure = run(&CRASH, 5000);
    assert!(
        matches!(failure, Failure::Signal(libc::SIGSEGV)),
        "{failure:?}"
    );
    let begin = std::time::Instant::now();
    let failure = run(&ENDLESS, 300);
    assert!(matches!(failure, Failure::Timeout(_)), "{failure:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    let failure = run(&exit(7), 5000);
    assert!(matches!(failure, Failure::Status(7)), "{failure:?}");
    let failure = run(&exit(0), 5000);
    assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}");
    for len in [10, 64, 100] {
        let failure = run(&garbage(len), 5000);
        assert!(matches!(failure, Failure::Message(_)), "{len}: {failure:?}");
    }
    let failure = run(&flood(), 5000);
    assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}");
    let not_elf = with(b"not an ELF")
        .trial(&launch(Workload::Noop))
        .unwrap_err();
    assert!(
        matches!(&not_elf, Failure::Setup { phase: "execve", cause } if cause.raw_os_error() == Some(libc::ENOEXEC)),
        "{not_elf:?}"
    );
}

/// The backend, or a line that says why this test is not run here.
pub fn container(test: &str) -> Option<Container> {
    container_of(test, Options::default())
}

/// The same with options.
pub fn container_of(test: &str, options: Options) -> Option<Container> {
    match Container::new(options) {
        Ok(container) => {
            for limitation in container.limitations() {
                println!(
                    "{test}: without {}: {}",
                    limitation.mechanism, limitation.reason
                );
            }
            Some(container)
        }
        Err(Unavailable { reason, remedy }) => {
            println!("skipped: {test}: container{options}: {reason} ({remedy})");
            None
        }
    }
}

pub fn grouped(container: &Container) -> bool {
    !container
        .limitations()
        .iter()
        .any(|l| l.mechanism == "cgroup")
}
