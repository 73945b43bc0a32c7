//! What the harness sees, read by other code than the payload's: libraries and `/proc`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use caps::CapSet;
use core::arch::x86_64::__cpuid;
use isobench_abi::Question;
use nix::sched::CpuSet;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getegid, geteuid, getgroups, getsid};

use crate::sys::canary::Canary;
use crate::transcript::Found;
use crate::workload::facts;

/// The harness's own answers. A question that it cannot answer is missing.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    answers: BTreeMap<Question, Found>,
    /// Which queue is the canary.
    queue: Option<u64>,
}

impl HostView {
    /// Looks at everything now.
    pub fn look(canary: &Canary) -> Self {
        let mut view = Self::default();
        view.identity();
        view.files();
        view.network_and_ipc(canary);
        view.privileges();
        view.resources();
        view.cpu();
        view
    }

    /// The harness's answer.
    pub fn get(&self, question: Question) -> Option<&Found> {
        self.answers.get(&question)
    }

    /// Whether the canaries are there, and in a later look the same: of the same harness, and still
    /// there.
    pub fn canaries_last(&self, later: &Self) -> bool {
        let same = |question| self.get(question) == later.get(question);
        self.get(Question::AbstractSocket) == Some(&Found::Number(0))
            && CANARIES.into_iter().all(same)
            && self.queue == later.queue
    }

    /// Drops what cannot be relied upon.
    pub fn forget_canaries(&mut self) {
        self.answers
            .retain(|question, _| !CANARIES.contains(question));
    }

    fn put(&mut self, question: Question, found: Option<Found>) {
        if let Some(found) = found {
            self.answers.insert(question, found);
        }
    }

    fn number(&mut self, question: Question, number: Option<u64>) {
        self.put(question, number.map(Found::Number));
    }

    fn text(&mut self, question: Question, text: Option<impl AsRef<[u8]>>) {
        self.put(question, text.map(|t| Found::Text(t.as_ref().to_vec())));
    }

