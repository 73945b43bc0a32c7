//! Backend `microvm`: the payload at CPL 3 of a KVM virtual machine without an operating system.
//!
//! The VMM is a library in the harness: the thread that measures runs the vCPU. A VMM deployed as
//! a process of its own would add that process and, per idle instance, one thread blocked in
//! KVM_RUN; neither is in these numbers.
//!
//! [`snapshot`] starts copies of a VM that was ready, [`pool`] gives one VM its state back; both use what
//! is prepared here.
//!
//! Prepared once for all trials: the checked payload laid out in a sealed memory file, the CPUID
//! and register images, this thread's watchdog timer. Paid by every trial: opening `/dev/kvm` and
//! every ioctl a virtual machine needs.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use isobench_abi::FRAME_BYTES;
use kvm_ioctls::{Cap, Kvm};
use sha2::{Digest, Sha256};

use super::launcher::shortage;
use super::{Backend, Instance, Unavailable};
use crate::exits::Crossings;
use crate::metric::Ticks;
use crate::sys::clock::now;
use crate::sys::watchdog;
use crate::transcript::{Answer, MAX_OUTPUT};
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::vmm::cpu::{Cpu, TaskType};
use crate::vmm::elf::Image;
use crate::vmm::layout;
use crate::vmm::machine::{Machine, Start};
use crate::vmm::session::{Pause, Session};
use crate::vmm::stack::InitialStack;
use crate::vmm::template::Template;
use crate::vmm::vcpu;
use crate::workload::{Task, Workload, payload};

use self::notes::Notes;

#[path = "microvm_smaps.rs"]
pub mod smaps;

pub(super) mod held;
mod notes;
pub mod pool;
mod shelf;
pub mod snapshot;

/// The version of KVM's interface, fixed since Linux 2.6.22 (KVM API, 4.1).
const API_VERSION: i32 = 12;
/// What the VMM uses beyond the basic interface.
const NEEDED: [(Cap, &str); 5] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    // Of copies, which end a pending access and set the FPU's state.
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
];

/// The backend.
#[derive(Debug)]
pub struct MicroVm {
    /// SHA-256 of the payload's file.
    payload: [u8; 32],
    image: Image,
    pub(super) template: Template,
    pub(super) cpu: Cpu,
    pub(super) tsc_offset: bool,
}

impl MicroVm {
    /// Finds out whether VMs can be made here, and prepares what all of them share.
    ///
    /// # Errors
    /// What is missing, and what would change that.
    pub fn new() -> Result<Self, Unavailable> {
        Self::with_payload(payload::BYTES)
    }

    /// As [`Self::new`], for another payload: any static ELF that keeps to `payload.ld`'s window.
    ///
    /// # Errors
    /// As [`Self::new`]; the ELF is not acceptable.
    pub fn with_payload(elf: &[u8]) -> Result<Self, Unavailable> {
        let kvm = open(Path::new("/dev/kvm"))?;
        check(kvm.get_api_version(), |cap| kvm.check_extension(cap))?;
        let because = |reason: String| Unavailable {
            reason,
            remedy: "rebuild isobench; the payload must keep to guests/payload/payload.ld"
                .to_owned(),
        };
        let image = Image::parse(elf).map_err(|error| because(format!("the payload: {error}")))?;
        let template = Template::new(elf, &image).map_err(|error| because(error.to_string()))?;
        let vm = kvm.create_vm().map_err(|e| refused("KVM_CREATE_VM", e))?;
        let vcpu = vm
            .create_vcpu(0)
            .map_err(|e| refused("KVM_CREATE_VCPU", e))?;
        let cpu = Cpu::new(&kvm, &vcpu, image.entry, TaskType::of_host())
            .map_err(|e| refused("reading the CPU model KVM supports", e))?;
        let tsc_offset = vcpu::tsc_offset(&vcpu).is_ok();
        prepare_watchdog()?;
        Ok(Self {
            payload: Sha256::digest(elf).into(),
            image,
            template,
            cpu,
            tsc_offset,
        })
    }

    /// Guest RAM of a VM without a heap, in bytes.
    #[must_use]
    pub const fn base_memory(&self) -> usize {
        self.template.len()
    }

    /// Guest RAM of a VM with this much heap, in bytes.
    pub(super) const fn memory_with(&self, heap_len: u64) -> usize {
        match heap_len {
            0 => self.template.len(),
            heap => (layout::HEAP_PHYS + heap) as usize,
        }
    }

