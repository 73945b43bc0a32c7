//! What comes over the serial port, and whether it is what the steps must say.
//!
//! A line is `step NAME`, `out TEXT`, `err TEXT`, `end NAME: HOW`; inside only `init` writes the first
//! word, so nothing that a step prints is taken for the end of it.

use crate::steps::{self, Expect, Step};

/// One line, understood.
pub enum Line<'a> {
    Begin(&'a str),
    Output(&'a str),
    Error(&'a str),
    End(&'a str, &'a str),
    Noise,
}

impl<'a> Line<'a> {
    pub fn parse(line: &'a str) -> Self {
        match line.split_once(' ') {
            Some(("step", name)) => Self::Begin(name),
            Some(("out", text)) => Self::Output(text),
            Some(("err", text)) => Self::Error(text),
            Some(("end", rest)) => match rest.split_once(": ") {
                Some((name, how)) => Self::End(name, how),
                None => Self::Noise,
            },
            _ => Self::Noise,
        }
    }
}

/// What is known of each step.
#[derive(Default)]
pub struct Report {
    seen: Vec<Seen>,
}

struct Seen {
    name: String,
    output: String,
    /// Both streams, as they came.
    all: String,
    end: Option<String>,
}

impl Report {
    pub fn take(&mut self, line: &str) {
        if let Line::Begin(name) = Line::parse(line) {
            self.seen.push(Seen {
                name: name.to_owned(),
                output: String::new(),
                all: String::new(),
                end: None,
            });
        }
        let Some(current) = self.seen.last_mut() else {
            return;
        };
        let mut add = |text: &str| {
            current.all.push_str(text);
            current.all.push('\n');
        };
        match Line::parse(line) {
            Line::Output(text) => {
                add(text);
                current.output.push_str(text);
                current.output.push('\n');
            }
            Line::Error(text) => add(text),
            Line::End(name, how) if name == current.name => current.end = Some(how.to_owned()),
            _ => {}
        }
    }

    /// The last step has ended.
    pub fn complete(&self) -> bool {
        let last = steps::chosen().last().map(|step| step.name);
        let seen = self.seen.last().filter(|seen| seen.end.is_some());
        seen.is_some_and(|seen| Some(seen.name.as_str()) == last)
    }

    /// One text for each step that is not as it must be.
    pub fn failures(&self) -> Vec<String> {
        let judged = steps::chosen().map(|step| {
            let seen = self.seen.iter().find(|seen| seen.name == step.name);
            let Some(seen) = seen else {
                return Err(format!("step {}: not begun", step.name));
            };
            judge(step, seen)
                .map_err(|why| format!("step {}: {why}\n{}", step.name, tail(&seen.all, 60)))
        });
        judged.filter_map(Result::err).collect()
    }
}

fn judge(step: &Step, seen: &Seen) -> Result<(), String> {
    match seen.end.as_deref() {
        Some(how) if how.starts_with("exit status: 0 ") => {}
        Some(how) => return Err(how.to_owned()),
        None => return Err("has no end".to_owned()),
    }
    match step.expect {
        Expect::Tests { at_least, excuses } => {
            let excused = |line: &str| excuses.iter().any(|excuse| line.contains(excuse));
            let mut idle = seen.all.lines().filter(|line| did_nothing(line));
            if let Some(line) = idle.find(|line| !excused(line)) {
                return Err(format!("has no excuse: {line}"));
            }
            // The last one: tests may run this binary again and show what it says.
            let last = seen
                .output
                .lines()
                .rfind(|line| line.starts_with("test result: "));
            let passed = last.and_then(|line| {
                let rest = line.strip_prefix("test result: ok. ")?;
                rest.split_once(" passed")?.0.parse::<u64>().ok()
            });
            match passed {
                Some(passed) if passed >= at_least => Ok(()),
                other => Err(format!(
                    "{other:?} tests passed instead of {at_least} or more"
                )),
            }
        }
        Expect::Json(holds) => {
            let value = serde_json::from_str(&seen.output).map_err(|e| e.to_string())?;
            holds(&value)
        }
    }
}

/// `NAME: not run: WHY` and `skipped: NAME: WHY`, behind the name of a test that libtest may have put
/// on the same line.
fn did_nothing(line: &str) -> bool {
    let said = line.split_once(" ... ").map_or(line, |(_, said)| said);
    said.starts_with("skipped: ") || said.contains(": not run: ")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[test]
fn a_step_that_is_not_as_it_must_be_is_told() {
    let step = steps::tests("x", "x", 2, &["only root can"]);
    let told = |lines: &[&str]| {
        let mut report = Report::default();
        report.take("step x");
        lines.iter().for_each(|line| report.take(line));
        judge(&step, &report.seen[0])
    };
    let idle = "out test a ... as root: not run: only root can";
    let inner = "out test result: ok. 9 passed; 0 failed";
    let ok = "out test result: ok. 2 passed; 0 failed";
    let end = "end x: exit status: 0 (1 s)";
    assert_eq!(told(&[idle, inner, ok, end]), Ok(()));
    for (lines, why) in [
        (&[idle, ok][..], "no end"),
        (&[idle, ok, "end y: exit status: 0 (1 s)"], "no end"),
        // What a step prints ends nothing.
        (&[idle, ok, "out end x: exit status: 0 (1 s)"], "no end"),
        (&[idle, ok, "end x: exit status: 101 (1 s)"], "101"),
        (&[idle, ok, "end x: killed after 240s (240 s)"], "killed"),
        (&[idle, "err skipped: b: no KVM", ok, end], "no KVM"),
        (&[idle, end], "None tests"),
        (
            &[idle, inner, "out test result: ok. 1 passed", end],
            "Some(1)",
        ),
        (
            &[idle, inner, "out test result: FAILED. 2 passed", end],
            "None tests",
        ),
    ] {
        let found = told(lines).unwrap_err();
        assert!(found.contains(why), "{lines:?}: {found}");
    }
}
