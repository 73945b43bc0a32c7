//! Which system calls a configuration lets through, beside those that a bare process may make.

use std::collections::BTreeMap;

use isobench_abi::Ask;
use isobench_abi::question::{Manner, manner};
use nix::errno::Errno;
use syscalls::Sysno;

use super::interview::{Interview, Outcome};
use super::judge::NO_KERNEL;
use super::words::errno_name;
use crate::store::document::{IsolationFact, Verdict};
use crate::transcript::Found;
use crate::workload::facts::CALLS;

/// What became of a call, in the order of [`CALLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The kernel looked at its arguments, or it did its work.
    Answered,
    /// SIGSYS.
    Killed,
    /// EPERM or EACCES.
    Refused,
    /// ENOSYS.
    Absent,
    /// Not made.
    Skipped,
}

impl Class {
    const ALL: [Self; 5] = [
        Self::Answered,
        Self::Killed,
        Self::Refused,
        Self::Absent,
        Self::Skipped,
    ];
}

/// Every system call with its outcome.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<Ask, Outcome>);

impl Calls {
    pub fn new(interview: Interview) -> Self {
        Self(interview.into_iter().collect())
    }

    fn of(&self, class: Class) -> Vec<&Ask> {
        let calls = self.0.iter().filter(|(ask, _)| matches!(ask, Ask::Call(_)));
        let of_class = calls.filter(|(ask, outcome)| self::class(ask, outcome) == class);
        of_class.map(|(ask, _)| ask).collect()
    }
}

fn class(ask: &Ask, outcome: &Outcome) -> Class {
    match outcome {
        Outcome::Killed => Class::Killed,
        // A fault instead of an entry.
        Outcome::Ended(_) if *ask == Ask::I386 => Class::Absent,
        Outcome::Ended(_) | Outcome::Found(Found::Number(_)) => Class::Answered,
        Outcome::Found(Found::Refused(errno)) => match Errno::from_raw(*errno) {
            Errno::EPERM | Errno::EACCES => Class::Refused,
            Errno::ENOSYS => Class::Absent,
            _ => Class::Answered,
        },
        Outcome::Found(_) => Class::Skipped,
    }
}

/// The rows about system calls; `None` where there is no kernel to call.
pub fn judge(backend: &str, calls: Option<&Calls>, reference: &Calls) -> Vec<IsolationFact> {
    let fact = |index: usize, verdict, value: String, evidence: String| IsolationFact {
        backend: backend.to_owned(),
        fact: CALLS[index].name.to_owned(),
        verdict,
        guarded: false,
        value,
        evidence,
    };
    let Some(calls) = calls else {
        let value = || "no kernel to ask".to_owned();
        let none = |index| fact(index, Verdict::Absent, value(), NO_KERNEL.to_owned());
        return (0..CALLS.len()).map(none).collect();
    };
    let mut rows = Vec::new();
    for (index, class) in Class::ALL.into_iter().enumerate() {
        let found = calls.of(class);
        let verdict = if found == reference.of(class) {
            Verdict::Shared
        } else {
            Verdict::Limited
        };
        let words: Vec<String> = found
            .iter()
            .map(|ask| with_answer(ask, calls.0.get(ask)))
            .collect();
        let evidence = if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(", ")
        };
        rows.push(fact(index, verdict, found.len().to_string(), evidence));
    }
    for (index, ask) in (Class::ALL.len()..).zip([Ask::X32, Ask::I386]) {
        let Some(outcome) = calls.0.get(&ask) else {
            continue;
        };
        let verdict = match class(&ask, outcome) {
            Class::Answered => Verdict::Shared,
            Class::Absent | Class::Skipped => Verdict::Absent,
            Class::Killed | Class::Refused => Verdict::Denied,
        };
        let value = answer(outcome);
        rows.push(fact(
            index,
            verdict,
            value.clone(),
            format!("{}: {value}", CALLS[index].how),
        ));
    }
    rows
}

/// `read EBADF`; a call that is not made with the reason.
fn with_answer(ask: &Ask, outcome: Option<&Outcome>) -> String {
    let Ask::Call(number) = ask else {
        return String::new();
    };
    let name = Sysno::new(usize::from(*number))
        .map_or_else(|| number.to_string(), |call| call.name().to_owned());
    match (manner(*number), outcome) {
        (Manner::Skipped(why), _) => format!("{name} ({why})"),
        (_, Some(Outcome::Killed) | None) => name,
        (_, Some(outcome)) => format!("{name} {}", answer(outcome)),
    }
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Killed => "SIGSYS".to_owned(),
        Outcome::Ended(how) => how.clone(),
        Outcome::Found(Found::Refused(errno)) => errno_name(*errno),
        Outcome::Found(_) => "done".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(outcomes: &[(Ask, Outcome)]) -> Calls {
        Calls::new(outcomes.to_vec())
    }

    fn refused(errno: i32) -> Outcome {
        Outcome::Found(Found::Refused(errno))
    }

    #[test]
    fn every_call_is_in_exactly_one_row() {
        let read = (Ask::Call(0), refused(libc::EBADF));
        let bare = calls(&[
            read.clone(),
            (Ask::Call(1), refused(libc::EBADF)),
            (Ask::Call(34), Outcome::Found(Found::Skipped)),
            (Ask::Call(60), Outcome::Ended("exit status 77".to_owned())),
            (Ask::X32, refused(libc::ENOSYS)),
            (Ask::I386, Outcome::Ended("signal 11".to_owned())),
        ]);
        let own = calls(&[
            read,
            (Ask::Call(1), Outcome::Killed),
            (Ask::Call(34), Outcome::Found(Found::Skipped)),
            (Ask::Call(60), refused(libc::EPERM)),
            (Ask::X32, Outcome::Killed),
            (Ask::I386, refused(libc::EACCES)),
        ]);
        let rows = judge("x", Some(&own), &bare);
        let cells: Vec<_> = rows.iter().map(|r| (r.value.as_str(), r.verdict)).collect();
        use Verdict::{Denied, Limited, Shared};
        assert_eq!(
            cells,
            [
                ("1", Limited),
                ("1", Limited),
                ("1", Limited),
                ("0", Shared),
                ("1", Shared),
                ("SIGSYS", Denied),
                ("EACCES", Denied)
            ]
        );
        assert_eq!(rows[0].evidence, "read EBADF");
        assert_eq!(rows[1].evidence, "write");
        assert!(rows[4].evidence.starts_with("pause (it waits"));
        let same = judge("process", Some(&bare), &bare);
        assert!(same[..5].iter().all(|row| row.verdict == Shared));
        assert!(same[5..].iter().all(|row| row.verdict == Verdict::Absent));
        let none = judge("microvm", None, &bare);
        assert!(none.len() == CALLS.len() && none.iter().all(|r| r.verdict == Verdict::Absent));
    }
}
