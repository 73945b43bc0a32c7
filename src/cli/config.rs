//! `isobench.toml`: backends of the user's own. Read before anything else is done.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::plan;
use super::project_file::{self, NAME, Unread};
use crate::backend::Configuration;
use crate::backend::engine::own::{DefinitionError, OwnBackend, Template, program_path};

/// Most backends of a file.
const MAX_BACKENDS: usize = 64;
/// Where none is given, as long as a trial may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}: {field}: {problem}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    /// The key, as `backend[0].start`; or what of the file as a whole.
    field: String,
    problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    backend: Vec<RawBackend>,
    /// Thresholds: whoever compares runs reads them.
    #[serde(rename = "gate")]
    _gate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
    name: String,
    start: RawCommand,
    ready: Option<RawCommand>,
    stop: Option<RawCommand>,
    timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a command is an array of strings, or a string that is split as a shell would"
)]
enum RawCommand {
    Line(String),
    Words(Vec<String>),
}

/// Reads the file that was named, or the one in the working directory if there is one.
///
/// # Errors
/// It is no such file, with the key that is wrong.
pub fn load(named: Option<&Path>) -> Result<Vec<OwnBackend>, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(NAME));
    let fail = |problem: String| ConfigError {
        path: path.to_path_buf(),
        field: "file".to_owned(),
        problem,
    };
    let text = match project_file::text(path) {
        Ok(text) => text,
        Err(Unread::System(error))
            if named.is_none() && error.kind() == io::ErrorKind::NotFound =>
        {
            return Ok(Vec::new());
        }
        Err(why) => return Err(fail(why.to_string())),
    };
    parse(&text).map_err(|(field, problem)| ConfigError {
        path: path.to_path_buf(),
        field,
        problem,
    })
}

/// The key that is wrong, and what is wrong with it.
type Refusal = (String, String);

fn parse(text: &str) -> Result<Vec<OwnBackend>, Refusal> {
    let toml = toml::Deserializer::parse(text).map_err(|error| refusal(text, "file", &error))?;
    let raw: Raw = serde_path_to_error::deserialize(toml).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." {
            "file".to_owned()
        } else {
            field
        };
        refusal(text, &field, error.inner())
    })?;
    if raw.backend.len() > MAX_BACKENDS {
        let problem = format!("{} of them; at most {MAX_BACKENDS}", raw.backend.len());
        return Err(("backend".to_owned(), problem));
    }
    let mut own: Vec<OwnBackend> = Vec::new();
    for (index, raw) in raw.backend.into_iter().enumerate() {
        let mut taken = Configuration::backends();
        taken.push(plan::ALL);
        taken.extend(own.iter().map(|own| own.name.as_str()));
        let checked = check(raw, &taken);
        let named =
            |error: DefinitionError| (format!("backend[{index}].{}", error.key), error.problem);
        let checked = checked.map_err(named)?;
        own.push(checked);
    }
    Ok(own)
}

fn check(raw: RawBackend, taken: &[&str]) -> Result<OwnBackend, DefinitionError> {
    let optional = |key, command: Option<RawCommand>| {
        command.map(|command| template(key, command)).transpose()
    };
    let timeout = match raw.timeout {
        None => TIMEOUT,
        Some(text) => plan::time(&text).map_err(|problem| DefinitionError {
            key: "timeout",
            problem,
        })?,
    };
    OwnBackend {
        name: raw.name,
        start: template("start", raw.start)?,
        ready: optional("ready", raw.ready)?,
        stop: optional("stop", raw.stop)?,
        timeout,
    }
    .checked(taken)
}

fn template(key: &'static str, command: RawCommand) -> Result<Template, DefinitionError> {
    let template = match command {
        RawCommand::Line(line) => Template::split(key, &line),
        RawCommand::Words(words) => Template::of(key, words),
    }?;
    let program = template.program();
    if template.has_fixed_program() && program_path(program).is_none() {
        let problem = if program.contains('/') {
            format!("{program:?} is no file that can be executed")
        } else {
            format!("{program:?} is not on the path")
        };
        return Err(DefinitionError { key, problem });
    }
    Ok(template)
}