    fn identity(&mut self) {
        let own = u64::from(std::process::id());
        self.number(Question::Pid, Some(own));
        // The payload's parent is the harness.
        self.number(Question::Parent, Some(own));
        // And the harness is somebody to be signalled.
        self.number(Question::SignalParent, Some(0));
        let is_process = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        };
        let processes = count("/proc", is_process);
        self.put(Question::Processes, processes.map(|n| Found::Pair(n, own)));
        let session = getsid(None).ok().map(|sid| sid.as_raw().unsigned_abs());
        self.put(
            Question::Session,
            session.map(|sid| Found::Pair(sid.into(), own)),
        );
        let process = procfs::process::Process::myself().ok();
        let stat = process.as_ref().and_then(|p| p.stat().ok());
        self.number(
            Question::Terminal,
            stat.map(|stat| u64::from(stat.tty_nr.cast_unsigned())),
        );
        if let Ok(names) = nix::sys::utsname::uname() {
            use std::os::unix::ffi::OsStrExt;
            for (question, name) in [
                (Question::Hostname, names.nodename()),
                (Question::DomainName, names.domainname()),
                (Question::KernelRelease, names.release()),
                (Question::KernelVersion, names.version()),
                (Question::Machine, names.machine()),
            ] {
                self.text(question, Some(name.as_bytes()));
            }
        }
        self.text(Question::BootId, read("/proc/sys/kernel/random/boot_id"));
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME).ok();
        self.number(Question::Uptime, uptime.map(|t| t.tv_sec().unsigned_abs()));
        for (question, name) in facts::NAMESPACES {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).ok();
            self.text(
                question,
                link.map(|l| l.as_os_str().as_encoded_bytes().to_vec()),
            );
        }
    }

    fn files(&mut self) {
        let identity = |path: &str| {
            let facts = fs::metadata(path).ok()?;
            Some(Found::Pair(facts.dev(), facts.ino()))
        };
        self.put(Question::Root, identity("/"));
        self.put(Question::DevShm, identity("/dev/shm"));
        let writable = nix::unistd::eaccess("/", nix::unistd::AccessFlags::W_OK);
        self.number(Question::RootWritable, writable.ok().map(|()| 0));
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok();
        self.number(
            Question::Mounts,
            mounts.map(|text| text.lines().count() as u64),
        );
        self.number(
            Question::Devices,
            count("/dev", |entry| {
                entry
                    .file_type()
                    .is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
            }),
        );
        let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        self.put(Question::Kvm, reached(kvm.map(drop)));
    }

    fn network_and_ipc(&mut self, canary: &Canary) {
        let names = nix::net::if_::if_nameindex().ok().map(|all| {
            let names: Vec<_> = all
                .iter()
                .map(|i| i.name().to_string_lossy().into_owned())
                .collect();
            names.join(" ")
        });
        self.text(Question::Interfaces, names);
        self.put(Question::AbstractSocket, reached(canary.socket()));
        let queue = canary.queue();
        self.queue = queue.as_ref().ok().copied();
        self.put(Question::PosixQueue, reached(queue.map(drop)));
        // A heading, and a line for each object (proc_sysvipc(5)).
        let objects = |kind: &str| {
            let text = fs::read_to_string(format!("/proc/sysvipc/{kind}")).ok()?;
            Some((text.lines().count() as u64).saturating_sub(1))
        };
        let canaries = u64::from(canary.segment().is_ok());
        let segments = objects("shm").map(|count| Found::Pair(count, canaries));
        self.put(Question::SharedMemory, segments);
        self.number(Question::MessageQueues, objects("msg"));
        self.number(Question::Semaphores, objects("sem"));
    }

    fn privileges(&mut self) {
        self.number(Question::Uid, Some(geteuid().as_raw().into()));
        self.number(Question::Gid, Some(getegid().as_raw().into()));
        let groups = getgroups().ok();
        self.number(Question::Groups, groups.map(|groups| groups.len() as u64));
        self.text(Question::UidMap, read("/proc/self/uid_map"));
        self.text(Question::Cgroup, read("/proc/self/cgroup"));
        for (question, set) in [
            (Question::CapInheritable, CapSet::Inheritable),
            (Question::CapPermitted, CapSet::Permitted),
            (Question::CapEffective, CapSet::Effective),
            (Question::CapBounding, CapSet::Bounding),
            (Question::CapAmbient, CapSet::Ambient),
        ] {
            let bits = caps::read(None, set)
                .ok()
                .map(|all| all.into_iter().fold(0, |bits, cap| bits | cap.bitmask()));
            self.number(question, bits);
        }
        let status = procfs::process::Process::myself().and_then(|p| p.status());
        let status = status.ok();
        let no_new_privileges = status.as_ref().and_then(|s| s.nonewprivs);
        self.number(Question::NoNewPrivs, no_new_privileges);
        let mode = status.as_ref().and_then(|s| s.seccomp);
        self.number(Question::Seccomp, mode.map(u64::from));
    }

    fn resources(&mut self) {
        let memory = nix::sys::sysinfo::sysinfo().ok();
        self.number(Question::Memory, memory.map(|info| info.ram_total()));
        let cpus = nix::sched::sched_getaffinity(Pid::from_raw(0)).ok();
        let allowed = |set: CpuSet| {
            let has = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
            (0..CpuSet::count()).filter(has).count() as u64
        };
        self.number(Question::Cpus, cpus.map(allowed));
    }

    fn cpu(&mut self) {
        let text = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            bytes[..end].trim_ascii().to_vec()
        };
        let leaf = __cpuid(0);
        self.text(
            Question::CpuVendor,
            Some(text(&[leaf.ebx, leaf.edx, leaf.ecx])),
        );
        let mut brand = Vec::new();
        if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
            for number in 0x8000_0002..=0x8000_0004 {
                let leaf = __cpuid(number);
                brand.extend([leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
            }
        }
        self.text(Question::CpuBrand, Some(text(&brand)));
        let mut hypervisor = Vec::new();
        if __cpuid(1).ecx >> 31 == 1 {
            let leaf = __cpuid(0x4000_0000);
            hypervisor.extend([leaf.ebx, leaf.ecx, leaf.edx]);
        }
        self.text(Question::Hypervisor, Some(text(&hypervisor)));
    }
}

#[cfg(test)]
impl FromIterator<(Question, Found)> for HostView {
    fn from_iter<T: IntoIterator<Item = (Question, Found)>>(all: T) -> Self {
        Self {
            answers: all.into_iter().collect(),
            queue: None,
        }
    }
}

/// Questions about an object that another harness may own.
const CANARIES: [Question; 2] = [Question::AbstractSocket, Question::PosixQueue];

/// "Can be done", or the error.
fn reached(result: io::Result<()>) -> Option<Found> {
    Some(match result {
        Ok(()) => Found::Number(0),
        Err(error) => Found::Refused(error.raw_os_error()?),
    })
}

fn read(path: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let text = bytes.trim_ascii();
    Some(text[..text.len().min(isobench_abi::fact::MAX_TEXT)].to_vec())
}

fn count(folder: &str, wanted: impl Fn(&fs::DirEntry) -> bool) -> Option<u64> {
    let entries = fs::read_dir(Path::new(folder)).ok()?;
    Some(entries.flatten().filter(wanted).count() as u64)
}
