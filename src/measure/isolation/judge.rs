//! From an answer and the harness's own view to a verdict.

use std::collections::BTreeMap;

use isobench_abi::Question;

use super::host::HostView;
use super::interview::Outcome;
use super::words::show;
use crate::store::document::{IsolationFact, Verdict};
use crate::transcript::Found;
use crate::workload::facts;

/// All that is known about one configuration's facts.
pub struct Findings {
    /// What the harness sees.
    pub host: HostView,
    /// What the payload said.
    pub answers: BTreeMap<Question, Outcome>,
    /// What it said in the same configuration without the filter that ended it.
    pub open_answers: BTreeMap<Question, Outcome>,
    /// How `open_answers` were had, or why not.
    pub note: Option<String>,
}

/// Where the payload has no kernel: how that is known.
pub const NO_KERNEL: &str = "no operating system started the payload: its auxiliary vector names the \
                             doorbell, port 0x5b0, as its only way out, and with EFER.SCE clear \
                             `syscall` is an invalid opcode";

impl Findings {
    /// Whether there is a kernel to ask: whoever was started by one has a process id.
    pub fn has_kernel(&self) -> bool {
        let pid = self.answers.get(&Question::Pid);
        !matches!(pid, None | Some(Outcome::Found(Found::NoKernel)))
    }

    /// The fact for a question; `None` if it was not asked.
    pub fn judge(&self, backend: &str, question: Question) -> Option<IsolationFact> {
        let how = facts::of(question).how;
        let asked = self.answers.get(&question)?;
        let (verdict, value, guarded, evidence) = match asked {
            Outcome::Found(found) => {
                let (verdict, value) = self.found(&self.answers, question, found);
                let evidence = format!("{how}: {}", self.compared(question, found));
                (verdict, value, false, evidence)
            }
            Outcome::Ended(how_so) => {
                let evidence = format!("{how} ended the payload: {how_so}");
                (Verdict::Denied, how_so.clone(), false, evidence)
            }
            Outcome::Killed => self.guarded(question, how),
        };
        Some(IsolationFact {
            backend: backend.to_owned(),
            fact: facts::of(question).name.to_owned(),
            verdict,
            guarded,
            value,
            evidence,
        })
    }

    /// Asking ended the payload: what is behind the filter says the same configuration without it.
    fn guarded(&self, question: Question, how: &str) -> (Verdict, String, bool, String) {
        let killed = format!("{how} ended the payload by SIGSYS");
        if question == Question::Seccomp {
            // Being ended by it is the proof of a filter; without it there is none.
            return (
                Verdict::Own,
                "a filter that kills".to_owned(),
                false,
                killed,
            );
        }
        match self.open_answers.get(&question) {
            Some(Outcome::Found(found)) => {
                let (verdict, value) = self.found(&self.open_answers, question, found);
                let note = self.note.as_deref().unwrap_or("with the filter off");
                let compared = self.compared(question, found);
                (
                    verdict,
                    value,
                    true,
                    format!("{killed}; {note}: {compared}"),
                )
            }
            _ => {
                let note = self.note.iter().map(|n| format!("; {n}"));
                let evidence = killed + &note.collect::<String>();
                (Verdict::Denied, "asking kills".to_owned(), false, evidence)
            }
        }
    }

    fn compared(&self, question: Question, found: &Found) -> String {
        if *found == Found::NoKernel {
            return NO_KERNEL.to_owned();
        }
        let host = match self.host.get(question) {
            Some(host) => show(question, host),
            None => "nothing".to_owned(),
        };
        format!("{}; the harness: {host}", show(question, found))
    }

    fn found(
        &self,
        answers: &BTreeMap<Question, Outcome>,
        question: Question,
        found: &Found,
    ) -> (Verdict, String) {
        let view = View {
            host: &self.host,
            answers,
            open: &self.open_answers,
        };
        (view.verdict(question, found), show(question, found))
    }
}

/// One set of answers beside the harness's.
struct View<'a> {
    host: &'a HostView,
    answers: &'a BTreeMap<Question, Outcome>,
    /// Those with the filter off, for what is behind it.
    open: &'a BTreeMap<Question, Outcome>,
}

