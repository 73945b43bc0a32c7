//! Drivers of a virtual machine's own Linux, which process 1 loads where it is asked to.

use isobench_abi::{DRIVERS, DRIVERS_ENVIRONMENT, GuestFault};

use crate::start::InitialStack;
use crate::sys::nr;
use crate::transport::Link;
use crate::work::Refusal;

const ENOENT: u16 = 2;
const EEXIST: u16 = 17;
const AT_FDCWD: usize = -100isize as usize;
/// Flag of finit_module(2): the kernel decompresses the file.
const COMPRESSED: usize = 4;

/// Loads `/drivers/0`, `/drivers/1`, … until there is no next one (finit_module(2)). The detail of a
/// refusal is the number of the driver and, below it, that of the error.
pub fn load(link: &Link, stack: &InitialStack) -> Result<(), Refusal> {
    let Some(kernel) = link
        .kernel()
        .filter(|_| stack.environment_has(DRIVERS_ENVIRONMENT))
    else {
        return Ok(());
    };
    let mut path = [0u8; DRIVERS.len() + 3];
    path[..DRIVERS.len()].copy_from_slice(DRIVERS.as_bytes());
    path[DRIVERS.len()] = b'/';
    for number in 0..10u8 {
        let refused = |errno: u16| {
            let detail = u64::from(number) << 16 | u64::from(errno);
            (GuestFault::Transport, detail)
        };
        path[DRIVERS.len() + 1] = b'0' + number;
        let name = path.as_ptr() as usize;
        // SAFETY: the path ends in a NUL; the call only opens a descriptor.
        let file = match unsafe { kernel.call(nr::OPENAT, AT_FDCWD, name, 0) } {
            Ok(file) => file,
            Err(ENOENT) => return Ok(()),
            Err(errno) => return Err(refused(errno)),
        };
        let mut magic = [0u8; 4];
        // SAFETY: the buffer is writable for its length.
        let read = unsafe { kernel.call(nr::READ, file, magic.as_mut_ptr() as usize, 4) };
        read.map_err(refused)?;
        let flags = if &magic == b"\x7fELF" { 0 } else { COMPRESSED };
        let parameters = c"".as_ptr() as usize;
        // SAFETY: what a module does to the kernel is what it was asked to be loaded for; the empty
        // string ends in a NUL.
        match unsafe { kernel.call(nr::FINIT_MODULE, file, parameters, flags) } {
            Ok(_) | Err(EEXIST) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    Ok(())
}
