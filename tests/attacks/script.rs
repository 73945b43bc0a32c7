//! Programs that are lists of system calls, for payloads that try what they must not: each call is
//! made in turn, the first error ends the program with that errno as its status.

use crate::stage::{CODE, elf, exit};

/// Status of a program whose every call succeeded; no errno is that large.
pub const SUCCEEDED: u8 = 200;

/// One argument of a system call.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A number, a flag, a descriptor.
    Value(u64),
    /// The address of these bytes, which the kernel may also write to. Equal bytes lie at one address.
    Bytes(Vec<u8>),
    /// What the call so many before this one returned; 0 if there is none.
    Earlier(usize),
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::Value(i64::from(value) as u64)
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Value(value as u64)
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Value(u64::from(value))
    }
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<&str> for Arg {
    /// With the NUL that ends it.
    fn from(text: &str) -> Self {
        Self::Bytes([text.as_bytes(), b"\0"].concat())
    }
}

impl From<&String> for Arg {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Vec<u8>> for Arg {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `syscall`; the child of a fork(2) exits at once.
    Amd64,
    /// `int 0x80`: numbers and arguments of i386.
    I386,
}

/// One system call.
#[derive(Clone, Debug)]
pub struct Call {
    number: u32,
    args: Vec<Arg>,
    way: Way,
    may_fail: bool,
}

/// `sys!(SYS_openat, AT_FDCWD, "/", O_RDONLY)`.
macro_rules! sys {
    ($number:expr $(, $arg:expr)*) => {
        $crate::script::Call::new($number as u32, vec![$($arg.into()),*])
    };
}
pub(crate) use sys;

impl Call {
    pub fn new(number: u32, args: Vec<Arg>) -> Self {
        Self {
            number,
            args,
            way: Way::Amd64,
            may_fail: false,
        }
    }

    /// Through `int 0x80`.
    pub fn i386(self) -> Self {
        Self {
            way: Way::I386,
            ..self
        }
    }

    /// An error does not end the program.
    pub fn or_not(self) -> Self {
        Self {
            may_fail: true,
            ..self
        }
    }
}

/// `mov register, imm64` of rdi, rsi, rdx, r10, r8, r9: the order of arguments (syscall(2)).
const MOV: [[u8; 2]; 6] = [
    [0x48, 0xbf],
    [0x48, 0xbe],
    [0x48, 0xba],
    [0x49, 0xba],
    [0x49, 0xb8],
    [0x49, 0xb9],
];
/// `mov register, [disp32]` of the same.
const LOAD: [[u8; 4]; 6] = [
    [0x48, 0x8b, 0x3c, 0x25],
    [0x48, 0x8b, 0x34, 0x25],
    [0x48, 0x8b, 0x14, 0x25],
    [0x4c, 0x8b, 0x14, 0x25],
    [0x4c, 0x8b, 0x04, 0x25],
    [0x4c, 0x8b, 0x0c, 0x25],
];

/// `mov edi, eax; mov eax, SYS_exit_group; syscall`.
const EXIT_EAX: [u8; 9] = [0x89, 0xc7, 0xb8, 231, 0, 0, 0, 0x0f, 0x05];

/// The ELF file of the program. Its data lies before its code: results of calls, then bytes.
pub fn program(calls: &[Call]) -> Vec<u8> {
    let mut blobs: Vec<&[u8]> = Vec::new();
    for arg in calls.iter().flat_map(|call| &call.args) {
        if let Arg::Bytes(bytes) = arg
            && !blobs.contains(&&bytes[..])
        {
            blobs.push(bytes);
        }
    }
    // A jump over the data, each piece aligned as the kernel's structures want it.
    let mut data: Vec<u8> = Vec::new();
    let mut place = |bytes: &[u8]| {
        let at = (CODE + 5 + data.len() as u32).next_multiple_of(16);
        data.resize((at - CODE - 5) as usize, 0);
        data.extend(bytes);
        at
    };
    let results = place(&vec![0; 8 * calls.len()]);
    let addresses: Vec<u32> = blobs.iter().map(|blob| place(blob)).collect();
    let slot = |index: usize| results + 8 * index as u32;

    let mut code = vec![0xe9];
    code.extend((data.len() as u32).to_le_bytes());
    code.extend(&data);
    for (index, call) in calls.iter().enumerate() {
        assert!(call.args.len() <= 6);
        for (place, arg) in call.args.iter().enumerate() {
            match arg {
                Arg::Value(value) => {
                    code.extend(MOV[place]);
                    code.extend(value.to_le_bytes());
                }
                Arg::Bytes(bytes) => {
                    let at = blobs.iter().position(|blob| blob == bytes).unwrap();
                    code.extend(MOV[place]);
                    code.extend(u64::from(addresses[at]).to_le_bytes());
                }
                Arg::Earlier(back) if *back <= index => {
                    code.extend(LOAD[place]);
                    code.extend(slot(index - back).to_le_bytes());
                }
                Arg::Earlier(_) => {
                    code.extend(MOV[place]);
                    code.extend(0u64.to_le_bytes());
                }
            }
        }
        code.push(0xb8); // mov eax, number
        code.extend(call.number.to_le_bytes());
        code.extend(match call.way {
            Way::Amd64 => [0x0f, 0x05],
            Way::I386 => [0xcd, 0x80],
        });
        if i64::from(call.number) == libc::SYS_fork && call.way == Way::Amd64 {
            code.extend([0x85, 0xc0, 0x75, EXIT_EAX.len() as u8]); // test eax, eax; jnz over
            code.extend(EXIT_EAX);
        }
        code.extend([0x48, 0x89, 0x04, 0x25]); // mov [slot], rax
        code.extend(slot(index).to_le_bytes());
        if !call.may_fail {
            // test eax, eax; jns over; neg eax; exit. Nothing here returns more than 31 bits.
            code.extend([0x85, 0xc0, 0x79, 2 + EXIT_EAX.len() as u8, 0xf7, 0xd8]);
            code.extend(EXIT_EAX);
        }
    }
    code.extend(exit(SUCCEEDED));
    elf(&code)
}
