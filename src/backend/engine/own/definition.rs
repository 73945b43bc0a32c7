//! What a user says of a backend of their own: three commands with placeholders.

use std::collections::BTreeMap;
use std::time::Duration;

/// A `[[backend]]` of `isobench.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBackend {
    /// Its name in `--backends` and in results.
    pub name: String,
    /// Starts an instance.
    pub start: Template,
    /// Where it detaches what it starts: succeeds once the instance is there.
    pub ready: Option<Template>,
    /// Removes an instance, whatever state it is in.
    pub stop: Option<Template>,
    /// How long each of them may take, and a trial as a whole.
    pub timeout: Duration,
}

/// Why something is no definition: the key, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct DefinitionError {
    /// `name`, `start`, …
    pub key: &'static str,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl DefinitionError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self {
            key,
            problem: problem.into(),
        }
    }
}

/// Bytes of a name.
const LONGEST_NAME: usize = 32;

impl OwnBackend {
    /// Checks that the parts make a backend.
    ///
    /// # Errors
    /// The key that is wrong.
    pub fn checked(self, taken: &[&str]) -> Result<Self, DefinitionError> {
        let name = &self.name;
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(letters) {
            let problem = format!(
                "{name:?} is not 1 to {LONGEST_NAME} of the letters a-z, digits, '-', '_' and '.'"
            );
            return Err(DefinitionError::new("name", problem));
        }
        if taken.contains(&name.as_str()) {
            let problem = format!("{name:?} is the name of another backend");
            return Err(DefinitionError::new("name", problem));
        }
        let commands = [Some(&self.start), self.ready.as_ref()];
        for placeholder in [Placeholder::Workload, Placeholder::Args] {
            if !commands.into_iter().flatten().any(|c| c.uses(placeholder)) {
                let problem = format!(
                    "{} is nowhere: the payload would not know what to do",
                    placeholder.name()
                );
                return Err(DefinitionError::new("start", problem));
            }
        }
        if self.ready.is_some() && !self.uses_output() {
            let problem = "a backend that detaches what it starts (ready) must send the payload's \
                           output to {output}";
            return Err(DefinitionError::new("start", problem));
        }
        Ok(self)
    }

    /// Whether the payload's messages come through a FIFO, and not through the standard output of
    /// `start`.
    #[must_use]
    pub fn uses_output(&self) -> bool {
        let commands = [Some(&self.start), self.ready.as_ref()];
        let mut commands = commands.into_iter().flatten();
        commands.any(|command| command.uses(Placeholder::Output))
    }
}

/// What stands for something of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// Path of the payload's file.
    Payload,
    /// Path of a directory with the payload in it, to be a root.
    Rootfs,
    /// The workload's name.
    Workload,
    /// Its other arguments: size and repetitions.
    Args,
    /// The instance's name.
    Name,
    /// Path of a FIFO that the payload's output is to be written to.
    Output,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Payload,
        Self::Rootfs,
        Self::Workload,
        Self::Args,
        Self::Name,
        Self::Output,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payload => "{payload}",
            Self::Rootfs => "{rootfs}",
            Self::Workload => "{workload}",
            Self::Args => "{args}",
            Self::Name => "{name}",
            Self::Output => "{output}",
        }
    }
}

/// A command with placeholders; its first word is a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<String>);

impl Template {
    /// From words.
    ///
    /// # Errors
    /// `key` is what it is the value of: no word, an empty program, a NUL, a placeholder that there is
    /// not.
    pub fn of(key: &'static str, words: Vec<String>) -> Result<Self, DefinitionError> {
        if words.first().is_none_or(String::is_empty) {
            return Err(DefinitionError::new(key, "there is no program in it"));
        }
        if let Some(word) = words.iter().find(|word| word.contains('\0')) {
            return Err(DefinitionError::new(
                key,
                format!("{word:?} has a NUL in it"),
            ));
        }
        if let Some(unknown) = words.iter().find_map(|word| unknown(word)) {
            let known = Placeholder::ALL.map(Placeholder::name).join(", ");
            let problem = format!("there is no placeholder {unknown}; expected one of {known}");
            return Err(DefinitionError::new(key, problem));
        }
        Ok(Self(words))
    }

    /// From a line, split into words as a shell does it: blanks, quotes and backslashes. No shell runs,
    /// nothing else means anything.
    ///
    /// # Errors
    /// As [`Self::of`], and a quote that does not end.
    pub fn split(key: &'static str, line: &str) -> Result<Self, DefinitionError> {
        let words = shell_words::split(line);
        let words =
            words.map_err(|error| DefinitionError::new(key, format!("{line:?}: {error}")))?;
        Self::of(key, words)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// Whether the program is the same in every trial.
    #[must_use]
    pub fn has_fixed_program(&self) -> bool {
        let program = self.program();
        !Placeholder::ALL.iter().any(|p| program.contains(p.name()))
    }

    /// Whether a placeholder is in it.
    #[must_use]
    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.0.iter().any(|word| word.contains(placeholder.name()))
    }

