//! The initial stack, as Linux would have left it (System V x86-64 ABI, section 3.4.1):
//!
//! ```text
//!   RSP ► argc │ argv… │ 0 │ 0 (envp) │ auxv… │ AT_NULL │ … │ strings ◄ STACK_TOP
//! ```
//!
//! AT_RANDOM is left out: it would cost a system call a trial, and the payload draws nothing.

use isobench_abi::AT_ISOBENCH;

use super::elf::Image;
use super::layout;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_ENTRY: u64 = 9;

/// The bytes from RSP to the end of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialStack {
    bytes: Vec<u8>,
}

/// The command line does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command line of {0} bytes takes more than half of the stack")]
pub struct TooLong(usize);

impl InitialStack {
    /// Lays out `argv` and the auxiliary vector for this image.
    ///
    /// # Errors
    /// The strings take more than half of the stack.
    pub fn new<S: AsRef<str>>(image: &Image, argv: &[S]) -> Result<Self, TooLong> {
        let mut strings = Vec::new();
        let mut offsets = Vec::with_capacity(argv.len());
        for argument in argv {
            offsets.push(strings.len() as u64);
            strings.extend_from_slice(argument.as_ref().as_bytes());
            strings.push(0);
        }
        if strings.len() as u64 > layout::STACK_BYTES / 2 {
            return Err(TooLong(strings.len()));
        }
        let first_string = layout::STACK_TOP - strings.len() as u64;
        let mut words = vec![argv.len() as u64];
        words.extend(offsets.iter().map(|offset| first_string + offset));
        words.extend([0, 0]);
        if let Some(headers) = image.headers {
            words.extend([AT_PHDR, headers]);
        }
        words.extend([AT_PHENT, 56, AT_PHNUM, u64::from(image.header_count)]);
        words.extend([AT_PAGESZ, layout::PAGE, AT_ENTRY, image.entry]);
        words.extend([AT_ISOBENCH, layout::DOORBELL, AT_NULL, 0]);
        let rsp = (first_string - words.len() as u64 * 8) & !15;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize((first_string - rsp) as usize, 0);
        bytes.extend_from_slice(&strings);
        Ok(Self { bytes })
    }

    /// A stack that another process has laid out and handed over; `None` if it does not fit.
    #[must_use]
    pub fn handed_over(bytes: Vec<u8>) -> Option<Self> {
        let fits = bytes.len() as u64 <= layout::STACK_BYTES && bytes.len().is_multiple_of(16);
        fits.then_some(Self { bytes })
    }

    /// Guest-virtual RSP, 16-byte aligned.
    #[must_use]
    pub fn rsp(&self) -> u64 {
        layout::STACK_TOP - self.bytes.len() as u64
    }

    /// Guest-physical address of [`Self::bytes`].
    #[must_use]
    pub fn physical(&self) -> u64 {
        layout::STACK_PHYS + (self.rsp() - layout::STACK)
    }

    /// What lies from RSP to the end of the stack.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::payload;

    #[test]
    fn a_program_finds_its_arguments_and_vector() {
        let image = Image::parse(payload::BYTES).unwrap();
        for argv in [
            &["/payload", "noop", "0", "1"][..],
            &["/payload", "x"],
            &["a"],
        ] {
            let stack = InitialStack::new(&image, argv).unwrap();
            assert!(stack.rsp().is_multiple_of(16));
            assert!(stack.physical() + stack.bytes().len() as u64 == layout::IMAGE_PHYS);
            let at = |address: u64| {
                let offset = (address - stack.rsp()) as usize;
                u64::from_le_bytes(stack.bytes()[offset..offset + 8].try_into().unwrap())
            };
            let rsp = stack.rsp();
            assert_eq!(at(rsp), argv.len() as u64);
            for (index, expected) in argv.iter().enumerate() {
                let text = (at(rsp + 8 + 8 * index as u64) - rsp) as usize;
                let end = text + expected.len();
                assert_eq!(&stack.bytes()[text..end], expected.as_bytes());
                assert_eq!(stack.bytes()[end], 0);
            }
            let mut cursor = rsp + 8 + 8 * argv.len() as u64;
            assert_eq!((at(cursor), at(cursor + 8)), (0, 0));
            cursor += 16;
            let mut found = Vec::new();
            while at(cursor) != AT_NULL {
                found.push((at(cursor), at(cursor + 8)));
                cursor += 16;
            }
            assert!(found.contains(&(AT_ISOBENCH, layout::DOORBELL)));
            assert!(found.contains(&(AT_ENTRY, image.entry)));
            assert!(found.contains(&(AT_PHDR, image.headers.unwrap())));
        }
    }

    #[test]
    fn a_command_line_without_end_is_refused() {
        let image = Image::parse(payload::BYTES).unwrap();
        let long = "x".repeat(100_000);
        assert_eq!(InitialStack::new(&image, &[long]), Err(TooLong(100_001)));
    }
}
