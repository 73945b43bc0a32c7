//! The checkout that a run is started from: its commit and branch, from a CI service's variables or
//! from git.

use std::path::Path;
use std::process::{Command, Stdio};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of the project in whose folder a run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Commit id.
    pub commit: String,
    /// Whether files differed from that commit; absent where only a CI service named it.
    pub modified: Option<bool>,
    /// Branch, or absent where none is checked out.
    pub branch: Option<String>,
}

/// Variables in which CI services name the commit, and the first of those that name its branch:
/// GitHub Actions, GitLab, Buildkite, CircleCI, Travis, Azure Pipelines, Jenkins.
const SERVICES: [(&str, &[&str]); 7] = [
    ("GITHUB_SHA", &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"]),
    (
        "CI_COMMIT_SHA",
        &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"],
    ),
    ("BUILDKITE_COMMIT", &["BUILDKITE_BRANCH"]),
    ("CIRCLE_SHA1", &["CIRCLE_BRANCH"]),
    (
        "TRAVIS_COMMIT",
        &["TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"],
    ),
    ("BUILD_SOURCEVERSION", &["BUILD_SOURCEBRANCHNAME"]),
    ("GIT_COMMIT", &["GIT_BRANCH"]),
];
/// Longest branch name that is kept, in bytes.
const LONGEST_BRANCH: usize = 200;

/// What is known about the checkout around this folder. Nothing outside of one, and nothing of a
/// commit that is none: a wrong one is worse than none.
#[must_use]
pub fn detect(folder: &Path) -> Option<Project> {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    from_service(&variable).or_else(|| from_git(folder))
}

fn from_service(variable: &dyn Fn(&str) -> Option<String>) -> Option<Project> {
    SERVICES.iter().find_map(|(commit, branches)| {
        let commit = variable(commit).filter(|commit| is_commit(commit))?;
        let branch = branches.iter().find_map(|name| variable(name));
        Some(Project {
            commit,
            modified: None,
            branch: branch.filter(|branch| is_branch(branch)),
        })
    })
}

fn from_git(folder: &Path) -> Option<Project> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            // Looking takes no lock and asks nobody.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // The commit and whether tracked files differ from it, in one go.
    let described = git(&[
        "describe",
        "--always",
        "--dirty",
        "--abbrev=64",
        "--exclude=*",
    ])?;
    let (commit, modified) = match described.strip_suffix("-dirty") {
        Some(commit) => (commit.to_owned(), true),
        None => (described, false),
    };
    let branch = git(&["symbolic-ref", "--short", "-q", "HEAD"]);
    is_commit(&commit).then(|| Project {
        commit,
        modified: Some(modified),
        branch: branch.filter(|branch| is_branch(branch)),
    })
}

/// Whether a text can be a commit id, abbreviated or not.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_branch(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_BRANCH && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_service_names_commit_and_branch() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            from_service(&move |name| {
                let found = set.iter().find(|(k, _)| k == name);
                found.map(|(_, v)| v.clone())
            })
        };
        let github = of(&[("GITHUB_SHA", SHA), ("GITHUB_REF_NAME", "main")]).unwrap();
        assert_eq!(
            (github.commit.as_str(), github.branch.as_deref()),
            (SHA, Some("main"))
        );
        assert_eq!(github.modified, None);
        let request = of(&[
            ("GITHUB_SHA", SHA),
            ("GITHUB_HEAD_REF", "topic"),
            ("GITHUB_REF_NAME", "7/merge"),
        ]);
        assert_eq!(request.unwrap().branch.as_deref(), Some("topic"));
        let gitlab = of(&[("CI_COMMIT_SHA", SHA), ("CI_COMMIT_REF_NAME", "a\nb")]).unwrap();
        assert_eq!(gitlab.branch, None, "a branch that would break a table");
        assert_eq!(of(&[("GITHUB_SHA", "not a commit")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn git_tells_the_commit_and_whether_files_differ() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            Command::new("git")
                .arg("-C")
                .arg(dir.path())
                .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
                .args(arguments)
                .output()
        };
        let Ok(made) = git(&["init", "-q", "-b", "trunk"]) else {
            eprintln!("skipped: git_tells_the_commit_and_whether_files_differ: no git");
            return;
        };
        assert!(made.status.success());
        assert_eq!(from_git(dir.path()), None, "no commit yet");
        std::fs::write(dir.path().join("file"), "1").unwrap();
        git(&["add", "file"]).unwrap();
        git(&["commit", "-q", "-m", "first"]).unwrap();
        let clean = from_git(dir.path()).unwrap();
        assert_eq!(clean.modified, Some(false));
        assert_eq!(clean.branch.as_deref(), Some("trunk"));
        assert_eq!(clean.commit.len(), 40);
        std::fs::write(dir.path().join("file"), "2").unwrap();
        assert_eq!(from_git(dir.path()).unwrap().modified, Some(true));
        git(&["checkout", "-q", "--detach"]).unwrap();
        assert_eq!(from_git(dir.path()).unwrap().branch, None);
    }
}
