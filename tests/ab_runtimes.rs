//! `isobench ab` of two builds of an OCI runtime. Skipped by name where there is none.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::{isobench, left_behind, skipped, start, status, stderr, stdout, usable};

/// A runtime that this host can run.
struct Runtime {
    name: &'static str,
    path: PathBuf,
}

fn runtime(test: &str) -> Option<Runtime> {
    let mut names = ["crun", "runc", "youki"].into_iter();
    let Some(name) = names.find(|name| usable(name)) else {
        skipped(
            test,
            "isobench doctor: neither crun nor runc nor youki can run here",
        );
        return None;
    };
    let path = std::env::var_os("PATH").unwrap();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(system);
    let path = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.exists()));
    Some(Runtime {
        name,
        path: path.unwrap(),
    })
}

/// A program that does something before the runtime does what it is asked.
fn wrapped(dir: &Path, name: &str, before: &str, runtime: &Runtime) -> PathBuf {
    let path = dir.join(name);
    let text = format!(
        "#!/bin/sh\n{before}\nexec {} \"$@\"\n",
        runtime.path.display()
    );
    support::program(&path, &text);
    path
}

fn ab(base: &Path, head: &Path, flags: &[&str]) -> (u32, Output) {
    let mut command = isobench();
    command.args(["ab", "--seed", "1", "--base"]).arg(base);
    command.arg("--head").arg(head).args(flags);
    let child = start(&mut command);
    (child.id(), child.wait_with_output().unwrap())
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

#[test]
fn two_builds_of_a_runtime_meet_in_every_block() {
    let Some(Runtime { name, path }) = runtime("two_builds_of_a_runtime_meet_in_every_block")
    else {
        return;
    };
    let run = format!("{name}:run");
    let both = format!("{name},{run}");
    let flags = ["--backends", &both, "--blocks", "3"];
    let flags = [&flags[..], &["--format", "json"]].concat();
    // A name on the search path is as good as a path.
    let (pid, output) = ab(Path::new(name), &path, &flags);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let found = json(&output);
    for side in ["base", "head"] {
        assert_eq!(found[side]["id"], path.to_str().unwrap());
        let tool = found[side]["tool"].as_str().unwrap();
        assert!(tool.starts_with(name), "{tool}");
    }
    let backends: BTreeSet<&str> = found["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["backend"].as_str().unwrap())
        .collect();
    assert_eq!(backends, BTreeSet::from([name, run.as_str()]));
    for metric in found["metrics"].as_array().unwrap() {
        // A trial may have been disturbed from outside; its block is then no pair.
        assert!(metric["blocks"][0].as_u64().unwrap() <= 3, "{metric}");
        assert_eq!(
            metric["verdict"], "inconclusive",
            "three blocks prove nothing"
        );
    }
    assert_eq!(left_behind(pid), BTreeSet::new());
}

#[test]
fn a_slower_create_is_worse_and_named() {
    const NAME: &str = "a_slower_create_is_worse_and_named";
    let Some(runtime) = runtime(NAME) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // Half a second on top of what takes a tenth at most, on a busy machine, too.
    let before = "case \" $* \" in *\" create \"*) sleep 0.5 ;; esac";
    let slow = wrapped(dir.path(), "slow", before, &runtime);
    let flags = ["--blocks", "24", "--gate", "--format", "json"];
    let (pid, output) = ab(&runtime.path, &slow, &flags);
    let found = json(&output);
    let metrics = found["metrics"].as_array().unwrap();
    let startup = metrics.iter().find(|m| m["metric"] == "startup").unwrap();
    assert_eq!(left_behind(pid), BTreeSet::new());
    // A machine that takes the processor away in most trials gives no verdict, and says so.
    if let Some(why) = support::disturbed(startup) {
        return skipped(NAME, &why);
    }
    assert_eq!(status(&output), 1, "{found:#}");
    assert_eq!(startup["verdict"], "worse");
    let part = &startup["parts"][0];
    assert_eq!(part["name"], "create", "{startup:#}");
    assert!(part["difference"].as_f64().unwrap() > 2.5e8, "{part}");
}

#[test]
fn a_runtime_that_says_something_else_is_named_by_the_user() {
    let Some(runtime) = runtime("a_runtime_that_says_something_else_is_named_by_the_user") else {
        return;
    };
    let Runtime { name, path } = &runtime;
    let dir = tempfile::tempdir().unwrap();
    let before = "[ \"$1\" = --version ] && { echo our own fork 7; exit; }";
    let fork = wrapped(dir.path(), "fork", before, &runtime);
    let (_, output) = ab(path, &fork, &["--blocks", "1"]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("--runtime"), "{}", stderr(&output));
    let named = ["--blocks", "1", "--runtime", name, "--format", "json"];
    let (_, output) = ab(path, &fork, &named);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(json(&output)["head"]["tool"], "our own fork 7");
    // A runtime does what it can do.
    let (_, output) = ab(path, &fork, &["--runtime", name, "--backends", "process"]);
    assert_eq!(status(&output), 2);
    let said = stderr(&output);
    assert!(
        said.contains(&format!("process does not use {name}")),
        "{said}"
    );
    // Another one is no build of the same.
    let another = if *name == "youki" { "runc" } else { "youki" };
    let says = format!("echo {another} version 99; exit");
    let other = wrapped(dir.path(), "other", &says, &runtime);
    let (_, output) = ab(path, &other, &[]);
    assert_eq!(status(&output), 2);
    let said = stderr(&output);
    assert!(
        said.contains(&format!("--backends process,{name},{another}")),
        "{said}"
    );
}