    /// What a launch needs, before the clock starts.
    pub(super) fn plan(&self, launch: &Launch) -> Result<Start, Failure> {
        let task = launch.task;
        let invalid =
            |why: String| Failure::setup("plan", io::Error::new(io::ErrorKind::InvalidInput, why));
        if !task.workload.limits().allow_size(task.size) {
            let (name, size) = (task.workload.name(), task.size);
            return Err(invalid(format!("{name} takes no size {size}")));
        }
        let heap_len = layout::heap_len(task.workload.heap_bytes(task.size))
            .ok_or_else(|| invalid("the heap does not fit below 4 GiB".to_owned()))?;
        let stack = InitialStack::new(&self.image, &task.argv())
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Start {
            stack,
            heap_len,
            budget: exit_budget(&task),
            note_exits: false,
        })
    }
}

/// Exits that a task may cause: its crossings, every message it may send, and an end. A guest that
/// causes more is at something else.
fn exit_budget(task: &Task) -> u64 {
    const MESSAGES: u64 = (MAX_OUTPUT / FRAME_BYTES) as u64;
    let crossings = match task.workload {
        Workload::Crossing => task.reps,
        _ => 0,
    };
    // One more message than is allowed, so that it is told by its name; a wait, an exit.
    crossings.saturating_add(MESSAGES + 8)
}

/// Opens KVM, telling apart why it cannot be.
pub(super) fn open(path: &Path) -> Result<Kvm, Unavailable> {
    let name = path.display();
    let c_path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    Kvm::new_with_path(c_path).map_err(|error| {
        let (reason, remedy) = match error.errno() {
            libc::ENOENT => (
                format!("{name} does not exist"),
                "load kvm_intel or kvm_amd (`modprobe kvm_intel`); inside a VM, enable nested \
                 virtualisation; inside a container, pass the device through"
                    .to_owned(),
            ),
            libc::EACCES | libc::EPERM => (
                format!("no permission to open {name}"),
                format!(
                    "`sudo usermod -aG kvm $USER` and log in again, or `sudo chmod 666 {name}`"
                ),
            ),
            libc::ENODEV | libc::ENXIO => (
                format!("{name} exists, but no KVM module serves it"),
                "load kvm_intel or kvm_amd; check that virtualisation is enabled in the firmware"
                    .to_owned(),
            ),
            errno => (
                format!("{name} cannot be opened: {error}"),
                shortage(errno)
                    .unwrap_or("see open(2) for the error")
                    .to_owned(),
            ),
        };
        Unavailable { reason, remedy }
    })
}

/// Version and capabilities.
pub(super) fn check(version: i32, has: impl Fn(Cap) -> bool) -> Result<(), Unavailable> {
    if version < 0 {
        // An ioctl that the file does not know.
        return Err(Unavailable {
            reason: "/dev/kvm is not KVM's device: it does not answer KVM_GET_API_VERSION"
                .to_owned(),
            remedy: "put the device back: rm /dev/kvm; mknod -m 660 /dev/kvm c 10 232".to_owned(),
        });
    }
    if version != API_VERSION {
        return Err(Unavailable {
            reason: format!("/dev/kvm speaks API version {version}, not {API_VERSION}"),
            remedy: "use a newer kernel (version 12 came with Linux 2.6.22)".to_owned(),
        });
    }
    match NEEDED.into_iter().find(|(cap, _)| !has(*cap)) {
        None => Ok(()),
        Some((_, name)) => Err(Unavailable {
            reason: format!("this KVM lacks {name}"),
            remedy: "use a newer kernel".to_owned(),
        }),
    }
}

/// A VM under way: from t0 to the payload's first pause.
#[derive(Debug)]
struct Running {
    machine: Machine,
    session: Session,
    pause: Pause,
    log: PhaseLog,
    watchdog: watchdog::Armed,
}

impl MicroVm {
    /// Everything from t0 until the payload first waits or exits.
    fn launch(&self, start: &Start, limit: Duration, began: Instant) -> Result<Running, Failure> {
        let mut log = PhaseLog::new();
        let mut machine = Machine::start(&self.template, &self.cpu, start, &mut log)?;
        let watchdog = log.step("arm_watchdog", || watchdog::arm(began, limit))?;
        log.open("run");
        let mut session = Session::new(limit);
        let pause = session.run(&mut machine, &watchdog)?;
        Ok(Running {
            machine,
            session,
            pause,
            log,
            watchdog,
        })
    }

