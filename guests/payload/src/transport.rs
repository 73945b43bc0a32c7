//! The ways to whoever serves this payload and to the host. Nothing outside this module knows which it is.

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use isobench_abi::{
    AT_ISOBENCH, CONSOLE_ENVIRONMENT, DOORBELL_PORT, DoorbellPage, FRAME_BYTES, GUEST_ENVIRONMENT,
    GuestFault, LINES_ENVIRONMENT, Message, Op, PAUSE_ENVIRONMENT, POWER_OFF_ENVIRONMENT,
    SERIAL_ENVIRONMENT, frame_to_registers,
};

use crate::serial::{self, Port};
use crate::start::InitialStack;
use crate::sys::{Kernel, nr, syscall3, syscall6};
use crate::work::{Refusal, clock};

/// How the panic handler leaves: by the doorbell unless 0.
static DOORBELL: AtomicU64 = AtomicU64::new(0);

enum Way {
    /// A process or a container: Linux serves it, and the host reads what it writes.
    Linux {
        /// Whether a line end follows each frame.
        lines: bool,
        /// Whether a wait has no end.
        pause: bool,
    },
    /// Process 1 of a virtual machine's own Linux: that kernel serves it, the doorbell leads to the
    /// host.
    Guest,
    /// The same in a VMM of somebody else's: a serial port leads to the host.
    Serial {
        /// Its descriptor.
        port: usize,
        /// Whether the machine is switched off at the end, and not restarted.
        off: bool,
    },
    /// A virtual machine without an operating system.
    Doorbell {
        page: *mut DoorbellPage,
        heap_next: u64,
        heap_end: u64,
    },
}

impl Way {
    fn serial(port: Port, stack: &InitialStack) -> Self {
        Self::Serial {
            port: serial::open(port),
            off: stack.environment_has(POWER_OFF_ENVIRONMENT),
        }
    }
}

/// The connection to the host.
pub struct Link {
    way: Way,
    seq: u16,
}

impl Link {
    /// Chooses the transport: doorbell where the auxiliary vector names its page, or the environment
    /// says that there is one, else Linux.
    pub fn from_auxv(stack: &InitialStack) -> Self {
        let way = match stack.auxiliary(AT_ISOBENCH) {
            None if stack.environment_has(GUEST_ENVIRONMENT) => {
                open_port();
                DOORBELL.store(1, Ordering::Relaxed);
                Way::Guest
            }
            None if stack.environment_has(SERIAL_ENVIRONMENT) => Way::serial(Port::Second, stack),
            None if stack.environment_has(CONSOLE_ENVIRONMENT) => Way::serial(Port::Console, stack),
            None => Way::Linux {
                lines: stack.environment_has(LINES_ENVIRONMENT),
                pause: stack.environment_has(PAUSE_ENVIRONMENT),
            },
            Some(address) => {
                DOORBELL.store(address, Ordering::Relaxed);
                let page = address as *mut DoorbellPage;
                // SAFETY: the VMM mapped the page readable and writable at this address and filled
                // in the heap fields before the first instruction.
                let (base, len) = unsafe { ((*page).heap_base, (*page).heap_len) };
                Way::Doorbell {
                    page,
                    heap_next: base,
                    heap_end: base.saturating_add(len),
                }
            }
        };
        Self { way, seq: 0 }
    }

