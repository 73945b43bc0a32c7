//! What the harness tells a VMM process: numbers and bytes, little-endian, each with its length. The
//! VMM trusts its harness, and still reads nothing that is not there.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use seccompiler::{BpfProgram, sock_filter};

use crate::backend::container::mechanism::{Mechanism, Mechanisms};
use crate::backend::container::setup::Identity;
use crate::vmm::cpu::Cpu;
use crate::vmm::machine::Start;
use crate::vmm::stack::InitialStack;

/// Longest order; a pipe has room for as much.
pub(super) const MOST_BYTES: usize = 64 << 10;

/// An order, as the harness has it.
pub(super) struct Order<'a> {
    pub kvm: BorrowedFd<'a>,
    pub template: BorrowedFd<'a>,
    pub harness: BorrowedFd<'a>,
    pub template_len: usize,
    pub deadline: Duration,
    pub identity: Identity,
    pub mechanisms: Mechanisms,
    pub last_capability: u32,
    pub tsc_offset: bool,
    pub cpu: &'a Cpu,
    pub start: &'a Start,
    pub filter: &'a BpfProgram,
}

/// An order, as the VMM has it.
pub(super) struct Received {
    pub kvm: RawFd,
    pub template: RawFd,
    pub harness: RawFd,
    pub template_len: usize,
    pub deadline: Duration,
    pub identity: Identity,
    pub mechanisms: Mechanisms,
    pub last_capability: u32,
    pub tsc_offset: bool,
    pub cpu: Cpu,
    pub start: Start,
    pub filter: BpfProgram,
}

impl Order<'_> {
    /// Length of the rest, then the rest.
    pub fn encode(&self) -> Vec<u8> {
        let fd = |fd: BorrowedFd<'_>| u64::from(fd.as_raw_fd().unsigned_abs());
        let (identity, uid, gid) = match self.identity {
            Identity::Kept => (0, 0, 0),
            Identity::Dropped => (1, 0, 0),
            Identity::Mapped { uid, gid } => (2, uid, gid),
        };
        let mechanisms = self.mechanisms.iter();
        let mut words = vec![
            fd(self.kvm),
            fd(self.template),
            fd(self.harness),
            self.template_len as u64,
            u64::try_from(self.deadline.as_nanos()).unwrap_or(u64::MAX),
            identity,
            u64::from(uid),
            u64::from(gid),
            mechanisms.fold(0, |set, m| set | 1 << m as u64),
            u64::from(self.last_capability),
            u64::from(self.tsc_offset),
            self.start.heap_len,
            self.start.budget,
            u64::from(self.start.note_exits),
        ];
        let cpu = self.cpu.to_words();
        words.push(cpu.len() as u64);
        words.extend(cpu);
        words.push(self.filter.len() as u64);
        words.extend(self.filter.iter().map(|i| {
            u64::from(i.code) | u64::from(i.jt) << 16 | u64::from(i.jf) << 24 | u64::from(i.k) << 32
        }));
        let stack = self.start.stack.bytes();
        let mut order = Vec::with_capacity(8 * (words.len() + 1) + stack.len());
        order.extend((8 * words.len() as u64 + stack.len() as u64).to_le_bytes());
        order.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        order.extend_from_slice(stack);
        order
    }
}

impl Received {
    /// The reverse, without the length; `None` if it is not such an order.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let fd = |word: u64| RawFd::try_from(word).ok().filter(|fd| *fd > 2);
        let kvm = fd(word(&mut rest)?)?;
        let template = fd(word(&mut rest)?)?;
        let harness = fd(word(&mut rest)?)?;
        let template_len = usize::try_from(word(&mut rest)?).ok()?;
        let deadline = Duration::from_nanos(word(&mut rest)?);
        let (identity, uid, gid) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
        let identity = match identity {
            0 => Identity::Kept,
            1 => Identity::Dropped,
            2 => Identity::Mapped {
                uid: u32::try_from(uid).ok()?,
                gid: u32::try_from(gid).ok()?,
            },
            _ => return None,
        };
        let set = word(&mut rest)?;
        let mechanisms = Mechanism::ALL
            .into_iter()
            .filter(|m| set >> *m as u64 & 1 != 0);
        let last_capability = u32::try_from(word(&mut rest)?).ok()?;
        let tsc_offset = word(&mut rest)? != 0;
        let (heap_len, budget) = (word(&mut rest)?, word(&mut rest)?);
        let note_exits = word(&mut rest)? != 0;
        let cpu = Cpu::from_words(&words(&mut rest)?)?;
        let filter = words(&mut rest)?.into_iter().map(|word| sock_filter {
            code: word as u16,
            jt: (word >> 16) as u8,
            jf: (word >> 24) as u8,
            k: (word >> 32) as u32,
        });
        Some(Self {
            kvm,
            template,
            harness,
            template_len,
            deadline,
            identity,
            mechanisms: Mechanisms::of(mechanisms),
            last_capability,
            tsc_offset,
            cpu,
            filter: filter.collect(),
            start: Start {
                stack: InitialStack::handed_over(rest.to_vec())?,
                heap_len,
                budget,
                note_exits,
            },
        })
    }
}

fn word(rest: &mut &[u8]) -> Option<u64> {
    let (word, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u64::from_le_bytes(*word))
}

/// As many words as the first one says.
fn words(rest: &mut &[u8]) -> Option<Vec<u64>> {
    let count = usize::try_from(word(rest)?).ok()?;
    if count > rest.len() / 8 {
        return None;
    }
    (0..count).map(|_| word(rest)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// What was meant arrives, and no beginning of it is taken for the whole.
    #[test]
    fn an_order_is_read_back_and_a_shorter_one_is_none() {
        let file = tempfile::tempfile().unwrap();
        let cpu = Cpu::from_words(&[7, 1, 3, 9, 0, 11, 1, 0, 0, 2, 3, 4, 5]).unwrap();
        let start = Start {
            stack: InitialStack::handed_over(vec![5; 64]).unwrap(),
            heap_len: 4096,
            budget: 9,
            note_exits: true,
        };
        let filter = super::super::filter::compile(false).unwrap();
        let order = Order {
            kvm: file.as_fd(),
            template: file.as_fd(),
            harness: file.as_fd(),
            template_len: 8192,
            deadline: Duration::from_millis(5),
            identity: Identity::Mapped { uid: 1, gid: 2 },
            mechanisms: Mechanisms::DEFAULT,
            last_capability: 40,
            tsc_offset: true,
            cpu: &cpu,
            start: &start,
            filter: &filter,
        }
        .encode();
        assert!(order.len() < MOST_BYTES);
        let (length, rest) = order.split_at(8);
        assert_eq!(length, (rest.len() as u64).to_le_bytes());
        let found = Received::decode(rest).unwrap();
        assert_eq!(found.kvm, file.as_raw_fd());
        assert_eq!(found.deadline, Duration::from_millis(5));
        assert_eq!(found.identity, Identity::Mapped { uid: 1, gid: 2 });
        assert_eq!(found.mechanisms, Mechanisms::DEFAULT);
        assert_eq!(found.filter, filter);
        assert_eq!(found.start.stack, start.stack);
        assert_eq!(found.cpu.to_words(), cpu.to_words());
        for end in 0..rest.len() - 64 {
            assert!(Received::decode(&rest[..end]).is_none(), "{end}");
        }
    }
}
