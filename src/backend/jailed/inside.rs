//! The VMM process: this program, started as [`super::NAME`], from its first instruction to its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::order::{MOST_BYTES, Received};
use super::report::Report;
use crate::backend::container::parts;
use crate::backend::container::setup::compose_vmm;
use crate::metric::Ticks;
use crate::sys::clock::now;
use crate::sys::program::{Op, Program};
use crate::sys::{confine, fd, watchdog};
use crate::trial::{Failure, PhaseLog};
use crate::vmm::machine::{Machine, kvm_from};
use crate::vmm::session::{Pause, Session};
use crate::vmm::template::Template;

/// Exit status of a VMM that failed; why is in its report.
const FAILED: u8 = 70;

/// Serves one VM, and ends with the payload's status.
pub(super) fn serve() -> ! {
    let mut report = Report::begin(now());
    let mut log = PhaseLog::new();
    let status = match live(&mut report, &mut log) {
        Ok(status) => status,
        Err(failure) => {
            report.failed(failure);
            FAILED
        }
    };
    report.starting(log.phases());
    let bytes = report.encode(now());
    // Whoever reads no report has nothing else to be told by.
    let _ = io::stderr().write_all(&bytes);
    confine::leave(status)
}

fn live(report: &mut Report, log: &mut PhaseLog) -> Result<u8, Failure> {
    let began = Instant::now();
    let setup = |phase, cause: io::Error| Failure::setup(phase, cause);
    let order = log
        .time("read_order", read_order)
        .map_err(|cause| setup("read_order", cause))?;
    let [kvm, template, harness] = fd::adopt([order.kvm, order.template, order.harness])
        .map_err(|e| setup("read_order", e))?;
    confine_to(&order, harness, log)?;
    let template = Template::handed_over(File::from(template), order.template_len)
        .map_err(|cause| setup("mmap_memory", cause))?;
    let kvm = kvm_from(kvm);
    let mut machine = Machine::with(kvm, &template, &order.cpu, &order.start, log)?;
    drop(template);
    let mut watchdog = log
        .time("arm_watchdog", || watchdog::arm(began, order.deadline))
        .map_err(|cause| setup("arm_watchdog", cause))?;
    let mut session = Session::forwarding(order.deadline, File::from(fd::take_stdout()));
    let mut filter = Program::new();
    filter.push("seccomp", Op::Seccomp(order.filter));
    confine::carry_out(&filter, io::stdin().as_fd(), log)?;
    log.open("run");
    // Ends at t1, which only the harness can tell; until then here.
    let mut pause = session.run(&mut machine, &watchdog)?;
    log.close();
    if pause == Pause::Waiting {
        // Idle, it sleeps undisturbed; its time begins anew with the request.
        drop(watchdog);
        wait_for_request().map_err(|cause| setup("wait", cause))?;
        watchdog = watchdog::arm(Instant::now(), order.deadline)
            .map_err(|cause| setup("arm_watchdog", cause))?;
        pause = session.run(&mut machine, &watchdog)?;
    }
    let Pause::Exited(status) = pause else {
        return Err(Failure::Protocol("a second wait"));
    };
    // The payload has ended: what follows is the VM's teardown.
    session.hang_up();
    let mut teardown = PhaseLog::new();
    teardown.time("disarm_watchdog", || drop(watchdog));
    let tsc_offset = order
        .tsc_offset
        .then(|| teardown.time("get_tsc_offset", || machine.tsc_offset().ok()))
        .flatten();
    let kvm = if order.start.note_exits {
        teardown
            .time("read_statistics", || machine.statistics())
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    report.counted(&machine.exits(), &machine.take_noted(), kvm);
    machine.close(&mut teardown);
    report.closing(teardown.phases());
    let last = now();
    match session.finish(status) {
        Ok(outcome) => {
            // t0 and t5 are the harness's; it checks their order.
            let (_, map) = outcome.map(tsc_offset, [Ticks(0), last, last])?;
            report.mapped(map);
        }
        Err(failure @ Failure::Clock(_)) => return Err(failure),
        // What the payload did not say, the harness has not heard either, and judges.
        Err(_) => {}
    }
    Ok(status)
}

/// Length, then as many bytes.
fn read_order() -> io::Result<Received> {
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let mut stdin = io::stdin().lock();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| strange())?;
    if length > MOST_BYTES {
        return Err(strange());
    }
    let mut bytes = vec![0; length];
    stdin.read_exact(&mut bytes)?;
    Received::decode(&bytes).ok_or_else(strange)
}

/// Gives up everything but the VM's descriptors and the pipes. The harness's pidfd, by which it could be
/// killed, is closed on the way.
fn confine_to(order: &Received, harness: OwnedFd, log: &mut PhaseLog) -> Result<(), Failure> {
    let setup = parts::vmm(order.mechanisms, order.identity, order.last_capability);
    let [_, inner] =
        compose_vmm(&setup).map_err(|why| Failure::setup("plan", io::Error::other(why.reason)))?;
    confine::carry_out(&inner, harness.as_fd(), log)
}

/// The end of standard input is the request.
fn wait_for_request() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