impl View<'_> {
    fn verdict(&self, question: Question, found: &Found) -> Verdict {
        let host = self.host.get(question);
        let equal = host == Some(found);
        let shared_or = |shared: bool, other: Verdict| if shared { Verdict::Shared } else { other };
        match (question, found) {
            (_, Found::NoKernel | Found::Skipped) => Verdict::Absent,
            (_, Found::Refused(errno)) => self.refused(question, *errno),
            (Question::Pid, found) => match self.is_own(Question::NsPid) {
                Some(own) => shared_or(!own, Verdict::Own),
                None => shared_or(*found != Found::Number(1), Verdict::Own),
            },
            (Question::Parent, Found::Number(0)) => Verdict::Hidden,
            (Question::Processes, Found::Pair(0 | 1, _)) => Verdict::Hidden,
            (Question::Processes, Found::Pair(_, own)) => {
                // Another namespace's /proc shows that namespace, whatever its own is.
                match self.found(Question::Pid) == Some(&Found::Number(*own)) {
                    true => self.by_namespace(Question::NsPid, true),
                    false => Verdict::Shared,
                }
            }
            (Question::Session, Found::Pair(session, own)) => {
                shared_or(session != own, Verdict::Own)
            }
            (Question::Terminal | Question::Groups, Found::Number(n)) => {
                shared_or(*n != 0, Verdict::Absent)
            }
            (Question::Descriptors, Found::Number(n)) => shared_or(*n > 3, Verdict::Own),
            (Question::Hostname | Question::DomainName, _) => {
                self.by_namespace(Question::NsUts, equal)
            }
            (Question::Uptime, Found::Number(n)) => {
                let near = matches!(host, Some(Found::Number(h)) if n.abs_diff(*h) <= 120);
                self.by_namespace(Question::NsTime, near)
            }
            (Question::RootWritable, _) => {
                let root = self.found(Question::Root);
                shared_or(root == self.host.get(Question::Root), Verdict::Own)
            }
            (Question::Mounts, _) => self.by_namespace(Question::NsMnt, true),
            (Question::Devices, Found::Number(0)) => Verdict::Absent,
            (Question::Interfaces, _) => self.by_namespace(Question::NsNet, equal),
            (Question::SharedMemory, Found::Pair(_, canaries)) => {
                shared_or(*canaries > 0, self.missing(question))
            }
            (Question::MessageQueues | Question::Semaphores, Found::Number(n)) => {
                match self.found(Question::SharedMemory) {
                    Some(Found::Pair(_, 1..)) => Verdict::Shared,
                    _ if *n > 0 => Verdict::Own,
                    _ => self.missing(Question::SharedMemory),
                }
            }
            (
                Question::SignalParent
                | Question::Kvm
                | Question::AbstractSocket
                | Question::PosixQueue,
                _,
            ) => Verdict::Shared,
            (Question::UidMap, _) => self.by_namespace(Question::NsUser, equal),
            (Question::Cgroup, _) => self.by_namespace(Question::NsCgroup, true),
            (
                Question::CapInheritable
                | Question::CapPermitted
                | Question::CapEffective
                | Question::CapBounding
                | Question::CapAmbient,
                found,
            ) => match found {
                Found::Number(0) => Verdict::Absent,
                _ if self.is_own(Question::NsUser) == Some(true) => Verdict::Own,
                _ => shared_or(equal, Verdict::Limited),
            },
            (Question::NoNewPrivs, _) => shared_or(equal, Verdict::Denied),
            (Question::Memory | Question::Cpus, Found::Number(n)) => match host {
                Some(Found::Number(all)) if n < all => Verdict::Limited,
                _ => shared_or(equal, Verdict::Own),
            },
            _ => shared_or(equal, Verdict::Own),
        }
    }

    /// The answer to another question.
    fn found(&self, question: Question) -> Option<&Found> {
        match self.answers.get(&question)? {
            Outcome::Found(found) => Some(found),
            Outcome::Killed | Outcome::Ended(_) => None,
        }
    }

    /// Whether the payload is in a namespace of its own, if both sides can be read. A filter that ends who asks
    /// does not change that.
    fn is_own(&self, namespace: Question) -> Option<bool> {
        let behind = match self.open.get(&namespace) {
            Some(Outcome::Found(found)) => Some(found),
            _ => None,
        };
        match (self.found(namespace).or(behind), self.host.get(namespace)) {
            (Some(Found::Text(a)), Some(Found::Text(b))) => Some(a != b),
            _ => None,
        }
    }

    /// What lies in a namespace is own if the namespace is, however much it resembles the host's.
    fn by_namespace(&self, namespace: Question, resembles: bool) -> Verdict {
        match self.is_own(namespace) {
            Some(true) => Verdict::Own,
            _ if resembles => Verdict::Shared,
            _ => Verdict::Own,
        }
    }

    /// Something is not found: hidden if the host has it.
    fn missing(&self, question: Question) -> Verdict {
        match self.host.get(question) {
            None | Some(Found::Pair(_, 0)) => Verdict::Absent,
            Some(Found::Refused(errno)) if is_missing(*errno) => Verdict::Absent,
            Some(_) => Verdict::Hidden,
        }
    }

    fn refused(&self, question: Question, errno: i32) -> Verdict {
        if errno == libc::ENOSYS {
            Verdict::Absent
        } else if is_missing(errno) {
            self.missing(question)
        } else {
            Verdict::Denied
        }
    }
}

