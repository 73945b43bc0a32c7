//! What comes over the serial port, and whether it is what the steps must say.
//!
//! A line is `step NAME`, `out TEXT`, `err TEXT`, `end NAME: HOW`; inside only `init` writes the first
//! word, so nothing that a step prints is taken for the end of it.

use crate::steps::{self, Bed, Expect, Step};

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

/// What is known of the steps of a machine.
pub struct Report {
    bed: &'static Bed,
    seen: Vec<Seen>,
}

struct Seen {
    name: String,
    output: String,
    /// Both streams, as they came.
    all: String,
    results: Results,
    end: Option<String>,
}

impl Report {
    pub fn new(bed: &'static Bed) -> Self {
        Self {
            bed,
            seen: Vec::new(),
        }
    }

    /// Takes in a line. What it says to whoever waits: the result of a test, what was not done, a
    /// timeline, how a step ended.
    pub fn take(&mut self, line: &str) -> Vec<String> {
        if let Line::Begin(name) = Line::parse(line) {
            self.seen.push(Seen {
                name: name.to_owned(),
                output: String::new(),
                all: String::new(),
                results: Results::default(),
                end: None,
            });
        }
        let Some(current) = self.seen.last_mut() else {
            return Vec::new();
        };
        let step = format!("{} {}", self.bed.name, current.name);
        let text = match Line::parse(line) {
            Line::Output(text) => {
                current.output.push_str(text);
                current.output.push('\n');
                text
            }
            Line::Error(text) => text,
            Line::End(name, how) if name == current.name => {
                current.end = Some(how.to_owned());
                return vec![format!("nested {step}: {how}")];
            }
            _ => return Vec::new(),
        };
        current.all.push_str(text);
        current.all.push('\n');
        let result = match Line::parse(line) {
            Line::Output(text) => current.results.take(text),
            _ => None,
        };
        let result = result.map(|(test, result)| format!("nested {step}: {test}: {result}"));
        let skipped = not_done(text).map(|what| format!("skipped: nested {step}: {what}"));
        let shown = shown(text).map(|what| format!("nested {step}: {what}"));
        skipped.into_iter().chain(shown).chain(result).collect()
    }

    /// The last step has ended.
    pub fn complete(&self) -> bool {
        let last = self.bed.chosen().last().map(|step| step.name);
        let seen = self.seen.last().filter(|seen| seen.end.is_some());
        seen.is_some_and(|seen| Some(seen.name.as_str()) == last)
    }

    /// For each step that is as it must be what its document says; for each other what is wrong.
    pub fn judged(&self) -> (Vec<String>, Vec<String>) {
        let (mut said, mut wrong) = (Vec::new(), Vec::new());
        for step in self.bed.chosen() {
            let name = format!("{} {}", self.bed.name, step.name);
            match self.seen.iter().find(|seen| seen.name == step.name) {
                None => wrong.push(format!("{name}: not begun")),
                Some(seen) => match judge(step, seen) {
                    Ok(what) if what.is_empty() => {}
                    Ok(what) => said.push(format!("nested {name}: {what}")),
                    Err(why) => wrong.push(format!("{name}: {why}\n{}", tail(&seen.all, 60))),
                },
            }
        }
        (said, wrong)
    }
}

/// The results that libtest prints with `--nocapture` and one thread: `test NAME ... RESULT`, or what the
/// test prints between the two. Tests that run tests show theirs there; those are within them.
#[derive(Default)]
struct Results {
    /// Begun and without a result, the outermost first.
    open: Vec<String>,
}

impl Results {
    /// A test and its result, if this line completes that.
    fn take(&mut self, line: &str) -> Option<(String, String)> {
        let begins = line
            .strip_prefix("test ")
            .and_then(|l| l.split_once(" ... "));
        let rest = match begins {
            Some((test, rest)) => {
                self.open.push(test.to_owned());
                rest
            }
            None => line,
        };
        let is_result = ["ok", "FAILED"].contains(&rest) || rest.starts_with("ignored");
        let test = is_result.then(|| self.open.pop())??;
        self.open.is_empty().then(|| (test, rest.to_owned()))
    }
}

/// What a test prints to be seen, behind its name where libtest has put that on the same line.
fn shown(line: &str) -> Option<&str> {
    let said = line.split_once(" ... ").map_or(line, |(_, said)| said);
    said.starts_with("timeline ").then_some(said)
}

/// What there is to say of a step, or what is wrong with it.
fn judge(step: &Step, seen: &Seen) -> Result<String, String> {
    match seen.end.as_deref() {
        Some(how) if how.starts_with("exit status: 0 ") => {}
        Some(how) => return Err(how.to_owned()),
        None => return Err("has no end".to_owned()),
    }
    match step.expect {
        Expect::Tests { at_least, excuses } => {
            let excused = |what: &String| excuses.iter().any(|excuse| what.contains(excuse));
            let mut idle = seen.all.lines().filter_map(not_done);
            if let Some(what) = idle.find(|what| !excused(what)) {
                return Err(format!("has no excuse: {what}"));
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
                Some(passed) if passed >= at_least => Ok(String::new()),
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

/// `NAME: WHY` of `skipped: NAME: WHY`, behind the name of a test that libtest may have put on the same
/// line.
fn not_done(line: &str) -> Option<String> {
    let said = line.split_once(" ... ").map_or(line, |(_, said)| said);
    said.strip_prefix("skipped: ").map(str::to_owned)
}

/// The last lines, each marked: one that begins with `test result: ` is not this test's.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().map(|line| format!("| {line}")).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[test]
fn a_step_that_is_not_as_it_must_be_is_told() {
    let step = steps::tests("x", "x", 2, &["only root can"]);
    let told = |lines: &[&str]| {
        let mut report = Report::new(&steps::SVM);
        report.take("step x");
        lines.iter().for_each(|line| drop(report.take(line)));
        judge(&step, &report.seen[0])
    };
    let idle = "out test a ... skipped: as root: only root can";
    let inner = "out test result: ok. 9 passed; 0 failed";
    let ok = "out test result: ok. 2 passed; 0 failed";
    let end = "end x: exit status: 0 (1 s)";
    assert_eq!(told(&[idle, inner, ok, end]), Ok(String::new()));
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

#[test]
fn results_and_what_was_not_done_are_told_by_name() {
    let mut report = Report::new(&steps::SVM);
    let lines = [
        "step x",
        "out running 3 tests",
        "out test a ... ok",
        "out test b ... skipped: as root: only root can",
        "err skipped: c of b: no KVM",
        "out ok",
        "out test d ... ",
        "out test a ... ok",
        "out test result: ok. 1 passed; 0 failed",
        "out FAILED",
        "end x: exit status: 101 (1 s)",
    ];
    let told: Vec<_> = lines.iter().flat_map(|line| report.take(line)).collect();
    assert_eq!(
        told,
        [
            "nested svm x: a: ok",
            "skipped: nested svm x: as root: only root can",
            "skipped: nested svm x: c of b: no KVM",
            "nested svm x: b: ok",
            "nested svm x: d: FAILED",
            "nested svm x: exit status: 101 (1 s)",
        ]
    );
}
