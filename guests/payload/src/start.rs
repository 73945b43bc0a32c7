//! The first instruction, and what the initial stack holds.

use core::arch::naked_asm;
use core::slice;

use isobench_abi::image_fold;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_LOAD: u32 = 1;
const PF_W: u32 = 2;

/// Entry point. `rdtsc` comes first: its reading is `t1`. No fence, since nothing of this program
/// precedes it. The stack is as the loader left it: 16-byte aligned, `argc` on top.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "rdtsc",
        "shl rdx, 32",
        "lea rdi, [rax + rdx]",
        "mov rsi, rsp",
        "xor ebp, ebp",
        "and rsp, -16",
        "call {entry}",
        "ud2",
        entry = sym entry,
    )
}

extern "C" fn entry(first_instruction: u64, stack: *const u64) -> ! {
    // SAFETY: `stack` is the initial stack of this process or vCPU, laid out by the kernel or the
    // VMM as the ABI says, and nothing writes to it while the program runs.
    let stack = unsafe { InitialStack::new(stack) };
    crate::main(first_instruction, &stack)
}

/// The initial process stack (System V x86-64 ABI, section 3.4.1, figure 3.9).
pub struct InitialStack {
    argc: usize,
    argv: *const *const u8,
    envp: *const *const u8,
    auxv: *const [u64; 2],
}

impl InitialStack {
    /// # Safety
    /// `stack` points at `argc`, followed by `argv`, a null, `envp`, a null, and the auxiliary
    /// vector ending in `AT_NULL`; strings are NUL-terminated; all of it outlives the program.
    unsafe fn new(stack: *const u64) -> Self {
        // SAFETY: the caller's contract covers every read below: each stays inside the vectors,
        // whose ends are marked.
        unsafe {
            let argc = stack.read() as usize;
            let argv = stack.add(1).cast::<*const u8>();
            let envp = stack.add(1 + argc + 1);
            let mut cursor = envp;
            while cursor.read() != 0 {
                cursor = cursor.add(1);
            }
            Self {
                argc,
                argv,
                envp: envp.cast(),
                auxv: cursor.add(1).cast(),
            }
        }
    }

    /// How many arguments there are.
    pub const fn arguments(&self) -> usize {
        self.argc
    }

    /// `argv[index]` without its NUL.
    pub fn argument(&self, index: usize) -> Option<&[u8]> {
        if index >= self.argc {
            return None;
        }
        // SAFETY: index < argc, so the pointer is one of argv's and its string is NUL-terminated.
        unsafe {
            let text = self.argv.add(index).read();
            Some(slice::from_raw_parts(text, crate::runtime::strlen(text)))
        }
    }

    /// Whether the environment has this string.
    pub fn environment_has(&self, wanted: &str) -> bool {
        let mut at = self.envp;
        loop {
            // SAFETY: the vector ends in a null, where the loop stops; its strings are
            // NUL-terminated.
            let text = unsafe {
                let text = at.read();
                if text.is_null() {
                    return false;
                }
                slice::from_raw_parts(text, crate::runtime::strlen(text))
            };
            if text == wanted.as_bytes() {
                return true;
            }
            // SAFETY: not yet at the null, so one more entry follows.
            at = unsafe { at.add(1) };
        }
    }

    /// Value of an auxiliary-vector entry (getauxval(3)).
    pub fn auxiliary(&self, kind: u64) -> Option<u64> {
        let mut at = self.auxv;
        loop {
            // SAFETY: the vector ends in AT_NULL (0), where the loop stops.
            let [found, value] = unsafe { at.read() };
            if found == kind {
                return Some(value);
            }
            if found == 0 {
                return None;
            }
            // SAFETY: not yet at AT_NULL, so one more entry follows.
            at = unsafe { at.add(1) };
        }
    }

    /// Digest of this program's read-only segments as they lie in memory now.
    pub fn image_fold(&self) -> u64 {
        let (Some(table), Some(count)) = (self.auxiliary(AT_PHDR), self.auxiliary(AT_PHNUM)) else {
            return 0;
        };
        // SAFETY: AT_PHDR and AT_PHNUM describe this program's own headers (56 bytes each, ELF64),
        // which lie in its first, read-only segment.
        let headers =
            unsafe { slice::from_raw_parts(table as *const ProgramHeader, count as usize) };
        image_fold(
            headers
                .iter()
                .filter(|h| h.kind == PT_LOAD && h.flags & PF_W == 0)
                .map(|h| {
                    // SAFETY: a loaded, read-only segment of this program: mapped at its address for
                    // its file size, never written.
                    let bytes = unsafe {
                        slice::from_raw_parts(h.vaddr as *const u8, h.file_size as usize)
                    };
                    (h.vaddr, bytes)
                }),
        )
    }
}

/// `Elf64_Phdr` (elf(5)).
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

/// A decimal number without sign, blanks or overflow.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