    /// Sends one message. A host that does not take it is a lost cause: exit status 4.
    #[inline(never)]
    pub fn send(&mut self, message: &Message) {
        let bytes = message.encode(self.seq, clock::now()).to_bytes();
        let first = self.seq == 0;
        self.seq = self.seq.wrapping_add(1);
        match self.way {
            Way::Linux { lines, .. } => {
                let mut line = [b'\n'; FRAME_BYTES + 1];
                line[..FRAME_BYTES].copy_from_slice(&bytes);
                self.write(1, &line[..FRAME_BYTES + usize::from(lines)]);
            }
            Way::Serial { port, .. } => {
                self.write(port, &bytes);
                // The host answers the first message, and so brackets this counter.
                if first && self.wait().is_err() {
                    self.exit(4);
                }
            }
            Way::Guest => ring_with(Op::Frame.encode(0), &frame_to_registers(&bytes)),
            Way::Doorbell { page, .. } => {
                // SAFETY: the page is mapped writable and only this vCPU and, while it is stopped
                // in the exit, the VMM touch it.
                unsafe {
                    ptr::write_volatile(&raw mut (*page).frame, bytes);
                    go_on(page, Op::Frame);
                }
            }
        }
    }

    fn write(&self, to: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // SAFETY: `rest` is readable for the length given.
            match unsafe { syscall3(nr::WRITE, to, rest.as_ptr() as usize, rest.len()) } {
                sent @ 1.. => rest = rest.get(sent as usize..).unwrap_or_default(),
                _ => self.exit(4),
            }
        }
    }

    /// One crossing that asks for nothing: `getppid(2)`, or an empty doorbell. The system call is
    /// one the kernel cannot answer from user space and every seccomp filter here allows.
    #[inline]
    pub fn cross(&self) -> bool {
        match self.way {
            // SAFETY: takes and touches nothing.
            Way::Linux { .. } | Way::Guest | Way::Serial { .. } => unsafe {
                syscall3(nr::GETPPID, 0, 0, 0) >= 0
            },
            Way::Doorbell { .. } => {
                ring(Op::Null.encode(0));
                true
            }
        }
    }

    /// Blocks until the host has a request: a byte or the end of file on descriptor 0, or the
    /// return from the doorbell.
    pub fn wait(&self) -> Result<(), Refusal> {
        match self.way {
            Way::Linux { pause: true, .. } => loop {
                // SAFETY: takes nothing; whoever wants an end sends a signal.
                unsafe { syscall3(nr::PAUSE, 0, 0, 0) };
            },
            Way::Linux { pause: false, .. } | Way::Serial { .. } => {
                const EINTR: isize = 4;
                let from = match self.way {
                    Way::Serial { port, .. } => port,
                    _ => 0,
                };
                let mut byte = 0u8;
                loop {
                    // SAFETY: `byte` is writable for one byte.
                    match unsafe { syscall3(nr::READ, from, (&raw mut byte) as usize, 1) } {
                        0.. => return Ok(()),
                        error if error == -EINTR => {}
                        error => return Err((GuestFault::Transport, error.unsigned_abs() as u64)),
                    }
                }
            }
            Way::Guest => {
                ring(Op::Wait.encode(0));
                Ok(())
            }
            Way::Doorbell { page, .. } => {
                // SAFETY: as for a frame.
                unsafe { go_on(page, Op::Wait) };
                Ok(())
            }
        }
    }

    /// Fresh, zeroed, page-aligned memory: anonymous `mmap(2)`, or the next part of the heap that
    /// the VMM gave. `bytes` is a multiple of a page. Never returned: a payload does one thing and leaves.
    pub fn memory(&mut self, bytes: u64) -> Result<&'static mut [u64], Refusal> {
        if bytes == 0 {
            return Ok(&mut []);
        }
        let base = match &mut self.way {
            Way::Linux { .. } | Way::Guest | Way::Serial { .. } => {
                const PROT_READ_WRITE: usize = 3;
                const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
                let length = bytes as usize;
                let (rights, kind) = (PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS);
                // SAFETY: without an address it only adds a mapping where there is none.
                let at = unsafe { syscall6(nr::MMAP, [0, length, rights, kind, usize::MAX, 0]) };
                if at < 0 {
                    return Err((GuestFault::NoMemory, at.unsigned_abs() as u64));
                }
                at as u64
            }
            Way::Doorbell {
                heap_next,
                heap_end,
                ..
            } => {
                let base = *heap_next;
                if bytes > heap_end.saturating_sub(base) {
                    return Err((GuestFault::NoMemory, bytes));
                }
                *heap_next = base + bytes;
                base
            }
        };
        // SAFETY: `base` is the page-aligned start of `bytes` bytes of fresh memory that nothing else
        // refers to: a new mapping, or a part of the heap that is handed out once.
        Ok(unsafe { core::slice::from_raw_parts_mut(base as *mut u64, bytes as usize / 8) })
    }

    /// The kernel that serves this payload, if one does (`probe`).
    pub fn kernel(&self) -> Option<Kernel> {
        match self.way {
            // SAFETY: without the auxiliary-vector entry of a VMM, Linux has started this program.
            Way::Linux { .. } | Way::Guest | Way::Serial { .. } => Some(unsafe { Kernel::new() }),
            Way::Doorbell { .. } => None,
        }
    }

    /// Leaves. Never returns.
    pub fn exit(&self, status: u8) -> ! {
        if let Way::Serial { port, off } = self.way {
            serial::end(port, off);
        }
        exit(
            matches!(self.way, Way::Guest | Way::Doorbell { .. }),
            status,
        )
    }
}

