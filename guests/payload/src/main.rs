//! The payload: one static, non-PIE, `no_std` ELF that runs the same instructions as a process,
//! as PID 1 of a container and at CPL 3 of a virtual machine without an operating system.
//!
//! Only [`transport`] knows the difference; `probe` asks the kernel that it hands out, if any.
#![no_std]
#![no_main]

mod drivers;
mod runtime;
mod serial;
mod start;
mod sys;
mod transport;
mod work;

use isobench_abi::{
    ABI_VERSION, GuestFault, Message, PROGRAM_NAME, Ready, Report, workload::Workload,
};

/// Called by `_start` with the counter read by its first instruction and the initial stack
/// (`argc, argv, 0, envp, 0, auxv`; System V x86-64 ABI, section 3.4.1).
fn main(first_instruction: u64, stack: &start::InitialStack) -> ! {
    let mut link = transport::Link::from_auxv(stack);
    let loaded = drivers::load(&link, stack);
    link.send(&Message::Ready(Ready {
        first_instruction,
        abi: ABI_VERSION,
    }));
    if let Err((fault, detail)) = loaded {
        link.send(&Message::Fault(fault, detail));
        link.exit(3);
    }
    let Some((workload, size, reps)) = stack.request() else {
        link.send(&Message::Fault(GuestFault::BadArgument, 0));
        link.exit(2);
    };
    match work::run(workload, size, reps, &mut link) {
        Ok(done) => {
            let report = Report {
                start: done.start,
                end: done.end,
                units: workload.units(size, reps),
                digest: done.digest.finish(),
                image: stack.image_fold(),
                isa: done.isa,
            };
            link.send(&Message::Result(report));
            link.exit(0);
        }
        Err((fault, detail)) => {
            link.send(&Message::Fault(fault, detail));
            link.exit(3);
        }
    }
}

/// Which request the command line makes: the words that follow the program's name, or whatever else
/// this program was started as.
impl start::InitialStack {
    fn request(&self) -> Option<(Workload, u64, u64)> {
        let is_name = |at: &usize| self.argument(*at) == Some(PROGRAM_NAME.as_bytes());
        let name = (0..self.arguments()).find(is_name).unwrap_or(0);
        let workload = Workload::from_name(self.argument(name + 1)?)?;
        let size = start::decimal(self.argument(name + 2).unwrap_or(b"0"))?;
        let reps = start::decimal(self.argument(name + 3).unwrap_or(b"1"))?;
        Some((workload, size, reps))
    }
}
