//! Backend `linux-vm`: the payload as `/init` of a real Linux in a KVM virtual machine.
//!
//! What a micro-VM is for most who deploy one: the guest's own kernel stands between the payload and
//! the hypervisor. The payload's bytes are the same; its system calls are answered by that kernel, and
//! its messages leave the machine by the doorbell, which that kernel knows nothing of.
//!
//! Prepared once for all trials: the checked kernel and the initramfs in sealed memory files, CPUID and
//! registers, this thread's watchdog timer. Paid by every trial: every ioctl, and the boot. The end of
//! a trial is the payload's: the machine is taken away, its kernel does not shut down.

pub mod drivers;
pub mod kernel_file;
pub mod options;
mod ready;

pub use ready::kernel_can_run;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobench_abi::{DRIVERS_ENVIRONMENT, GUEST_ENVIRONMENT};

use self::options::{Options, Saving};
use self::ready::Ready;
use super::microvm::held;
use super::{Backend, GuestKernel, Instance, Unavailable};
use crate::exits::Crossings;
use crate::metric::Ticks;
use crate::sys::clock::now;
use crate::sys::watchdog;
use crate::transcript::Answer;
use crate::trial::{Failure, Launch, Observation, PhaseLog};
use crate::vmm::linux::cpu::LinuxCpu;
use crate::vmm::linux::image::Image;
use crate::vmm::linux::kernel::Kernel;
use crate::vmm::linux::machine::{LinuxMachine, LinuxStart};
use crate::vmm::linux::slots::{self, Used, Wanted};
use crate::vmm::linux::{layout, params};
use crate::vmm::session::{Pause, Session};
use crate::workload::payload;

/// Exits that a machine may cause: more than a minute of them at a microsecond each. A boot of Debian's kernel
/// with its whole log has some forty thousand.
const EXITS: u64 = 1 << 26;

/// The backend.
#[derive(Debug)]
pub struct LinuxVm {
    image: Image,
    cpu: LinuxCpu,
    options: Options,
    wanted: Wanted,
    /// `/init` has drivers to load.
    loads: bool,
    used: Option<Used>,
    /// Exits that a machine may cause.
    budget: u64,
    tsc_offset: bool,
    /// What is told of the kernel; `None` for one that was handed over and has no file.
    kernel: Option<GuestKernel>,
}

impl LinuxVm {
    /// Finds out whether a kernel can run here, finds one, and prepares what all VMs share.
    ///
    /// # Errors
    /// What is missing, and what would change that.
    pub fn new(options: impl Into<Options>, kernel: Option<&Path>) -> Result<Self, Unavailable> {
        Self::with_init(options, kernel, payload::BYTES)
    }

    /// As [`Self::new`], with another file as `/init`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_init(
        options: impl Into<Options>,
        kernel: Option<&Path>,
        init: &[u8],
    ) -> Result<Self, Unavailable> {
        let ready = Ready::new()?;
        ready.can_run_a_kernel()?;
        let found = kernel_file::find(kernel, Path::new("/boot"))?;
        tracing::info!(kernel = %found.path.display(), sha256 = found.sha256);
        let options = options.into();
        let modules = match options.has_devices() {
            true => drivers::find(&found.path, found.kernel.version.as_deref(), options)?,
            false => Vec::new(),
        };
        let mut made = Self::of(ready, options, &found.kernel, init, &modules)?;
        made.kernel = Some(GuestKernel {
            sha256: found.sha256,
            format: found.kernel.format.name().to_owned(),
            version: found.kernel.version,
            command_line: made.parameters().join(" "),
        });
        Ok(made)
    }

    /// With this kernel, whether or not this KVM can run one: hostile images run on any.
    ///
    /// # Errors
    /// There is no KVM, or the kernel leaves no room.
    pub fn with_kernel(
        options: impl Into<Options>,
        kernel: &Kernel,
        init: &[u8],
    ) -> Result<Self, Unavailable> {
        Self::of(Ready::new()?, options.into(), kernel, init, &[])
    }

    fn of(
        ready: Ready,
        options: Options,
        kernel: &Kernel,
        init: &[u8],
        modules: &[Vec<u8>],
    ) -> Result<Self, Unavailable> {
        let disk = options.disk.then(|| drivers::disk(payload::BYTES));
        let disk = disk.transpose().map_err(|error| Unavailable {
            reason: format!("the disk cannot be made: {error}"),
            remedy: "see `doctor` for limits on memory".to_owned(),
        })?;
        let image = Image::with_drivers(kernel, init, modules).map_err(|error| Unavailable {
            reason: format!("the kernel: {error}"),
            remedy: "--kernel PATH of another bzImage or vmlinux".to_owned(),
        })?;
        Ok(Self {
            image,
            cpu: ready.cpu,
            options,
            wanted: Wanted {
                disk: disk.map(Arc::new),
                console: options.console,
            },
            loads: !modules.is_empty(),
            used: None,
            budget: EXITS,
            tsc_offset: ready.tsc_offset,
            kernel: None,
        })
    }

    /// With another bound on the exits that a machine may cause.
    #[must_use]
    pub fn with_exit_budget(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    /// The command line, but for what is the payload's.
    fn parameters(&self) -> Vec<String> {
        let mut parameters = self.options.parameters();
        parameters.push(GUEST_ENVIRONMENT);
        if self.loads {
            parameters.push(DRIVERS_ENVIRONMENT);
        }
        let mut parameters: Vec<_> = parameters.into_iter().map(str::to_owned).collect();
        if !self.acpi() {
            let places = self.wanted.places().into_iter();
            parameters.extend(places.map(slots::Place::parameter));
        }
        parameters
    }

    /// Whether ACPI tables tell of the devices, or the command line does.
    fn acpi(&self) -> bool {
        self.options.has_devices() && !self.options.savings.has(Saving::Acpi)
    }

    /// What the guest of the last trial did with its virtio devices.
    #[must_use]
    pub const fn used(&self) -> Option<&Used> {
        self.used.as_ref()
    }

    /// What a launch needs, before the clock starts.
    fn plan(&self, launch: &Launch) -> Result<LinuxStart, Failure> {
        let task = launch.task;
        let invalid =
            |why: String| Failure::setup("plan", io::Error::new(io::ErrorKind::InvalidInput, why));
        let heap = task.workload.heap_bytes(task.size);
        let ram = layout::ram(self.image.base(), heap)
            .ok_or_else(|| invalid("the guest's memory does not fit below 3 GiB".to_owned()))?;
        let parameters = self.parameters();
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        let arguments = task.argv();
        let most = self.image.placement().command_line;
        let command_line = params::command_line(&parameters, &arguments, most)
            .map_err(|error| invalid(format!("the kernel's command line: {error}")))?;
        Ok(LinuxStart {
            command_line,
            ram,
            wanted: self.wanted.clone(),
            acpi: self.acpi(),
            budget: self.budget,
        })
    }

    /// Everything from t0 until the payload first waits or exits.
    fn launch(
        &self,
        start: &LinuxStart,
        limit: Duration,
        began: Instant,
    ) -> Result<Running, Failure> {
        let mut log = PhaseLog::new();
        let mut machine = LinuxMachine::start(&self.image, &self.cpu, start, &mut log)?;
        let watchdog = log.step("arm_watchdog", || watchdog::arm(began, limit))?;
        let mut session = Session::new(limit);
        let run = now();
        let pause = run_on(&mut session, &mut machine, &watchdog)?;
        Ok(Running {
            machine,
            session,
            pause,
            run,
            log,
            watchdog,
        })
    }
}