/// Leaves from where no [`Link`] is at hand (the panic handler).
pub fn abandon(status: u8) -> ! {
    exit(DOORBELL.load(Ordering::Relaxed) != 0, status)
}

fn exit(doorbell: bool, status: u8) -> ! {
    loop {
        if doorbell {
            ring(Op::Exit.encode(u32::from(status)));
        } else {
            // SAFETY: ends the program.
            unsafe { syscall3(nr::EXIT_GROUP, usize::from(status), 0, 0) };
        }
    }
}

/// Opens the doorbell's four port bytes to this process (ioperm(2)). Where the kernel refuses, nobody
/// can be told but whoever reads its console: the end of process 1 is a panic there.
fn open_port() {
    // SAFETY: the VMM behind this port reads registers and nothing else.
    let answer = unsafe { syscall3(nr::IOPERM, usize::from(DOORBELL_PORT), 4, 1) };
    if answer != 0 {
        exit(false, 5);
    }
}

/// One doorbell with a frame in R8 to R15.
#[inline(never)]
fn ring_with(value: u32, frame: &[u64; 8]) {
    // SAFETY: `open_port` has opened this port; the VMM reads registers and writes nothing.
    unsafe {
        asm!("out dx, eax", in("dx") DOORBELL_PORT, in("eax") value,
             in("r8") frame[0], in("r9") frame[1], in("r10") frame[2], in("r11") frame[3],
             in("r12") frame[4], in("r13") frame[5], in("r14") frame[6], in("r15") frame[7],
             options(nostack, preserves_flags));
    }
}

/// One doorbell behind which a copy may begin: its first instruction reads the counter, as that of a cold
/// start does ([`crate::start`]), and the page says what it read.
#[inline(never)]
///
/// # Safety
/// `page` is the doorbell page, mapped writable, which this vCPU alone touches while it runs.
unsafe fn go_on(page: *mut DoorbellPage, op: Op) {
    let (low, high): (u32, u32);
    // SAFETY: as in `ring`; RDTSC writes EAX and EDX alone.
    unsafe {
        asm!("out dx, eax", "rdtsc",
             inout("eax") op.encode(0) => low, inout("edx") u32::from(DOORBELL_PORT) => high,
             options(nostack, preserves_flags));
    }
    let reading = u64::from(high) << 32 | u64::from(low);
    // SAFETY: the caller's contract.
    unsafe { ptr::write_volatile(&raw mut (*page).went_on, reading) };
}

#[inline]
fn ring(value: u32) {
    // SAFETY: on a doorbell transport the TSS's I/O bitmap opens this port to CPL 3. The VMM
    // may read and write the doorbell page during the exit, hence no `nomem`.
    unsafe {
        asm!("out dx, eax", in("dx") DOORBELL_PORT, in("eax") value, options(nostack, preserves_flags));
    }
}