    /// A whole life. `look` is called once the payload has ended, before anything is taken down.
    fn live(
        &self,
        start: &Start,
        launch: &Launch,
        answers: &mut Vec<Answer>,
        look: impl FnOnce(&mut Machine, &mut PhaseLog),
    ) -> Result<Observation, Failure> {
        let began = Instant::now();
        let t0 = now();
        let mut running = self.launch(start, launch.deadline, began)?;
        if running.pause == Pause::Waiting {
            running.pause = running
                .session
                .run(&mut running.machine, &running.watchdog)?;
        }
        let (seen, _) = self.see_out(running, t0, answers, false, look)?;
        Ok(seen)
    }

    /// What a VM that has come to its exit amounts to, and the VM, if it is to be kept; else it is
    /// closed between t4 and t5.
    fn see_out(
        &self,
        running: Running,
        t0: Ticks,
        answers: &mut Vec<Answer>,
        keep: bool,
        look: impl FnOnce(&mut Machine, &mut PhaseLog),
    ) -> Result<(Observation, Option<Machine>), Failure> {
        let t4 = now();
        let Running {
            mut machine,
            mut session,
            pause,
            mut log,
            watchdog,
        } = running;
        let mut teardown = PhaseLog::new();
        teardown.time("disarm_watchdog", || drop(watchdog));
        let tsc_offset = self
            .tsc_offset
            .then(|| teardown.time("get_tsc_offset", || machine.tsc_offset().ok()))
            .flatten();
        look(&mut machine, &mut teardown);
        let exits = machine.exits();
        let kept = if keep {
            Some(machine)
        } else {
            machine.close(&mut teardown);
            None
        };
        let t5 = now();
        answers.append(&mut session.take_answers());
        let outcome = session.finish(status(pause)?)?;
        let (instants, clock) = outcome.map(tsc_offset, [t0, t4, t5])?;
        log.close_at(instants.t1);
        let seen = Observation {
            instants,
            reply: outcome.reply,
            phases: log.phases().to_vec(),
            teardown: teardown.phases().to_vec(),
            report: outcome.report,
            clock,
            exits: Some(exits),
            throttled: None,
            told: None,
        };
        Ok((seen, kept))
    }
}

impl Backend for MicroVm {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        let start = self.plan(launch)?;
        self.live(&start, launch, answers, |_, _| {})
    }

    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let start = Start {
            note_exits: true,
            ..self.plan(launch)?
        };
        let mut notes = Notes::default();
        let look = |machine: &mut Machine, log: &mut PhaseLog| notes = Notes::of(machine, log);
        let seen = self.live(&start, launch, &mut Vec::new(), look)?;
        Ok(Some(notes.beside(seen)))
    }

    fn hold(&mut self, launch: &Launch) -> Result<Box<dyn Instance>, Failure> {
        let start = self.plan(launch)?;
        let Running {
            machine,
            session,
            pause,
            ..
        } = self.launch(&start, launch.deadline, Instant::now())?;
        held::hold(machine, session, pause, launch)
    }
}

/// KVM has refused what every VM needs.
pub(super) fn refused(what: &str, error: kvm_ioctls::Error) -> Unavailable {
    Unavailable {
        reason: format!("{what} failed: {error}"),
        remedy: shortage(error.errno())
            .unwrap_or("see `dmesg`; another hypervisor may own the CPU's virtualisation")
            .to_owned(),
    }
}

/// This thread's timer, before any trial.
pub(super) fn prepare_watchdog() -> Result<(), Unavailable> {
    watchdog::prepare().map_err(|error| Unavailable {
        reason: format!("no timer for the watchdog: {error}"),
        remedy: "raise the limit on pending signals (`ulimit -i`)".to_owned(),
    })
}

/// The status of a payload that has ended.
pub(super) fn status(pause: Pause) -> Result<u8, Failure> {
    match pause {
        Pause::Exited(status) => Ok(status),
        Pause::Waiting => Err(Failure::Protocol("a second wait")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_words_and_remedy() {
        let absent = open(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(absent.reason.contains("does not exist"), "{absent}");
        assert!(absent.remedy.contains("modprobe"));
        let folder = open(Path::new("/")).unwrap_err();
        assert!(folder.reason.contains("cannot be opened"), "{folder}");
        let other = check(-1, |_| true).unwrap_err();
        assert!(other.reason.contains("is not KVM's device"), "{other}");
        let old = check(11, |_| true).unwrap_err();
        assert!(old.reason.contains("version 11"));
        let poor = check(12, |cap| cap != Cap::Xcrs).unwrap_err();
        assert_eq!(poor.reason, "this KVM lacks KVM_CAP_XCRS");
        assert_eq!(check(12, |_| true), Ok(()));
    }
}
