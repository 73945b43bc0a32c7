//! Answers as text.

use isobench_abi::Question;
use nix::errno::Errno;

use crate::transcript::Found;

/// An answer in words. Bytes of a payload are shown as ASCII, all others escaped.
pub fn show(question: Question, found: &Found) -> String {
    match (question, found) {
        (_, Found::NoKernel) => "no kernel to ask".to_owned(),
        (_, Found::Skipped) => "not asked".to_owned(),
        (_, Found::Refused(errno)) => errno_name(*errno),
        (_, Found::Text(text)) => {
            let lines = text.trim_ascii().split(|b| *b == b'\n');
            let words = lines.map(|line| {
                let words = line
                    .split(u8::is_ascii_whitespace)
                    .filter(|w| !w.is_empty());
                let words: Vec<String> = words.map(|w| w.escape_ascii().to_string()).collect();
                words.join(" ")
            });
            let cut = text.len() == isobench_abi::fact::MAX_TEXT;
            let text = words.collect::<Vec<_>>().join("; ");
            match (text.is_empty(), cut) {
                (true, _) => "none".to_owned(),
                (_, true) => text + " …",
                (_, false) => text,
            }
        }
        (Question::SharedMemory, Found::Pair(count, canaries)) => {
            format!("{count}, canaries {canaries}")
        }
        (Question::Processes, Found::Pair(count, own)) => format!("{count}, itself as {own}"),
        (Question::Session, Found::Pair(session, own)) => {
            format!("session {session}, process {own}")
        }
        (_, Found::Pair(device, inode)) => format!("device {device:#x}, inode {inode}"),
        (
            Question::CapInheritable
            | Question::CapPermitted
            | Question::CapEffective
            | Question::CapBounding
            | Question::CapAmbient,
            Found::Number(set),
        ) => format!("{set:#x}"),
        (Question::Memory, Found::Number(n)) => format!("{n} bytes"),
        (Question::Uptime, Found::Number(n)) => format!("{n} s"),
        (
            Question::SignalParent
            | Question::RootWritable
            | Question::Kvm
            | Question::AbstractSocket
            | Question::PosixQueue,
            Found::Number(_),
        ) => "possible".to_owned(),
        (_, Found::Number(n)) => n.to_string(),
    }
}

/// `ENOENT`, or the number of an error that has no name.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("error {errno}"),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a payload sends as text can stand in a report.
    #[test]
    fn a_hostile_text_is_shown_escaped() {
        let text = |text: &str| Found::Text(text.into());
        let hostile = text("a\x1b[2J\u{e9}\n\tb  c\"");
        let shown = show(Question::Cgroup, &hostile);
        assert!(
            shown.chars().all(|c| !c.is_control()) && shown.is_ascii(),
            "{shown}"
        );
        assert!(shown.ends_with("; b c\\\""), "{shown}");
        assert_eq!(show(Question::Cgroup, &text("")), "none");
        let long = Found::Text(vec![b'x'; isobench_abi::fact::MAX_TEXT]);
        assert!(show(Question::Cgroup, &long).ends_with('…'));
    }
}