/// In one line, with the place where the text goes wrong.
fn refusal(text: &str, field: &str, error: &toml::de::Error) -> Refusal {
    let message = error.message().replace('\n', "; ");
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    });
    let problem = match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    };
    (field.to_owned(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let (field, problem) = parse(text).unwrap_err();
        format!("{field}: {problem}")
    }

    #[test]
    fn a_backend_is_read_with_both_spellings_of_a_command() {
        let text = r#"
            [[backend]]
            name = "first"
            start = ["sh", "-c", "exec {payload} {workload} {args}"]
            [[backend]]
            name = "second"
            start = "sh -c 'x {workload}' {args} {output}"
            ready = "true"
            stop = ["true"]
            timeout = "1.5s"
        "#;
        let own = parse(text).unwrap();
        assert_eq!(own.len(), 2);
        assert_eq!(own[0].timeout, TIMEOUT);
        assert!(own[0].ready.is_none() && !own[0].uses_output());
        assert_eq!(own[1].timeout, Duration::from_millis(1500));
        assert!(own[1].uses_output() && own[1].stop.is_some());
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let backend = |rest: &str| format!("[[backend]]\nname = \"own\"\n{rest}");
        let good = "start = \"sh {workload} {args}\"\n";
        for (text, says) in [
            ("x".to_owned(), "file: line 1"),
            ("x = 1".to_owned(), "unknown field `x`"),
            ("backend = 7".to_owned(), "backend: line 1"),
            ("[backend]\nname = \"a\"".to_owned(), "backend: line"),
            (backend(""), "missing field `start`"),
            (backend("start = 7"), "backend[0].start: line 3"),
            (backend("start = [7]"), "backend[0].start"),
            (
                backend("start = []"),
                "backend[0].start: there is no program",
            ),
            (
                backend("start = \"\""),
                "backend[0].start: there is no program",
            ),
            (
                backend("start = \"sh {workload}\""),
                "backend[0].start: {args} is nowhere",
            ),
            (
                backend("start = \"sh {workload} {args} {memory}\""),
                "backend[0].start: there is no placeholder {memory}",
            ),
            (
                backend("start = \"nonexistent-engine {workload} {args}\""),
                "backend[0].start: \"nonexistent-engine\" is not on the path",
            ),
            (
                backend("start = \"/etc/passwd {workload} {args}\""),
                "backend[0].start: \"/etc/passwd\" is no file that can be executed",
            ),
            (backend(&format!("{good}stop = \"\"")), "backend[0].stop"),
            (
                backend(&format!("{good}memory = 0")),
                "unknown field `memory`",
            ),
            (backend(&format!("{good}name = \"b\"")), "duplicate key"),
            (
                backend(&format!("{good}timeout = 30")),
                "backend[0].timeout: line 4: invalid type",
            ),
            (
                backend(&format!("{good}timeout = \"0s\"")),
                "backend[0].timeout: \"0s\"",
            ),
            (
                backend(&format!("{good}timeout = \"inf\"")),
                "backend[0].timeout: \"inf\"",
            ),
            (
                format!("{}{}", backend(good), backend(good)),
                "backend[1].name: \"own\" is the name of another backend",
            ),
            (
                backend(good).replace("\"own\"", "\"docker\""),
                "backend[0].name: \"docker\" is the name of another backend",
            ),
            (
                backend(good).replace("\"own\"", "\"all\""),
                "backend[0].name: \"all\"",
            ),
            (
                backend(good).replace("\"own\"", "\"../own\""),
                "backend[0].name: \"../own\"",
            ),
        ] {
            let error = refused(&text);
            assert!(error.contains(says), "{text}\n  {error}\n  {says}");
        }
        let many = backend(good).repeat(MAX_BACKENDS + 1);
        assert!(refused(&many).starts_with("backend: 65 of them"));
    }

    #[test]
    fn what_is_no_file_is_refused_and_what_is_absent_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let error = load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
        let error = load(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(100 << 20)
            .unwrap();
        let error = load(Some(&path)).unwrap_err().to_string();
        assert!(error.ends_with("file: larger than 1 MiB"), "{error}");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        let error = load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("not UTF-8"), "{error}");
        std::fs::write(&path, "").unwrap();
        assert_eq!(load(Some(&path)).unwrap(), []);
    }
}
