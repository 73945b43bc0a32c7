//! What this payload can see and reach, asked of whoever serves it.

mod calls;
mod facts;
mod files;
mod ipc;
mod net;

use isobench_abi::{Ask, Fact, Fold64, GuestFault, Message, Part, Value};

use super::{Done, Refusal, clock};
use crate::sys::Errno;
use crate::transport::Link;

/// What a question brought to light.
enum Answer<'a> {
    Number(u64),
    Pair(u64, u64),
    Text(&'a [u8]),
    NoKernel,
    Skipped,
}

/// An answer, or the kernel's refusal.
type Asked<'a> = Result<Answer<'a>, Errno>;

/// Answers `count` questions from number `first` on, each as soon as it knows: one whose asking
/// ends the program is the first without an answer.
pub fn run(heap: &mut [u64], first: u64, count: u64, link: &mut Link) -> Result<Done, Refusal> {
    let length = size_of_val(heap);
    // SAFETY: the same memory as bytes: any word is eight of them, and the borrow goes on.
    let buffer = unsafe { core::slice::from_raw_parts_mut(heap.as_mut_ptr().cast::<u8>(), length) };
    let mut digest = Fold64::EMPTY;
    for number in first..first.saturating_add(count) {
        let ask = Ask::from_number(number).ok_or((GuestFault::BadArgument, number))?;
        let asked = match ask {
            Ask::Fact(question) => facts::answer(question, link.kernel(), buffer),
            Ask::Call(_) | Ask::X32 | Ask::I386 => calls::answer(ask, link.kernel()),
        };
        say(link, ask, asked);
        digest = digest.word(number);
    }
    let now = clock::now();
    Ok(Done {
        start: now,
        end: now,
        digest,
        isa: 0,
    })
}

/// Sends an answer; a text in as many parts as it needs.
#[inline(never)]
fn say(link: &mut Link, ask: Ask, asked: Asked<'_>) {
    let mut number = 0;
    loop {
        let value = match asked {
            Ok(Answer::Text(text)) => Value::Text(Part::of(text, number)),
            Ok(Answer::Number(n)) => Value::Number(n),
            Ok(Answer::Pair(a, b)) => Value::Pair(a, b),
            Ok(Answer::NoKernel) => Value::NoKernel,
            Ok(Answer::Skipped) => Value::Skipped,
            Err(errno) => Value::Refused(errno),
        };
        link.send(&Message::Fact(Fact { ask, value }));
        match value {
            Value::Text(part) if part.more => number += 1,
            _ => return,
        }
    }
}