/// A VM under way: from t0 to the payload's first pause.
struct Running {
    machine: LinuxMachine,
    session: Session,
    pause: Pause,
    /// Just before the first KVM_RUN.
    run: Ticks,
    log: PhaseLog,
    watchdog: watchdog::Armed,
}

/// As [`Session::run`]; a deadline that passes before the payload has spoken is the kernel's failure,
/// and told with what it printed.
fn run_on(
    session: &mut Session,
    machine: &mut LinuxMachine,
    watchdog: &watchdog::Armed,
) -> Result<Pause, Failure> {
    session.run(machine, watchdog).map_err(|error| match error {
        Failure::Timeout(limit) if !session.is_ready() => Failure::GuestKernel {
            how: format!("the payload did not start within {limit:?}"),
            console: machine.last_words(),
        },
        other => other,
    })
}

impl LinuxVm {
    /// A whole life; what KVM counted of it is noted where somebody wants it.
    fn live(
        &mut self,
        launch: &Launch,
        answers: &mut Vec<Answer>,
        counters: Option<&mut Vec<(String, u64)>>,
    ) -> Result<Observation, Failure> {
        let start = self.plan(launch)?;
        let began = Instant::now();
        let t0 = now();
        let Running {
            mut machine,
            mut session,
            mut pause,
            run,
            mut log,
            watchdog,
        } = self.launch(&start, launch.deadline, began)?;
        if pause == Pause::Waiting {
            pause = run_on(&mut session, &mut machine, &watchdog)?;
        }
        let t4 = now();
        let mut teardown = PhaseLog::new();
        teardown.time("disarm_watchdog", || drop(watchdog));
        let tsc_offset = self
            .tsc_offset
            .then(|| teardown.time("get_tsc_offset", || machine.tsc_offset().ok()))
            .flatten();
        let entered = machine.entered()?;
        let exits = machine.exits();
        let used = machine.used();
        if let Some(counters) = counters {
            *counters = teardown.time("read_statistics", || {
                machine.statistics().unwrap_or_default()
            });
        }
        machine.close(&mut teardown);
        let t5 = now();
        answers.append(&mut session.take_answers());
        let outcome = session.finish(super::microvm::status(pause)?)?;
        let idle = used.idle.clone();
        let console = used.last_words.clone();
        self.used = Some(used);
        // A device that nobody uses is not what this configuration is to measure.
        if let Some(how) = idle {
            return Err(Failure::GuestKernel { how, console });
        }
        let (instants, clock) = outcome.map(tsc_offset, [t0, t4, t5])?;
        let entered = clock.host(entered);
        if entered - run < 0 || instants.t1 - entered < 0 {
            return Err(Failure::Clock(
                "the kernel was not entered between KVM_RUN and the payload's start".to_owned(),
            ));
        }
        log.note("enter_kernel", run, entered);
        log.note("boot", entered, instants.t1);
        Ok(Observation {
            instants,
            reply: outcome.reply,
            phases: log.phases().to_vec(),
            teardown: teardown.phases().to_vec(),
            report: outcome.report,
            clock,
            exits: Some(exits),
            throttled: None,
            told: None,
        })
    }
}

impl Backend for LinuxVm {
    fn hear(&mut self, launch: &Launch, answers: &mut Vec<Answer>) -> Result<Observation, Failure> {
        self.live(launch, answers, None)
    }

    /// A boot has too many exits to note each.
    fn count(&mut self, launch: &Launch) -> Result<Option<Crossings>, Failure> {
        let mut kvm = Vec::new();
        let seen = self.live(launch, &mut Vec::new(), Some(&mut kvm))?;
        Ok(Some(Crossings::of_vm(seen, Vec::new(), kvm)))
    }

    fn guest_kernel(&self) -> Option<GuestKernel> {
        self.kernel.clone()
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