/// Whether an error says that there is no such thing.
fn is_missing(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENOENT | libc::ENXIO | libc::ESRCH | libc::ECONNREFUSED | libc::ENOSYS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Found {
        Found::Text(text.into())
    }

    fn findings(answers: &[(Question, Outcome)], host: &[(Question, Found)]) -> Findings {
        Findings {
            host: host.iter().cloned().collect(),
            answers: answers.iter().cloned().collect(),
            open_answers: BTreeMap::new(),
            note: None,
        }
    }

    fn verdict(
        question: Question,
        answers: &[(Question, Found)],
        host: &[(Question, Found)],
    ) -> Verdict {
        let answers: Vec<_> = answers
            .iter()
            .map(|(question, found)| (*question, Outcome::Found(found.clone())))
            .collect();
        findings(&answers, host)
            .judge("x", question)
            .unwrap()
            .verdict
    }

    /// A host name in a namespace of its own is own, though it may be spelled the same.
    #[test]
    fn a_namespace_decides_before_a_likeness() {
        use Question::{Hostname, NsUts};
        let host = [(Hostname, text("vm")), (NsUts, text("uts:[1]"))];
        let of = |namespace: &str| {
            let answers = [(Hostname, text("vm")), (NsUts, text(namespace))];
            verdict(Hostname, &answers, &host)
        };
        assert_eq!(of("uts:[1]"), Verdict::Shared);
        assert_eq!(of("uts:[2]"), Verdict::Own);
        assert_eq!(
            verdict(Hostname, &[(Hostname, text("vm"))], &host),
            Verdict::Shared
        );
        assert_eq!(
            verdict(Hostname, &[(Hostname, text("other"))], &host),
            Verdict::Own
        );
    }

    /// Runtimes whose filter ends who reads a namespace's link still give it one of its own.
    #[test]
    fn a_namespace_behind_the_filter_decides_too() {
        use Question::{Cgroup, Mounts, NsCgroup, NsMnt};
        let host = [
            (NsMnt, text("mnt:[1]")),
            (NsCgroup, text("cgroup:[1]")),
            (Mounts, Found::Number(9)),
            (Cgroup, text("/")),
        ];
        let answers = [
            (Mounts, Outcome::Found(Found::Number(9))),
            (Cgroup, Outcome::Found(text("/"))),
            (NsMnt, Outcome::Killed),
            (NsCgroup, Outcome::Killed),
        ];
        let mut findings = findings(&answers, &host);
        let verdict =
            |findings: &Findings, question| findings.judge("x", question).unwrap().verdict;
        for (namespace, question, link) in [(NsMnt, Mounts, "mnt"), (NsCgroup, Cgroup, "cgroup")] {
            assert_eq!(verdict(&findings, question), Verdict::Shared);
            for (id, expected) in [(1, Verdict::Shared), (2, Verdict::Own)] {
                let link = Outcome::Found(text(&format!("{link}:[{id}]")));
                findings.open_answers.insert(namespace, link);
                assert_eq!(verdict(&findings, question), expected, "{question:?}");
            }
        }
    }

    /// What is not found is hidden only if the host has it: no canary, no claim.
    #[test]
    fn nothing_is_hidden_that_the_host_has_not() {
        use Question::{Kvm, PosixQueue, SharedMemory};
        let missing = Found::Refused(libc::ENOENT);
        for (host, expected) in [
            (Found::Number(0), Verdict::Hidden),
            // It is there, if only root may open it.
            (Found::Refused(libc::EACCES), Verdict::Hidden),
            (missing.clone(), Verdict::Absent),
        ] {
            for question in [Kvm, PosixQueue] {
                let found = verdict(
                    question,
                    &[(question, missing.clone())],
                    &[(question, host.clone())],
                );
                assert_eq!(found, expected, "{question:?} {host:?}");
            }
        }
        for (canaries, expected) in [(1, Verdict::Hidden), (0, Verdict::Absent)] {
            let host = [(SharedMemory, Found::Pair(1, canaries))];
            let found = verdict(SharedMemory, &[(SharedMemory, Found::Pair(0, 0))], &host);
            assert_eq!(found, expected);
        }
        let denied = [(Kvm, Found::Refused(libc::EPERM))];
        assert_eq!(
            verdict(Kvm, &denied, &[(Kvm, Found::Number(0))]),
            Verdict::Denied
        );
    }

    /// A filter that ends who asks denies; what is behind it is told where it can be asked.
    #[test]
    fn a_killed_question_is_told_without_the_filter_or_denied() {
        let question = Question::Hostname;
        let killed = [(question, Outcome::Killed)];
        let host = [(question, text("vm"))];
        let mut findings = findings(&killed, &host);
        let fact = findings.judge("x", question).unwrap();
        assert_eq!((fact.verdict, fact.guarded), (Verdict::Denied, false));
        findings.open_answers = BTreeMap::from([(question, Outcome::Found(text("vm")))]);
        let fact = findings.judge("x", question).unwrap();
        assert_eq!((fact.verdict, fact.guarded), (Verdict::Shared, true));
        assert!(fact.evidence.contains("SIGSYS"), "{fact:?}");
    }
}
