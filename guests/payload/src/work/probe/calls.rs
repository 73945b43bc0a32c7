//! Which system calls are let through.

use isobench_abi::question::{Ask, Manner, manner};

use super::{Answer, Asked};
use crate::sys::{self, Kernel, nr};

/// What the call returned: anything but EPERM, EACCES, ENOSYS or the end of this program says that
/// it was let through, and with these arguments it did nothing (`isobench_abi::question::manner`).
#[inline(never)]
pub fn answer<'a>(ask: Ask, kernel: Option<Kernel>) -> Asked<'a> {
    let Some(kernel) = kernel else {
        return Ok(Answer::NoKernel);
    };
    let returned = match ask {
        Ask::Call(call) => {
            let arguments = match manner(call) {
                Manner::With(arguments) | Manner::Ends(arguments) => arguments,
                Manner::Skipped(_) => return Ok(Answer::Skipped),
            };
            // SAFETY: no argument is an address of this program's memory, so none of it can be
            // written, moved or unmapped; `brk` of an impossible address changes nothing.
            unsafe { kernel.call6(call.into(), arguments.map(|a| a as usize)) }?
        }
        // SAFETY: takes and touches nothing.
        Ask::X32 => unsafe { kernel.call(nr::X32 | nr::GETPPID, 0, 0, 0) }?,
        // SAFETY: `kernel` says that there is one.
        Ask::I386 => sys::result(unsafe { sys::i386_getppid() })?,
        // Answered elsewhere (`super::run`).
        Ask::Fact(_) => return Ok(Answer::Skipped),
    };
    Ok(Answer::Number(returned as u64))
}