    /// The words of a trial. `{args}` as a word of its own becomes as many words as there are arguments.
    #[must_use]
    pub fn filled(&self, values: &Values) -> Vec<String> {
        let mut words = Vec::new();
        for word in &self.0 {
            if word == Placeholder::Args.name() {
                words.extend(values.args.iter().cloned());
                continue;
            }
            words.push(values.filled(word));
        }
        words
    }
}

/// What the placeholders stand for in one trial.
#[derive(Clone, Debug, Default)]
pub struct Values {
    texts: BTreeMap<Placeholder, String>,
    args: Vec<String>,
}

impl Values {
    /// With these arguments.
    #[must_use]
    pub fn new(texts: impl IntoIterator<Item = (Placeholder, String)>, args: &[String]) -> Self {
        let mut texts: BTreeMap<_, _> = texts.into_iter().collect();
        texts.insert(Placeholder::Args, args.join(" "));
        Self {
            texts,
            args: args.to_vec(),
        }
    }

    /// What is put in is not looked at again.
    fn filled(&self, word: &str) -> String {
        let mut filled = String::new();
        let mut rest = word;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let known = Placeholder::ALL
                .into_iter()
                .find(|placeholder| from.starts_with(placeholder.name()));
            let taken = match known {
                Some(placeholder) => {
                    filled.push_str(self.texts.get(&placeholder).map_or("", String::as_str));
                    placeholder.name().len()
                }
                None => {
                    filled.push('{');
                    1
                }
            };
            rest = &from[taken..];
        }
        filled + rest
    }
}

/// `{word}` that is no placeholder; other braces are nobody's affair.
fn unknown(word: &str) -> Option<&str> {
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        let letters = rest[1..].find(|c: char| !c.is_ascii_lowercase() && c != '_');
        if let Some(length) = letters.filter(|length| *length > 0)
            && rest[1 + length..].starts_with('}')
        {
            let found = &rest[..length + 2];
            if Placeholder::ALL.iter().all(|p| p.name() != found) {
                return Some(found);
            }
        }
        rest = &rest[1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(name: &str, start: &str) -> Result<OwnBackend, DefinitionError> {
        OwnBackend {
            name: name.to_owned(),
            start: Template::split("start", start)?,
            ready: None,
            stop: None,
            timeout: Duration::from_secs(1),
        }
        .checked(&["process", "runc"])
    }

    #[test]
    fn placeholders_are_filled_once_and_args_become_words() {
        let template = Template::split(
            "start",
            r#"vm --json '{"a": {}}' -append "run {workload} {args}" {args} {name}{output}"#,
        )
        .unwrap();
        let texts = [
            (Placeholder::Workload, "{name}".to_owned()),
            (Placeholder::Name, "n".to_owned()),
            (Placeholder::Output, "/o".to_owned()),
        ];
        let values = Values::new(texts, &["0".to_owned(), "1".to_owned()]);
        assert_eq!(
            template.filled(&values),
            [
                "vm",
                "--json",
                "{\"a\": {}}",
                "-append",
                "run {name} 0 1",
                "0",
                "1",
                "n/o"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (name, start, key, says) in [
            ("", "x {workload} {args}", "name", "1 to 32"),
            ("A", "x {workload} {args}", "name", "1 to 32"),
            ("a:b", "x {workload} {args}", "name", "1 to 32"),
            ("a,b", "x {workload} {args}", "name", "1 to 32"),
            ("runc", "x {workload} {args}", "name", "another backend"),
            ("own", "", "start", "no program"),
            ("own", "'' x", "start", "no program"),
            ("own", "x 'y", "start", "x 'y"),
            ("own", "x {what} {args}", "start", "no placeholder {what}"),
            ("own", "x {args}", "start", "{workload} is nowhere"),
            ("own", "x {workload}", "start", "{args} is nowhere"),
        ] {
            let error = backend(name, start).unwrap_err();
            assert_eq!(error.key, key, "{name} {start}");
            assert!(error.problem.contains(says), "{error}");
        }
        let own = backend("own", "x {workload} {args}").unwrap();
        let detached = OwnBackend {
            ready: Some(own.start.clone()),
            ..own
        };
        let error = detached.checked(&[]).unwrap_err();
        assert!(error.problem.contains("{output}"), "{error}");
    }
}
