//! What of its memory is a VM's own: of a cold one and of a copy, before and after the answer.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobench::backend::microvm::smaps::footprint_of;
use isobench::sys::watchdog;
use isobench::trial::PhaseLog;
use isobench::vmm::cpu::{Cpu, TaskType};
use isobench::vmm::elf::Image;
use isobench::vmm::layout;
use isobench::vmm::machine::{Machine, Start};
use isobench::vmm::session::{Pause, Session};
use isobench::vmm::snapshot::{Snapshot, identity};
use isobench::vmm::stack::InitialStack;
use isobench::vmm::template::Template;
use isobench::workload::{Task, payload};
use kvm_ioctls::Kvm;

const LIMIT: Duration = Duration::from_secs(30);

/// Private bytes of guest memory and `kvm_run` of a cold VM that has answered, of a copy that has not
/// run, and of a copy that has answered; and the guest memory of each.
pub fn of(task: &Task) -> Result<[i64; 4], Box<dyn Error>> {
    let image = Image::parse(payload::BYTES)?;
    let template = Template::new(payload::BYTES, &image)?;
    let kvm = Kvm::new()?;
    let vcpu = kvm.create_vm()?.create_vcpu(0)?;
    let cpu = Cpu::new(&kvm, &vcpu, image.entry, TaskType::of_host())?;
    let start = Start {
        stack: InitialStack::new(&image, &task.argv())?,
        heap_len: layout::heap_len(task.heap_bytes()).ok_or("no such heap")?,
        note_exits: false,
        budget: 100,
    };
    let mut log = PhaseLog::new();
    let watchdog = watchdog::arm(Instant::now(), LIMIT)?;
    let mut cold = Machine::start(&template, &cpu, &start, &mut log)?;
    let mut session = Session::new(LIMIT);
    if session.run(&mut cold, &watchdog)? != Pause::Waiting {
        return Err("it does not wait".into());
    }
    let said = session.said().ok_or("it is not ready")?;
    let identity = identity([0; 32], &task.argv());
    let snapshot = Arc::new(Snapshot::take(&mut cold, &cpu, said, &identity)?);
    session.run(&mut cold, &watchdog)?;
    let private =
        |machine: &Machine| Ok::<_, std::io::Error>(footprint_of(&machine.mappings())?.private.0);
    let after = private(&cold)?;
    let guest = i64::try_from(cold.memory())?;
    drop(cold);
    // Two, since the kernel calls a page of the snapshot's file private as long as one alone maps it.
    let mut copies = [
        Machine::restore(&snapshot, &cpu, 100, &mut log)?,
        Machine::restore(&snapshot, &cpu, 100, &mut log)?,
    ];
    let untouched = private(&copies[0])?;
    for copy in &mut copies {
        Session::after(said, LIMIT).run(copy, &watchdog)?;
    }
    Ok([after, untouched, private(&copies[0])?, guest])
}
